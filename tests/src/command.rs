//! Running a program with a deadline and a bounded amount of kept output.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long any one command may take before the test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(4);

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; 128+n where a signal ended it.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Run `cmd` to its end, feeding it `stdin`.
///
/// # Panics
/// Where it cannot be started or is not done by the deadline.
pub fn run(cmd: &mut Command, stdin: Option<&[u8]>, deadline: Duration) -> Finished {
    cmd.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    cmd.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = cmd.spawn().unwrap_or_else(|e| panic!("cannot start {cmd:?}: {e}"));
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        let bytes = bytes.to_vec();
        thread::spawn(move || drop(pipe.write_all(&bytes)));
    }
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let Some(code) = wait_until(&mut child, Instant::now() + deadline) else {
        drop(child.kill());
        drop(child.wait());
        let short = Duration::from_millis(200);
        panic!(
            "{cmd:?} was not done after {deadline:?}\nstdout: {}\nstderr: {}",
            String::from_utf8_lossy(&out.recv_timeout(short).unwrap_or_default()),
            String::from_utf8_lossy(&err.recv_timeout(short).unwrap_or_default())
        );
    };
    // A grandchild may keep the pipes open; what it prints later is nobody's.
    let grace = Duration::from_secs(2);
    Finished {
        code,
        stdout: out.recv_timeout(grace).unwrap_or_default(),
        stderr: err.recv_timeout(grace).unwrap_or_default(),
    }
}

/// Wait for a child until `end`; its code, or None.
pub fn wait_until(child: &mut Child, end: Instant) -> Option<i32> {
    loop {
        if let Some(s) = child.try_wait().expect("wait") {
            return Some(s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)));
        }
        if Instant::now() > end {
            return None;
        }
        thread::sleep(POLL);
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::channel();
    let mut pipe = pipe.expect("piped");
    thread::spawn(move || {
        let mut v = Vec::new();
        drop(pipe.read_to_end(&mut v));
        drop(tx.send(v));
    });
    rx
}

/// Try until `f` gives something, or fail after `limit` naming `what`.
///
/// # Panics
/// After `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut f: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(t) = f() {
            return t;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(15));
    }
}
