//! Steps that change what the process may do.
use super::{Failure, Init, Outcome};
use crate::plan::Step;
use knarr_linux::caps::{self, Sets};
use knarr_linux::{Errno, prctl, process, rlimit};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{Gid, Uid};

pub(super) fn apply(init: &mut Init<'_>, step: &Step) -> Outcome {
    match step {
        Step::Rlimit { number, soft, hard } => Ok(rlimit::set(*number, *soft, *hard)?),
        Step::IoPriority { value } => Ok(process::set_io_priority(*value)?),
        Step::Personality(persona) => Ok(prctl::set_personality(*persona)?),
        Step::SecurityLabel { file, label } => {
            let procfs = init.procfs()?;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            // thread-self is a link of procfs itself.
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            let file = knarr_linux::path::openat2(procfs, file.as_c_str(), flags, Mode::empty(), resolve)?;
            rustix::io::write(&file, label.to_bytes())?;
            Ok(())
        }
        Step::Umask(mask) => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
            Ok(())
        }
        Step::LimitBounding(set) => Ok(caps::limit_bounding(*set)?),
        Step::Identity { uid, gid, groups } => identity(*uid, *gid, groups.as_deref()),
        Step::Capabilities { effective, permitted, inheritable, ambient } => {
            prctl::set_keep_caps(false)?;
            caps::set(&Sets { effective: *effective, permitted: *permitted, inheritable: *inheritable })?;
            Ok(caps::set_ambient(*ambient)?)
        }
        Step::NoNewPrivileges => Ok(prctl::set_no_new_privs()?),
        Step::WorkingDirectory { .. } if init.entered => Ok(()),
        Step::WorkingDirectory { path, again } => match working_directory(path) {
            Err(failure) if !again && failure.is_refusal() => Ok(()),
            done => {
                init.entered = done.is_ok();
                done
            }
        },
        // Every other step belongs to the interpreter itself.
        _ => Err(Failure::from(Errno::NOSYS)),
    }
}

/// Make `CAP_SYS_ADMIN` effective, if it is permitted.
pub(super) fn raise_admin() -> Outcome {
    let mut sets = caps::get()?;
    if sets.permitted.contains(caps::SYS_ADMIN) && !sets.effective.contains(caps::SYS_ADMIN) {
        sets.effective.insert(caps::SYS_ADMIN);
        caps::set(&sets)?;
    }
    Ok(())
}

fn identity(uid: u32, gid: u32, groups: Option<&[u32]>) -> Outcome {
    // Capabilities are set exactly afterwards; execve forgets this.
    prctl::set_keep_caps(true)?;
    if let Some(groups) = groups {
        let groups: Vec<Gid> = groups.iter().map(|&g| Gid::from_raw(g)).collect();
        rustix::thread::set_thread_groups(&groups)?;
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    Ok(rustix::thread::set_thread_res_uid(uid, uid, uid)?)
}

/// Without magic links (CVE-2024-21626), and surely inside of the root.
fn working_directory(path: &std::ffi::CStr) -> Outcome {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(c"/", flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let directory = knarr_linux::path::openat2(&root, path, flags, Mode::empty(), resolve)?;
    rustix::process::fchdir(&directory)?;
    // The kernel writes "(unreachable)" before a path outside of the root.
    let inside = rustix::process::getcwd(Vec::new())?;
    if inside.as_bytes().starts_with(b"/") { Ok(()) } else { Err(Failure::from(Errno::XDEV)) }
}
