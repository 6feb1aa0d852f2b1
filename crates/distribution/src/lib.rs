//! OCI distribution client: registries, authentication, transfer
