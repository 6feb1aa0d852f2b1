//! Knarr's OCI runtime under other engines: podman and Docker's daemon do real work with `knarr-runtime`.
//!
//! What is not installed is left out: podman, `dockerd` on PATH, and the daemons that `KNARR_E2E_DOCKERDS` names (separated by colons).

use knarr_e2e::command::{self, Finished, eventually};
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// A machine's root may be unable to raise limits, and these engines ask for high ones.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
const TERMINATES: &str =
    "echo out; echo err >&2; trap 'exit 3' TERM; touch /ready; while :; do sleep 0.1; done";

/// The binary under the name that makes it a runtime.
fn runtime(dir: &Path) -> PathBuf {
    let link = dir.join("knarr-runtime");
    std::os::unix::fs::symlink(workspace::knarr(), &link).unwrap();
    link
}

/// podman with storage of its own, in mount and network namespaces that end with the test.
struct Podman {
    dir: PathBuf,
    holder: Child,
    runtime: PathBuf,
}

impl Podman {
    fn new(name: &str) -> Option<Self> {
        workspace::on_path("podman")?;
        let dir = std::env::temp_dir().join(format!("knarr-e2e-podman-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 86400"]);
        let mut holder = holder.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("unshare");
        let mut ready = [0u8; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready)
            .expect("namespaces (are you root?)");
        let runtime = runtime(&dir);
        let podman = Self { dir, holder, runtime };
        podman.ok(&["load", "-q", "-i", workspace::image("busybox.tar").to_str().unwrap()]);
        Some(podman)
    }

    fn words(&self) -> Vec<String> {
        let (d, pid) = (self.dir.display(), self.holder.id());
        let mut words = vec![
            "nsenter".to_owned(),
            format!("--mount=/proc/{pid}/ns/mnt"),
            format!("--net=/proc/{pid}/ns/net"),
        ];
        words.extend(
            ["podman", "--cgroup-manager", "cgroupfs", "--events-backend", "file"].map(str::to_owned),
        );
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            words.extend([flag.to_owned(), format!("{d}/{name}")]);
        }
        words.extend(["--runtime".to_owned(), self.runtime.display().to_string()]);
        words
    }

    fn run(&self, args: &[&str]) -> Finished {
        let words = self.words();
        command::run(Command::new(&words[0]).args(&words[1..]).args(args), None, LIMIT)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        let text = String::from_utf8_lossy(&done.stdout).trim_end().to_owned();
        assert_eq!(done.code, 0, "{args:?}: {text}{}", String::from_utf8_lossy(&done.stderr));
        text
    }

    /// `run` of busybox without network.
    fn busybox(&self, options: &[&str], command: &[&str]) -> Finished {
        let words = [&["run", "--network", "none"], &LIMITS[..], options, &["busybox"], command].concat();
        self.run(&words)
    }

    #[track_caller]
    fn output(&self, options: &[&str], command: &[&str]) -> String {
        let done = self.busybox(&[&["--rm"], options].concat(), command);
        let text = String::from_utf8_lossy(&done.stdout).trim_end().to_owned();
        assert_eq!(done.code, 0, "{options:?} {command:?}: {text}{}", String::from_utf8_lossy(&done.stderr));
        text
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.run(&["pod", "rm", "-af", "-t", "0"]));
        drop(self.run(&["rm", "-af", "-t", "0"]));
        drop(self.holder.kill());
        drop(self.holder.wait());
        drop(std::fs::remove_dir_all(&self.dir));
    }
}

/// The same words with a terminal.
fn on_terminal(words: &[String]) -> Finished {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
    command::run(Command::new("script").args(["-qec", &quoted.join(" "), "/dev/null"]), None, LIMIT)
}

fn text(done: &Finished) -> String {
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

#[test]
fn podman_runs_and_reports() {
    let Some(podman) = Podman::new("run") else { return };
    assert_eq!(podman.output(&[], &["echo", "hi"]), "hi");
    assert_eq!(podman.busybox(&["--rm"], &["sh", "-c", "exit 7"]).code, 7);
    let unknown = podman.busybox(&["--rm"], &["nothing"]);
    assert_eq!(unknown.code, 127, "{}", text(&unknown));
    assert!(text(&unknown).contains("executable file not found in $PATH"), "{}", text(&unknown));
    assert_eq!(podman.busybox(&["--rm"], &["/etc"]).code, 126);
    let script = "cat /proc/self/status; touch /no; touch /x/yes && echo written; id -u; id -g";
    let options = [
        "--read-only",
        "--tmpfs",
        "/x",
        "--cap-drop",
        "all",
        "--user",
        "7:8",
        "--security-opt",
        "no-new-privileges",
    ];
    let status = podman.output(&options, &["sh", "-c", script]);
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "written", "7\n8"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let script = "hostname; cat /proc/sys/net/ipv4/ip_forward; grep -c 1.2.3.4 /etc/hosts";
    let options = ["--hostname", "other", "--add-host", "q:1.2.3.4", "--sysctl", "net.ipv4.ip_forward=1"];
    assert_eq!(podman.output(&options, &["sh", "-c", script]), "other\n1\n1");
    assert_eq!(
        podman.output(&["--privileged"], &["sh", "-c", "mount -t tmpfs x /tmp && echo mounted"]),
        "mounted"
    );
    let maps = podman.output(&["--uidmap", "0:100000:65536"], &["cat", "/proc/self/uid_map"]);
    assert_eq!(maps.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert!(podman.ok(&["ps", "-aq"]).is_empty());
}

#[test]
fn podman_keeps_a_container() {
    let Some(podman) = Podman::new("keep") else { return };
    assert_eq!(
        podman
            .busybox(
                &["-d", "--name", "a", "--health-cmd", "test -e /ok", "--health-interval", "disable"],
                &["sh", "-c", TERMINATES]
            )
            .code,
        0
    );
    eventually("the program runs", LIMIT, || {
        (podman.run(&["exec", "a", "test", "-e", "/ready"]).code == 0).then_some(())
    });
    let logs = podman.run(&["logs", "a"]);
    assert_eq!((logs.stdout.as_slice(), logs.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(podman.run(&["exec", "a", "sh", "-c", "exit 4"]).code, 4);
    assert_eq!(podman.run(&["exec", "a", "nothing"]).code, 127);
    let script = "id -u; id -g; pwd; echo $X";
    assert_eq!(
        podman.ok(&["exec", "-u", "5:6", "-w", "/tmp", "-e", "X=1", "a", "sh", "-c", script]),
        "5\n6\n/tmp\n1"
    );
    let words = [podman.words(), ["exec", "-it", "a", "tty"].map(str::to_owned).to_vec()].concat();
    assert!(text(&on_terminal(&words)).contains("/dev/pts/"));
    podman.ok(&["exec", "-d", "a", "sleep", "77"]);
    assert!(podman.ok(&["top", "a"]).contains("sleep 77"));
    podman.ok(&["pause", "a"]);
    assert_eq!(podman.ok(&["inspect", "a", "--format", "{{.State.Status}}"]), "paused");
    podman.ok(&["unpause", "a"]);
    std::fs::write(podman.dir.join("file"), "hello").unwrap();
    podman.ok(&["cp", podman.dir.join("file").to_str().unwrap(), "a:/tmp/f"]);
    assert_eq!(podman.ok(&["exec", "a", "cat", "/tmp/f"]), "hello");
    assert_eq!(podman.run(&["healthcheck", "run", "a"]).code, 1);
    podman.ok(&["exec", "a", "touch", "/ok"]);
    podman.ok(&["healthcheck", "run", "a"]);
    podman.ok(&["stop", "-t", "10", "a"]);
    assert_eq!(podman.ok(&["inspect", "a", "--format", "{{.State.Status}} {{.State.ExitCode}}"]), "exited 3");
    podman.ok(&["start", "a"]);
    podman.ok(&["restart", "-t", "10", "a"]);
    podman.ok(&["kill", "a"]);
    assert_eq!(podman.ok(&["wait", "a"]), "137");
    podman.ok(&["rm", "a"]);
}

#[test]
fn podman_limits_and_pods() {
    let Some(podman) = Podman::new("limits") else { return };
    let v1 = Path::new("/sys/fs/cgroup/memory").exists();
    let files = if v1 { "memory/memory.limit_in_bytes pids/pids.max" } else { "memory.max pids.max" };
    let script = format!("cd /sys/fs/cgroup && cat {files}");
    assert_eq!(
        podman.output(&["--memory", "32m", "--pids-limit", "20"], &["sh", "-c", &script]),
        "33554432\n20"
    );
    let killed = podman.busybox(&["--name", "oom", "-m", "16m"], &["tail", "-c", "100m", "/dev/zero"]);
    assert_eq!(killed.code, 137);
    let words = [
        podman.words(),
        ["run", "--rm", "-it", "--network", "none"].map(str::to_owned).to_vec(),
        LIMITS.map(str::to_owned).to_vec(),
        ["busybox", "tty"].map(str::to_owned).to_vec(),
    ];
    assert!(text(&on_terminal(&words.concat())).contains("/dev/pts/0"));
    podman.ok(&[
        "pod",
        "create",
        "--name",
        "p",
        "--infra-image",
        "localhost/busybox:latest",
        "--infra-command",
        "/bin/sleep 1000",
        "--network",
        "none",
    ]);
    let member = |args: &[&str]| podman.ok(&[&["run", "--pod", "p"], &LIMITS[..], args].concat());
    member(&["-d", "--name", "one", "busybox", "sleep", "1000"]);
    let namespace = |id: &str| podman.ok(&["exec", id, "readlink", "/proc/self/ns/net"]);
    assert_eq!(member(&["--rm", "busybox", "readlink", "/proc/self/ns/net"]), namespace("one"));
    assert_eq!(podman.ok(&["pod", "ps", "--format", "{{.Status}}"]), "Running");
    podman.ok(&["pod", "rm", "-f", "-t", "0", "p"]);
}

/// Docker daemons of this machine.
fn daemons() -> Vec<PathBuf> {
    let more = std::env::var_os("KNARR_E2E_DOCKERDS");
    let more = more.iter().flat_map(std::env::split_paths).collect::<Vec<_>>();
    workspace::on_path("dockerd").into_iter().chain(more).collect()
}

/// Each with our runtime as its default.
fn with_each_daemon(test: impl Fn(&Engine, &Cli)) {
    for dockerd in daemons() {
        let dir = std::env::temp_dir().join(format!(
            "knarr-e2e-runtime-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&dir).unwrap();
        let flag = format!("knarr={}", runtime(&dir).display());
        let options = Options { peer: Some(dockerd), may_leak: true, ..Options::new() };
        let options = options.arg("--add-runtime").arg(&flag).arg("--default-runtime").arg("knarr");
        let engine = options.arg("--default-ulimit").arg("nofile=1024:1024").start();
        let docker = engine.docker();
        test(&engine, &docker);
        drop(engine);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn docker_runs_and_reports() {
    with_each_daemon(|_, docker| {
        assert_eq!(docker.ok(&["info", "--format", "{{.DefaultRuntime}}"]), "knarr");
        assert_eq!(docker.ok(&["run", "--rm", "busybox", "echo", "hi"]), "hi");
        docker.fails(7, &["run", "--rm", "busybox", "sh", "-c", "exit 7"]);
        docker.fails(127, &["run", "--rm", "busybox", "nothing"]).says("executable file not found in $PATH");
        docker.fails(126, &["run", "--rm", "busybox", "/etc"]);
        let script = "cat /proc/self/status; id -u; touch /no; touch /x/yes && echo written";
        let hardened = [
            "run",
            "--rm",
            "--read-only",
            "--tmpfs",
            "/x",
            "--cap-drop",
            "all",
            "--user",
            "7:8",
            "--security-opt",
            "no-new-privileges",
            "busybox",
            "sh",
            "-c",
            script,
        ];
        let status = docker.ok(&hardened);
        for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2", "written"] {
            assert!(status.contains(line), "{line}: {status}");
        }
        let v1 = Path::new("/sys/fs/cgroup/memory").exists();
        let files = if v1 { "memory/memory.limit_in_bytes pids/pids.max" } else { "memory.max pids.max" };
        let script = format!("cd /sys/fs/cgroup && cat {files}");
        assert_eq!(
            docker.ok(&["run", "--rm", "-m", "32m", "--pids-limit", "20", "busybox", "sh", "-c", &script]),
            "33554432\n20"
        );
        docker.fails(137, &["run", "--rm", "-m", "16m", "busybox", "tail", "-c", "100m", "/dev/zero"]);
        assert!(docker.ok(&["run", "--rm", "--init", "busybox", "ps"]).contains("docker-init"));
        let hosts = [
            "run",
            "--rm",
            "--pid",
            "host",
            "--ipc",
            "host",
            "--uts",
            "host",
            "--network",
            "host",
            "busybox",
            "true",
        ];
        docker.ok(&hosts);
        assert!(docker.ok(&["ps", "-aq"]).is_empty());
    });
}

#[test]
fn docker_keeps_a_container() {
    with_each_daemon(|engine, docker| {
        docker.ok(&[
            "run", "-d", "--name", "main", "-v", "data:/v", "-p", "8088:80", "busybox", "sh", "-c",
            TERMINATES,
        ]);
        eventually("the program runs", LIMIT, || {
            (docker.run(&["exec", "main", "test", "-e", "/ready"]).code == 0).then_some(())
        });
        assert_eq!(docker.run(&["logs", "main"]).code(0).stderr, "err\n");
        docker.fails(4, &["exec", "main", "sh", "-c", "exit 4"]);
        // Docker 20.10 says 126 of every command that does not start.
        assert!([126, 127].contains(&docker.run(&["exec", "main", "nothing"]).code));
        let script = "id -u; id -g; pwd; echo $X; echo kept > /v/file";
        let words = ["exec", "-u", "0:6", "-w", "/tmp", "-e", "X=1", "main", "sh", "-c", script];
        assert_eq!(docker.ok(&words), "0\n6\n/tmp\n1");
        assert_eq!(docker.ok(&["run", "--rm", "-v", "data:/w", "busybox", "cat", "/w/file"]), "kept");
        docker.ok(&["exec", "-d", "main", "httpd", "-p", "80", "-h", "/v"]);
        eventually("the port answers", LIMIT, || {
            let asked = engine.net.as_ref()?.sh("curl -s http://127.0.0.1:8088/file");
            (asked.stdout == b"kept\n").then_some(())
        });
        let (client, host) = (workspace::docker().display().to_string(), engine.host());
        let words = [&client, "-H", &host, "exec", "-it", "main", "tty"].map(str::to_owned);
        assert!(text(&on_terminal(&words)).contains("/dev/pts/"));
        assert!(docker.ok(&["top", "main"]).contains("httpd"));
        docker.ok(&["pause", "main"]);
        docker.fails(1, &["exec", "main", "true"]);
        docker.ok(&["unpause", "main"]);
        assert_ne!(docker.ok(&["stats", "--no-stream", "--format", "{{.PIDs}}", "main"]), "0");
        docker.ok(&["update", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "33", "main"]);
        let v1 = Path::new("/sys/fs/cgroup/memory").exists();
        let files = if v1 { "memory/memory.limit_in_bytes pids/pids.max" } else { "memory.max pids.max" };
        assert_eq!(
            docker.ok(&["exec", "main", "sh", "-c", &format!("cd /sys/fs/cgroup && cat {files}")]),
            "67108864\n33"
        );
        docker.ok(&["stop", "-t", "10", "main"]);
        assert_eq!(docker.field("main", "{{.State.Status}} {{.State.ExitCode}}"), "exited 3");
        docker.ok(&["start", "main"]);
        docker.ok(&["restart", "-t", "10", "main"]);
        docker.ok(&["kill", "main"]);
        assert_eq!(docker.ok(&["wait", "main"]), "137");
        docker.ok(&["rm", "main"]);
        docker.ok(&["run", "-d", "--restart", "on-failure:2", "--name", "again", "busybox", "false"]);
        eventually("it was started twice again", LIMIT, || {
            (docker.field("again", "{{.RestartCount}} {{.State.Status}}") == "2 exited").then_some(())
        });
        docker.ok(&["rm", "again"]);
    });
}

#[test]
fn docker_builds() {
    with_each_daemon(|engine, docker| {
        let context = engine.fresh_dir("context");
        std::fs::write(
            context.join("Dockerfile"),
            "FROM busybox\nRUN echo built > /b\nCMD [\"cat\", \"/b\"]\n",
        )
        .unwrap();
        let docker = docker.clone().env("DOCKER_BUILDKIT", "0");
        docker.ok(&["build", "-q", "-t", "built", context.to_str().unwrap()]);
        assert_eq!(docker.ok(&["run", "--rm", "built"]), "built");
    });
}
