//! Anonymous sealed files: what was written can never be changed.
//!
//! Standard: memfd_create(2), fcntl(2) F_ADD_SEALS. Purpose: the executable that comes near containers is a sealed copy
//! (CVE-2019-5736), made once per engine.
use crate::{Errno, Result, syscall};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

const ALL_SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// How long the kernel's own memory management may hold pages of the file, on a busy machine.
const BUSY: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A sealed, executable copy of the running program.
pub fn sealed_self() -> Result<OwnedFd> {
    let program = rustix::fs::open(c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let copy = create(c"knarr", true)?;
    let size = rustix::fs::fstat(&program)?.st_size as u64;
    let mut done = 0;
    while done < size {
        let count = usize::try_from(size - done).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::sendfile(&copy, &program, None, count)? {
            0 => return Err(Errno::IO),
            n => done += n as u64,
        }
    }
    seal(&copy)?;
    Ok(copy)
}

/// An empty anonymous file that can be sealed.
pub fn create(name: &CStr, executable: bool) -> Result<OwnedFd> {
    const MFD_NOEXEC_SEAL: u32 = 8;
    const MFD_EXEC: u32 = 16;
    let base = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let wanted = MemfdFlags::from_bits_retain(if executable { MFD_EXEC } else { MFD_NOEXEC_SEAL });
    match rustix::fs::memfd_create(name, base | wanted) {
        // Before Linux 6.3.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, base),
        done => done,
    }
}

/// Nobody can change the content or the seals any more.
///
/// The kernel says `EBUSY` while anybody else holds a page, as if that could still write: compaction and migration of memory do so
/// for moments, and longer when the machine has much to do.
pub fn seal(file: impl AsFd) -> Result<()> {
    let begun = Instant::now();
    loop {
        match rustix::fs::fcntl_add_seals(&file, ALL_SEALS) {
            Err(Errno::BUSY) if begun.elapsed() < BUSY => sleep(PAUSE),
            done => return done,
        }
    }
}

/// Whether the running program is such a sealed copy.
pub fn is_self_sealed() -> bool {
    let Ok(program) = rustix::fs::open(c"/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    else {
        return false;
    };
    rustix::fs::fcntl_get_seals(program).is_ok_and(|seals| seals.contains(ALL_SEALS))
}

/// Execute a program by descriptor. Returns only on failure.
pub fn execute(
    file: impl AsFd,
    arguments: &crate::exec::Strings,
    environment: &crate::exec::Strings,
) -> Errno {
    crate::exec::execveat(file.as_fd(), arguments, environment);
    syscall::last()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page in a pipe is held as one that is migrated is: the kernel counts references, and asks nobody what for.
    #[test]
    fn a_page_that_is_held_for_a_moment_is_waited_for() {
        use rustix::pipe::{SpliceFlags, pipe, splice};
        let file = create(c"test", false).unwrap();
        rustix::io::write(&file, &[7; 4096]).unwrap();
        let (out, into) = pipe().unwrap();
        let mut from = 0;
        assert_eq!(splice(&file, Some(&mut from), &into, None, 4096, SpliceFlags::empty()), Ok(4096));
        assert_eq!(
            rustix::fs::fcntl_add_seals(&file, ALL_SEALS),
            Err(Errno::BUSY),
            "the kernel's own patience"
        );
        let reader = std::thread::spawn(move || {
            sleep(Duration::from_millis(300));
            rustix::io::read(&out, &mut [0; 4096]).unwrap();
        });
        seal(&file).unwrap();
        reader.join().unwrap();
        assert!(rustix::fs::fcntl_get_seals(&file).unwrap().contains(ALL_SEALS));
        assert_eq!(rustix::io::write(&file, b"x"), Err(Errno::PERM));
    }
}
