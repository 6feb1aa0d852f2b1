//! Log drivers through Docker's clients: options, files, targets that are slow or dead.

use knarr_e2e::command::eventually;
use knarr_e2e::{Cli, Engine};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn names(dir: &Path) -> Vec<String> {
    let mut all: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    all.sort();
    all
}

#[test]
fn local_is_the_default_and_keeps_to_its_limits() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(c.ok(&["info", "--format", "{{.LoggingDriver}}"]), "local");
        let limits = ["--log-opt", "max-size=20k", "--log-opt", "max-file=3", "--log-opt", "compress=false"];
        let run = [&["run", "--name", "ll"][..], &limits, &["busybox", "seq", "1", "50000"]].concat();
        c.ok(&run);
        let id = c.field("ll", "{{.Id}}");
        assert_eq!(c.field("ll", "{{.HostConfig.LogConfig.Type}}|{{.LogPath}}"), "local|");
        let dir = e.data().join("containers").join(&id).join("local-logs");
        assert_eq!(names(&dir), ["container.log", "container.log.1", "container.log.2"]);
        let size: u64 = names(&dir).iter().map(|n| dir.join(n).metadata().unwrap().len()).sum();
        // What is read at once may be longer than a file is to be.
        assert!(size < 3 * (20_000 + 130_000), "{size}");
        let lines = c.ok(&["logs", "ll"]);
        let numbers: Vec<u32> = lines.lines().map(|line| line.parse().unwrap()).collect();
        let first = *numbers.first().unwrap();
        assert_eq!(numbers, (first..=50_000).collect::<Vec<_>>());
        assert_eq!(c.ok(&["logs", "--tail", "2", "ll"]), "49999\n50000");
        c.ok(&["rm", "ll"]);
    }
}

#[test]
fn json_file_is_dockers() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "--name",
            "jj",
            "--log-driver",
            "json-file",
            "--log-opt",
            "max-size=10k",
            "--log-opt",
            "max-file=4",
            "--log-opt",
            "labels=a,b",
            "--log-opt",
            "env-regex=^SHOWN",
            "--log-opt",
            "tag={{.Name}}-{{upper \"x\"}}",
            "--label",
            "a=1",
            "-e",
            "SHOWN_1=y",
            "-e",
            "HIDDEN=z",
            "busybox",
            "sh",
            "-c",
            "seq 1 2000; echo '<&>' >&2",
        ]);
        let id = c.field("jj", "{{.Id}}");
        let path = e.data().join("containers").join(&id).join(format!("{id}-json.log"));
        assert_eq!(Path::new(&c.field("jj", "{{.LogPath}}")), path);
        for number in 1..=3 {
            assert!(Path::new(&format!("{}.{number}", path.display())).exists(), "{number}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let attrs = "\"attrs\":{\"SHOWN_1\":\"y\",\"a\":\"1\",\"tag\":\"jj-X\"}";
        assert!(text.contains(&format!("\"stream\":\"stdout\",{attrs},\"time\":\"")), "{text}");
        let all = c.run(&["logs", "jj"]).code(0);
        assert_eq!(all.stderr, "<&>\n");
        assert!(all.stdout.ends_with("\n2000\n"), "{}", all.stdout);
        let details = c.run(&["logs", "--details", "--tail", "1", "jj"]).code(0);
        let shown = format!("{}{}", details.stdout, details.stderr);
        assert!(shown.starts_with("SHOWN_1=y,a=1,tag=jj-X "), "{shown}");
        c.ok(&["rm", "jj"]);
    }
}

#[test]
fn options_are_validated_as_dockers() {
    let e = Engine::start();
    for c in e.clients() {
        let refuses = |flags: &[&str], text: &str| {
            let all = [&["create", "--name", "no"][..], flags, &["busybox"]].concat();
            let output = c.run(&all);
            assert_ne!(output.code, 0, "{flags:?}");
            output.says(text);
        };
        let json = |option: &'static str| ["--log-driver", "json-file", "--log-opt", option];
        refuses(&json("x=1"), "unknown log opt 'x' for json-file log driver");
        refuses(&["--log-opt", "x=1"], "unknown log opt 'x' for log driver local");
        refuses(&["--log-driver", "splunk"], "logger: no log driver named 'splunk' is registered");
        refuses(&json("mode=perhaps"), "logger: logging mode not supported: perhaps");
        refuses(&json("max-file=0"), "max-file cannot be less than 1");
        refuses(&["--log-driver", "syslog", "--log-opt", "syslog-facility=x"], "invalid syslog facility");
        c.ok(&["create", "--name", "none", "--log-driver", "none", "busybox", "true"]);
        c.fails(1, &["logs", "none"]).says("configured logging driver does not support reading");
        c.ok(&["rm", "none"]);
    }
}

/// Everything arrives at the server, and `logs` works all the same; a server that is dead, or takes nothing, stops nobody, and
/// `inspect` says how much was lost.
#[test]
fn syslog_gets_all_or_loses_without_waiting() {
    let e = Engine::start();
    for c in e.clients() {
        let path = e.fresh("syslog");
        let listener = UnixListener::bind(&path).unwrap();
        let address = format!("syslog-address=unix://{}", path.display());
        let syslog = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "tag={{.Name}}"];
        let run = [&["run", "--name", "good"][..], &syslog, &["busybox", "seq", "1", "2000"]].concat();
        let server = std::thread::spawn(move || {
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            (listener, text)
        });
        c.ok(&run);
        let (listener, text) = server.join().unwrap();
        assert_eq!(text.lines().count(), 2000);
        assert!(text.lines().next().unwrap().contains(" good["), "{text}");
        assert!(text.ends_with("]: 2000\n"), "{text}");
        assert_eq!(c.ok(&["logs", "--tail", "1", "good"]), "2000");
        assert!(c.inspect("good")["State"]["LogLost"].is_null());

        // It accepts and never reads.
        let print = "yes 'a line of text that a program could print, of usual length' | head -c 30000000";
        let run = [&["run", "-d", "--name", "stuck"][..], &syslog, &["busybox", "sh", "-c", print]].concat();
        c.ok(&run);
        let stuck = listener.accept().unwrap();
        eventually("the container ends", LIMIT, || {
            (c.field("stuck", "{{.State.Status}}") == "exited").then_some(())
        });
        let lost = c.inspect("stuck")["State"]["LogLost"].as_u64().unwrap();
        assert!(lost > 10_000, "{lost}");
        drop((stuck, listener));
        std::fs::remove_file(&path).unwrap();
        c.ok(&["rm", "good", "stuck"]);
    }
}

#[test]
fn the_engines_defaults_count() {
    let options = knarr_e2e::Options::new().args(&["--log-driver", "json-file", "--log-opt", "max-size=5k"]);
    let e = Engine::with(options);
    let c: Cli = e.docker();
    c.ok(&["run", "--name", "dd", "--log-opt", "max-file=2", "busybox", "seq", "1", "500"]);
    assert_eq!(
        c.field("dd", "{{json .HostConfig.LogConfig}}"),
        "{\"Type\":\"json-file\",\"Config\":{\"max-file\":\"2\",\"max-size\":\"5k\"}}"
    );
    let path = c.field("dd", "{{.LogPath}}");
    assert!(Path::new(&format!("{path}.1")).exists());
    c.ok(&["run", "--name", "ll", "--log-driver", "local", "busybox", "echo", "x"]);
    assert_eq!(c.field("ll", "{{len .HostConfig.LogConfig.Config}}"), "0");
    c.ok(&["rm", "dd", "ll"]);
}
