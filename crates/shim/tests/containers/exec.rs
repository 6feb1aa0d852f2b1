//! Commands executed in a running container.
use crate::Test;
use crate::engine::*;
use knarr_shim_proto::*;
use serde_json::json;
use std::io::{Read, Write};
use std::net::Shutdown;

pub const TESTS: &[Test] = &[
    ("commands_have_codes_streams_and_state", commands_have_codes_streams_and_state),
    ("the_exit_is_told_before_the_stream_ends", the_exit_is_told_before_the_stream_ends),
    ("a_command_that_cannot_run_is_an_error", a_command_that_cannot_run_is_an_error),
    ("a_command_reads_its_input", a_command_reads_its_input),
    ("a_command_has_a_terminal", a_command_has_a_terminal),
    ("commands_end_with_their_container", commands_end_with_their_container),
    ("many_commands_at_once", many_commands_at_once),
    ("init_forwards_and_collects", init_forwards_and_collects),
];

fn sh(script: &str) -> serde_json::Value {
    json!({ "args": ["/bin/sh", "-c", script] })
}

fn idle(spawner: &mut Spawner) -> (Container, Running) {
    let container = Container::new("sleep 1000");
    let running = container.run(spawner);
    (container, running)
}

fn end(mut running: Running) {
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    running.control.exit();
}

fn commands_have_codes_streams_and_state() {
    let mut spawner = Spawner::start();
    let (container, mut running) = idle(&mut spawner);
    let client =
        stream(container.path(), exec("a", sh("echo out; echo err >&2; exit 12"), Streams::OUTPUT, true))
            .unwrap();
    assert_eq!(demultiplex(client), (b"out\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(running.control.exec_exit("a").code, 12);
    // Detached: no stream, the same result.
    let answer =
        running.control.call(exec("b", sh("sleep 0.2; exit 13"), Streams::default(), false)).unwrap();
    let Answer::Started { pid } = answer else { panic!("{answer:?}") };
    let state = running.control.state();
    let found = state.execs.iter().find(|exec| exec.exec_id == "b").unwrap();
    assert_eq!((found.pid, &found.exit), (pid, &None));
    assert_eq!(running.control.exec_exit("b").code, 13);
    // An engine that comes back finds the codes.
    let state = Control::connect(container.path()).state();
    let codes: Vec<(String, i32)> =
        state.execs.into_iter().map(|exec| (exec.exec_id, exec.exit.unwrap().code)).collect();
    assert_eq!(codes, [("a".to_owned(), 12), ("b".to_owned(), 13)]);
    assert!(container.log().is_empty(), "commands are not logged");
    end(running);
}

fn the_exit_is_told_before_the_stream_ends() {
    let mut spawner = Spawner::start();
    let (container, mut running) = idle(&mut spawner);
    for number in 0..20 {
        let id = format!("e{number}");
        let mut client = stream(container.path(), exec(&id, sh("exit 3"), Streams::OUTPUT, true)).unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        // Without waiting: it must be there.
        running.control.socket.set_nonblocking(true).unwrap();
        assert_eq!(running.control.exec_exit(&id).code, 3);
        running.control.socket.set_nonblocking(false).unwrap();
    }
    end(running);
}

fn a_command_that_cannot_run_is_an_error() {
    let mut spawner = Spawner::start();
    let (container, mut running) = idle(&mut spawner);
    for (args, kind) in [
        (json!(["nope"]), FailureKind::CommandNotFound),
        (json!(["/tmp"]), FailureKind::CommandNotExecutable),
    ] {
        let failure =
            stream(container.path(), exec("e", json!({ "args": args }), Streams::OUTPUT, true)).unwrap_err();
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
    assert!(running.control.state().execs.is_empty());
    let before = std::fs::read_dir(format!("/proc/{}/fd", running.shim_pid)).unwrap().count();
    for _ in 0..5 {
        stream(container.path(), exec("e", json!({ "args": ["nope"] }), Streams::ALL, true)).unwrap_err();
    }
    running.control.state();
    eventually("descriptors are closed", || {
        std::fs::read_dir(format!("/proc/{}/fd", running.shim_pid)).unwrap().count() <= before
    });
    end(running);
}

fn a_command_reads_its_input() {
    let mut spawner = Spawner::start();
    let (container, running) = idle(&mut spawner);
    let mut client = stream(container.path(), exec("e", sh("cat; echo end"), Streams::ALL, true)).unwrap();
    client.write_all(b"some text\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(demultiplex(client).0, b"some text\nend\n");
    end(running);
}

fn a_command_has_a_terminal() {
    let mut spawner = Spawner::start();
    let (container, mut running) = idle(&mut spawner);
    let mut process = sh("stty size; read x; stty size");
    let more = json!({ "terminal": true, "consoleSize": { "height": 11, "width": 22 } });
    process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut client = stream(container.path(), exec("t", process, Streams::ALL, true)).unwrap();
    let mut first = [0; 7];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"11 22\r\n");
    let resize = Call::Resize { exec_id: Some("t".to_owned()), rows: 33, cols: 44 };
    running.control.call(resize).unwrap();
    client.write_all(b"\n").unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\r\n33 44\r\n");
    let resize = Call::Resize { exec_id: Some("t".to_owned()), rows: 1, cols: 1 };
    assert_eq!(running.control.call(resize).unwrap_err().kind, FailureKind::NotFound);
    end(running);
}

fn commands_end_with_their_container() {
    let mut spawner = Spawner::start();
    let (container, mut running) = idle(&mut spawner);
    let client = stream(container.path(), exec("e", sh("sleep 1000"), Streams::ALL, true)).unwrap();
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    assert_eq!(demultiplex(client), (Vec::new(), Vec::new()));
    running.control.exit();
    eventually("the command's end is known", || {
        running
            .control
            .state()
            .execs
            .iter()
            .all(|exec| exec.exit.as_ref().is_some_and(|exit| exit.code == 137))
    });
    running.control.call(Call::Shutdown).unwrap();
    assert!(running.control.ends());
}

fn many_commands_at_once() {
    let mut spawner = Spawner::start();
    let (container, running) = idle(&mut spawner);
    let clients: Vec<_> = (0..40)
        .map(|n| {
            let script = format!("sleep 0.1; seq 1 2000; exit {n}");
            stream(container.path(), exec(&format!("m{n}"), sh(&script), Streams::OUTPUT, true)).unwrap()
        })
        .collect();
    let want: String = (1..=2000).map(|n| format!("{n}\n")).collect();
    for client in clients {
        assert_eq!(demultiplex(client).0, want.as_bytes());
    }
    let state = Control::connect(container.path()).state();
    let mut codes: Vec<i32> = state.execs.iter().map(|exec| exec.exit.as_ref().unwrap().code).collect();
    codes.sort_unstable();
    assert_eq!(codes, (0..40).collect::<Vec<_>>());
    end(running);
}

/// PID 1 of `--init` is this program under another name.
fn init_forwards_and_collects() {
    let mut spawner = Spawner::start();
    let script = "(sleep 0.1 &) ; trap 'exit 21' TERM; echo ready; while :; do sleep 0.05; done";
    let container = Container::with(json!({ "args": ["/sbin/init", "--", "/bin/sh", "-c", script] }));
    let target = container.path().join("rootfs/sbin");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::copy("/proc/self/exe", target.join("init")).unwrap();
    let mut container = container;
    let process = container.spec.process.as_mut().unwrap();
    process.env.push("KNARR_TEST_INIT=1".to_owned());
    let mut running = container.run(&mut spawner);
    eventually("ready", || !container.log().is_empty());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let zombies = stream(
        container.path(),
        exec(
            "z",
            sh("for p in /proc/[0-9]*; do read -r a b c d < $p/stat && echo $c; done"),
            Streams::OUTPUT,
            true,
        ),
    )
    .unwrap();
    let states = String::from_utf8(demultiplex(zombies).0).unwrap();
    assert!(!states.contains('Z'), "{states}");
    running.control.call(Call::Kill { exec_id: None, signal: 15 }).unwrap();
    assert_eq!(running.control.exit().code, 21);
}
