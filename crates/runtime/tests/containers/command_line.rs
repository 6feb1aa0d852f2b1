//! The runtime's command line, each command in a process of its own.
use crate::bundle::Bundle;
use knarr_linux::Errno;
use knarr_linux::mount::{self, Attributes};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("command_line::create_start_kill_delete", create_start_kill_delete),
    ("command_line::run_and_exec", run_and_exec),
    ("command_line::errors", errors),
    ("command_line::what_an_exec_does_not_say", what_an_exec_does_not_say),
    ("command_line::a_kill_without_a_pid_namespace", a_kill_without_a_pid_namespace),
    ("command_line::a_frozen_group_is_refused", a_frozen_group_is_refused),
    ("command_line::nothing_is_open_while_it_waits", nothing_is_open_while_it_waits),
    ("command_line::the_program_cannot_be_overwritten", the_program_cannot_be_overwritten),
    ("command_line::asking_and_changing", asking_and_changing),
    ("command_line::another_process_with_the_same_number", another_process_with_the_same_number),
    ("command_line::hooks_of_start_and_delete", hooks_of_start_and_delete),
];

pub struct Runtime {
    root: tempfile::TempDir,
    program: PathBuf,
}

impl Runtime {
    pub fn new() -> Self {
        Self::with_program(std::env::current_exe().unwrap())
    }
    fn with_program(program: PathBuf) -> Self {
        Self { root: tempfile::Builder::new().prefix("knarr-runtime-").tempdir_in("/tmp").unwrap(), program }
    }
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["runtime", "--root"]).arg(self.root.path().join("state")).args(arguments);
        command.stdin(Stdio::null());
        command
    }
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
    /// For commands whose streams become the container's, so that nobody may wait for their end.
    pub fn quiet(&self, arguments: &[&str]) {
        let status = self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    }
    pub fn state(&self, id: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }
    pub fn wait_for(&self, id: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status(id) != status {
            assert!(Instant::now() < deadline, "{id} is {}, not {status}", self.status(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    fn status(&self, id: &str) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.ok(&["state", id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

/// With its configuration in a file, and a group of the tests.
pub fn write(bundle: &mut Bundle) {
    bundle.spec.linux.as_mut().unwrap().cgroups_path = Some(format!("/knarr-test/{}", bundle.id));
    let text = serde_json::to_vec(&bundle.spec).unwrap();
    std::fs::write(bundle.dir.path().join("config.json"), text).unwrap();
}

fn create_start_kill_delete() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sh", "-c", "echo > /started; sleep 1000"]);
    write(&mut bundle);
    let (path, id) = (bundle.dir.path().to_str().unwrap().to_owned(), bundle.id.clone());
    let pid_file = bundle.dir.path().join("pid");
    let arguments = ["create", "--bundle", &path, "--pid-file", pid_file.to_str().unwrap(), &id];
    // Its streams are the container's, so nobody may wait for their end.
    let made = runtime.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(made.success());
    assert_eq!(runtime.status(&id), "created");
    let started = bundle.lower().join("started");
    assert!(!started.exists());
    assert!(!runtime.run(&arguments).status.success(), "the id is taken");
    assert!(!runtime.run(&["exec", "nobody", "true"]).status.success());
    runtime.ok(&["start", &id]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !started.exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(runtime.status(&id), "running");
    assert!(!runtime.run(&["start", &id]).status.success());
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert!(runtime.ok(&["list"]).contains(&id));
    runtime.ok(&["pause", &id]);
    assert_eq!(runtime.status(&id), "paused");
    runtime.ok(&["resume", &id]);
    assert!(!runtime.run(&["delete", &id]).status.success(), "it runs");
    runtime.ok(&["kill", &id, "KILL"]);
    while runtime.status(&id) != "stopped" && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    runtime.ok(&["delete", &id]);
    assert!(!runtime.run(&["state", &id]).status.success());
    runtime.ok(&["delete", "--force", &id]);
    assert!(!bundle.cgroup().exists());
}

fn run_and_exec() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sh", "-c", "echo out; echo err >&2; exit 5"]);
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    let output = runtime.run(&["run", "--bundle", &path, &bundle.id]);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    let arguments = ["run", "--detach", "--bundle", &path, &bundle.id];
    assert!(
        runtime.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    );
    let script = "id -u; id -g; pwd; echo $A";
    let arguments =
        ["exec", "--user", "7:8", "--cwd", "/tmp", "--env", "A=b", &bundle.id, "sh", "-c", script];
    assert_eq!(runtime.ok(&arguments), "7\n8\n/tmp\nb\n");
    assert_eq!(runtime.run(&["exec", &bundle.id, "sh", "-c", "exit 9"]).status.code(), Some(9));
    let environment =
        runtime.ok(&["exec", "--env", "PATH=/bin:/x", "-e", "A=1", "-e", "A=2", &bundle.id, "env"]);
    let lines: Vec<&str> =
        environment.lines().filter(|l| l.starts_with("PATH=") || l.starts_with("A=")).collect();
    assert_eq!(lines, ["PATH=/bin:/x", "A=2"], "{environment}");
    assert!(environment.contains("HOME=/\n"), "{environment}");
    let unknown = runtime.run(&["exec", &bundle.id, "nothing"]);
    assert_eq!(unknown.status.code(), Some(255));
    assert_eq!(unknown.stderr, b"exec: \"nothing\": executable file not found in $PATH\n");
    runtime.ok(&["delete", "--force", &bundle.id]);
    assert!(!bundle.cgroup().exists());
}

/// A file that describes a process without capabilities gives none but the container's, and limits and labels are its own too.
fn what_an_exec_does_not_say() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let capabilities = bundle.process().capabilities.as_mut().unwrap();
    for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
        *set = vec!["CAP_CHOWN".to_owned()];
    }
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    runtime.quiet(&["run", "--bundle", &path, &bundle.id, "--detach"]);
    let file = bundle.dir.path().join("process.json");
    std::fs::write(&file, r#"{"cwd": "/", "args": ["/bin/busybox", "grep", "Cap", "/proc/self/status"]}"#)
        .unwrap();
    let shown = runtime.ok(&["exec", "--process", file.to_str().unwrap(), &bundle.id]);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(shown.contains(&format!("{set}:\t0000000000000001")), "{shown}");
    }
    runtime.ok(&["delete", &bundle.id, "--force"]);
    let mut bundle = Bundle::new(&["grep", "Cap", "/proc/self/status"]);
    bundle.process().capabilities = None;
    let shown = bundle.output();
    assert_eq!(shown.matches("\t0000000000000000").count(), 5, "{shown}");
}

fn a_kill_without_a_pid_namespace() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sh", "-c", "sleep 1000 & sleep 1000"]);
    bundle.linux().namespaces.retain(|namespace| namespace.kind != knarr_oci::runtime::NamespaceType::Pid);
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    runtime.quiet(&["run", "--detach", "--bundle", &path, &bundle.id]);
    runtime.quiet(&["exec", "--detach", &bundle.id, "sleep", "1000"]);
    runtime.ok(&["kill", &bundle.id, "KILL"]);
    runtime.wait_for(&bundle.id, "stopped");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !bundle.cgroup().pids().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "something is left");
        std::thread::sleep(Duration::from_millis(5));
    }
    runtime.ok(&["delete", &bundle.id]);
}

/// It would never begin, nor could it be ended.
fn a_frozen_group_is_refused() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["true"]);
    write(&mut bundle);
    let group = knarr_cgroup::Cgroup::new(&format!("/knarr-test/{}", bundle.id)).unwrap();
    group.create().unwrap();
    group.freeze().unwrap();
    let output = runtime.run(&["run", "--bundle", bundle.dir.path().to_str().unwrap(), &bundle.id]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    group.thaw().unwrap();
    group.destroy().unwrap();
    assert!(!output.status.success() && error.contains("unexpectedly frozen"), "{error}");
}

/// Whoever may look into it finds nothing of the host: streams, its start, and who made it.
fn nothing_is_open_while_it_waits() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["true"]);
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    runtime.quiet(&["create", "--bundle", &path, &bundle.id]);
    let pid = runtime.state(&bundle.id)["pid"].as_i64().unwrap();
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
        .filter(|name| name != "/dev/null" && !name.starts_with("socket:") && !name.ends_with("/exec.fifo"))
        .collect();
    assert_eq!(open, Vec::<String>::new());
    runtime.ok(&["delete", &bundle.id]);
}

fn errors() {
    let runtime = Runtime::new();
    let log = runtime.root.path().join("log.json");
    let arguments = ["--log", log.to_str().unwrap(), "--log-format", "json", "start", "nobody"];
    let output = runtime.run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"container nobody does not exist\n");
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!((&line["msg"], &line["level"]), (&"container nobody does not exist".into(), &"error".into()));
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    for bad in ["../x", "", "a/b", "."] {
        assert!(!runtime.run(&["state", bad]).status.success(), "{bad:?}");
    }
    let mut bundle = Bundle::new(&["nothing"]);
    write(&mut bundle);
    let path = bundle.dir.path().to_str().unwrap().to_owned();
    let output = runtime.run(&["create", "--bundle", &path, &bundle.id]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text, "exec: \"nothing\": executable file not found in $PATH\n");
    assert!(!runtime.run(&["state", &bundle.id]).status.success(), "a failed create leaves nothing");
    assert!(!bundle.cgroup().exists());
    runtime.ok(&["spec", "--bundle", runtime.root.path().to_str().unwrap()]);
    let text = std::fs::read(runtime.root.path().join("config.json")).unwrap();
    assert!(serde_json::from_slice::<knarr_oci::runtime::Spec>(&text).is_ok());
}

/// CVE-2019-5736: a descriptor of the runtime's program, taken while it waits in the container, must be of no use to whoever holds it
/// when the program runs no more. This attacker is root on the host, so no container can do better.
fn the_program_cannot_be_overwritten() {
    // A copy, for the case that it can.
    let dir = tempfile::Builder::new().prefix("knarr-runtime-").tempdir_in("/tmp").unwrap();
    let program = dir.path().join("runtime");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let before = std::fs::metadata(&program).unwrap();
    let runtime = Runtime::with_program(program.clone());
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    write(&mut bundle);
    let (path, id) = (bundle.dir.path().to_str().unwrap().to_owned(), bundle.id.clone());
    runtime.quiet(&["create", "--bundle", &path, &id]);
    let pid = runtime.state(&id)["pid"].as_i64().unwrap();
    let stolen = open_path(&format!("/proc/{pid}/exe"));
    assert!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap() == Path::new("/"), "an own mount");
    // Nobody may make the mount writable again, nor take another one of it.
    let writable = Attributes { clear: 1, ..Attributes::default() };
    assert_eq!(mount::set_attributes(stolen.as_fd(), &writable), Err(Errno::INVAL));
    assert_eq!(mount::clone_fd(stolen.as_fd(), false).map(drop), Err(Errno::INVAL));
    runtime.ok(&["delete", "--force", &id]);
    for flags in
        [OFlags::WRONLY, OFlags::RDWR, OFlags::WRONLY | OFlags::TRUNC, OFlags::WRONLY | OFlags::APPEND]
    {
        assert_eq!(open_again(&stolen, flags).map(drop), Err(Errno::ROFS), "{flags:?}");
    }
    let again = format!("/proc/self/fd/{}", stolen.as_raw_fd());
    assert_eq!(rustix::fs::chmod(&again, Mode::from_raw_mode(0o777)), Err(Errno::ROFS));
    assert!(std::fs::hard_link(&again, dir.path().join("link")).is_err());
    let after = std::fs::metadata(&program).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    // The attack works where nothing is done against it.
    let victim = dir.path().join("sleep");
    std::fs::copy("/bin/busybox", &victim).unwrap();
    let mut child = Command::new(&victim).arg("1000").spawn().unwrap();
    let stolen = open_path(&format!("/proc/{}/exe", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(open_again(&stolen, OFlags::WRONLY).is_ok());
}

fn open_path(path: &str) -> OwnedFd {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn open_again(fd: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        CWD,
        format!("/proc/self/fd/{}", fd.as_raw_fd()),
        flags | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// `list`, `ps`, `events`, `update`, `features`, and the files that other programs read.
fn asking_and_changing() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.spec.annotations.insert("a.b".to_owned(), "c".to_owned());
    write(&mut bundle);
    let (path, id) = (bundle.dir.path().to_str().unwrap().to_owned(), bundle.id.clone());
    runtime.quiet(&["run", "--detach", "--bundle", &path, &id]);
    let state = runtime.state(&id);
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!((&state["bundle"], &state["annotations"]["a.b"]), (&path.as_str().into(), &"c".into()));
    assert!(state["created"].as_str().unwrap().ends_with('Z'));
    let kept = std::fs::read(runtime.root.path().join("state").join(&id).join("state.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["init_process_pid"], pid);
    assert!(kept["cgroup_paths"].as_object().is_some_and(|paths| !paths.is_empty()));
    assert_eq!(kept["namespace_paths"]["NEWPID"], format!("/proc/{pid}/ns/pid"));

    let list: serde_json::Value = serde_json::from_str(&runtime.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(
        (&list[0]["id"], &list[0]["status"], &list[0]["owner"]),
        (&id.as_str().into(), &"running".into(), &"root".into())
    );
    assert_eq!(runtime.ok(&["list", "-q"]), format!("{id}\n"));
    assert_eq!(runtime.ok(&["ps", "--format", "json", &id]), format!("[{pid}]\n"));
    let table = runtime.ok(&["ps", &id]);
    assert!(
        table.starts_with("UID") && table.contains("sleep 1000") && table.lines().count() == 2,
        "{table}"
    );

    let event: serde_json::Value = serde_json::from_str(&runtime.ok(&["events", "--stats", &id])).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &id.as_str().into()));
    assert_eq!(event["data"]["pids"]["current"], 1);
    runtime.ok(&["update", "--pids-limit", "77", &id]);
    let event: serde_json::Value = serde_json::from_str(&runtime.ok(&["events", "--stats", &id])).unwrap();
    assert_eq!(event["data"]["pids"]["limit"], 77);
    let mut child = runtime.command(&["update", "-r", "-", &id]).stdin(Stdio::piped()).spawn().unwrap();
    let limits = br#"{"pids": {"limit": 78}, "memory": {"limit": 67108864}}"#;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), limits).unwrap();
    assert!(child.wait().unwrap().success());
    let event: serde_json::Value = serde_json::from_str(&runtime.ok(&["events", "--stats", &id])).unwrap();
    assert_eq!(event["data"]["pids"]["limit"], 78);
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 64 << 20);

    runtime.ok(&["pause", &id]);
    let refused = runtime.run(&["exec", &id, "true"]);
    assert_eq!(refused.status.code(), Some(255));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("paused"));
    // A paused container is removed too.
    runtime.ok(&["delete", "--force", &id]);
    assert_eq!(runtime.ok(&["list", "-q"]), "");
    let features: serde_json::Value = serde_json::from_str(&runtime.ok(&["features"])).unwrap();
    assert!(features["linux"]["namespaces"].as_array().is_some_and(|names| names.len() >= 6));
    assert!(runtime.ok(&["--version"]).starts_with("knarr-runtime version "));
    assert!(!runtime.run(&["checkpoint", "x"]).status.success());
}

/// The number of a process that ended is given again: then the container is stopped, and no signal goes to the other.
fn another_process_with_the_same_number() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    write(&mut bundle);
    let (path, id) = (bundle.dir.path().to_str().unwrap().to_owned(), bundle.id.clone());
    runtime.quiet(&["run", "--detach", "--bundle", &path, &id]);
    runtime.ok(&["kill", &id, "SIGKILL"]);
    runtime.wait_for(&id, "stopped");
    let file = runtime.root.path().join("state").join(&id).join("state.json");
    let mut record: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut other = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
    record["init_process_pid"] = other.id().into();
    std::fs::write(&file, record.to_string()).unwrap();
    assert_eq!(runtime.status(&id), "stopped");
    assert_eq!(runtime.state(&id)["pid"], 0);
    let refused = runtime.run(&["kill", &id, "KILL"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("container not running"));
    runtime.ok(&["delete", &id]);
    assert!(other.try_wait().unwrap().is_none(), "the other process lives");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// They are read from the configuration that the container was made of, and a failure of theirs is a warning.
fn hooks_of_start_and_delete() {
    use knarr_oci::runtime::{Hook, Hooks};
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    let seen = bundle.dir.path().join("seen");
    let hook = |name: &str, status: i32| Hook {
        path: "/bin/sh".into(),
        args: ["sh", "-c", &format!("echo {name} >> {}; cat > /dev/null; exit {status}", seen.display())]
            .map(str::to_owned)
            .to_vec(),
        ..Hook::default()
    };
    bundle.spec.hooks = Some(Hooks {
        poststart: vec![hook("poststart", 0)],
        poststop: vec![hook("first", 1), hook("second", 0)],
        ..Hooks::default()
    });
    write(&mut bundle);
    let (path, id) = (bundle.dir.path().to_str().unwrap().to_owned(), bundle.id.clone());
    runtime.quiet(&["create", "--bundle", &path, &id]);
    // Whoever changes the bundle now changes nothing.
    std::fs::remove_file(bundle.dir.path().join("config.json")).unwrap();
    runtime.ok(&["start", &id]);
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "poststart\n");
    runtime.ok(&["delete", "--force", &id]);
    assert_eq!(std::fs::read_to_string(&seen).unwrap(), "poststart\nfirst\nsecond\n");
}
