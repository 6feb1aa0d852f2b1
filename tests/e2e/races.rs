//! Requests that meet one another: starts that last, ends, removals, renames; and engines that die between two of them.

use knarr_e2e::api::read_head;
use knarr_e2e::command::{eventually, wait_until};
use knarr_e2e::{Engine, Options, workspace};
use std::io::{BufReader, Read};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// An engine that sleeps at a failpoint; none where no binary has any, or a peer is tested.
fn slow_at(point: &str) -> Option<Engine> {
    let binary = workspace::knarr_with_failpoints().filter(|_| workspace::peer().is_none())?;
    let options = Options { binary: Some(binary), ..Options::default() };
    Some(options.env("KNARR_FAILPOINT", point).start())
}

/// Who looks before a container runs, and asks while it is being started, sees the process of that start.
#[test]
fn an_attach_during_the_start_sees_the_process() {
    let Some(e) = slow_at("start.network=sleep:2000") else { return };
    let c = e.docker();
    c.ok(&[
        "create",
        "--name",
        "slow",
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.5; done",
    ]);
    let mut start = c.spawn(&["start", "slow"]);
    eventually("the start has begun", LIMIT, || {
        let id = c.field("slow", "{{.Id}}");
        e.run_dir().join("containers").join(id).exists().then_some(())
    });
    let request =
        "POST /containers/slow/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    let mut reader = BufReader::new(e.api().raw(request.as_bytes()).unwrap());
    assert_eq!(read_head(&mut reader).unwrap().0, 200);
    assert_eq!(c.field("slow", "{{.State.Status}}"), "created", "the start lasts until after the attach");
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains("8\n"), "{seen:?}");
    assert_eq!(wait_until(&mut start, Instant::now() + LIMIT), Some(0));
}

/// Who waits for a container that is being started is told when the start fails.
#[test]
fn a_wait_ends_with_a_start_that_fails() {
    let Some(e) = slow_at("start.network=sleep:2000") else { return };
    let c = e.docker();
    c.ok(&["create", "--name", "not", "busybox", "/no/such/program"]);
    let mut start = c.spawn(&["start", "not"]);
    eventually("the start has begun", LIMIT, || {
        let id = c.field("not", "{{.Id}}");
        e.run_dir().join("containers").join(id).exists().then_some(())
    });
    let began = Instant::now();
    assert_eq!(c.ok(&["wait", "not"]), "127");
    assert!(began.elapsed() > Duration::from_millis(200), "it was being started");
    assert_eq!(wait_until(&mut start, Instant::now() + LIMIT), Some(1));
}

/// A change of a container that is on its way out does not bring it back.
#[test]
fn a_removal_is_not_undone_by_a_rename() {
    let Some(mut e) = slow_at("remove.rows=sleep:2000") else { return };
    let c = e.docker();
    c.ok(&["create", "--name", "old", "busybox", "true"]);
    let mut removal = c.spawn(&["rm", "old"]);
    eventually("the removal has begun", LIMIT, || {
        (c.run(&["inspect", "-f", "{{.State.Status}}", "old"]).stdout.trim() == "removing").then_some(())
    });
    c.fails(1, &["rename", "old", "new"]).says("is marked for removal");
    c.fails(1, &["update", "--restart", "always", "old"]).says("is marked for removal");
    assert_eq!(wait_until(&mut removal, Instant::now() + LIMIT), Some(0));
    e.crash_and_restart();
    assert_eq!(c.ok(&["ps", "-aq"]), "");
}

/// An engine that dies between the making of a process and its start leaves a container that comes up again by its policy.
#[test]
fn a_restart_that_was_cut_off_is_begun_again() {
    let Some(mut e) = slow_at("none") else { return };
    let c = e.docker();
    let delay = ["--annotation", "io.knarr.restart.delay=3s"];
    let run = ["run", "-d", "--name", "again", "--restart", "on-failure"];
    c.ok(&[
        &run[..],
        &delay,
        &["busybox", "sh", "-c", "test -e /second && sleep 600; touch /second; exit 1"],
    ]
    .concat());
    e.wait_status("again", "restarting");
    e.kill9();
    e.set_env("KNARR_FAILPOINT", Some("start.start=kill"));
    e.spawn_daemon();
    e.wait_death(LIMIT);
    e.set_env("KNARR_FAILPOINT", None);
    e.launch();
    e.wait_status("again", "running");
    c.ok(&["rm", "-f", "again"]);
}

/// What a container that was not made would have had to itself is not left.
#[test]
fn a_container_that_is_refused_leaves_no_volume() {
    let e = Engine::start();
    let body = r#"{"Image":"busybox","Volumes":{"/data":{}},"HostConfig":{"PortBindings":{"x/tcp":[{}]}}}"#;
    e.api().post("/containers/create", body).expect(400);
    assert_eq!(e.docker().ok(&["volume", "ls", "-q"]), "");
    assert_eq!(e.docker().ok(&["ps", "-aq"]), "");
}

/// A log that is followed up to a point in time ends there, whatever the container does.
#[test]
fn following_a_log_ends_at_its_time() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "tick",
            "busybox",
            "sh",
            "-c",
            "while :; do echo tick; sleep 0.1; done",
        ]);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let until = (now.as_secs() + 2).to_string();
        let log = c.ok(&["logs", "-f", "--until", &until, "tick"]);
        assert!(log.lines().count() > 3, "{log}");
        assert_eq!(c.field("tick", "{{.State.Status}}"), "running");
        c.ok(&["rm", "-f", "tick"]);
    }
}

/// Filters are checked whether there is something to filter or not, and an image stands for those that were made from it.
#[test]
fn filters_of_containers() {
    let e = Engine::start();
    let api = e.api();
    for filter in [
        r#"{"status":["bogus"]}"#,
        r#"{"exited":["x"]}"#,
        r#"{"health":["fine"]}"#,
        r#"{"publish":["x"]}"#,
        r#"{"nonsense":["x"]}"#,
    ] {
        let encoded: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        api.get(&format!("/containers/json?filters={encoded}")).unwrap().expect(400);
    }
    let c = e.docker();
    c.ok(&["run", "--name", "base", "busybox", "touch", "/made"]);
    c.ok(&["commit", "base", "made:1"]);
    c.ok(&["create", "--name", "child", "made:1", "true"]);
    let names = |filter: &str| {
        let list = c.ok(&["ps", "-a", "--format", "{{.Names}}", "--filter", filter]);
        let mut names: Vec<_> = list.lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names("ancestor=busybox"), "base child");
    assert_eq!((names("ancestor=made:1"), names("ancestor=nosuch")), ("child".to_owned(), String::new()));
    assert_eq!((names("name=^/ba"), names("name=(")), ("base".to_owned(), String::new()));
    c.ok(&["rm", "base", "child"]);
}

/// What cannot be done is refused, and what it says is about the request.
#[test]
fn limits_and_devices_that_cannot_be_had() {
    let e = Engine::start();
    let refused = |host: &str| {
        let body = format!(r#"{{"Image":"busybox","HostConfig":{host}}}"#);
        e.api().post("/containers/create", &body).expect(400).message()
    };
    if workspace::peer().is_none() {
        assert_eq!(
            refused(r#"{"DeviceCgroupRules":["c 1:3 x"]}"#),
            "invalid device cgroup rule format: 'c 1:3 x'"
        );
        assert_eq!(
            refused(r#"{"DeviceRequests":[{"Driver":"cdi","Capabilities":[["a","b"],["c"]]}]}"#),
            r#"could not select device driver "cdi" with capabilities: [[a b] [c]]"#
        );
    }
    let c = e.docker();
    c.ok(&["create", "--name", "small", "busybox", "true"]);
    c.fails(1, &["update", "--cpus", "4000", "small"]).says("range of CPUs is from 0.01 to");
    c.fails(1, &["update", "-m", "64m", "small"]).says("update the memoryswap at the same time");
    c.ok(&["update", "-m", "64m", "--memory-swap", "64m", "small"]);
    c.ok(&["rm", "small"]);
    let until = "%7B%22until%22%3A%5B%221h%22%2C%222h%22%5D%7D";
    let prune = e.api().post(&format!("/containers/prune?filters={until}"), "");
    assert_eq!(prune.expect(400).message(), "more than one until filter specified");
}

/// A stop is told of also where the container removes itself; a kill and a forced removal are no stops.
#[test]
fn only_a_stop_is_a_stop() {
    let e = Engine::start();
    let c = e.docker();
    for (name, how) in [("aa", &["kill"][..]), ("bb", &["stop", "-t", "0"]), ("cc", &["rm", "-f"])] {
        for keeps in [true, false] {
            let name = format!("{name}-{keeps}");
            let mut words = vec!["run", "-d", "--name", &name, "busybox", "sleep", "1000"];
            if !keeps {
                words.insert(1, "--rm");
            }
            c.ok(&words);
            c.ok(&[how, &[name.as_str()]].concat());
            if !keeps {
                eventually("it has removed itself", LIMIT, || {
                    (c.run(&["inspect", &name]).code != 0).then_some(())
                });
            }
        }
    }
    let filter = r#"{"type":["container"],"event":["stop","die"]}"#.replace('"', "%22");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
    let said = e.api().get(&format!("/events?since=1&until={now}&filters={filter}")).unwrap().expect(200);
    let said: Vec<String> = said
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|event| {
            format!(
                "{} {}",
                event["Action"].as_str().unwrap(),
                event["Actor"]["Attributes"]["name"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            "die aa-true",
            "die aa-false",
            "die bb-true",
            "stop bb-true",
            "die bb-false",
            "stop bb-false",
            "die cc-true",
            "die cc-false"
        ]
    );
}
