//! Resource limits by the kernel's names.
//!
//! Standard: getrlimit(2).
use crate::{Result, syscall};

/// `RLIM_INFINITY`.
pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

/// Number of a limit such as `RLIMIT_NOFILE`.
pub fn number(name: &str) -> Option<u32> {
    let table = [
        ("RLIMIT_CPU", libc::RLIMIT_CPU),
        ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE),
        ("RLIMIT_DATA", libc::RLIMIT_DATA),
        ("RLIMIT_STACK", libc::RLIMIT_STACK),
        ("RLIMIT_CORE", libc::RLIMIT_CORE),
        ("RLIMIT_RSS", libc::RLIMIT_RSS),
        ("RLIMIT_NPROC", libc::RLIMIT_NPROC),
        ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE),
        ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK),
        ("RLIMIT_AS", libc::RLIMIT_AS),
        ("RLIMIT_LOCKS", libc::RLIMIT_LOCKS),
        ("RLIMIT_SIGPENDING", libc::RLIMIT_SIGPENDING),
        ("RLIMIT_MSGQUEUE", libc::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", libc::RLIMIT_NICE),
        ("RLIMIT_RTPRIO", libc::RLIMIT_RTPRIO),
        ("RLIMIT_RTTIME", libc::RLIMIT_RTTIME),
    ];
    table.iter().find(|(n, _)| *n == name).map(|(_, number)| *number)
}

/// Soft and hard limit of this process.
pub fn get(number: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through the call.
    let result = unsafe { libc::getrlimit(number as _, &raw mut limit) };
    syscall::check(result.into()).map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// Limits of another process: who may raise them need not be who is limited.
pub fn set_of(pid: i32, number: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure lives through the call and is only read; no old value is asked for.
    let result = unsafe {
        let old = std::ptr::null_mut::<libc::rlimit64>();
        libc::syscall(libc::SYS_prlimit64, pid, number, &raw const limit, old)
    };
    syscall::check(result).map(drop)
}

pub fn set(number: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure lives through the call and is only read.
    let result = unsafe { libc::setrlimit(number as _, &raw const limit) };
    syscall::check(result.into()).map(drop)
}
