use super::*;
use crate::record::{HealthStatus, ProbeResult, Time};
use knarr_base::ContainerId;
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

fn plan() -> Plan {
    let mut config = config(&["CMD", "true"]);
    let check = config.healthcheck.as_mut().unwrap();
    (check.interval_ns, check.start_interval_ns) = (10 * SECOND, SECOND);
    (check.start_period_ns, check.retries) = (5 * SECOND, 2);
    Plan::of(&config).unwrap()
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
    let plan = Plan::of(&config(&["CMD-SHELL", "curl x"])).unwrap();
    assert_eq!(
        plan,
        Plan {
            probe: Probe::Command(["/bin/sh", "-c", "curl x"].map(str::to_owned).to_vec()),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::ZERO,
            start_interval: Duration::from_secs(5),
            retries: 3,
        }
    );
    let shell =
        Config { shell: vec!["/bin/ash".to_owned(), "-ec".to_owned()].into(), ..config(&["CMD-SHELL", "x"]) };
    assert_eq!(
        Plan::of(&shell).unwrap().probe,
        Probe::Command(["/bin/ash", "-ec", "x"].map(str::to_owned).to_vec())
    );
    for none in [&["NONE"][..], &[], &[""], &["WAT"]] {
        assert_eq!(Plan::of(&config(none)), None);
    }
    assert_eq!(Plan::of(&Config::default()), None);
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
