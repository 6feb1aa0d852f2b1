//! Survival: the engine dies at any moment and nothing is lost; supervisors die and it is noticed; nothing leaks.

use knarr_e2e::command::{eventually, wait_until};
use knarr_e2e::{Engine, Options, leaks, workspace};
use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// These are promises of Knarr's that a peer does not make.
macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

#[test]
fn containers_go_on_without_the_engine() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "on", "-p", "8080:80", "busybox", "sh", "-c", "mkdir /w; echo page >/w/index.html; httpd -p 80 -h /w; i=0; while :; do i=$((i+1)); echo tick $i; usleep 50000; done"]);
    let before =
        c.field("on", "{{.State.Pid}} {{.State.StartedAt}} {{.NetworkSettings.Networks.bridge.IPAddress}}");
    let wget = "timeout 5 busybox wget -qO- http://127.0.0.1:8080/";
    eventually("the page", Duration::from_secs(10), || {
        (e.net.as_ref().unwrap().sh(wget).code == 0).then_some(())
    });
    e.kill9();
    assert_eq!(e.on_host(wget), "page", "the published port works without an engine");
    std::thread::sleep(Duration::from_millis(600));
    e.launch();
    assert_eq!(
        c.field("on", "{{.State.Pid}} {{.State.StartedAt}} {{.NetworkSettings.Networks.bridge.IPAddress}}"),
        before
    );
    assert_eq!(e.on_host(wget), "page");
    let log = c.ok(&["logs", "on"]);
    let ticks: Vec<u32> =
        log.lines().filter_map(|l| l.strip_prefix("tick ")).map(|n| n.parse().unwrap()).collect();
    assert!(
        ticks.len() > 10 && ticks.windows(2).all(|w| w[1] == w[0] + 1),
        "no line of the log is lost: {ticks:?}"
    );
    assert_eq!(c.ok(&["exec", "on", "echo", "exec works"]), "exec works");
    c.ok(&["pause", "on"]);
    e.crash_and_restart();
    assert_eq!(c.field("on", "{{.State.Status}}"), "paused");
    c.ok(&["unpause", "on"]);
    c.ok(&["stop", "-t", "0", "on"]);
    assert_eq!(c.field("on", "{{.State.ExitCode}}"), "137");
    c.ok(&["rm", "on"]);
}

#[test]
fn an_exit_in_between_is_reported() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "ex", "busybox", "sh", "-c", "sleep 1; echo last words; exit 33"]);
    c.ok(&["run", "-d", "--rm", "--name", "auto", "busybox", "sleep", "1"]);
    e.kill9();
    std::thread::sleep(Duration::from_millis(1600));
    let exited_before = std::time::SystemTime::now();
    std::thread::sleep(Duration::from_millis(1200));
    e.launch();
    e.wait_status("ex", "exited");
    assert_eq!(c.field("ex", "{{.State.ExitCode}}"), "33");
    assert_eq!(c.ok(&["logs", "ex"]), "last words");
    assert_eq!(c.ok(&["wait", "ex"]), "33");
    let finished = c.field("ex", "{{.State.FinishedAt}}");
    let at = Command::new("date").args(["+%s.%N", "-d", &finished]).output().unwrap();
    let at: f64 = String::from_utf8_lossy(&at.stdout).trim().parse().unwrap();
    let limit = exited_before.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(at < limit, "FinishedAt is when it exited ({at}), not when it was noticed ({limit})");
    eventually("--rm after the engine's death", Duration::from_secs(10), || {
        (!c.ok(&["ps", "-aq", "--format", "{{.Names}}"]).contains("auto")).then_some(())
    });
}

#[test]
fn restart_policies_resume() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&[
        "run",
        "-d",
        "--name",
        "always",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "echo up; sleep 1; exit 1",
    ]);
    c.ok(&["run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "600"]);
    c.ok(&["stop", "-t", "0", "stopped"]);
    e.kill9();
    std::thread::sleep(Duration::from_millis(1500));
    e.launch();
    eventually("started again", Duration::from_secs(20), || {
        (c.ok(&["logs", "always"]).matches("up").count() >= 2).then_some(())
    });
    assert_eq!(c.field("stopped", "{{.State.Status}}"), "exited", "unless-stopped stays stopped");
    c.ok(&["rm", "-f", "always", "stopped"]);
}

#[test]
fn restart_policies_while_the_engine_lives() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "fail",
            "--restart",
            "on-failure:2",
            "busybox",
            "sh",
            "-c",
            "echo try; exit 1",
        ]);
        eventually("three tries", Duration::from_secs(20), || {
            (c.field("fail", "{{.State.Status}} {{.RestartCount}}") == "exited 2").then_some(())
        });
        assert_eq!(c.ok(&["logs", "fail"]), "try\ntry\ntry");
        c.ok(&["run", "-d", "--name", "fine", "--restart", "on-failure", "busybox", "true"]);
        e.wait_status("fine", "exited");
        assert_eq!(c.field("fine", "{{.RestartCount}}"), "0");
        c.ok(&["run", "-d", "--name", "ever", "--restart", "always", "busybox", "sh", "-c", "sleep 0.2"]);
        eventually("restarts", Duration::from_secs(20), || {
            (c.field("ever", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2).then_some(())
        });
        c.ok(&["stop", "ever"]);
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(c.field("ever", "{{.State.Status}}"), "exited", "a stopped one is not restarted");
        c.ok(&["rm", "-f", "fail", "fine", "ever"]);
    }
}

#[test]
fn an_attached_client_survives_or_is_told() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    let mut child = c.spawn(&["run", "-i", "--name", "att", "busybox", "cat"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(b"before\n").unwrap();
    let mut buf = [0u8; 7];
    stdout.read_exact(&mut buf).unwrap();
    e.kill9();
    // The client's connection goes through the engine: it ends, the container does not.
    assert!(
        wait_until(&mut child, Instant::now() + Duration::from_secs(10)).is_some(),
        "the client does not hang"
    );
    e.launch();
    assert_eq!(c.field("att", "{{.State.Running}}"), "true");
    let mut child = c.spawn(&["attach", "att"]);
    child.stdin.take().unwrap().write_all(b"after\n").unwrap();
    let mut buf = [0u8; 6];
    child.stdout.take().unwrap().read_exact(&mut buf).unwrap();
    assert_eq!(&buf, b"after\n");
    drop(child.kill());
    drop(child.wait());
    c.ok(&["rm", "-f", "att"]);
}

#[test]
fn an_exec_goes_on() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "xx", "busybox", "sleep", "600"]);
    c.ok(&["exec", "-d", "xx", "sh", "-c", "sleep 1.5; echo done >/done"]);
    e.kill9();
    std::thread::sleep(Duration::from_millis(300));
    e.launch();
    eventually("the exec's work", Duration::from_secs(10), || {
        (c.run(&["exec", "xx", "cat", "/done"]).text() == "done").then_some(())
    });
    c.ok(&["rm", "-f", "xx"]);
}

/// The supervisor of a container: the parent of its first process.
fn supervisor(pid: &str) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the container runs");
    stat.rsplit(')').next().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_killed_supervisor_is_noticed() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "orphan", "busybox", "sleep", "600"]);
    let pid = c.field("orphan", "{{.State.Pid}}");
    let s = supervisor(&pid);
    assert_ne!(s, 1);
    assert_ne!(s, e.pid(), "the supervisor is a process of its own");
    leaks::signal(s, "KILL");
    eventually("noticed", Duration::from_secs(10), || {
        (c.field("orphan", "{{.State.Running}}") == "false").then_some(())
    });
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists(), "its processes are gone");
    assert_ne!(
        c.field("orphan", "{{.State.Error}}{{.State.ExitCode}}"),
        "0",
        "it did not end well, and says so"
    );
    c.ok(&["start", "orphan"]);
    let pid = c.field("orphan", "{{.State.Pid}}");
    // And both at once.
    let s = supervisor(&pid);
    e.kill9();
    leaks::signal(s, "KILL");
    std::thread::sleep(Duration::from_millis(200));
    e.launch();
    eventually("noticed at the start", Duration::from_secs(10), || {
        (c.field("orphan", "{{.State.Running}}") == "false").then_some(())
    });
    c.ok(&["rm", "orphan"]);
}

#[test]
fn kills_at_random_moments() {
    knarr_only!();
    let mut e = Engine::start();
    let seed = std::process::id();
    for round in 0..12u32 {
        let c = e.docker();
        let jobs: Vec<_> = (0..4)
            .map(|i| {
                let name = format!("r{round}-{i}");
                let args =
                    ["run", "-d", "--name", &name, "-p", "80", "busybox", "sleep", "600"].map(str::to_owned);
                c.spawn(&args)
            })
            .collect();
        let delay = (seed.wrapping_mul(31).wrapping_add(round * 7919)) % 60;
        std::thread::sleep(Duration::from_millis(5 + u64::from(delay)));
        e.kill9();
        for mut j in jobs {
            assert!(wait_until(&mut j, Instant::now() + Duration::from_secs(15)).is_some());
        }
        e.launch();
        // Whatever the database has can be asked for, and removed.
        for line in c.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).lines() {
            let (name, state) = line.split_once(' ').unwrap();
            assert!(matches!(state, "created" | "running" | "exited" | "dead"), "{line}");
            if state == "running" {
                assert_eq!(c.ok(&["exec", name, "echo", "x"]), "x", "{line}");
            }
            if round % 2 == 0 {
                c.ok(&["rm", "-f", name]);
            }
        }
    }
    e.assert_no_leaks();
    assert_eq!(e.docker().ok(&["run", "--rm", "busybox", "echo", "still fine"]), "still fine");
}

#[test]
fn kills_while_removing_and_stopping() {
    knarr_only!();
    let mut e = Engine::start();
    for round in 0..6u64 {
        let c = e.docker();
        for i in 0..3 {
            c.ok(&["run", "-d", "--name", &format!("k{i}"), "busybox", "sleep", "600"]);
        }
        let mut a = c.spawn(&["rm", "-f", "k0", "k1"]);
        let mut b = c.spawn(&["stop", "-t", "0", "k2"]);
        std::thread::sleep(Duration::from_millis(3 + round * 9));
        e.kill9();
        wait_until(&mut a, Instant::now() + Duration::from_secs(15));
        wait_until(&mut b, Instant::now() + Duration::from_secs(15));
        e.launch();
        for name in c.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines() {
            c.ok(&["rm", "-f", name]);
        }
    }
    e.assert_no_leaks();
}

#[test]
fn kills_while_loading_images() {
    knarr_only!();
    let mut e = Options::new().images(&[]).start();
    let data = e.data();
    let found = move || -> Vec<String> {
        ["layers", "tmp", "trash", "content/ingest", "content/blobs/sha256"]
            .iter()
            .flat_map(|d| std::fs::read_dir(data.join(d)).into_iter().flatten().flatten())
            .map(|f| f.path().display().to_string())
            .collect()
    };
    // What an engine without images keeps: the empty layer under every container.
    let before = found();
    let tar = workspace::image("debian-bookworm-slim.tar");
    for ms in [20, 60, 120, 200, 300, 450] {
        let mut j = e.docker().spawn(&["load", "-q", "-i", tar.to_str().unwrap()]);
        std::thread::sleep(Duration::from_millis(ms));
        e.kill9();
        wait_until(&mut j, Instant::now() + Duration::from_secs(15));
        e.launch();
        let listed = e.docker().ok(&["images", "-q"]);
        if !listed.is_empty() {
            assert_eq!(
                e.docker().ok(&["run", "--rm", "debian:bookworm-slim", "echo", "whole"]),
                "whole",
                "what is listed is whole"
            );
            e.docker().ok(&["rmi", "debian:bookworm-slim"]);
        }
    }
    let left = leaks::settle(|| found().into_iter().filter(|path| !before.contains(path)).collect());
    assert!(left.is_empty(), "left of interrupted loads: {left:?}");
}

#[test]
fn kills_at_every_failpoint() {
    knarr_only!();
    let Some(binary) = workspace::knarr_with_failpoints() else {
        eprintln!("no binary with failpoints (scripts/test builds one): nothing to do");
        return;
    };
    let names = workspace::failpoints();
    assert!(names.len() >= 5, "{names:?}");
    let mut e = Options { binary: Some(binary), ..Options::default() }.start();
    for name in names {
        e.kill9();
        e.set_env("KNARR_FAILPOINT", Some(&format!("{name}=kill")));
        e.launch();
        let c = e.docker();
        let mut jobs = vec![
            c.spawn(&["run", "-d", "--name", "fp", "-p", "80", "busybox", "sleep", "600"]),
            c.spawn(&["run", "--rm", "--name", "fp-rm", "busybox", "true"]),
            c.spawn(&["load", "-q", "-i", workspace::image("awkward.tar").to_str().unwrap()]),
        ];
        for j in &mut jobs {
            wait_until(j, Instant::now() + Duration::from_secs(20));
        }
        drop(c.run(&["exec", "fp", "true"]));
        drop(c.run(&["commit", "fp", "fp:1"]));
        drop(c.run(&["stop", "-t", "0", "fp"]));
        drop(c.run(&["rm", "-f", "fp"]));
        drop(c.run(&["rmi", "-f", "fp:1", "awkward"]));
        e.kill9();
        e.set_env("KNARR_FAILPOINT", None);
        e.launch();
        let c = e.docker();
        for id in c.ok(&["ps", "-aq"]).lines() {
            c.ok(&["rm", "-f", id]);
        }
        let found = leaks::settle(|| leaks::of_containers(&e));
        assert!(found.is_empty(), "after {name}: {found:?}");
        assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine", "after {name}");
    }
}

/// The engine dies when the program runs, before it has written that down; the container ends while there is no engine.
#[test]
fn a_run_that_no_engine_wrote_down_is_among_the_events() {
    knarr_only!();
    let Some(binary) = workspace::knarr_with_failpoints() else { return };
    let mut e = Options { binary: Some(binary), ..Options::default() }.start();
    e.kill9();
    e.set_env("KNARR_FAILPOINT", Some("start.started=kill"));
    e.launch();
    let c = e.docker();
    let id = c.ok(&["create", "--name", "brief", "busybox", "sh", "-c", "exit 4"]);
    assert_ne!(c.run(&["start", "brief"]).code, 0, "its engine is dead");
    let record = e.run_dir().join("containers").join(&id).join("exit.json");
    eventually("the supervisor's record", Duration::from_secs(20), || record.exists().then_some(()));
    e.kill9();
    e.set_env("KNARR_FAILPOINT", None);
    e.launch();
    e.wait_status("brief", "exited");
    assert_eq!(c.field("brief", "{{.State.ExitCode}}"), "4");
    let told = || {
        c.ok(&[
            "events",
            "--since",
            "1h",
            "--until",
            "0s",
            "--filter",
            "container=brief",
            "--format",
            "{{.Action}}",
        ])
    };
    // Docker's client cuts the end to a second.
    let whole = || (told() == "create\nstart\ndie").then_some(());
    eventually("the events of the run", Duration::from_secs(20), whole);
    e.crash_and_restart();
    assert_eq!(told(), "create\nstart\ndie", "once");
    c.ok(&["rm", "brief"]);
}

#[test]
fn a_damaged_database_record_is_put_aside() {
    knarr_only!();
    let mut e = Options::new().may_leak().start();
    let c = e.docker();
    c.ok(&["create", "--name", "good", "busybox", "true"]);
    e.kill9();
    // Not one record but the whole file: the engine says so and does not pretend.
    let db = e.data().join("state.redb");
    let bytes = std::fs::read(&db).expect("the database");
    std::fs::write(&db, &bytes[..bytes.len() / 3]).unwrap();
    e.spawn_daemon();
    std::thread::sleep(Duration::from_secs(2));
    let log = e.log_tail().to_lowercase();
    let answers = e.api().get("/containers/json").is_ok_and(|r| r.status == 200);
    assert!(
        answers || log.contains("state.redb"),
        "either it serves what it could save or it names the file:\n{log}"
    );
}

#[test]
fn two_engines_on_one_data_root_are_refused() {
    knarr_only!();
    let e = Engine::start();
    let bin = workspace::knarr();
    let dir = e.dir.display();
    let out = e
        .net
        .as_ref()
        .unwrap()
        .command(bin.to_str().unwrap())
        .args([
            "daemon",
            "--data-root",
            &format!("{dir}/data"),
            "--exec-root",
            &format!("{dir}/run2"),
            "-H",
            &format!("unix://{dir}/two.sock"),
        ])
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).to_lowercase().contains("data"), "{out:?}");
    assert_eq!(e.docker().ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn a_stop_of_the_engine_leaves_no_process() {
    knarr_only!();
    let mut e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "--rm", "busybox", "true"]);
    e.stop();
    let left = leaks::settle(|| leaks::processes_in(e.net.as_ref().unwrap()));
    assert!(left.is_empty(), "{left:?}");
    assert!(!e.dir.join("engine.pid").exists(), "the pidfile is removed");
    e.launch();
    assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "again"]), "again");
}

#[test]
fn memory_stays_small() {
    knarr_only!();
    let e = Engine::start();
    let c = e.docker();
    for i in 0..10 {
        c.ok(&["run", "-d", "--name", &format!("m{i}"), "busybox", "sleep", "600"]);
    }
    let memory = |pid: u32, kind: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        text.lines()
            .find(|l| l.starts_with(kind))
            .and_then(|l| l.split_whitespace().nth(1))
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    let own = memory(e.pid(), "Pss_Anon:");
    assert!(own > 0 && own < 10 * 1024, "the engine, without its program: {own} KiB");
    // The program's own pages in memory are as many as it is large, and one that is built for debugging is four times that.
    if workspace::knarr().metadata().is_ok_and(|binary| binary.len() < 60 << 20) {
        let all = memory(e.pid(), "Pss:");
        assert!(all < 20 * 1024, "the engine: {all} KiB");
    }
    let each = memory(supervisor(&c.field("m3", "{{.State.Pid}}")), "Pss:");
    assert!(each > 0 && each < 1024, "a supervisor: {each} KiB");
}
