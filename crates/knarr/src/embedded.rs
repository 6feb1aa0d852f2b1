//! The embedded engine: when nobody named an engine and none listens on the default socket, the client starts one from
//! this same binary, detached. It is found again by the next command and ends by itself when idle.
//!
//! Invariant: at most one is started, however many commands come at once (a file lock), and a failure to start is told
//! with the engine's own words.
use knarr_cli::StartError;
use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::{fs::DirBuilderExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Command, ExitCode, Stdio},
};

/// Seconds without a running container or a request after which an embedded engine ends.
const IDLE_S: u64 = 30;
/// How much of the engine's log is looked at to say why it did not start.
const LOG_TAIL_BYTES: u64 = 8 * 1024;

/// Runs a client command.
pub fn client(args: Vec<std::ffi::OsString>) -> ExitCode {
    let status = knarr_cli::main(args, Some(Box::new(Starter)));
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// Starts the embedded engine for the client.
struct Starter;

impl knarr_cli::EngineStarter for Starter {
    fn ensure(&self) -> Pin<Box<dyn Future<Output = Result<PathBuf, StartError>> + '_>> {
        // Blocks the client's only thread on purpose: there is nothing else to do before an engine answers.
        Box::pin(std::future::ready(ensure().map_err(StartError)))
    }

    fn examine(&self) -> knarr_cli::DoctorReport {
        knarr_engine::examine(&knarr_engine::EngineConfig::default())
    }
}

/// Finds the engine on the default socket, or starts it.
fn ensure() -> Result<PathBuf, String> {
    let exec_root = Path::new(crate::daemon::config::DEFAULT_EXEC_ROOT);
    let socket = exec_root.join("knarr.sock");
    match UnixStream::connect(&socket) {
        Ok(_) => return Ok(socket),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Err(not_root()),
        Err(_) => {}
    }
    if !rustix::process::geteuid().is_root() {
        return Err(not_root());
    }
    start(exec_root, &socket).map_err(|e| format!("cannot start the embedded engine: {e}"))?;
    Ok(socket)
}

fn not_root() -> String {
    "the embedded engine needs root for now: use sudo, or name an engine with -H or KNARR_HOST".into()
}

fn start(exec_root: &Path, socket: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(exec_root)
        .map_err(|e| at(exec_root, &e))?;
    let lock_path = exec_root.join("start.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|e| at(&lock_path, &e))?;
    lock.lock().map_err(|e| at(&lock_path, &e))?;
    if UnixStream::connect(socket).is_ok() {
        return Ok(());
    }
    let log_path = exec_root.join(crate::daemon::log_file::NAME);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(&log_path)
        .map_err(|e| at(&log_path, &e))?;
    let from = log.seek(SeekFrom::End(0)).map_err(|e| at(&log_path, &e))?;
    let exe = std::env::current_exe().map_err(|e| at(Path::new("/proc/self/exe"), &e))?;
    let mut child = Command::new(&exe)
        .args(["daemon", "--exit-when-idle", &IDLE_S.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.try_clone().map_err(|e| at(&log_path, &e))?)
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(|e| at(&exe, &e))?;
    // The engine writes one line when it serves, and closes its standard output either way.
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|e| at(&exe, &e))?;
    }
    if line.trim_end() == crate::daemon::READY { Ok(()) } else { Err(why(log, from, &log_path)) }
}

/// The engine's last words.
fn why(mut log: File, from: u64, path: &Path) -> String {
    let end = log.seek(SeekFrom::End(0)).unwrap_or(from);
    let mut text = Vec::new();
    let tail = log
        .seek(SeekFrom::Start(from.max(end.saturating_sub(LOG_TAIL_BYTES))))
        .and_then(|_| log.take(LOG_TAIL_BYTES).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match (tail, text.lines().rfind(|l| !l.trim().is_empty())) {
        (Ok(_), Some(last)) => format!("{} (log: {})", last.trim(), path.display()),
        _ => format!("it ended without a word (log: {})", path.display()),
    }
}

fn at(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
