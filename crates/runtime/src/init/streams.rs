//! Standard streams and the terminal.
use super::root::is_null;
use super::{Failure, Init, Outcome};
use crate::handshake::FromInit;
use knarr_linux::{Errno, Result, fds, mount, tty};
use rustix::fs::{FileType, Mode, OFlags, Uid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

impl Init<'_> {
    /// A pair from the container's own devpts. The master goes to the parent, the slave is bound to `/dev/console`.
    pub(super) fn terminal(&mut self, rows: u16, cols: u16, uid: u32, console: bool) -> Outcome {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let master = self.strict()?.open_with("dev/pts/ptmx", flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&master)?;
        let is_ptmx = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(5, 2)
            && rustix::fs::fstatfs(&master)?.f_type as i64 == DEVPTS_SUPER_MAGIC;
        if !is_ptmx {
            return Err(Failure::from(Errno::NODEV));
        }
        let slave = tty::slave(master.as_fd())?;
        rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None)?;
        if rows != 0 || cols != 0 {
            tty::resize(&master, rows, cols)?;
        }
        if console {
            let place = self.strict()?.ensure_file("dev/console", 0o600)?;
            let copy = mount::clone_fd(slave.as_fd(), false)?;
            mount::attach(copy.as_fd(), place.as_fd())?;
        }
        FromInit::Console.send(self.handles.sync, Some(master.as_fd()))?;
        self.terminal = Some(slave);
        Ok(())
    }

    pub(super) fn stdio(&mut self, uid: u32) -> Outcome {
        if let Some(slave) = self.terminal.take() {
            tty::set_controlling(slave.as_fd())?;
            for number in 0..=2 {
                fds::set_standard(number, slave.as_fd())?;
            }
            return Ok(());
        }
        self.give_inherited(uid)?;
        for (number, given) in self.handles.stdio.iter().enumerate() {
            match given {
                Some(fd) => {
                    give(fd.as_fd(), uid)?;
                    fds::set_standard(number as i32, fd.as_fd())?;
                }
                None => fds::set_standard(number as i32, self.null()?.as_fd())?,
            }
        }
        Ok(())
    }

    /// Only the host's privileges allow it.
    pub(super) fn give_streams(&self, uid: u32) -> Outcome {
        self.give_inherited(uid)?;
        Ok(self.handles.stdio.iter().flatten().try_for_each(|fd| give(fd.as_fd(), uid))?)
    }

    /// As runc does it: whoever makes the container has put the streams there for it.
    fn give_inherited(&self, uid: u32) -> Result<()> {
        if !self.handles.inherits_stdio {
            return Ok(());
        }
        let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        own.into_iter().try_for_each(|stream| match give(stream, uid) {
            // One that is closed stays so.
            Err(Errno::BADF) => Ok(()),
            given => given,
        })
    }

    /// The container's own null device, if it is one.
    fn null(&self) -> Result<OwnedFd> {
        if let Ok(fd) = self.strict()?.open_with("dev/null", OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
            && is_null(fd.as_fd())?
        {
            return Ok(fd);
        }
        let (read, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok(read)
    }
}

/// The user may open its streams again by `/dev/stdout`. Not every stream has an owner that can be changed.
fn give(fd: BorrowedFd<'_>, uid: u32) -> Result<()> {
    let stat = rustix::fs::fstat(fd)?;
    if stat.st_uid == uid || is_null(fd)? {
        return Ok(());
    }
    match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None) {
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    }
}
