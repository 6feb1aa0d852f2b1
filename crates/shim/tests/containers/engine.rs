//! As much of an engine as the tests need: spawner, control connection, streams, one container's directories.
use knarr_cgroup::Cgroup;
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Process, Spec};
use knarr_shim_proto::*;
use serde_json::json;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// Why these tests cannot run here.
pub fn cannot_run() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    busybox().is_none().then(|| "needs a static busybox in PATH".to_owned())
}

fn busybox() -> Option<PathBuf> {
    find("busybox")
}

pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

pub struct Spawner {
    socket: UnixStream,
    child: Child,
}

impl Spawner {
    pub fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("/proc/self/exe");
        command.arg0("knarr-spawner").stdin(Stdio::from(OwnedFd::from(theirs)));
        Self { socket: ours, child: command.spawn().unwrap() }
    }

    pub fn spawn(&mut self, config: ShimConfig) -> (Control, i32) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let request = SpawnRequest { number: 1, config, fds: vec![FdRole::Control] };
        let bytes = frame::encode(&request).unwrap();
        let fds: [BorrowedFd<'_>; 1] = [theirs.as_fd()];
        let sent = knarr_linux::fdpass::send(&self.socket, &bytes, &fds).unwrap();
        self.socket.write_all(&bytes[sent..]).unwrap();
        let reply: SpawnReply = read_frame(&mut self.socket).unwrap();
        (Control::new(ours), reply.result.unwrap())
    }

    /// As when the engine dies: the spawner ends by itself.
    pub fn vanish(mut self) {
        drop(self.socket);
        self.child.wait().unwrap();
    }
}

pub fn read_frame<T: serde::de::DeserializeOwned>(from: &mut UnixStream) -> Option<T> {
    let mut header = [0; 4];
    from.read_exact(&mut header).ok()?;
    let mut json = vec![0; frame::length(header).unwrap()];
    from.read_exact(&mut json).ok()?;
    Some(frame::decode(&json).unwrap())
}

/// A control connection.
pub struct Control {
    pub socket: UnixStream,
    events: VecDeque<Event>,
    number: u64,
    /// Log messages that were lost, as far as it was told.
    pub lost: u64,
}

impl Control {
    pub fn new(socket: UnixStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, events: VecDeque::new(), number: 0, lost: 0 }
    }

    pub fn connect(dir: &Path) -> Self {
        Self::new(connect(dir))
    }

    pub fn call(&mut self, call: Call) -> Result<Answer, Failure> {
        self.number += 1;
        let request = Request { number: self.number, call };
        self.socket.write_all(&frame::encode(&request).unwrap()).unwrap();
        loop {
            match read_frame(&mut self.socket).expect("the supervisor is there") {
                FromShim::Event(event) => self.events.push_back(event),
                FromShim::Reply(reply) => {
                    assert_eq!(reply.number, self.number);
                    return reply.result;
                }
            }
        }
    }

    pub fn event(&mut self) -> Event {
        self.events.pop_front().unwrap_or_else(|| match read_frame(&mut self.socket) {
            Some(FromShim::Event(event)) => event,
            other => panic!("expected an event, got {other:?}"),
        })
    }

    pub fn state(&mut self) -> StateReport {
        match self.call(Call::State).unwrap() {
            Answer::State(state) => state,
            other => panic!("{other:?}"),
        }
    }

    pub fn exit(&mut self) -> ExitRecord {
        loop {
            match self.event() {
                Event::Exited(record) => return record,
                Event::LogLost { total, .. } => self.lost = total,
                _ => {}
            }
        }
    }

    pub fn exec_exit(&mut self, wanted: &str) -> ExitRecord {
        loop {
            match self.event() {
                Event::ExecExited { exec_id, exit } if exec_id == wanted => return exit,
                Event::Exited(record) => panic!("the container ended: {record:?}"),
                _ => {}
            }
        }
    }

    /// Whether the supervisor closes the connection.
    pub fn ends(&mut self) -> bool {
        loop {
            match read_frame::<FromShim>(&mut self.socket) {
                Some(FromShim::Event(_)) => {}
                Some(other) => panic!("{other:?}"),
                None => return true,
            }
        }
    }
}

pub fn connect(dir: &Path) -> UnixStream {
    UnixStream::connect(dir.join(file::SOCKET)).unwrap()
}

/// A connection that becomes a stream.
pub fn stream(dir: &Path, call: Call) -> Result<UnixStream, Failure> {
    let mut socket = connect(dir);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&frame::encode(&Request { number: 9, call }).unwrap()).unwrap();
    loop {
        match read_frame(&mut socket).unwrap() {
            FromShim::Reply(reply) => return reply.result.map(|_| socket),
            FromShim::Event(_) => {}
        }
    }
}

/// All of a multiplexed stream: standard output and standard error.
pub fn demultiplex(mut from: impl Read) -> (Vec<u8>, Vec<u8>) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let mut header = [0; stdcopy::HEADER];
        if from.read_exact(&mut header).is_err() {
            return (out, err);
        }
        let (number, length) = stdcopy::parse(header);
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes).unwrap();
        match number {
            1 => out.extend(bytes),
            2 => err.extend(bytes),
            other => panic!("stream {other}"),
        }
    }
}

/// One for this program.
pub fn parent_cgroup() -> String {
    format!("/knarr-shim-test-{}", std::process::id())
}

/// The directories of one container, removed at the end.
pub struct Container {
    pub dir: tempfile::TempDir,
    pub config: ShimConfig,
    pub spec: Spec,
}

impl Container {
    /// Runs a shell script.
    pub fn new(script: &str) -> Self {
        Self::with(json!({ "args": ["/bin/sh", "-c", script] }))
    }

    pub fn terminal(script: &str) -> Self {
        Self::with(json!({ "args": ["/bin/sh", "-c", script], "terminal": true }))
    }

    pub fn with(process: serde_json::Value) -> Self {
        let dir = tempfile::Builder::new().prefix("knarr-shim-").tempdir().unwrap();
        let id = format!("{:x}", rand());
        let mut whole =
            json!({ "cwd": "/", "env": ["PATH=/bin", "TERM=xterm"], "user": { "uid": 0, "gid": 0 } });
        whole.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
        let mount = |to: &str, kind: &str| json!({ "destination": to, "type": kind, "source": kind });
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": whole,
            "root": { "path": "rootfs" },
            "hostname": "test",
            "mounts": [mount("/proc", "proc"), mount("/dev", "tmpfs"),
                { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                  "options": ["newinstance", "ptmxmode=0666", "mode=0620"] }],
            "linux": { "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" },
                { "type": "uts" }, { "type": "network" }] },
        });
        let spec: Spec = serde_json::from_value(spec).unwrap();
        let rootfs = dir.path().join("rootfs");
        make_rootfs(&rootfs);
        let config = ShimConfig {
            id: id.clone(),
            dir: dir.path().to_owned(),
            rootfs: Some(RootfsMount::Directory { path: rootfs }),
            log: LogConfig { path: dir.path().join("c-json.log"), ..LogConfig::default() },
            open_stdin: false,
            stdin_once: false,
            rows: 24,
            cols: 80,
            cgroup: CgroupConfig { path: format!("{}/{id}", parent_cgroup()), systemd: false },
            seccomp_cache: None,
            runtime: None,
        };
        Self { dir, config, spec }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a supervisor; the init waits.
    pub fn create(&self, spawner: &mut Spawner) -> Running {
        std::fs::write(self.path().join(file::CONFIG), serde_json::to_vec(&self.spec).unwrap()).unwrap();
        let (mut control, shim_pid) = spawner.spawn(self.config.clone());
        match control.event() {
            Event::Created { pid, .. } => Running { control, shim_pid, pid },
            other => panic!("{other:?}"),
        }
    }

    pub fn run(&self, spawner: &mut Spawner) -> Running {
        let mut running = self.create(spawner);
        assert_eq!(running.control.call(Call::Start), Ok(Answer::Done));
        running
    }

    /// Lines of the log: stream and text.
    pub fn log(&self) -> Vec<(String, String)> {
        let text = std::fs::read(&self.config.log.path).unwrap();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries = lines.map(|line| json_log::decode(line).unwrap());
        entries.map(|entry| (entry.stream.name().to_owned(), entry.log.into_owned())).collect()
    }

    pub fn exit_record(&self) -> Option<ExitRecord> {
        let bytes = std::fs::read(self.path().join(file::EXIT)).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Ok(cgroup) = Cgroup::new(&self.config.cgroup.path) {
            let _ = cgroup.kill_all();
            let _ = cgroup.destroy();
        }
    }
}

pub struct Running {
    pub control: Control,
    pub shim_pid: i32,
    pub pid: i32,
}

/// `process` of a command to execute.
pub fn exec(exec_id: &str, process: serde_json::Value, streams: Streams, attach: bool) -> Call {
    let mut whole = json!({ "cwd": "/", "env": ["PATH=/bin"], "user": { "uid": 0, "gid": 0 } });
    whole.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
    let process: Process = serde_json::from_value(whole).unwrap();
    let process = serde_json::value::to_raw_value(&process).unwrap();
    Call::Exec(ExecConfig { exec_id: exec_id.to_owned(), process, streams, attach })
}

pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !check() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    exit::start_time_of_stat(&stat).is_some()
}

fn rand() -> u64 {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    u64::from_ne_bytes(bytes) | 1 << 63
}

fn make_rootfs(at: &Path) {
    for dir in ["bin", "proc", "dev", "tmp"] {
        std::fs::create_dir_all(at.join(dir)).unwrap();
    }
    std::fs::copy(busybox().unwrap(), at.join("bin/busybox")).unwrap();
    for applet in
        ["sh", "cat", "echo", "sleep", "true", "stty", "seq", "yes", "head", "kill", "dd", "id", "printf"]
    {
        std::os::unix::fs::symlink("busybox", at.join("bin").join(applet)).unwrap();
    }
}
