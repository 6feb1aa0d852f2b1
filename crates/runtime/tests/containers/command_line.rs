//! The runtime's command line, each command in a process of its own.
use crate::bundle::Bundle;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("command_line::create_start_kill_delete", create_start_kill_delete),
    ("command_line::run_and_exec", run_and_exec),
    ("command_line::errors", errors),
];

struct Runtime {
    root: tempfile::TempDir,
}

impl Runtime {
    fn new() -> Self {
        Self { root: tempfile::Builder::new().prefix("knarr-runtime-").tempdir_in("/tmp").unwrap() }
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["runtime", "--root"]).arg(self.root.path().join("state")).args(arguments);
        command.stdin(Stdio::null());
        command
    }
    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
    fn status(&self, id: &str) -> String {
        let state: serde_json::Value = serde_json::from_str(&self.ok(&["state", id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }
}

/// With its configuration in a file, and a group of the tests.
fn write(bundle: &mut Bundle) {
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
    // What executes in the container is a sealed copy, so it cannot be changed from inside (CVE-2019-5736).
    runtime.ok(&["delete", "--force", &bundle.id]);
    assert!(!bundle.cgroup().exists());
}

fn errors() {
    let runtime = Runtime::new();
    let log = runtime.root.path().join("log.json");
    let arguments = ["--log", log.to_str().unwrap(), "--log-format", "json", "start", "nobody"];
    let output = runtime.run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"container nobody does not exist\n");
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(line["msg"], "container nobody does not exist");
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
    assert!(!runtime.run(&["--systemd-cgroup", "state", "x"]).status.success());
    runtime.ok(&["spec", "--bundle", runtime.root.path().to_str().unwrap()]);
    let text = std::fs::read(runtime.root.path().join("config.json")).unwrap();
    assert!(serde_json::from_slice::<knarr_oci::runtime::Spec>(&text).is_ok());
}
