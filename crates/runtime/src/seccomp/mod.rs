//! From a filter in the specification's form to a program of the kernel.
//!
//! Standard: seccomp(2). For each machine that is named the calls are sorted by number and found by binary search, so a
//! call costs about eight comparisons whatever the profile's length. Compiled programs are cached by the profile's hash.
mod cache;
mod compile;
mod layout;
pub(crate) mod listener;
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
    let flags = flags(profile, listener::notifies(profile))?;
    let program = match cache {
        Some(directory) => cache::get(directory, profile)?,
        None => compile::compile(profile)?,
    };
    Ok(Filter { program, flags })
}

fn flags(profile: &Seccomp, notifies: bool) -> Result<u64> {
    use knarr_linux::seccomp::flags::{LOG, NEW_LISTENER, SPEC_ALLOW, TSYNC, WAIT_KILLABLE_RECV};
    let listener = if notifies { NEW_LISTENER } else { 0 };
    // Without a wish the processor's mitigations stay as they are without a filter, as in other runtimes.
    if profile.flags.is_empty() {
        return Ok(SPEC_ALLOW | listener);
    }
    let wanted = profile.flags.iter().try_fold(0, |all, name| {
        let flag = match name.as_str() {
            "SECCOMP_FILTER_FLAG_TSYNC" => TSYNC,
            "SECCOMP_FILTER_FLAG_LOG" => LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => WAIT_KILLABLE_RECV,
            other => return Err(Error::Invalid { what: format!("seccomp flag {other:?}") }),
        };
        Ok(all | flag)
    })?;
    // The process has one thread, and the kernel refuses what makes no sense together.
    let pointless = if notifies { TSYNC } else { WAIT_KILLABLE_RECV };
    Ok(wanted & !pointless | listener)
}
