//! Properties of this process.
//!
//! Standard: prctl(2).
use crate::{Result, syscall};

pub(crate) fn set(option: libc::c_int, value: u64) -> Result<()> {
    set2(option, value, 0)
}

pub(crate) fn set2(option: libc::c_int, first: u64, second: u64) -> Result<()> {
    // SAFETY: callers in this crate use options whose arguments are numbers, not pointers.
    syscall::check(unsafe { libc::prctl(option, first, second, 0u64, 0u64) }.into()).map(drop)
}

pub(crate) fn get(option: libc::c_int, value: u64) -> Result<i32> {
    // SAFETY: as above.
    syscall::check(unsafe { libc::prctl(option, value, 0u64, 0u64, 0u64) }.into()).map(|v| v as i32)
}

/// Orphans below this process become its children.
pub fn set_child_subreaper(on: bool) -> Result<()> {
    set(libc::PR_SET_CHILD_SUBREAPER, on.into())
}
/// Without it no other process of the same user may trace this one or look into its descriptors.
pub fn set_dumpable(on: bool) -> Result<()> {
    set(libc::PR_SET_DUMPABLE, on.into())
}
/// Executing a program can no longer add privileges.
pub fn set_no_new_privs() -> Result<()> {
    set(libc::PR_SET_NO_NEW_PRIVS, 1)
}
/// Permitted capabilities survive the change away from user 0 (until execve).
pub fn set_keep_caps(on: bool) -> Result<()> {
    set(libc::PR_SET_KEEPCAPS, on.into())
}
/// Signal to this process when the thread that made it ends; 0 for none.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    set(libc::PR_SET_PDEATHSIG, signal as u64)
}
/// Execution domain and its flags.
pub fn set_personality(persona: u32) -> Result<()> {
    // SAFETY: no pointers.
    syscall::check(unsafe { libc::personality(persona.into()) }.into()).map(drop)
}
/// Name in `/proc/<pid>/comm`, at most 15 bytes of it.
pub fn set_name(name: &std::ffi::CStr) -> Result<()> {
    rustix::thread::set_name(name)
}
