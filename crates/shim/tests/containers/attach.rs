//! Clients of a container's streams.
use crate::Test;
use crate::engine::*;
use knarr_shim_proto::*;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    ("an_attach_before_start_misses_nothing", an_attach_before_start_misses_nothing),
    ("the_first_end_of_input_ends_the_containers", the_first_end_of_input_ends_the_containers),
    ("without_stdin_once_the_end_of_input_detaches", without_stdin_once_the_end_of_input_detaches),
    ("a_slow_client_holds_up_the_container", a_slow_client_holds_up_the_container),
    ("a_client_that_is_gone_holds_up_nothing", a_client_that_is_gone_holds_up_nothing),
    ("much_input_arrives_whole", much_input_arrives_whole),
    ("a_terminal_is_raw_and_has_a_size", a_terminal_is_raw_and_has_a_size),
    ("output_held_open_does_not_delay_the_exit", output_held_open_does_not_delay_the_exit),
    ("an_ended_container_takes_no_clients", an_ended_container_takes_no_clients),
];

fn with_input(script: &str, stdin_once: bool) -> Container {
    let mut container = Container::new(script);
    container.config.open_stdin = true;
    container.config.stdin_once = stdin_once;
    container
}

fn attach(container: &Container, streams: Streams) -> std::os::unix::net::UnixStream {
    stream(container.path(), Call::Attach(streams)).unwrap()
}

fn an_attach_before_start_misses_nothing() {
    let mut spawner = Spawner::start();
    let container = Container::new("echo out; echo err >&2; printf end");
    let mut running = container.create(&mut spawner);
    let all = attach(&container, Streams::OUTPUT);
    let only_err = attach(&container, Streams { stderr: true, ..Streams::default() });
    running.control.call(Call::Start).unwrap();
    assert_eq!(demultiplex(all), (b"out\nend".to_vec(), b"err\n".to_vec()));
    assert_eq!(demultiplex(only_err), (Vec::new(), b"err\n".to_vec()));
    assert_eq!(running.control.exit().code, 0);
    let mut log = container.log();
    log.sort();
    let line = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert_eq!(log, [line("stderr", "err\n"), line("stdout", "end"), line("stdout", "out\n")]);
}

fn the_first_end_of_input_ends_the_containers() {
    let mut spawner = Spawner::start();
    let container = with_input("cat; echo done", true);
    let mut running = container.run(&mut spawner);
    let mut client = attach(&container, Streams::ALL);
    client.write_all(b"a\nb\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(demultiplex(client).0, b"a\nb\ndone\n");
    assert_eq!(running.control.exit().code, 0);
}

fn without_stdin_once_the_end_of_input_detaches() {
    let mut spawner = Spawner::start();
    let container = with_input("cat", false);
    let mut running = container.run(&mut spawner);
    for text in ["one\n", "two\n"] {
        let mut client = attach(&container, Streams::ALL);
        client.write_all(text.as_bytes()).unwrap();
        let mut header = [0; 8];
        client.read_exact(&mut header).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, text.as_bytes());
    }
    assert_eq!(running.control.state().phase, Phase::Running);
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    assert_eq!(running.control.exit().code, 137);
}

fn a_slow_client_holds_up_the_container() {
    let mut spawner = Spawner::start();
    let bytes = 8 << 20;
    let container = Container::new(&format!("head -c {bytes} /dev/zero; echo over >/tmp/over"));
    let mut running = container.create(&mut spawner);
    let client = attach(&container, Streams::OUTPUT);
    running.control.call(Call::Start).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(running.control.state().phase, Phase::Running);
    assert!(!container.path().join("rootfs/tmp/over").exists(), "it wrote more than buffers can hold");
    let out = demultiplex(client).0;
    assert_eq!(out.len(), bytes);
    assert_eq!(running.control.exit().code, 0);
    let logged: usize = container.log().iter().map(|(_, text)| text.len()).sum();
    assert_eq!(logged, bytes);
}

fn a_client_that_is_gone_holds_up_nothing() {
    let mut spawner = Spawner::start();
    let container = Container::new("head -c 8000000 /dev/zero; exit 3");
    let mut running = container.create(&mut spawner);
    let client = attach(&container, Streams::OUTPUT);
    running.control.call(Call::Start).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(running.control.state().phase, Phase::Running);
    drop(client);
    assert_eq!(running.control.exit().code, 3);
    // The rest of an ended container's output waits for a client that is slow.
    let container = Container::new("head -c 50000 /dev/zero; exit 4");
    let mut running = container.create(&mut spawner);
    let client = attach(&container, Streams::OUTPUT);
    running.control.call(Call::Start).unwrap();
    assert_eq!(running.control.exit().code, 4);
    drop(running.control);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(demultiplex(client).0.len(), 50_000);
    eventually("the supervisor ends", || !is_alive(running.shim_pid));
}

fn much_input_arrives_whole() {
    let mut spawner = Spawner::start();
    let container = with_input("sleep 0.3; cat | dd of=/tmp/copy 2>/dev/null; echo stored", true);
    let mut running = container.run(&mut spawner);
    let client = attach(&container, Streams::ALL);
    let input: Vec<u8> = (0..6_000_000u32).map(|n| (n / 251) as u8).collect();
    let writer = {
        let (mut client, input) = (client.try_clone().unwrap(), input.clone());
        std::thread::spawn(move || {
            client.write_all(&input).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        })
    };
    assert_eq!(demultiplex(client).0, b"stored\n");
    writer.join().unwrap();
    assert_eq!(running.control.exit().code, 0);
    assert!(std::fs::read(container.path().join("rootfs/tmp/copy")).unwrap() == input);
}

fn a_terminal_is_raw_and_has_a_size() {
    let mut spawner = Spawner::start();
    let mut container =
        Container::terminal("stty size; read line; stty size; echo \"got $line\"; echo err >&2");
    container.config.open_stdin = true;
    let mut running = container.create(&mut spawner);
    let mut client = attach(&container, Streams::ALL);
    running.control.call(Call::Start).unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 100];
    while !text.ends_with(b"24 80\r\n") {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..count]);
    }
    running.control.call(Call::Resize { exec_id: None, rows: 50, cols: 132 }).unwrap();
    client.write_all(b"hello\n").unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hello\r\n50 132\r\ngot hello\r\nerr\r\n");
    assert_eq!(running.control.exit().code, 0);
    assert!(container.log().iter().all(|(stream, _)| stream == "stdout"));
}

/// A command outlives its shell and keeps its output: the command's exit is reported at once, its stream ends soon.
fn output_held_open_does_not_delay_the_exit() {
    let mut spawner = Spawner::start();
    let container = Container::new("sleep 100");
    let mut running = container.run(&mut spawner);
    let begin = Instant::now();
    let process = serde_json::json!({ "args": ["/bin/sh", "-c", "sleep 50 & echo here; exit 6"] });
    let client = stream(container.path(), exec("e", process, Streams::OUTPUT, true)).unwrap();
    assert_eq!(running.control.exec_exit("e").code, 6);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert_eq!(demultiplex(client).0, b"here\n");
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    running.control.exit();
}

fn an_ended_container_takes_no_clients() {
    let mut spawner = Spawner::start();
    let container = Container::new("exit 0");
    let mut running = container.run(&mut spawner);
    running.control.exit();
    let refused = stream(container.path(), Call::Attach(Streams::OUTPUT)).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Conflict);
    let process = serde_json::json!({ "args": ["/bin/true"] });
    let refused = stream(container.path(), exec("e", process, Streams::OUTPUT, true)).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Conflict);
}
