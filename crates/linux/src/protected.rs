//! The running program, executed again so that no process in a container can ever write to its file (CVE-2019-5736).
//!
//! What is in a container reaches the program of a process that enters it as `/proc/<pid>/exe`, and of one whose script says
//! `#!/proc/self/exe`. While the program runs the kernel refuses to open it for writing (`ETXTBSY`); a descriptor that was
//! opened meanwhile can be opened again for writing after its end. So the program is executed through a read-only mount of
//! its own: a detached clone of the mount that it is on (open_tree(2), mount_setattr(2)), with the file itself as its root.
//! execve(2) closes the only descriptor of that mount, which takes it out of every mount namespace. From then on the
//! kernel lets nobody change, clone or move it, so that it stays read-only for who has `CAP_SYS_ADMIN` too, and no path leads from it
//! to anything else.
//!
//! Invariant: this costs no copy of the program. Where the clone is not permitted a sealed copy is executed instead.
use crate::exec::Strings;
use crate::memfd;
use crate::mount::{self, Attributes};
use crate::{Errno, Result};
use rustix::fs::StatVfsMountFlags;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

const PROGRAM: &std::ffi::CStr = c"/proc/self/exe";
const MOUNT_ATTR_RDONLY: u64 = 1;

/// Whether the running program was executed by [`execute`].
pub fn is_protected() -> bool {
    match rustix::fs::readlink(PROGRAM, Vec::new()) {
        // The root of a mount that is nowhere. No other program's path is this one: it is a directory's.
        Ok(path) if path.as_bytes() == b"/" => {
            rustix::fs::statvfs(PROGRAM).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
        }
        Ok(path) if path.as_bytes().starts_with(b"/memfd:") => memfd::is_self_sealed(),
        _ => false,
    }
}

/// Execute the running program again with the same arguments and environment, protected. Returns only on failure.
pub fn execute() -> Errno {
    let program = match read_only_mount() {
        Ok(mounted) => mounted,
        // Without the right to mount, or from a mount that cannot be cloned.
        Err(_) => match memfd::sealed_self() {
            Ok(copy) => copy,
            Err(errno) => return errno,
        },
    };
    match own_arguments() {
        Ok(arguments) => crate::exec::execveat_with_own_environment(program.as_fd(), &arguments),
        Err(errno) => errno,
    }
}

fn read_only_mount() -> Result<OwnedFd> {
    let mounted = mount::clone_path(PROGRAM, false)?;
    mount::set_attributes(mounted.as_fd(), &Attributes { set: MOUNT_ATTR_RDONLY, ..Attributes::default() })?;
    Ok(mounted)
}

fn own_arguments() -> Result<Strings> {
    let all = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
    all.collect::<std::result::Result<Vec<_>, _>>().map(Strings::new).map_err(|_| Errno::INVAL)
}
