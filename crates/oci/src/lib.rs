//! OCI documents: reference, digest, platform, manifests, image config, runtime config.
//!
//! Standards: <https://github.com/opencontainers/image-spec>, <https://github.com/opencontainers/runtime-spec>,
//! <https://github.com/opencontainers/distribution-spec>. Invariant: no I/O.
pub mod digest;
pub mod image;
pub mod platform;
pub mod reference;
pub mod rootfs;
pub mod runtime;
pub mod seccomp;
