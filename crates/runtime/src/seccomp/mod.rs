//! From a filter in the specification's form to a program of the kernel.
//!
//! Standard: seccomp(2). For each machine that is named the calls are sorted by number and found by binary search, so a
//! call costs about eight comparisons whatever the profile's length. Compiled programs are cached by the profile's hash.
mod cache;
mod compile;
mod layout;
mod machine;
mod syscalls;

#[cfg(test)]
mod tests;

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

/// The filter of a profile, taken from the cache or compiled and put there.
pub fn filter(profile: &Seccomp, cache: Option<&Path>) -> Result<Filter> {
    let flags = flags(profile)?;
    let program = match cache {
        Some(directory) => cache::get(directory, profile)?,
        None => compile::compile(profile)?,
    };
    Ok(Filter { program, flags })
}

fn flags(profile: &Seccomp) -> Result<u64> {
    use knarr_linux::seccomp::flags::{LOG, SPEC_ALLOW, TSYNC, WAIT_KILLABLE_RECV};
    // Without a wish the processor's mitigations stay as they are without a filter, as in other runtimes.
    if profile.flags.is_empty() {
        return Ok(SPEC_ALLOW);
    }
    profile.flags.iter().try_fold(0, |all, name| {
        let flag = match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => TSYNC,
            "SECCOMP_FILTER_FLAG_LOG" => LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE_RECV,
            other => return Err(Error::Invalid { what: format!("seccomp flag {other:?}") }),
        };
        Ok(all | flag)
    })
}
