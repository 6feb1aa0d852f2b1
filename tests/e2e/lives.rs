//! Lives of containers that depend on each other or come again: pauses before restarts, requirements, the log of events.

use knarr_e2e::command::eventually;
use knarr_e2e::leaks::signal;
use knarr_e2e::{Cli, Engine, Options};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Lines of past events. Docker's client cuts a point in time to its second: the end lies in the next one.
fn events(c: &Cli, more: &[&str], format: &str) -> Vec<String> {
    let out = c.ok(&[&["events", "--since", "1h", "--until", "-1s", "--format", format], more].concat());
    out.lines().map(str::to_owned).collect()
}

/// Milliseconds between a container's ends and its starts after them.
fn pauses(c: &Cli, name: &str, at_least: usize) -> Vec<i64> {
    eventually("enough restarts", LIMIT, || {
        let filter = format!("container={name}");
        let lines = events(c, &["--filter", &filter], "{{.Action}} {{.TimeNano}}");
        let mut ended = None;
        let mut pauses = Vec::new();
        for line in &lines {
            let (action, at) = line.split_once(' ').unwrap();
            let at: i64 = at.parse().unwrap();
            match (action, ended) {
                ("die", _) => ended = Some(at),
                ("start", Some(end)) => pauses.push((at - end) / 1_000_000),
                _ => {}
            }
        }
        (pauses.len() >= at_least).then_some(pauses)
    })
}

#[test]
fn pauses_before_restarts() {
    let e = Engine::with(Options::new().args(&["--restart-delay", "700ms", "--restart-max-delay", "900ms"]));
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "engines", "--restart", "always", "busybox", "false"]);
    let own = ["--restart-delay", "1500ms", "--restart-max-delay", "1500ms"];
    c.ok(&[&["run", "-d", "--name", "own", "--restart", "on-failure:2"], &own[..], &["busybox", "false"]]
        .concat());
    // Never shorter than was asked for; how much longer is the machine's business.
    let seen = pauses(&c, "own", 2);
    assert!(seen.len() == 2 && seen.iter().all(|ms| *ms >= 1500), "{seen:?}");
    let seen = pauses(&c, "engines", 3);
    assert!(seen[0] >= 700 && seen[1] >= 900 && seen[2] >= 900, "{seen:?}");
    c.ok(&["rm", "-f", "engines"]);
    c.fails(125, &["run", "--rm", "--annotation", "io.knarr.restart.delay=soon", "busybox", "true"])
        .says("invalid pause before a restart: \"soon\" is no duration");
}

/// Processes and their supervisors end, and what is in memory is gone.
fn lose_power(e: &Engine, pids: &[u32]) {
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
        signal(parent.trim().parse().unwrap(), "KILL");
        signal(*pid, "KILL");
    }
    eventually("all processes are gone", LIMIT, || {
        pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/root")).exists()).then_some(())
    });
    std::fs::remove_dir_all(e.run_dir().join("containers")).unwrap();
}

#[test]
fn what_is_required_is_started_first() {
    let mut e = Engine::start();
    let c = e.knarr();
    let create = |name: &str, options: &[&str]| {
        let head = ["create", "--name", name, "--stop-signal", "KILL"];
        c.ok(&[&head[..], options, &["busybox", "sleep", "600"]].concat());
    };
    create("db", &[]);
    create("cache", &["--requires", "db"]);
    create("web", &["--requires", "cache", "--requires", "db", "--restart", "always"]);
    c.ok(&["rename", "db", "database"]);
    let started = || {
        let mut names = events(&c, &["--filter", "event=start"], "{{.Actor.Attributes.name}}");
        names.drain(..names.len().saturating_sub(3));
        names
    };
    c.ok(&["start", "web"]);
    assert_eq!(started(), ["database", "cache", "web"]);
    c.fails(1, &["rm", "database"]).says("running");
    c.ok(&["stop", "web", "cache", "database"]);
    c.fails(1, &["rm", "database"]).says("it is required by");
    // At the machine's start the one with a policy comes up, and so does what it requires.
    c.ok(&["start", "web"]);
    let pids =
        ["web", "cache", "database"].map(|name| c.field(name, "{{.State.Pid}}").parse::<u32>().unwrap());
    e.kill9();
    lose_power(&e, &pids);
    e.launch();
    for name in ["database", "cache", "web"] {
        e.wait_status(name, "running");
    }
    c.ok(&["stop", "web", "cache", "database"]);
    c.ok(&["rm", "-f", "database"]);
    c.fails(1, &["start", "web"]).says("was removed");
    c.fails(1, &["create", "--requires", "nosuch", "busybox"])
        .says("required container nosuch does not exist");
}

#[test]
fn the_log_of_events_is_kept_and_filtered() {
    let mut e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "--name", "first", "--label", "a=b", "busybox", "true"]);
        c.ok(&["rm", "first"]);
    }
    let c = e.docker();
    let before = events(&c, &[], "{{.Type}} {{.Action}} {{.TimeNano}}");
    e.crash_and_restart();
    let after = events(&c, &[], "{{.Type}} {{.Action}} {{.TimeNano}}");
    assert_eq!(after[..before.len()], before[..], "nothing is forgotten or told twice");
    let actions = |more: &[&str]| events(&c, more, "{{.Action}}").join(" ");
    assert_eq!(actions(&["--filter", "label=a=b", "--filter", "event=die"]), "die die", "{before:#?}");
    assert_eq!(actions(&["--filter", "container=fir", "--filter", "event=start"]), "start start");
    assert_eq!(actions(&["--filter", "container=irst"]), "");
    assert_eq!(
        actions(&["--filter", "type=container", "--filter", "image=busybox", "--filter", "event=destroy"]),
        "destroy destroy"
    );
    assert_eq!(actions(&["--filter", "type=network", "--filter", "event=connect"]), "connect connect");
    assert_eq!(actions(&["--filter", "scope=swarm"]), "");
    c.fails(1, &["events", "--since", "10", "--until", "5"]).says("cannot be after `until` time");
    c.fails(1, &["events", "--until", "1s", "--filter", "nosuch=x"]).says("invalid filter 'nosuch'");
    // Without `since` what has been comes too when there is an end, as in Docker.
    assert!(c.ok(&["events", "--until", "-1s", "--format", "{{.Action}}"]).lines().count() >= before.len());
    // A stream whose end lies ahead tells what happens until then, and ends.
    let late = ["--filter", "event=create", "--filter", "container=late", "--format", "{{.Action}}"];
    let waiting = c.spawn(&[&["events", "--until", "-3s"], &late[..]].concat());
    c.ok(&["create", "--name", "late", "busybox"]);
    let out = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), "create");
}

/// Many results of health checks leave the rest of the log alone.
#[test]
fn health_checks_do_not_fill_the_log() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&[
        "run",
        "-d",
        "--name",
        "checked",
        "--health-cmd",
        "true",
        "--health-interval",
        "100ms",
        "busybox",
        "sleep",
        "600",
    ]);
    eventually("some checks", LIMIT, || {
        let probes = events(&c, &["--filter", "event=exec_start"], "{{.Action}}");
        (probes.len() >= 3).then_some(())
    });
    let die = events(&c, &["--filter", "event=exec_die"], "{{.Actor.Attributes.exitCode}}");
    assert!(die.len() >= 2 && die.iter().all(|code| code == "0"), "as Docker tells them: {die:?}");
    c.ok(&["rm", "-f", "checked"]);
}

#[test]
fn waits_of_every_kind() {
    let e = Engine::start();
    let c = e.knarr();
    let api = |name: &str, condition: &str| {
        let (api, path) = (e.api(), format!("/containers/{name}/wait?condition={condition}"));
        std::thread::spawn(move || api.post(&path, "").expect(200).json()["StatusCode"].clone())
    };
    c.ok(&["create", "--name", "xx", "busybox", "sh", "-c", "exit 3"]);
    assert_eq!(
        e.api().post("/containers/xx/wait", "").expect(200).json()["StatusCode"],
        0,
        "it does not run"
    );
    e.api().post("/containers/xx/wait?condition=nonsense", "").expect(400);
    let (next, removed) = (api("xx", "next-exit"), api("xx", "removed"));
    // Both have to be there before it runs: a stream of theirs is open then.
    std::thread::sleep(Duration::from_millis(500));
    c.ok(&["start", "xx"]);
    assert_eq!(next.join().unwrap(), 3);
    assert!(!removed.is_finished());
    c.ok(&["rm", "xx"]);
    assert_eq!(removed.join().unwrap(), 3);
}

#[test]
fn limits_and_policies_change_while_it_runs() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "xx", "-m", "64m", "--stop-signal", "KILL", "busybox", "sleep", "600"]);
        c.ok(&[
            "update",
            "-m",
            "80m",
            "--memory-swap",
            "160m",
            "--pids-limit",
            "50",
            "--cpu-shares",
            "512",
            "xx",
        ]);
        let seen = c.inspect("xx");
        let host = &seen["HostConfig"];
        assert_eq!(
            (&host["Memory"], &host["PidsLimit"], &host["CpuShares"]),
            (&(80 << 20).into(), &50.into(), &512.into())
        );
        let id = seen["Id"].as_str().unwrap();
        c.fails(1, &["update", "-m", "200m", "xx"]).says(&format!(
            "Cannot update container {id}: Memory limit should be smaller than already set memoryswap limit"
        ));
        c.ok(&["update", "--restart", "on-failure:3", "xx"]);
        assert_eq!(
            c.field(
                "xx",
                "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"
            ),
            "on-failure 3"
        );
        c.ok(&["pause", "xx"]);
        c.ok(&["update", "--pids-limit", "60", "xx"]);
        c.fails(1, &["pause", "xx"]).says("is already paused");
        c.ok(&["kill", "xx"]);
        e.wait_status("xx", "exited");
        c.fails(1, &["pause", "xx"]).says(&format!("container {id} is not running"));
        c.fails(1, &["unpause", "xx"]).says("is not paused");
        c.ok(&["update", "--cpus", "0.5", "xx"]);
        assert_eq!(c.field("xx", "{{.HostConfig.NanoCpus}}"), "500000000");
        c.ok(&["create", "--name", "taken", "busybox"]);
        c.fails(1, &["rename", "xx", "taken"]).says("Error when allocating new name: Conflict.");
        c.ok(&["rm", "xx", "taken"]);
        c.ok(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "600"]);
        c.fails(1, &["update", "--restart", "always", "gone"]).says("AutoRemove is enabled");
        c.ok(&["rm", "-f", "gone"]);
    }
}
