//! Health checks: as Docker's clients see them, over pauses, restarts and the engine's death.

use knarr_e2e::command::eventually;
use knarr_e2e::{Cli, Engine, workspace};
use serde_json::Value;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn wait_health(c: &Cli, name: &str, status: &str) {
    eventually(&format!("{name} is {status}"), LIMIT, || {
        (c.field(name, "{{.State.Health.Status}}") == status).then_some(())
    });
}

fn health(c: &Cli, name: &str) -> Value {
    c.inspect(name)["State"]["Health"].clone()
}

fn log(c: &Cli, name: &str) -> Vec<Value> {
    health(c, name)["Log"].as_array().unwrap().clone()
}

/// Waits for a result that passes.
fn wait_result(c: &Cli, name: &str, passes: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("a result of {name}"), LIMIT, || {
        log(c, name).into_iter().find(|result| passes(result))
    })
}

fn run(c: &Cli, name: &str, flags: &[&str], command: &[&str]) {
    let mut all = vec!["run", "-d", "--name", name];
    all.extend(flags);
    all.push("busybox");
    all.extend(command);
    c.ok(&all);
}

#[test]
fn states() {
    let e = Engine::start();
    for c in e.clients() {
        run(&c, "late", &["--health-cmd", "true", "--health-interval", "1h"], &["sleep", "600"]);
        let late = health(&c, "late");
        assert_eq!((&late["Status"], &late["FailingStreak"]), (&"starting".into(), &0.into()));
        assert_eq!(late["Log"], Value::Array(Vec::new()));
        let ps =
            |filter: &str| c.ok(&["ps", "-a", "--filter", filter, "--format", "{{.Names}}: {{.Status}}"]);
        let starting = ps("health=starting");
        assert!(starting.starts_with("late: Up ") && starting.ends_with(" (health: starting)"), "{starting}");
        let flags = [
            "--health-cmd",
            "echo looked; test -e /ok",
            "--health-interval",
            "150ms",
            "--health-retries",
            "2",
        ];
        run(&c, "web", &flags, &["sleep", "600"]);
        wait_health(&c, "web", "unhealthy");
        assert!(ps("health=unhealthy").ends_with(" (unhealthy)"));
        let web = health(&c, "web");
        assert!(web["FailingStreak"].as_i64().unwrap() >= 2, "{web}");
        let first = &web["Log"][0];
        assert_eq!((&first["ExitCode"], &first["Output"]), (&1.into(), &"looked\n".into()));
        assert!(first["Start"].as_str().unwrap() < first["End"].as_str().unwrap(), "{first}");
        c.ok(&["exec", "web", "touch", "/ok"]);
        wait_health(&c, "web", "healthy");
        assert!(ps("health=healthy").ends_with(" (healthy)"));
        assert_eq!(health(&c, "web")["FailingStreak"], 0);
        eventually("five results", LIMIT, || (log(&c, "web").len() == 5).then_some(()));
        let before = log(&c, "web");
        eventually("the oldest result goes", LIMIT, || {
            let now = log(&c, "web");
            assert!(now.len() == 5);
            (now[0] != before[0]).then_some(())
        });
        assert!(c.field("web", "{{.ExecIDs}}").len() <= 70, "a probe at a time");
        c.ok(&["stop", "-t", "0", "web"]);
        assert_eq!(c.field("web", "{{.State.Health.Status}}"), "unhealthy", "as in Docker");
        run(&c, "none", &[], &["sleep", "600"]);
        assert_eq!(ps("health=none").split(':').next(), Some("none"));
        assert_eq!(health(&c, "none"), Value::Null);
        c.ok(&["rm", "-f", "late", "web", "none"]);
    }
}

#[test]
fn what_a_probe_says_is_bounded_and_so_is_its_time() {
    let e = Engine::start();
    let c = e.docker();
    let fast =
        ["--health-interval", "100ms", "--health-timeout", "2s", "--health-retries", "1", "--health-cmd"];
    let with = |command: &'static str| [&fast[..], &[command]].concat();
    run(&c, "hangs", &with("echo begun; exec sleep 4242"), &["sleep", "600"]);
    run(&c, "chatty", &with("yes | head -c 100000"), &["sleep", "600"]);
    run(&c, "back", &with("sleep 4343 & echo done"), &["sleep", "600"]);
    let hangs = wait_result(&c, "hangs", |_| true);
    assert_eq!(hangs["ExitCode"], -1);
    assert_eq!(hangs["Output"], "Health check exceeded timeout (2s): begun\n");
    wait_health(&c, "hangs", "unhealthy");
    let sleeps = || c.ok(&["top", "hangs", "-eo", "pid,args"]).matches("sleep 4242").count();
    assert!(sleeps() <= 1, "one that takes too long is killed");
    let chatty = wait_result(&c, "chatty", |result| result["ExitCode"] == 0);
    assert_eq!(chatty["Output"].as_str().unwrap().len(), 4096 + 3);
    assert!(chatty["Output"].as_str().unwrap().ends_with("..."));
    let back = wait_result(&c, "back", |result| result["ExitCode"] == 0);
    assert_eq!((&back["ExitCode"], &back["Output"]), (&0.into(), &"done\n".into()));
    // The words of a program that is not there.
    let request = serde_json::json!({ "Image": "busybox", "Cmd": ["sleep", "600"],
        "Healthcheck": { "Test": ["CMD", "/no/such"], "Interval": 100_000_000, "Retries": 1 } });
    let api = e.api();
    let reply = api.post("/containers/create?name=missing", &request.to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
    c.ok(&["start", "missing"]);
    let missing = wait_result(&c, "missing", |_| true);
    assert_eq!(missing["ExitCode"], -1);
    assert!(missing["Output"].as_str().unwrap().contains("no such file or directory"), "{missing}");
    wait_health(&c, "missing", "unhealthy");
}

#[test]
fn of_the_image_and_none() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["create", "--name", "made", "busybox"]);
    let change = "HEALTHCHECK --interval=150ms --retries=1 CMD echo image; test -e /ok";
    c.ok(&["commit", "-c", change, "made", "checked"]);
    c.ok(&["run", "-d", "--name", "inherits", "checked", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "own", "--health-cmd", "echo own", "checked", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "without", "--no-healthcheck", "checked", "sleep", "600"]);
    wait_health(&c, "inherits", "unhealthy");
    assert_eq!(log(&c, "inherits")[0]["Output"], "image\n");
    wait_health(&c, "own", "healthy");
    assert_eq!(log(&c, "own")[0]["Output"], "own\n");
    assert_eq!(health(&c, "without"), Value::Null);
    let wrong = serde_json::json!({ "Image": "busybox", "Healthcheck": { "Test": ["WAT"] } });
    assert_eq!(e.api().post("/containers/create", &wrong.to_string()).status, 400);
}

#[test]
fn events() {
    let e = Engine::start();
    let c = e.docker();
    let flags = ["--health-cmd", "test -e /ok", "--health-interval", "150ms", "--health-retries", "1"];
    run(&c, "told", &flags, &["sleep", "600"]);
    wait_health(&c, "told", "unhealthy");
    c.ok(&["exec", "told", "touch", "/ok"]);
    wait_health(&c, "told", "healthy");
    let events = |filter: &str| {
        let now = format!(
            "{}",
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1
        );
        c.ok(&["events", "--since", "1", "--until", &now, "--filter", filter, "--format", "{{.Action}}"])
    };
    let health = eventually("the events", LIMIT, || {
        let health = events("event=health_status");
        (health.lines().count() >= 2).then_some(health)
    });
    assert_eq!(health.lines().collect::<Vec<_>>(), ["health_status: unhealthy", "health_status: healthy"]);
    assert!(events("event=exec_create").contains("exec_create: /bin/sh -c test -e /ok"));
    assert!(events("event=exec_start").contains("exec_start: /bin/sh -c test -e /ok"));
    assert!(events("event=exec_die").contains("exec_die"));
}

#[test]
fn pauses_restarts_and_the_engines_death() {
    let mut e = Engine::start();
    let c = e.docker();
    let flags = [
        "--health-cmd",
        "echo x >>/probes; test -e /ok",
        "--health-interval",
        "150ms",
        "--health-retries",
        "2",
    ];
    run(&c, "on", &flags, &["sleep", "600"]);
    c.ok(&["exec", "on", "touch", "/ok"]);
    wait_health(&c, "on", "healthy");
    c.ok(&["pause", "on"]);
    assert_eq!(c.field("on", "{{.State.Health.Status}}"), "unhealthy", "as in Docker");
    let last = log(&c, "on");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(log(&c, "on"), last, "no probe while it is paused");
    c.ok(&["unpause", "on"]);
    wait_health(&c, "on", "healthy");
    // What is shown is on the disk within milliseconds, not at once.
    std::thread::sleep(Duration::from_secs(1));
    e.kill9();
    e.launch();
    assert_eq!(c.field("on", "{{.State.Health.Status}}"), "healthy", "what was known stays known");
    c.ok(&["exec", "on", "rm", "/ok"]);
    wait_health(&c, "on", "unhealthy");
    c.ok(&["exec", "on", "touch", "/ok"]);
    wait_health(&c, "on", "healthy");
    c.ok(&["restart", "-t", "0", "on"]);
    wait_health(&c, "on", "healthy");
    // A probe that an engine began and no engine waits for has no time limit: the next one ends it.
    run(
        &c,
        "hangs",
        &["--health-cmd", "exec sleep 4242", "--health-interval", "100ms", "--health-timeout", "1h"],
        &["sleep", "600"],
    );
    let sleeps = || {
        c.ok(&["top", "hangs", "-eo", "pid,args"])
            .lines()
            .find(|l| l.contains("sleep 4242"))
            .map(str::to_owned)
    };
    let first = eventually("the probe runs", LIMIT, sleeps);
    e.crash_and_restart();
    eventually("another probe", LIMIT, || sleeps().filter(|line| *line != first));
    assert_eq!(c.ok(&["top", "hangs", "-eo", "pid,args"]).matches("sleep 4242").count(), 1);
    c.ok(&["rm", "-f", "hangs", "on"]);
}

/// What a probe said, for a check of a kind and its argument.
fn said(c: &Cli, name: &str, code: i64) -> String {
    let result = wait_result(c, name, |result| result["ExitCode"] == code);
    result["Output"].as_str().unwrap().to_owned()
}

const FAST: [&str; 4] = ["--health-interval", "150ms", "--health-retries", "2"];

/// Of an image without a program for it, in every kind of network.
#[test]
fn native_probes() {
    let e = Engine::start();
    let c = e.knarr();
    let serve = "mkdir /w; echo page >/w/index.html; echo y >/w/healthz; exec httpd -f -p 8080 -h /w";
    let web = |name: &str, flags: &[&str]| run(&c, name, &[&FAST[..], flags].concat(), &["sh", "-c", serve]);
    web("http", &["--health-http", "http://:8080/healthz"]);
    web("gone", &["--health-http", "http://127.0.0.1:8080/nothing"]);
    web("lonely", &["--network", "none", "--health-http", "http://localhost:8080"]);
    web("tcp", &["--health-tcp", "8080"]);
    web("closed", &["--health-tcp", "8081"]);
    let tenant = ["--network", "container:closed", "--health-tcp", "127.0.0.1:8080"];
    run(&c, "tenant", &[&FAST[..], &tenant].concat(), &["sleep", "600"]);
    web("host", &["--network", "host", "--health-http", "http://:8080/healthz"]);
    web("notgrpc", &["--health-grpc", "8080"]);
    for healthy in ["http", "lonely", "tcp", "host", "tenant"] {
        wait_health(&c, healthy, "healthy");
    }
    for unhealthy in ["gone", "closed", "notgrpc"] {
        wait_health(&c, unhealthy, "unhealthy");
    }
    assert_eq!(said(&c, "http", 0), "HTTP/1.1 200 OK");
    assert_eq!(said(&c, "gone", 1), "HTTP/1.1 404 Not Found");
    assert_eq!(said(&c, "tcp", 0), "connected to 127.0.0.1:8080");
    assert_eq!(said(&c, "closed", 1), "dial tcp [::1]:8081: connect: Connection refused (os error 111)");
    assert!(said(&c, "notgrpc", 1).starts_with("gRPC: "));
    // It follows what the program does.
    c.ok(&["exec", "http", "rm", "/w/healthz"]);
    wait_health(&c, "http", "unhealthy");
    c.ok(&["exec", "http", "touch", "/w/healthz"]);
    wait_health(&c, "http", "healthy");
    // Something that accepts and never answers.
    let flags = ["--health-http", "http://:8080/", "--health-interval", "150ms", "--health-timeout", "300ms"];
    run(&c, "silent", &flags, &["sh", "-c", "while :; do nc -l -p 8080 -e sleep 600; done"]);
    wait_result(&c, "silent", |result| result["Output"] == "Health check exceeded timeout (300ms)");
    // Docker's client knows the forms by the API alone.
    for (test, why) in [
        (serde_json::json!(["HTTP", "https://:1/"]), "https"),
        (serde_json::json!(["HTTP", "http://example.org/"]), "address"),
        (serde_json::json!(["TCP", "no:port"]), "address"),
        (serde_json::json!(["TCP"]), "one argument"),
        (serde_json::json!(["GRPC", "0"]), "address"),
    ] {
        let wrong = serde_json::json!({ "Image": "busybox", "Healthcheck": { "Test": test } });
        let reply = e.api().post("/containers/create", &wrong.to_string());
        assert_eq!(reply.status, 400);
        assert!(reply.message().contains(why), "{}", reply.message());
    }
    c.fails(125, &["run", "--health-tcp", "1", "--health-cmd", "x", "busybox"]).says("exclude each other");
}

/// A real gRPC server on the host's network.
#[test]
fn grpc_probes() {
    let e = Engine::start();
    let c = e.knarr();
    let server = r#"
import grpc, sys
from concurrent import futures
answers = {b"": b"\x08\x01", b"\x0a\x04down": b"\x08\x02"}
def check(request, context):
    if request not in answers:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return answers[request]
class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(check)
server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()])
port = server.add_insecure_port("127.0.0.1:50051")
assert port == 50051
server.start()
server.wait_for_termination()
"#;
    let mut python = e.net.as_ref().unwrap().command("/usr/bin/python3");
    let mut python = python.args(["-c", server]).spawn().unwrap();
    let on = |name: &str, test: &str| {
        run(
            &c,
            name,
            &[&FAST[..], &["--network", "host", "--health-grpc", test]].concat(),
            &["sleep", "600"],
        );
    };
    on("up", "50051");
    on("down", "127.0.0.1:50051/down");
    on("unknown", "50051/other");
    wait_health(&c, "up", "healthy");
    wait_result(&c, "down", |result| result["Output"] == "NOT_SERVING");
    wait_result(&c, "unknown", |result| result["Output"] == "gRPC: status 5: unknown service");
    for name in ["down", "unknown"] {
        wait_health(&c, name, "unhealthy");
    }
    assert_eq!(said(&c, "up", 0), "SERVING");
    python.kill().unwrap();
    python.wait().unwrap();
    wait_health(&c, "up", "unhealthy");
}

#[test]
fn actions_on_failure() {
    let mut e = Engine::start();
    let c = e.knarr();
    let sick = |name: &str, action: &str, more: &[&str]| {
        let flags = ["--health-cmd", "test -e /ok", "--health-on-failure", action, "--stop-timeout", "0"];
        run(&c, name, &[&FAST[..], &flags, more].concat(), &["sleep", "600"]);
    };
    sick("none", "none", &[]);
    sick("stop", "stop", &["--restart", "always"]);
    sick("kill", "kill", &[]);
    sick("killed", "kill", &["--restart", "on-failure:2"]);
    sick("again", "restart", &[]);
    sick("bound", "restart", &["--restart", "on-failure:2"]);
    wait_health(&c, "none", "unhealthy");
    for (name, code, restarts) in
        [("stop", "137", "0"), ("kill", "137", "0"), ("killed", "137", "2"), ("bound", "137", "2")]
    {
        e.wait_status(name, "exited");
        assert_eq!(
            c.field(name, "{{.State.ExitCode}} {{.RestartCount}}"),
            format!("{code} {restarts}"),
            "{name}"
        );
    }
    assert_eq!(c.field("none", "{{.State.Status}}"), "running");
    let restarts = |c: &Cli| c.field("again", "{{.RestartCount}}").parse::<u32>().unwrap();
    eventually("it is restarted again and again", LIMIT, || (restarts(&c) >= 2).then_some(()));
    e.crash_and_restart();
    let first = c.field("again", "{{.State.StartedAt}}");
    eventually("and by the next engine", LIMIT, || {
        (c.field("again", "{{.State.StartedAt}}") != first).then_some(())
    });
    c.ok(&["stop", "-t", "0", "again"]);
    e.wait_status("again", "exited");
    // Docker's client says it by an annotation; an image cannot.
    let d = e.docker();
    let flags = ["--health-cmd", "false", "--annotation", "io.knarr.health.on-failure=stop"];
    run(&d, "annotated", &[&FAST[..], &flags].concat(), &["sleep", "600"]);
    d.fails(125, &["run", "--annotation", "io.knarr.health.on-failure=explode", "busybox"])
        .says("none, restart, stop or kill");
    d.ok(&["create", "--name", "made", "busybox"]);
    d.ok(&["commit", "-c", "LABEL io.knarr.health.on-failure=kill", "made", "labelled"]);
    d.ok(&[
        &["run", "-d", "--name", "labelled", "--health-cmd", "false"],
        &FAST[..],
        &["labelled", "sleep", "600"],
    ]
    .concat());
    e.wait_status("annotated", "exited");
    wait_health(&d, "labelled", "unhealthy");
    assert_eq!(d.field("labelled", "{{.State.Status}}"), "running");
    c.ok(&["rm", "-f", "none", "labelled"]);
}

/// Compose waits for `service_healthy`, and gives up when a service is unhealthy.
#[test]
fn compose_waits_for_health() {
    let e = Engine::start();
    let project = e.fresh_dir("project");
    let file = r#"
services:
  db:
    image: busybox
    command: ["sh", "-c", "sleep 1; touch /ready; exec sleep 600"]
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 200ms, retries: 100}
  web:
    image: busybox
    command: ["sleep", "600"]
    healthcheck: {test: ["CMD-SHELL", "exit 1"], interval: 200ms, retries: 2}
    depends_on: {db: {condition: service_healthy}}
  never:
    image: busybox
    command: ["sleep", "600"]
    depends_on: {web: {condition: service_healthy}}
"#;
    std::fs::write(project.join("compose.yaml"), file).unwrap();
    let compose = |arguments: &[&str]| {
        let mut command = std::process::Command::new(workspace::compose());
        let here = command.args(["-p", "health"]).args(arguments).current_dir(&project);
        let out = here.env("DOCKER_HOST", e.host()).env("DOCKER_CONFIG", &project).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (ok, said) = compose(&["up", "-d", "--quiet-pull"]);
    assert!(
        !ok && said.contains("dependency failed to start: container health-web-1 is unhealthy"),
        "{said}"
    );
    let c = e.docker();
    let time = |name: &str, field: &str| c.field(name, &format!("{{{{{field}}}}}"));
    assert_eq!(time("health-db-1", ".State.Health.Status"), "healthy");
    assert_eq!(time("health-never-1", ".State.Status"), "created");
    let first = log(&c, "health-web-1");
    assert!(!first.is_empty(), "the second service was started when the first was healthy");
    let (ok, said) = compose(&["down", "-t", "0"]);
    assert!(ok, "{said}");
}
