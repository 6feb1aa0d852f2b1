//! Paths inside a container's root or an untrusted archive, resolved by the kernel with `openat2` and never by text.
//!
//! Standard: openat2(2). Invariant: no call here can name anything outside of its [`Root`], whoever renames or replaces
//! components meanwhile; magic links (`/proc/<pid>/fd/N`, `/proc/<pid>/root`) are never followed. Nothing else in Knarr
//! walks such paths.
//!
//! Two kinds of roots: [`Resolve::InRoot`] follows symbolic links as a process chrooted there would (container trees);
//! [`Resolve::Beneath`] refuses symbolic links and `..` (archives).
mod dir;
mod remove;
mod root;
mod walk;
mod xattr;

use crate::{Errno, Result};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::path::Arg;
use std::os::fd::{AsFd, OwnedFd};

pub use dir::{Dir, Member};
pub use root::{Resolve, Root};

/// How often a resolution is repeated when a concurrent rename disturbed it.
pub(crate) const MAX_RESOLVE_TRIES: usize = 256;
/// openat2(2), repeated when a rename or a mount anywhere on the machine disturbed the resolution of a `..` (`EAGAIN`).
pub fn openat2(
    directory: impl AsFd,
    path: impl Arg,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    path.into_with_c_str(|path| {
        for _ in 0..MAX_RESOLVE_TRIES {
            match rustix::fs::openat2(&directory, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    })
}

/// Symbolic links followed while directories are being made, as in the kernel.
pub(crate) const MAX_LINKS: usize = 40;
