//! The OCI descriptor and platform as the API shows them
//! (<https://github.com/opencontainers/image-spec/blob/main/descriptor.md>).
use crate::{List, Map};

api_struct! {
    pub struct Descriptor {
        media_type: String = "mediaType",
        digest: String = "digest",
        size: i64 = "size",
        urls: List<String> = "urls" omitempty,
        annotations: Map<String> = "annotations" omitempty,
        /// Base64.
        data: String = "data" omitempty,
        platform: Option<Platform> = "platform" omitempty,
        artifact_type: String = "artifactType" omitempty,
    }

    pub struct Platform {
        architecture: String = "architecture",
        os: String = "os",
        os_version: String = "os.version" omitempty,
        os_features: List<String> = "os.features" omitempty,
        variant: String = "variant" omitempty,
    }
}
