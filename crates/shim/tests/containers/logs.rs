//! What is written to log files.
use crate::Test;
use crate::engine::*;
use knarr_shim_proto::line::MAX_LINE;
use knarr_shim_proto::*;
use std::time::Instant;

pub const TESTS: &[Test] = &[
    ("logs_are_rotated_while_the_container_prints", logs_are_rotated_while_the_container_prints),
    ("long_lines_and_bytes_are_logged", long_lines_and_bytes_are_logged),
    ("a_log_can_be_moved_away", a_log_can_be_moved_away),
    ("no_log_is_written_when_none_is_wanted", no_log_is_written_when_none_is_wanted),
    ("printing_is_fast", printing_is_fast),
];

fn logs_are_rotated_while_the_container_prints() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("seq 1 3000");
    container.config.log.max_size = Some(20_000);
    container.config.log.max_file = 20;
    let mut running = container.run(&mut spawner);
    running.control.exit();
    let mut text = Vec::new();
    let base = container.config.log.path.display().to_string();
    let files: Vec<String> = (1..30).rev().map(|n| format!("{base}.{n}")).chain([base.clone()]).collect();
    let existing = files.iter().filter(|name| std::path::Path::new(name).exists());
    for name in existing {
        let bytes = std::fs::read(name).unwrap();
        assert!(bytes.len() < 20_100, "{name}: {}", bytes.len());
        text.extend(bytes);
    }
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let numbers: Vec<u32> =
        lines.map(|line| json_log::decode(line).unwrap().log.trim_end().parse().unwrap()).collect();
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>());
    assert!(std::path::Path::new(&format!("{base}.5")).exists());
}

fn long_lines_and_bytes_are_logged() {
    let mut spawner = Spawner::start();
    let container = Container::new("head -c 20000 /dev/zero; echo; printf '\\377<&>\\n'; printf tail");
    container.run(&mut spawner).control.exit();
    let log: Vec<String> = container.log().into_iter().map(|(_, text)| text).collect();
    let zeros = |count: usize| "\0".repeat(count);
    assert_eq!(
        log,
        [zeros(MAX_LINE), zeros(20_000 - MAX_LINE) + "\n", "\u{fffd}<&>\n".to_owned(), "tail".to_owned()]
    );
}

fn a_log_can_be_moved_away() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("echo one; cat; echo two");
    container.config.open_stdin = true;
    container.config.stdin_once = true;
    let mut running = container.run(&mut spawner);
    eventually("first line", || !container.log().is_empty());
    let moved = container.path().join("moved");
    std::fs::rename(&container.config.log.path, &moved).unwrap();
    running.control.call(Call::ReopenLogs).unwrap();
    drop(stream(container.path(), Call::Attach(Streams::ALL)).unwrap());
    running.control.exit();
    assert_eq!(container.log(), [("stdout".to_owned(), "two\n".to_owned())]);
    assert!(std::fs::read_to_string(moved).unwrap().contains("one"));
}

fn no_log_is_written_when_none_is_wanted() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("echo unseen");
    container.config.log.driver = LogDriver::None;
    container.run(&mut spawner).control.exit();
    assert!(!container.config.log.path.exists());
}

fn printing_is_fast() {
    let mut spawner = Spawner::start();
    let container = Container::new(
        "yes 'a line of text that a program could print, of usual length, yes' | head -c 50000000",
    );
    let mut running = container.create(&mut spawner);
    let begin = Instant::now();
    running.control.call(Call::Start).unwrap();
    assert_eq!(running.control.exit().code, 0);
    let rate = 50.0 / begin.elapsed().as_secs_f64();
    println!("  {rate:.0} MB/s into json-file");
    let first = std::fs::read(&container.config.log.path).unwrap();
    let lines = first.iter().filter(|b| **b == b'\n').count();
    assert_eq!(lines, 50_000_000 / 64);
}
