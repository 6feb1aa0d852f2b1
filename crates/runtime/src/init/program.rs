//! Finding and executing the program.
use super::{Detail, FIRST_PRESERVED, Failure, Init, Outcome};
use knarr_linux::{Errno, exec, fds};
use rustix::fs::{Access, AtFlags, CWD, FileType};
use std::ffi::{CStr, CString};

impl<'a> Init<'a> {
    pub(super) fn find_program(&mut self, candidates: &'a [CString]) -> Outcome {
        // Here and not later: the filter may forbid it. What the container was made with, such as the files of its groups, is
        // not open while it waits for its start.
        self.let_go();
        fds::close_all_except(self.first(), self.talk())?;
        fds::keep_at_exec(FIRST_PRESERVED, self.handles.preserve_fds)?;
        // That nothing is to be executed is an error of the start.
        if candidates.is_empty() {
            return Ok(());
        }
        if let [only] = candidates
            && self.handles.arguments.get(0) == Some(only.as_c_str())
        {
            self.program = Some(only);
            return executable(only);
        }
        self.program =
            candidates.iter().map(CString::as_c_str).find(|candidate| executable(candidate).is_ok());
        match self.program {
            Some(_) => Ok(()),
            None => Err(Failure::new(Errno::NOENT, Some(Detail::NotInPath))),
        }
    }

    pub(super) fn execute(&self) -> Outcome {
        let program = self.program.ok_or(Errno::NOENT)?;
        Err(Failure::from(exec::execve(program, self.handles.arguments, self.handles.environment)))
    }
}

fn executable(path: &CStr) -> Outcome {
    let stat = rustix::fs::statat(CWD, path, AtFlags::empty())
        .map_err(|errno| Failure::new(errno, Some(Detail::NoProgram)))?;
    let refuse = |errno| Failure::new(errno, Some(Detail::NotExecutable));
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(refuse(Errno::ISDIR));
    }
    // As execve decides: capabilities count for effective ids alone.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS).map_err(refuse)
}
