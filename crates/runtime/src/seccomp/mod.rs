//! From a filter in the specification's form to a program of the kernel.
use crate::{Error, Result};
use knarr_linux::bpf::Instruction;
use knarr_oci::runtime::Seccomp;
use std::path::Path;

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
}

/// Compiled now or taken from the cache.
pub fn filter(_profile: &Seccomp, _cache: Option<&Path>) -> Result<Filter> {
    Err(Error::Unsupported { what: "seccomp".to_owned() })
}
