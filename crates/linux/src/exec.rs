//! Executing a program with arguments and environment that were put together before the process existed.
//!
//! Standard: execve(2).
use crate::{Errno, Result, syscall};
use std::ffi::{CStr, CString};
use std::os::raw::c_char;

/// Strings and the null-terminated array of pointers to them.
#[derive(Debug)]
pub struct Strings {
    owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    pub fn new(owned: Vec<CString>) -> Self {
        // The strings' memory does not move when the vector of them does.
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Self { owned, pointers }
    }
    /// `EINVAL` for a text with a zero byte in it.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let owned = texts.into_iter().map(CString::new).collect::<std::result::Result<Vec<_>, _>>();
        owned.map(Self::new).map_err(|_| Errno::INVAL)
    }
    pub fn get(&self, index: usize) -> Option<&CStr> {
        self.owned.get(index).map(CString::as_c_str)
    }
}

/// Returns only if the program could not be executed.
pub fn execve(path: &CStr, arguments: &Strings, environment: &Strings) -> Errno {
    // SAFETY: both arrays end with a null pointer, and all strings live in the borrowed values.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    syscall::last()
}

/// Execute the file that a descriptor names, with the environment of this process. Returns only on failure.
pub(crate) fn execveat_with_own_environment(file: std::os::fd::BorrowedFd<'_>, arguments: &Strings) -> Errno {
    use std::os::fd::AsRawFd;
    unsafe extern "C" {
        static environ: *const *const c_char;
    }
    // SAFETY: the array of arguments ends with a null pointer; the C library keeps the environment's; nothing changes
    // either meanwhile, because callers are single-threaded.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    syscall::last()
}

/// Execute the file that a descriptor names. Returns only on failure, with errno set.
pub(crate) fn execveat(file: std::os::fd::BorrowedFd<'_>, arguments: &Strings, environment: &Strings) {
    use std::os::fd::AsRawFd;
    // SAFETY: as in `execve`; the path is empty and the descriptor borrowed.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
}
