//! Other OCI runtimes under the engine: how they are named, and one contract that each of them keeps, our own first.

use knarr_e2e::command::eventually;
use knarr_e2e::terminal::Terminal;
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// These are promises of Knarr's that a peer does not make.
macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

/// A runtime that the contract is checked with.
struct Candidate {
    name: &'static str,
    /// `None`: the engine's own.
    program: Option<PathBuf>,
}

/// Our own as functions, our own as a program, and what this machine has.
fn candidates(dir: &Path) -> Vec<Candidate> {
    let mut list = vec![Candidate { name: "knarr", program: None }];
    let own = dir.join("knarr-runtime");
    std::os::unix::fs::symlink(workspace::knarr(), &own).unwrap();
    list.push(Candidate { name: "knarr-runtime", program: Some(own) });
    if let Some(runc) = workspace::on_path("runc") {
        list.push(Candidate { name: "runc", program: Some(runc) });
    }
    if let Some(crun) = workspace::on_path("crun") {
        list.push(Candidate { name: "crun", program: Some(crun_here(dir, crun)) });
    }
    let only = std::env::var("KNARR_E2E_RUNTIME").ok();
    list.retain(|candidate| only.as_deref().is_none_or(|only| only == candidate.name));
    list
}

/// crun refuses a host that has both versions of control groups: there it sees the first only.
fn crun_here(dir: &Path, crun: PathBuf) -> PathBuf {
    if !Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
        return crun;
    }
    let script = dir.join("crun");
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'umount /sys/fs/cgroup/unified; exec {} \"$@\"' crun \"$@\"\n",
        crun.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Runs a part of the contract with an engine whose default is each of the runtimes.
#[track_caller]
fn each(contract: fn(&mut Engine, &Cli)) {
    if workspace::peer().is_some() {
        let mut e = Engine::start();
        let c = e.docker();
        return contract(&mut e, &c);
    }
    let dir = std::env::temp_dir().join(format!("knarr-e2e-rt-{}-{}", std::process::id(), unique()));
    std::fs::create_dir_all(&dir).unwrap();
    for Candidate { name, program } in candidates(&dir) {
        println!("runtime {name}");
        let mut options = Options::new().arg("--default-runtime").arg(name);
        if let Some(program) = program {
            options = options.arg("--add-runtime").arg(&format!("{name}={}", program.display()));
        }
        let mut e = options.start();
        let c = e.docker();
        assert_eq!(c.ok(&["info", "-f", "{{.DefaultRuntime}}"]), name);
        contract(&mut e, &c);
        e.assert_no_leaks();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn unique() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn names_and_where_they_are_shown() {
    knarr_only!();
    let dir = std::env::temp_dir().join(format!("knarr-e2e-rt-{}-{}", std::process::id(), unique()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("daemon.json");
    let text = r#"{"runtimes":{"other":{"path":"/nonexistent/runtime","runtimeArgs":["--debug"]}}}"#;
    std::fs::write(&file, text).unwrap();
    let e = Options::new().arg("--config-file").arg(file.to_str().unwrap()).start();
    let c = e.docker();
    let info = c.ok(&["info", "-f", "{{json .Runtimes}} {{.DefaultRuntime}}"]);
    let other = r#""other":{"path":"/nonexistent/runtime","runtimeArgs":["--debug"]}"#;
    assert!(info.contains(other) && info.contains(r#""knarr":{"path":"knarr-runtime"}"#), "{info}");
    assert!(info.ends_with(" knarr"), "{info}");
    for name in ["knarr", "runc", "io.containerd.runc.v2"] {
        assert_eq!(c.ok(&["run", "--rm", "--runtime", name, "busybox", "echo", "own"]), "own");
    }
    c.ok(&["create", "--name", "dd", "busybox"]);
    assert_eq!(c.field("dd", "{{.HostConfig.Runtime}}"), "knarr");
    c.fails(125, &["run", "--runtime", "nope", "busybox", "true"])
        .says("unknown or invalid runtime name: nope");
    let body = r#"{"Image":"busybox","HostConfig":{"Runtime":"nope"}}"#;
    e.api().post("/containers/create", body).expect(400);
    c.fails(125, &["run", "--name", "xx", "--runtime", "other", "busybox", "true"])
        .says("/nonexistent/runtime: no such file or directory");
    assert_eq!(c.field("xx", "{{.State.Status}} {{.HostConfig.Runtime}}"), "created other");
    c.ok(&["rm", "xx", "dd"]);
    e.assert_no_leaks();
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn output_and_exit_codes() {
    each(|_, c| {
        let out = c.run(&["run", "--name", "box", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!((out.code, out.text()), (7, "out"));
        assert_eq!(out.stderr.trim(), "err");
        assert_eq!(c.ok(&["logs", "box"]), "out");
        assert_eq!(c.field("box", "{{.State.ExitCode}} {{.State.Status}}"), "7 exited");
        assert_eq!(c.run(&["start", "-a", "box"]).code, 7, "the same container again");
        assert_eq!(c.ok(&["logs", "box"]).lines().count(), 2);
        let out = c.run_with_stdin(&["run", "-i", "--rm", "busybox", "cat"], b"through\n");
        assert_eq!(out.text(), "through");
        let out = c.ok(&[
            "run",
            "--rm",
            "-w",
            "/tmp",
            "-u",
            "daemon",
            "-e",
            "A=b",
            "busybox",
            "sh",
            "-c",
            "pwd; id -u; echo $A; hostname -i >/dev/null && cat /etc/hostname | wc -l",
        ]);
        assert_eq!(out, "/tmp\n1\nb\n1");
        c.ok(&["rm", "box"]);
    });
}

#[test]
fn commands_that_cannot_be_executed() {
    each(|_, c| {
        c.fails(127, &["run", "--rm", "busybox", "nonsuch"]).says("executable file");
        c.fails(127, &["run", "--rm", "busybox", "/nonsuch/file"]).says("no such file");
        c.fails(126, &["run", "--rm", "busybox", "/etc/passwd"]).says("permission denied");
        c.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
        let out = c.run(&["exec", "box", "nonsuch"]);
        assert!(out.code == 127 || out.code == 126, "{}", out.code);
        assert_eq!(c.ok(&["exec", "box", "echo", "fine"]), "fine");
        assert_eq!(c.ok(&["ps", "-q"]).lines().count(), 1);
        c.ok(&["rm", "-f", "box"]);
    });
}

#[test]
fn exec_as_it_is_asked_for() {
    each(|e, c| {
        c.ok(&["run", "-d", "--name", "box", "-e", "OWN=1", "busybox", "sleep", "600"]);
        assert_eq!(c.ok(&["exec", "box", "sh", "-c", "echo $OWN; id -u; pwd"]), "1\n0\n/");
        let out = c.ok(&[
            "exec",
            "-u",
            "1:2",
            "-w",
            "/tmp",
            "-e",
            "X=y z",
            "box",
            "sh",
            "-c",
            "id -u; id -g; pwd; echo $X",
        ]);
        assert_eq!(out, "1\n2\n/tmp\ny z");
        assert_eq!(c.run(&["exec", "box", "sh", "-c", "exit 9"]).code, 9);
        assert_eq!(c.run_with_stdin(&["exec", "-i", "box", "cat"], b"in\n").text(), "in");
        assert_eq!(
            c.ok(&["exec", "box", "sh", "-c", "ls /proc/self/fd | wc -l"]),
            "4",
            "0, 1, 2 and the directory"
        );
        let t = Terminal::new(c, &e.fresh_dir("tmux"));
        t.line("$C exec -it box sh");
        t.sees("/ #");
        t.line("stty size; tty; exit 3");
        t.sees("24 80");
        t.prompt("host>");
        t.line("echo code $?");
        t.sees("code 3");
        c.ok(&["exec", "-d", "box", "sh", "-c", "echo made >/tmp/f"]);
        eventually("the detached command", Duration::from_secs(5), || {
            (c.run(&["exec", "box", "cat", "/tmp/f"]).text() == "made").then_some(())
        });
        c.ok(&["rm", "-f", "box"]);
    });
}

#[test]
fn a_terminal() {
    each(|e, c| {
        let t = Terminal::new(c, &e.fresh_dir("tmux"));
        t.line("$C run --rm -it -h inner busybox");
        t.sees("/ #");
        t.line("tty; hostname; stty size");
        t.sees("24 80");
        assert!(t.screen().contains("/dev/pts/0") && t.screen().contains("inner"), "{}", t.screen());
        t.resize(100, 30);
        std::thread::sleep(Duration::from_millis(500));
        t.line("stty size");
        t.sees("30 100");
        t.line("sleep 100");
        std::thread::sleep(Duration::from_millis(300));
        t.keys(&["C-c"]);
        t.line("echo code $?");
        t.sees("code 130");
        t.line("exit 5");
        t.prompt("host>");
        t.line("echo returned $?");
        t.sees("returned 5");
    });
}

#[test]
fn signals_stop_and_kill() {
    each(|_, c| {
        let script = "trap 'echo got term; exit 4' TERM; trap 'echo got usr1' USR1; echo ready; while :; do sleep 0.1; done";
        c.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script]);
        eventually("ready", Duration::from_secs(5), || {
            c.ok(&["logs", "box"]).contains("ready").then_some(())
        });
        c.ok(&["kill", "-s", "USR1", "box"]);
        eventually("the signal", Duration::from_secs(5), || {
            c.ok(&["logs", "box"]).contains("usr1").then_some(())
        });
        let begin = Instant::now();
        c.ok(&["stop", "-t", "10", "box"]);
        assert!(begin.elapsed() < Duration::from_secs(5), "it ended by itself");
        assert_eq!(c.field("box", "{{.State.ExitCode}}"), "4");
        c.ok(&["start", "box"]);
        c.ok(&["kill", "box"]);
        assert_eq!(c.ok(&["wait", "box"]), "137");
        c.fails(1, &["kill", "box"]).says("is not running");
        c.ok(&[
            "run",
            "-d",
            "--name",
            "deaf",
            "busybox",
            "sh",
            "-c",
            "trap '' TERM; while :; do sleep 1; done",
        ]);
        c.ok(&["stop", "-t", "1", "deaf"]);
        assert_eq!(c.field("deaf", "{{.State.ExitCode}}"), "137");
        c.ok(&["rm", "box", "deaf"]);
    });
}

#[test]
fn pause_and_unpause() {
    each(|_, c| {
        c.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", "while :; do echo t; sleep 0.05; done"]);
        c.ok(&["pause", "box"]);
        assert_eq!(c.field("box", "{{.State.Status}}"), "paused");
        let count = || c.ok(&["logs", "box"]).lines().count();
        std::thread::sleep(Duration::from_millis(200));
        let before = count();
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(count(), before, "nothing runs");
        c.fails(1, &["exec", "box", "true"]).says("is paused");
        c.ok(&["unpause", "box"]);
        eventually("more", Duration::from_secs(5), || (count() > before).then_some(()));
        c.ok(&["pause", "box"]);
        c.ok(&["rm", "-f", "box"]);
    });
}

#[test]
fn limits_hold() {
    each(|_, c| {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "box",
            "-m",
            "64m",
            "--pids-limit",
            "20",
            "--cpus",
            "0.5",
            "busybox",
            "sleep",
            "600",
        ]);
        let read = |path: &str| c.run(&["exec", "box", "cat", path]).text().to_owned();
        let memory = read("/sys/fs/cgroup/memory/memory.limit_in_bytes") + &read("/sys/fs/cgroup/memory.max");
        assert_eq!(memory, "67108864");
        let pids = read("/sys/fs/cgroup/pids/pids.max") + &read("/sys/fs/cgroup/pids.max");
        assert_eq!(pids, "20");
        let forks = "for i in $(seq 40); do sleep 1 & done 2>&1 | grep -c fork";
        assert_ne!(c.run(&["exec", "box", "sh", "-c", forks]).text(), "0");
        let stats = c.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"]);
        assert!(stats.contains("/ 64MiB"), "{stats}");
        c.ok(&["update", "--pids-limit", "30", "box"]);
        let pids = read("/sys/fs/cgroup/pids/pids.max") + &read("/sys/fs/cgroup/pids.max");
        assert_eq!(pids, "30");
        let top = c.ok(&["top", "box"]);
        assert!(top.contains("sleep 600"), "{top}");
        let eater = c.run(&[
            "run",
            "--name",
            "oom",
            "-m",
            "16m",
            "--memory-swap",
            "16m",
            "busybox",
            "sh",
            "-c",
            "tail /dev/zero",
        ]);
        assert_eq!(eater.code, 137);
        assert_eq!(c.field("oom", "{{.State.OOMKilled}}"), "true");
        c.ok(&["rm", "-f", "box", "oom"]);
    });
}

#[test]
fn files_devices_and_volumes() {
    each(|e, c| {
        let dir = e.fresh_dir("bind");
        std::fs::write(dir.join("f"), "from the host").unwrap();
        let bind = format!("{}:/host:ro", dir.display());
        let out = c.ok(&["run", "--rm", "-v", &bind, "-v", "vol:/data", "--tmpfs", "/t:size=1m", "--read-only", "busybox", "sh", "-c",
            "cat /host/f; touch /host/x 2>/dev/null || echo ro; echo kept >/data/k; touch /t/y && echo tmp; touch /z 2>/dev/null || echo root ro"]);
        assert_eq!(out, "from the hostro\ntmp\nroot ro");
        assert_eq!(c.ok(&["run", "--rm", "-v", "vol:/data", "busybox", "cat", "/data/k"]), "kept");
        assert_eq!(
            c.ok(&[
                "run",
                "--rm",
                "--device",
                "/dev/null:/dev/other",
                "busybox",
                "sh",
                "-c",
                "echo x >/dev/other && echo written"
            ]),
            "written"
        );
        c.ok(&[
            "run",
            "-d",
            "--name",
            "box",
            "--ipc",
            "shareable",
            "busybox",
            "sh",
            "-c",
            "echo shared >/dev/shm/s; sleep 600",
        ]);
        eventually("the file", Duration::from_secs(5), || {
            (c.run(&["exec", "box", "cat", "/dev/shm/s"]).text() == "shared").then_some(())
        });
        assert_eq!(
            c.ok(&["run", "--rm", "--ipc", "container:box", "busybox", "cat", "/dev/shm/s"]),
            "shared"
        );
        assert_eq!(
            c.ok(&[
                "run",
                "--rm",
                "--pid",
                "container:box",
                "busybox",
                "sh",
                "-c",
                "cat /proc/1/cmdline | tr '\\0' ' '"
            ])
            .trim(),
            "sleep 600"
        );
        c.ok(&["exec", "box", "sh", "-c", "echo changed >/made"]);
        assert!(c.ok(&["diff", "box"]).contains("A /made"));
        let file = e.fresh("copy");
        c.ok(&["cp", "box:/made", file.to_str().unwrap()]);
        assert_eq!(std::fs::read_to_string(file).unwrap(), "changed\n");
        c.ok(&["run", "--rm", "--init", "busybox", "sh", "-c", "grep -q init /proc/1/cmdline"]);
        c.ok(&["rm", "-f", "box"]);
        let make = "mkdir /data/sub; echo below >/data/sub/f";
        c.ok(&["run", "--rm", "-v", "vol:/data", "busybox", "sh", "-c", make]);
        let below = "type=volume,source=vol,target=/s,volume-subpath=sub";
        assert_eq!(c.ok(&["run", "--rm", "--mount", below, "busybox", "cat", "/s/f"]), "below");
        c.ok(&["volume", "rm", "vol"]);
    });
}

#[test]
fn networks() {
    each(|e, c| {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "web",
            "-p",
            "8080:80",
            "busybox",
            "sh",
            "-c",
            "mkdir /w; echo page >/w/index.html; httpd -f -p 80 -h /w",
        ]);
        eventually("the page", Duration::from_secs(10), || {
            let got = e.net.as_ref()?.sh("timeout 5 busybox wget -qO- http://127.0.0.1:8080/");
            (got.code == 0 && got.stdout == b"page\n").then_some(())
        });
        let address = c.field("web", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
        assert_eq!(c.ok(&["run", "--rm", "busybox", "wget", "-qO-", &format!("http://{address}/")]), "page");
        assert_eq!(
            c.ok(&[
                "run",
                "--rm",
                "--network",
                "container:web",
                "busybox",
                "wget",
                "-qO-",
                "http://127.0.0.1/"
            ]),
            "page"
        );
        assert_eq!(
            c.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "ls /sys/class/net"]),
            "lo"
        );
        c.ok(&["rm", "-f", "web"]);
    });
}

#[test]
fn restart_policies() {
    each(|_, c| {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "fails",
            "--restart",
            "on-failure:2",
            "busybox",
            "sh",
            "-c",
            "echo up; exit 1",
        ]);
        eventually("the last try", Duration::from_secs(20), || {
            (c.field("fails", "{{.State.Status}} {{.RestartCount}}") == "exited 2").then_some(())
        });
        assert_eq!(c.ok(&["logs", "fails"]).lines().count(), 3);
        c.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
        let before = c.field("runs", "{{.State.Pid}}");
        c.ok(&["restart", "-t", "0", "runs"]);
        assert_ne!(c.field("runs", "{{.State.Pid}}"), before);
        assert_eq!(c.ok(&["exec", "runs", "echo", "there"]), "there");
        c.ok(&["rm", "-f", "fails", "runs"]);
    });
}

#[test]
fn the_engine_dies_in_the_middle() {
    knarr_only!();
    each(|e, c| {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "on",
            "busybox",
            "sh",
            "-c",
            "i=0; while :; do i=$((i+1)); echo tick $i; usleep 50000; done",
        ]);
        c.ok(&["run", "-d", "--name", "ends", "busybox", "sh", "-c", "sleep 1; echo last words; exit 33"]);
        let before = c.field("on", "{{.State.Pid}} {{.State.StartedAt}}");
        e.kill9();
        std::thread::sleep(Duration::from_millis(1500));
        e.launch();
        assert_eq!(c.field("on", "{{.State.Pid}} {{.State.StartedAt}}"), before);
        e.wait_status("ends", "exited");
        assert_eq!(c.field("ends", "{{.State.ExitCode}}"), "33");
        assert_eq!(c.ok(&["logs", "ends"]), "last words");
        let log = c.ok(&["logs", "on"]);
        let ticks: Vec<u32> =
            log.lines().filter_map(|l| l.strip_prefix("tick ")).map(|n| n.parse().unwrap()).collect();
        assert!(ticks.len() > 10 && ticks.windows(2).all(|w| w[1] == w[0] + 1), "no line is lost: {ticks:?}");
        assert_eq!(c.ok(&["exec", "on", "echo", "exec works"]), "exec works");
        c.ok(&["stop", "-t", "0", "on"]);
        assert_eq!(c.field("on", "{{.State.ExitCode}}"), "137");
        c.ok(&["rm", "on", "ends"]);
    });
}

#[test]
fn the_supervisor_dies() {
    knarr_only!();
    each(|e, c| {
        c.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
        let pid: u32 = c.field("box", "{{.State.Pid}}").parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned();
        let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap();
        assert_eq!(name.trim(), "knarr-shim", "the supervisor is the parent, whoever made the process");
        knarr_e2e::leaks::signal(parent.parse().unwrap(), "KILL");
        e.wait_status("box", "exited");
        eventually("its process is gone", Duration::from_secs(5), || {
            (!Path::new(&format!("/proc/{pid}/root/bin")).exists()).then_some(())
        });
        c.ok(&["start", "box"]);
        assert_eq!(c.ok(&["exec", "box", "echo", "again"]), "again");
        c.ok(&["rm", "-f", "box"]);
    });
}

#[test]
fn orphans_of_the_hosts_process_numbers_are_collected() {
    knarr_only!();
    each(|_, c| {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "box",
            "--pid",
            "host",
            "busybox",
            "sh",
            "-c",
            "for i in 1 2 3; do (sleep 0.1 &) ; done; sleep 600",
        ]);
        let pid: u32 = c.field("box", "{{.State.Pid}}").parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
        eventually("no zombies", Duration::from_secs(15), || {
            let children = knarr_e2e::engine::children(parent);
            (children == [pid]).then_some(())
        });
        c.ok(&["rm", "-f", "box"]);
    });
}
