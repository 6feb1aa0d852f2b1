//! Credentials, and what `info` says about registries.
use crate::{List, Map};

api_struct! {
    /// The header `X-Registry-Auth` (base64url of it) and the body of `POST /auth`.
    pub struct AuthConfig {
        username: String = "username" omitempty,
        password: String = "password" omitempty,
        auth: String = "auth" omitempty,
        email: String = "email" omitempty,
        server_address: String = "serveraddress" omitempty,
        identity_token: String = "identitytoken" omitempty,
        registry_token: String = "registrytoken" omitempty,
    }

    pub struct AuthResponse {
        identity_token: String = "IdentityToken" omitempty,
        status: String = "Status",
    }

    pub struct ServiceConfig {
        insecure_registry_cidrs: List<String> = "InsecureRegistryCIDRs",
        index_configs: Map<IndexInfo> = "IndexConfigs",
        mirrors: List<String> = "Mirrors",
    }

    pub struct IndexInfo {
        name: String = "Name",
        mirrors: List<String> = "Mirrors",
        secure: bool = "Secure",
        official: bool = "Official",
    }
}
