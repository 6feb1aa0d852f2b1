//! Endings: a stop, a kill and a removal come to an end whatever the container does and whoever dies meanwhile.

use knarr_e2e::command::{eventually, wait_until};
use knarr_e2e::{Engine, Options, leaks, workspace};
use std::time::{Duration, Instant};

/// These are promises of Knarr's that a peer does not make.
macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

fn within<T>(what: &str, limit: Duration, f: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let value = f();
    assert!(begin.elapsed() < limit, "{what} took {:?}", begin.elapsed());
    value
}

/// The parent of a container's first process.
fn supervisor(pid: &str) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_supervisor_that_does_not_answer_holds_nothing_up() {
    knarr_only!();
    let e = Engine::start();
    let c = e.docker();
    for (how, args) in [
        ("stop", &["stop", "-t", "1", "hung"][..]),
        ("kill", &["kill", "hung"]),
        ("rm", &["rm", "-f", "hung"]),
    ] {
        c.ok(&["run", "-d", "--name", "hung", "busybox", "sleep", "600"]);
        let pid = c.field("hung", "{{.State.Pid}}");
        let shim = supervisor(&pid);
        leaks::signal(shim, "STOP");
        within(how, Duration::from_secs(25), || c.ok(args));
        eventually(how, Duration::from_secs(10), || (!is_alive(pid.parse().unwrap())).then_some(()));
        eventually("the supervisor", Duration::from_secs(10), || (!is_alive(shim)).then_some(()));
        if how != "rm" {
            e.wait_status("hung", "exited");
            assert_eq!(c.field("hung", "{{.State.ExitCode}}"), "137", "{how}");
            c.ok(&["start", "hung"]);
            c.ok(&["rm", "-f", "hung"]);
        }
    }
    assert_eq!(c.ok(&["ps", "-aq"]), "");
}

/// Root in a container stops every process that it sees, also the one that an exec has just made there.
#[test]
fn a_container_that_stops_its_commands_can_be_removed() {
    knarr_only!();
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "evil", "busybox", "sh", "-c", "while :; do kill -STOP -1; done"]);
    let mut commands: Vec<_> = (0..8).map(|_| c.spawn(&["exec", "evil", "true"])).collect();
    std::thread::sleep(Duration::from_millis(500));
    within("rm -f", Duration::from_secs(25), || c.ok(&["rm", "-f", "evil"]));
    for command in &mut commands {
        assert!(
            wait_until(command, Instant::now() + Duration::from_secs(60)).is_some(),
            "the exec ends, too"
        );
    }
    assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn a_kill_says_when_nothing_was_killed() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["create", "--name", "idle", "busybox", "true"]);
        c.fails(1, &["kill", "idle"]).says("is not running");
        c.ok(&["rm", "idle"]);
    }
}

/// The engine dies in the grace time of a stop: the stop goes on, and no policy undoes it.
#[test]
fn a_stop_survives_the_engine() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    // It ends 2 s after the signal, while no engine is there.
    let slow = "trap 'sleep 2; exit 3' TERM; while :; do sleep 0.05; done";
    c.ok(&["run", "-d", "--name", "away", "--restart", "always", "busybox", "sh", "-c", slow]);
    c.ok(&[
        "run",
        "-d",
        "--name",
        "here",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; sleep 600",
    ]);
    c.ok(&["run", "-d", "--name", "again", "busybox", "sh", "-c", slow]);
    std::thread::sleep(Duration::from_millis(300));
    let mut jobs = vec![
        c.spawn(&["stop", "-t", "20", "away"]),
        c.spawn(&["stop", "-t", "3", "here"]),
        c.spawn(&["restart", "-t", "20", "again"]),
    ];
    std::thread::sleep(Duration::from_millis(700));
    e.kill9();
    for job in &mut jobs {
        wait_until(job, Instant::now() + Duration::from_secs(15));
    }
    std::thread::sleep(Duration::from_millis(2500));
    e.launch();
    e.wait_status("away", "exited");
    e.wait_status("here", "exited");
    assert_eq!(c.field("away", "{{.State.ExitCode}} {{.RestartCount}}"), "3 0");
    assert_eq!(c.field("here", "{{.State.ExitCode}} {{.RestartCount}}"), "137 0");
    e.wait_status("again", "running");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(c.ok(&["ps", "--format", "{{.Names}}"]), "again", "what was stopped stays so");
    c.ok(&["rm", "-f", "away", "here", "again"]);
}

#[test]
fn a_forced_removal_survives_the_engine() {
    knarr_only!();
    let Some(binary) = workspace::knarr_with_failpoints() else { return };
    let mut e = Options { binary: Some(binary), ..Options::default() }.start();
    e.kill9();
    // It dies between the commit of the wish and the signal.
    e.set_env("KNARR_FAILPOINT", Some("stop.remembered=kill"));
    e.launch();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "gone", "--restart", "always", "busybox", "sleep", "600"]);
    drop(c.run(&["rm", "-f", "gone"]));
    e.kill9();
    e.set_env("KNARR_FAILPOINT", None);
    e.launch();
    eventually("the removal goes on", Duration::from_secs(15), || {
        c.ok(&["ps", "-aq"]).is_empty().then_some(())
    });
}

/// A supervisor that is held up while the engine starts is waited for, and its container lives.
#[test]
fn a_slow_supervisor_is_not_a_dead_one() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        "mkdir /w; echo page >/w/index.html; httpd -p 80 -h /w; sleep 600",
    ]);
    c.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "600"]);
    let pid = c.field("slow", "{{.State.Pid}}");
    let shim = supervisor(&pid);
    e.kill9();
    leaks::signal(shim, "STOP");
    e.launch();
    assert_eq!(c.ok(&["exec", "other", "echo", "x"]), "x", "the others are not held up");
    assert_eq!(c.field("slow", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(e.on_host("timeout 5 busybox wget -qO- http://127.0.0.1:8080/"), "page");
    leaks::signal(shim, "CONT");
    eventually("it is found again", Duration::from_secs(30), || {
        (c.run(&["exec", "slow", "echo", "x"]).code == 0).then_some(())
    });
    assert_eq!(c.field("slow", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    // Held up again, and then it never comes back.
    e.kill9();
    leaks::signal(shim, "STOP");
    e.launch();
    within("rm -f", Duration::from_secs(25), || c.ok(&["rm", "-f", "slow", "other"]));
    assert!(!is_alive(pid.parse().unwrap()));
}

/// The freezer's state counts, not what was recorded before the engine died.
#[test]
fn a_frozen_container_is_paused() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "cold", "busybox", "sleep", "600"]);
    let id = c.field("cold", "{{.Id}}");
    let parent = e.cgroup_parent();
    let freeze = |frozen: bool| {
        let parent = parent.trim_start_matches('/').to_owned();
        let (v1, v2) = (if frozen { "FROZEN" } else { "THAWED" }, if frozen { "1" } else { "0" });
        for (file, text) in [
            (format!("/sys/fs/cgroup/freezer/{parent}/{id}/freezer.state"), v1),
            (format!("/sys/fs/cgroup/{parent}/{id}/cgroup.freeze"), v2),
        ] {
            if std::path::Path::new(&file).exists() {
                std::fs::write(&file, text).unwrap();
            }
        }
    };
    e.kill9();
    freeze(true);
    e.launch();
    let c = e.docker();
    assert_eq!(c.field("cold", "{{.State.Status}}"), "paused");
    c.ok(&["unpause", "cold"]);
    assert_eq!(c.ok(&["exec", "cold", "echo", "x"]), "x");
    c.ok(&["pause", "cold"]);
    e.kill9();
    freeze(false);
    e.launch();
    assert_eq!(c.field("cold", "{{.State.Status}}"), "running");
    c.ok(&["rm", "-f", "cold"]);
}

/// Root in a container, even one that may mount, finds nothing behind its PID 1 that runs outside.
#[test]
fn the_init_is_a_private_copy() {
    knarr_only!();
    let e = Engine::start();
    let c = e.docker();
    let digest = |path: &std::path::Path| knarr_e2e::pack::digest(&std::fs::read(path).unwrap());
    let before = digest(workspace::knarr());
    let identity = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        let m = std::fs::metadata(path).unwrap();
        format!("{}:{}", m.dev(), m.ino())
    };
    c.ok(&["run", "-d", "--name", "attack", "--init", "--privileged", "busybox", "sleep", "600"]);
    let shown = c.ok(&["exec", "attack", "stat", "-L", "-c", "%d:%i", "/proc/1/exe"]);
    assert_ne!(shown, identity(workspace::knarr()));
    let script = "mount -o remount,rw,bind /sbin/docker-init; exec 3</proc/1/exe; kill -9 -1; \
        for f in /proc/self/fd/3 /sbin/docker-init /proc/1/exe; do echo pwned 2>/dev/null >$f; done; true";
    drop(c.run(&["exec", "attack", "sh", "-c", script]));
    drop(c.run(&["run", "--rm", "--init", "--privileged", "--entrypoint", "sh", "busybox", "-c", script]));
    assert_eq!(digest(workspace::knarr()), before);
    c.ok(&["rm", "-f", "attack"]);
}

/// The engine raises its own limit of open files; containers get the one that it was started with.
#[test]
fn the_limit_of_open_files_is_the_one_of_before() {
    knarr_only!();
    use std::os::unix::fs::PermissionsExt;
    let wrapper = std::env::temp_dir().join(format!("knarr-limited-{}", std::process::id()));
    std::fs::write(
        &wrapper,
        format!("#!/bin/sh\nulimit -Sn 900; ulimit -Hn 1000; exec {} \"$@\"\n", workspace::knarr().display()),
    )
    .unwrap();
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let e = Options { binary: Some(wrapper.clone()), ..Options::default() }.start();
    let c = e.docker();
    let own = "900\n1000";
    let shell = "ulimit -Sn; ulimit -Hn";
    assert_eq!(c.ok(&["run", "--rm", "busybox", "sh", "-c", shell]), own);
    c.ok(&["run", "-d", "--name", "files", "busybox", "sleep", "600"]);
    assert_eq!(c.ok(&["exec", "files", "sh", "-c", shell]), own);
    c.ok(&["rm", "-f", "files"]);
    assert_eq!(c.ok(&["run", "--rm", "--ulimit", "nofile=77:88", "busybox", "sh", "-c", shell]), "77\n88");
    std::fs::remove_file(wrapper).unwrap();
}

/// After a crash of the machine a container finds the one whose network it joins.
#[test]
fn what_joins_another_starts_after_it() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    for (name, policy) in [("a", "always"), ("b", "unless-stopped")] {
        let base = format!("base-{name}");
        c.ok(&[
            "run",
            "-d",
            "--name",
            &base,
            "--restart",
            policy,
            "--ipc",
            "shareable",
            "busybox",
            "sleep",
            "600",
        ]);
        let (network, ipc) = (format!("container:{base}"), format!("container:{base}"));
        c.ok(&[
            "run",
            "-d",
            "--name",
            &format!("on-{name}"),
            "--restart",
            policy,
            "--network",
            &network,
            "--ipc",
            &ipc,
            "busybox",
            "sleep",
            "600",
        ]);
    }
    for round in 0..3 {
        let pids: Vec<String> =
            ["base-a", "on-a", "base-b", "on-b"].map(|n| c.field(n, "{{.State.Pid}}")).into();
        e.kill9();
        for pid in &pids {
            // As when the machine went down: nobody is left to write a record.
            leaks::signal(supervisor(pid), "KILL");
            leaks::signal(pid.parse().unwrap(), "KILL");
        }
        e.launch();
        for (index, name) in ["base-a", "on-a", "base-b", "on-b"].iter().enumerate() {
            eventually(&format!("{name} in round {round}"), Duration::from_secs(15), || {
                let shown = c.field(name, "{{.State.Status}} {{.State.Pid}}");
                (shown.starts_with("running") && !shown.ends_with(&format!(" {}", pids[index]))).then_some(())
            });
        }
    }
    // A start by a request does not wait for what will not come.
    c.ok(&["stop", "-t", "0", "on-a", "base-a"]);
    within("start", Duration::from_secs(3), || c.fails(1, &["start", "on-a"]).says("non running container"));
    c.ok(&["rm", "-f", "on-a", "on-b", "base-a", "base-b"]);
}

/// Processes below a parent group of their own are found, too, when nobody knows their container any more.
#[test]
fn groups_below_a_parent_of_their_own_are_swept() {
    knarr_only!();
    let mut e = Options::new().may_leak().start();
    let c = e.docker();
    let parent = format!("{}-own", e.cgroup_parent());
    c.ok(&["run", "-d", "--name", "stray", "--cgroup-parent", &parent, "busybox", "sleep", "600"]);
    let pid: u32 = c.field("stray", "{{.State.Pid}}").parse().unwrap();
    e.kill9();
    // Its record is lost.
    std::fs::remove_file(e.data().join("state.redb")).unwrap();
    e.launch();
    eventually("swept", Duration::from_secs(10), || (!is_alive(pid)).then_some(()));
    for group in leaks::cgroups(&parent) {
        drop(std::fs::remove_dir(group));
    }
}
