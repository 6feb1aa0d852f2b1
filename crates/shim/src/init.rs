//! PID 1 of a container started with `--init`: runs the program as its child, forwards signals, collects orphans, and
//! ends with the program's code (128 + n after signal n).
//!
//! Standard: what Docker's `docker-init` (tini) does: the program gets a process group of its own and, where there is
//! one, the terminal's foreground.
use knarr_linux::supervise::{Fork, block_signals, fork, next_signal};
use knarr_linux::{process, signal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const SIGCHLD: i32 = rustix::process::Signal::CHILD.as_raw();

/// Runs `arguments` (the program first; a leading `--` is skipped) and gives the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let mut arguments = arguments.into_iter().skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else {
        eprintln!("knarr-init: no program to run");
        return NOT_EXECUTABLE;
    };
    let mut command = Command::new(&program);
    command.args(arguments);
    let forked = block_signals().and_then(|()| fork());
    match forked {
        Ok(Fork::Child) => become_program(command, &program),
        Ok(Fork::Parent { child }) => supervise(child),
        Err(error) => {
            eprintln!("knarr-init: fork: {error}");
            NOT_EXECUTABLE
        }
    }
}

fn become_program(mut command: Command, program: &OsString) -> i32 {
    let _ = rustix::process::setpgid(None, None);
    // Still with signals blocked: a background process that sets the foreground would be stopped.
    if rustix::termios::isatty(std::io::stdin()) {
        let _ = rustix::termios::tcsetpgrp(std::io::stdin(), rustix::process::getpid());
    }
    let _ = signal::reset();
    let error = command.exec();
    eprintln!("knarr-init: {}: {error}", program.display());
    if error.kind() == std::io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

fn supervise(child: i32) -> i32 {
    loop {
        match next_signal() {
            Ok(SIGCHLD) => {
                if let Some(code) = collect(child) {
                    return code;
                }
            }
            Ok(number) => drop(signal::kill(child, number)),
            Err(error) => {
                eprintln!("knarr-init: wait for signals: {error}");
                return 1;
            }
        }
    }
}

/// Waits for every ended process; the program's code if it is among them.
fn collect(child: i32) -> Option<i32> {
    let mut code = None;
    while let Ok(Some((pid, exit))) = process::reap_any() {
        if pid == child {
            code = Some(exit.status());
        }
    }
    code
}
