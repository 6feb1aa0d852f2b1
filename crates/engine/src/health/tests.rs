use super::*;
use crate::record::{HealthStatus, ProbeResult, Time};
use knarr_base::ContainerId;
use knarr_docker_types::Map;
use knarr_docker_types::container_config::{Config, HealthConfig};
use std::fmt::Write;
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;

fn config(test: &[&str]) -> Config {
    let test: Vec<String> = test.iter().map(|text| (*text).to_owned()).collect();
    Config {
        healthcheck: Some(HealthConfig { test: test.into(), ..HealthConfig::default() }),
        ..Config::default()
    }
}

fn of(config: &Config) -> Option<Plan> {
    Plan::of(config, &Map::empty())
}

fn plan() -> Plan {
    let mut config = config(&["CMD", "true"]);
    let check = config.healthcheck.as_mut().unwrap();
    (check.interval_ns, check.start_interval_ns) = (10 * SECOND, SECOND);
    (check.start_period_ns, check.retries) = (5 * SECOND, 2);
    of(&config).unwrap()
}

/// Events at seconds after the start; what follows, as text. `+`, `-`, `?`: the probe that runs ends well, badly, not at all.
fn play(plan: &Plan, events: &[(i64, &str)]) -> String {
    let mut text = String::new();
    let mut state = State::default();
    for (second, name) in events {
        let at = |second: i64| Time((1000 + second) * SECOND);
        let result = |exit_code| ProbeResult {
            start: at(*second),
            end: at(*second),
            exit_code,
            output: format!("at {second}"),
        };
        let number = state.probing.unwrap_or_default();
        let event = match *name {
            "start" => Event::Start,
            "resume" => Event::Resume { thousandths: 250 },
            "suspend" => Event::Suspend,
            "due" => Event::Due,
            "+" => Event::Probed { number, result: Some(result(0)) },
            "-" => Event::Probed { number, result: Some(result(1)) },
            "?" => Event::Probed { number, result: None },
            "late" => Event::Probed { number: state.count, result: Some(result(1)) },
            other => panic!("{other}"),
        };
        let (next, effects) = step(plan, state, event, Moment { now: at(*second), started_at: at(0) });
        state = next;
        let health = state.health.clone().unwrap_or_default();
        let _ = writeln!(
            text,
            "{second:>3} {name:<8} {:<9} streak {} log {} {effects:?}",
            health.status.as_str(),
            health.streak,
            health.log.len()
        );
    }
    text
}

#[test]
fn dockers_defaults() {
    let plan = of(&config(&["CMD-SHELL", "curl x"])).unwrap();
    assert_eq!(
        plan,
        Plan {
            probe: Probe::Command(["/bin/sh", "-c", "curl x"].map(str::to_owned).to_vec()),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
            retries: 3,
            on_failure: OnFailure::None,
        }
    );
    let shell =
        Config { shell: vec!["/bin/ash".to_owned(), "-ec".to_owned()].into(), ..config(&["CMD-SHELL", "x"]) };
    assert_eq!(
        of(&shell).unwrap().probe,
        Probe::Command(["/bin/ash", "-ec", "x"].map(str::to_owned).to_vec())
    );
    for none in [&["NONE"][..], &[], &[""], &["WAT"]] {
        assert_eq!(of(&config(none)), None);
    }
    assert_eq!(of(&Config::default()), None);
}

#[test]
fn failures_in_the_start_period_do_not_count() {
    insta::assert_snapshot!(play(
        &plan(),
        &[
            (0, "start"),
            (1, "due"),
            (1, "-"),
            (4, "due"),
            (4, "-"),
            (6, "due"),
            (6, "-"),
            (16, "due"),
            (16, "-"),
            (26, "due"),
            (26, "+")
        ],
    ));
}

#[test]
fn a_success_ends_the_start_period() {
    insta::assert_snapshot!(play(
        &plan(),
        &[
            (0, "start"),
            (1, "due"),
            (1, "+"),
            (2, "due"),
            (2, "-"),
            (3, "due"),
            (3, "-"),
            (4, "due"),
            (4, "-")
        ],
    ));
}

#[test]
fn pauses_and_results_that_nobody_waits_for() {
    insta::assert_snapshot!(play(
        &plan(),
        &[
            (0, "start"),
            (1, "due"),
            (1, "due"),
            (1, "+"),
            (11, "due"),
            (12, "suspend"),
            (12, "late"),
            (13, "due"),
            (20, "resume"),
            (22, "due"),
            (22, "?"),
            (32, "due"),
            (32, "+"),
            (33, "start"),
            (34, "suspend"),
            (34, "suspend")
        ],
    ));
}

#[test]
fn only_the_last_results_are_kept() {
    let mut state =
        step(&plan(), State::default(), Event::Start, Moment { now: Time(1), started_at: Time(1) }).0;
    for number in 1..=20 {
        let at = Moment { now: Time(SECOND * number), started_at: Time(1) };
        state = step(&plan(), state, Event::Due, at).0;
        let result = ProbeResult { output: number.to_string(), ..ProbeResult::default() };
        state = step(&plan(), state, Event::Probed { number: number as u64, result: Some(result) }, at).0;
    }
    let health = state.health.unwrap();
    let log: Vec<&str> = health.log.iter().map(|result| result.output.as_str()).collect();
    assert_eq!((log, health.status), (vec!["16", "17", "18", "19", "20"], HealthStatus::Healthy));
}

#[test]
fn a_probe_is_known_by_its_id() {
    let (one, two) = (ContainerId::from_bytes(&[1; 32]), ContainerId::from_bytes(&[2; 32]));
    let probe = run::probe_id(&one);
    assert_eq!(probe.len(), 64);
    assert!(is_probe(&one, &probe) && !is_probe(&two, &probe));
}

#[test]
fn native_forms() {
    let parsed = |test: &[&str]| match check(config(test).healthcheck.as_ref().unwrap()) {
        Ok(()) => format!("{:?}", of(&config(test)).unwrap().probe),
        Err(why) => why,
    };
    let forms: &[&[&str]] = &[
        &["HTTP", "http://:8080/healthz?x=1#part"],
        &["HTTP", "http://10.0.0.1"],
        &["HTTP", "http://[::1]:81/"],
        &["HTTP", "http://[::1]"],
        &["HTTP", "http://localhost:1?x"],
        &["HTTP", "http://name/"],
        &["HTTP", "http://a@127.0.0.1/"],
        &["HTTP", "http://:80/a b\r\nX: y"],
        &["HTTP", "https://:80/"],
        &["HTTP", ":80"],
        &["HTTP", "http://:0/"],
        &["HTTP"],
        &["TCP", "5432"],
        &["TCP", ":5432"],
        &["TCP", "127.0.0.1:5432"],
        &["TCP", "127.0.0.1"],
        &["TCP", "65536"],
        &["TCP", ""],
        &["TCP", "1", "2"],
        &["GRPC", "50051"],
        &["GRPC", "[::1]:50051/a.b.C"],
    ];
    let text: Vec<String> = forms.iter().map(|test| format!("{test:?}\n    {}", parsed(test))).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn answers() {
    let http = |head: &str| native::verdict(head.as_bytes());
    assert_eq!(http("HTTP/1.1 204 No Content\r\nX: y"), Ok("HTTP/1.1 204 No Content".to_owned()));
    assert_eq!(http("HTTP/1.0 302\n"), Ok("HTTP/1.0 302".to_owned()));
    assert_eq!(http("HTTP/1.1 503 Busy\r\n"), Err("HTTP/1.1 503 Busy".to_owned()));
    for bad in
        ["", "HTTP/1.1 200 OK", "HTTP/2 200 OK\n", "HTTP/1.1 2000 OK\n", "HTTP/1.1 +20 OK\n", "SSH-2.0-x\r\n"]
    {
        assert!(http(bad).is_err(), "{bad}");
    }
    assert_eq!(&native::message("")[..], [0, 0, 0, 0, 0]);
    assert_eq!(&native::message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
    let status = |bytes: &[u8]| {
        let mut frame = vec![0, 0, 0, 0, u8::try_from(bytes.len()).unwrap()];
        frame.extend_from_slice(bytes);
        native::serving_status(frame.into())
    };
    assert_eq!((status(&[]), status(&[8, 1]), status(&[8, 2])), (Some(0), Some(1), Some(2)));
    assert_eq!(
        status(&[0x12, 2, 9, 9, 0x1d, 1, 2, 3, 4, 0x10, 0x80, 1, 8, 1]),
        Some(1),
        "others are skipped"
    );
    for bad in [
        &[8][..],
        &[8, 0x80],
        &[0x12, 5, 1],
        &[0x0b],
        &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ] {
        assert_eq!(status(bad), None, "{bad:?}");
    }
    for bad in [&[][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 1], &[0, 0, 0, 0, 0, 0]] {
        assert_eq!(native::serving_status(bad.to_vec().into()), None);
    }
}

#[test]
fn an_action_comes_with_each_full_streak() {
    let plan = Plan { on_failure: OnFailure::Restart, ..plan() };
    insta::assert_snapshot!(play(
        &plan,
        &[
            (0, "start"),
            (1, "due"),
            (1, "-"),
            (6, "due"),
            (6, "-"),
            (16, "due"),
            (16, "-"),
            (26, "due"),
            (26, "-"),
            (36, "due"),
            (36, "-"),
            (46, "due"),
            (46, "+")
        ],
    ));
}
