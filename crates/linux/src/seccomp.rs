//! Installing a system call filter.
//!
//! Standard: seccomp(2). The program is made elsewhere; see [`crate::bpf::Instruction`].
use crate::bpf::Instruction;
use crate::{Errno, Result, syscall};

/// `SECCOMP_FILTER_FLAG_*`.
pub mod flags {
    pub const TSYNC: u64 = 1;
    pub const LOG: u64 = 2;
    pub const SPEC_ALLOW: u64 = 4;
    pub const WAIT_KILLABLE_RECV: u64 = 32;
}

/// Longest program that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Filter all further system calls of this thread and of what it executes. Needs no-new-privs or CAP_SYS_ADMIN.
pub fn install(program: &[Instruction], flags: u64) -> Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: Instruction has the layout of sock_filter, `len` is the number of elements, and the kernel only reads them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    syscall::check(result).map(drop)
}
