//! The engine as a service: its configuration file, reload, metrics, the doctor, packages.

use knarr_e2e::command::eventually;
use knarr_e2e::{Engine, Options, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// A directory of a test's own that needs no engine.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("knarr-e2e-daemon-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn validate(dir: &Path, text: &str, flags: &[&str]) -> (bool, String) {
    let file = dir.join("validate.json");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(workspace::knarr());
    command.args(["daemon", "--validate", "--config-file"]).arg(&file).args(flags);
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.success(), String::from_utf8(stderr).unwrap())
}

#[test]
fn configuration_files_are_checked() {
    let dir = Scratch::new();
    for good in [
        "{}",
        r#"{"builder":{"gc":{"enabled":true,"defaultKeepStorage":"20GB"}},"experimental":false,"features":{"buildkit":true}}"#,
        r#"{"log-driver":"syslog","log-opts":{"syslog-address":"udp://h:1"},"metrics-addr":"127.0.0.1:9323","live-restore":true}"#,
        r#"{"authorization-plugins":[],"rootless":false,"cpu-rt-period":0,"default-ipc-mode":"shareable","default-stop-timeout":3}"#,
    ] {
        assert_eq!(validate(dir.0.as_path(), good, &[]), (true, "configuration OK\n".to_owned()), "{good}");
    }
    for (bad, flags, text) in [
        (r#"{"nope":1}"#, &[][..], "the following directives don't match any configuration option: nope"),
        (
            r#"{"debug":true}"#,
            &["--debug"],
            "the following directives are specified both as a flag and in the configuration file: debug",
        ),
        (
            r#"{"authorization-plugins":["x"]}"#,
            &[],
            "authorization-plugins cannot be used: there are no plugins",
        ),
        (r#"{"rootless":true}"#, &[], "rootless cannot be used"),
        (r#"{"features":{"cdi":true}}"#, &[], "feature cdi is not there"),
        (r#"{"log-driver":"splunk"}"#, &[], "logger: no log driver named 'splunk' is registered"),
        (r#"{"log-opts":{"x":"1"}}"#, &[], "unknown log opt 'x' for log driver local"),
        (r#"{"labels":["x"]}"#, &[], "bad attribute format: x"),
        (r#"{"bip":"x"}"#, &[], "invalid bip"),
        (r#"{"mtu":"x"}"#, &[], "mtu"),
        ("{", &[], "EOF"),
    ] {
        let (ok, said) = validate(dir.0.as_path(), bad, flags);
        assert!(!ok && said.contains(text), "{bad}: {said}");
    }
}

/// Labels, mirrors, level and default runtime change without a restart; a container that runs does not notice; a wrong file
/// changes nothing.
#[test]
fn a_hangup_reloads_the_file() {
    let dir = Scratch::new();
    let file = dir.0.as_path().join("daemon.json");
    std::fs::write(&file, r#"{"labels":["a=1"]}"#).unwrap();
    let e = Engine::with(Options::new().args(&["--config-file", file.to_str().unwrap()]));
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "long", "busybox", "sleep", "600"]);
    let hangup =
        || assert!(Command::new("kill").args(["-HUP", &e.pid().to_string()]).status().unwrap().success());
    let info = || c.ok(&["info", "--format", "{{.Labels}} {{.Debug}} {{.RegistryConfig.Mirrors}}"]);
    assert_eq!(info(), "[a=1] false []");
    let text = r#"{"labels":["b=2"],"debug":true,"registry-mirrors":["http://127.0.0.1:1"],"default-shm-size":"32m"}"#;
    std::fs::write(&file, text).unwrap();
    hangup();
    eventually("reload", LIMIT, || {
        (info() == "[b=2] true [http://127.0.0.1:1/]" || info() == "[b=2] true [http://127.0.0.1:1]")
            .then_some(())
    });
    let arguments =
        ["events", "--since", "1h", "--until", "0s", "--filter", "type=daemon", "--format", "json"];
    let event = eventually("the event", LIMIT, || {
        let events = c.ok(&arguments);
        serde_json::from_str::<serde_json::Value>(events.lines().last()?).ok()
    });
    assert_eq!(
        (&event["Action"], &event["Actor"]["Attributes"]["labels"]),
        (&"reload".into(), &r#"["b=2"]"#.into())
    );
    c.ok(&["create", "--name", "new", "busybox"]);
    assert_eq!(c.field("new", "{{.HostConfig.ShmSize}}"), (32 << 20).to_string());
    std::fs::write(&file, r#"{"labels":["c=3"],"nope":1}"#).unwrap();
    hangup();
    eventually("the mistake is logged", LIMIT, || {
        e.log_tail().contains("configuration option: nope").then_some(())
    });
    assert!(info().starts_with("[b=2] true"), "{}", info());
    assert_eq!(c.field("long", "{{.State.Status}}"), "running");
    c.ok(&["rm", "-f", "long", "new"]);
}

#[test]
fn metrics_are_served() {
    let e = Engine::with(Options::new().args(&["--metrics-addr", "127.0.0.1:9323"]));
    let c = e.docker();
    c.ok(&["run", "-d", "--name", "up", "busybox", "sleep", "600"]);
    c.ok(&["create", "--name", "made", "busybox"]);
    let page = e.on_host("busybox wget -q -O - http://127.0.0.1:9323/metrics");
    for line in [
        "engine_daemon_container_states_containers{state=\"running\"} 1",
        "engine_daemon_container_states_containers{state=\"stopped\"} 1",
        "engine_daemon_container_actions_seconds_count{action=\"create\"} 2",
        "engine_daemon_container_actions_seconds_count{action=\"start\"} 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
    c.ok(&["rm", "-f", "up", "made"]);
}

#[test]
fn the_doctor_looks_at_the_machine() {
    let e = Engine::start();
    let c = e.knarr();
    let table = c.run(&["system", "doctor"]).stdout;
    assert!(table.starts_with("CHECK"), "{table}");
    let report: serde_json::Value =
        serde_json::from_str(&c.run(&["system", "doctor", "--format", "json"]).stdout).unwrap();
    let checks = report["Checks"].as_array().unwrap();
    for name in ["kernel", "cgroups", "storage", "disk space", "firewall", "address pools", "clock", "limits"]
    {
        assert!(checks.iter().any(|check| check["Name"] == name), "{name}");
        assert!(table.contains(name), "{name}");
    }
    // Without an engine the machine is looked at all the same, and that there is none is a failure.
    let alone = Command::new(workspace::knarr())
        .args(["-H", "unix:///does/not/exist.sock", "system", "doctor"])
        .output()
        .unwrap();
    let said = String::from_utf8(alone.stdout).unwrap();
    assert_eq!(alone.status.code(), Some(1), "{said}");
    assert!(said.contains("kernel") && said.contains("engine") && said.contains("failed"), "{said}");
}

/// The packages are made, hold what they should, and install in Debian, where the program then runs.
#[test]
fn packages_install_in_debian() {
    let dir = Scratch::new();
    let made = Command::new(workspace::top().join("scripts/package-deb"))
        .arg(workspace::knarr())
        .arg(dir.0.as_path())
        .env("KNARR_DEB_COMPRESSION", "none")
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut all: Vec<String> = std::fs::read_dir(dir.0.as_path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    assert_eq!(all.len(), 2, "{all:?}");
    let listed = Command::new("dpkg-deb").arg("-c").arg(dir.0.as_path().join(&all[1])).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for path in
        ["./usr/bin/knarr", "./usr/lib/systemd/system/knarr.service", "./usr/lib/systemd/system/knarr.socket"]
    {
        assert!(
            listed.lines().any(|line| line.contains(" root/root ") && line.ends_with(path)),
            "{path}\n{listed}"
        );
    }
    let e = Engine::with(Options::new().images(&["debian-bookworm-slim.tar"]));
    let c = e.docker();
    let mount = format!("{}:/packages:ro", dir.0.as_path().display());
    let script = "dpkg -i /packages/*.deb >&2 && getent group knarr && knarr --version && docker --version && dpkg -V knarr \
                  && dpkg -r knarr-docker knarr >&2 && ! test -e /usr/bin/knarr";
    let said = c.ok(&["run", "--rm", "-v", &mount, "debian:bookworm-slim", "sh", "-c", script]);
    assert!(said.starts_with("knarr:x:") && said.contains("narr version"), "{said}");
}

/// systemd finds nothing wrong with the units, if it is there to ask.
#[test]
fn units_are_valid() {
    let dir = Scratch::new();
    let units = workspace::top().join("packaging/systemd");
    let Ok(text) = std::fs::read_to_string(units.join("knarr.service")) else { panic!("no unit") };
    // The program is not installed here.
    let text = text.replace("/usr/bin/knarr", "/bin/true");
    std::fs::write(dir.0.as_path().join("knarr.service"), text).unwrap();
    std::fs::copy(units.join("knarr.socket"), dir.0.as_path().join("knarr.socket")).unwrap();
    let mut command = Command::new("systemd-analyze");
    command
        .args(["verify", "--man=no"])
        .arg(dir.0.as_path().join("knarr.service"))
        .arg(dir.0.as_path().join("knarr.socket"));
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("no systemd-analyze: not verified")
        }
        Err(error) => panic!("{error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("knarr."), "{said}");
        }
    }
}
