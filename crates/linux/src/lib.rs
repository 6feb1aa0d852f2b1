//! The only crate with unsafe code: mount API, namespaces, clone3, pidfd, openat2 paths, capabilities, terminals
