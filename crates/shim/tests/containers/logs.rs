//! What is written to log files.
use crate::Test;
use crate::engine::*;
use knarr_logs::{Control, Entry, LogReader, Query, Tail};
use knarr_shim_proto::line::MAX_LINE;
use knarr_shim_proto::*;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::time::Instant;

pub const TESTS: &[Test] = &[
    ("logs_are_rotated_while_the_container_prints", logs_are_rotated_while_the_container_prints),
    ("long_lines_and_bytes_are_logged", long_lines_and_bytes_are_logged),
    ("a_log_can_be_moved_away", a_log_can_be_moved_away),
    ("no_log_is_written_when_none_is_wanted", no_log_is_written_when_none_is_wanted),
    ("local_logs_are_read_as_they_were_printed", local_logs_are_read_as_they_were_printed),
    ("old_files_are_compressed", old_files_are_compressed),
    ("the_journal_gets_dockers_fields", the_journal_gets_dockers_fields),
    ("syslog_servers_get_every_message", syslog_servers_get_every_message),
    ("syslog_over_tls_trusts_whom_it_is_told_to", syslog_over_tls_trusts_whom_it_is_told_to),
    ("a_dead_or_stuck_target_stops_nobody", a_dead_or_stuck_target_stops_nobody),
    ("a_server_that_comes_later_gets_what_waits", a_server_that_comes_later_gets_what_waits),
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

fn local(container: &mut Container) {
    container.config.log.driver = LogDriver::Local;
    container.config.log.path = container.path().join("container.log");
}

fn entries(container: &Container, query: Query) -> Vec<Entry> {
    let control = Control::new().unwrap();
    LogReader::open(&container.config.log.path, query, control).unwrap().map(Result::unwrap).collect()
}

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.log).into_owned()).collect()
}

fn local_logs_are_read_as_they_were_printed() {
    let mut spawner = Spawner::start();
    let mut container = Container::new(
        "seq 1 20000; head -c 40000 /dev/zero; echo; printf '\\377\\n'; echo oops >&2; printf tail",
    );
    local(&mut container);
    container.config.log.max_size = Some(30_000);
    container.config.log.max_file = 100;
    container.config.log.attrs = [("tag".to_owned(), "t".to_owned())].into();
    container.run(&mut spawner).control.exit();
    let all = entries(&container, Query::default());
    let lines = texts(&all);
    for (at, line) in lines[..20_000].iter().enumerate() {
        assert_eq!(*line, format!("{}\n", at + 1));
    }
    let lengths: Vec<usize> = all[20_000..].iter().map(|entry| entry.log.len()).collect();
    assert_eq!(lengths[..3], [MAX_LINE, MAX_LINE, 40_000 - 2 * MAX_LINE + 1]);
    assert!(all.iter().any(|entry| entry.log == b"\xff\n"), "bytes are kept");
    assert!(all.iter().any(|e| e.log == b"oops\n" && e.stream == stdcopy::Stream::Stderr));
    assert!(all.iter().any(|entry| entry.log == b"tail"));
    assert!(all.iter().all(|entry| entry.attrs["tag"] == "t"), "attributes");
    for tail in [0, 1, 3, 1000, 5000, 20_000, 50_000] {
        let query = Query { tail: Tail::Lines(tail), ..Query::default() };
        let first = all.len().saturating_sub(tail as usize);
        assert_eq!(entries(&container, query), all[first..], "tail {tail}");
    }
    let middle = all[12_000].time;
    let query = Query { since: Some(middle), ..Query::default() };
    let wanted: Vec<Entry> = all.iter().filter(|entry| entry.time >= middle).cloned().collect();
    assert_eq!(entries(&container, query), wanted, "since");
}

fn old_files_are_compressed() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("seq 1 5000; cat; seq 5001 6000");
    local(&mut container);
    container.config.open_stdin = true;
    container.config.stdin_once = true;
    let log = &mut container.config.log;
    (log.max_size, log.max_file, log.compress) = (Some(10_000), 10, true);
    let mut running = container.run(&mut spawner);
    let compressed = |number: u32| container.path().join(format!("container.log.{number}.gz"));
    eventually("older files are compressed", || compressed(2).exists());
    let plain = container.path().join("container.log.2");
    eventually("the plain file is gone", || !plain.exists());
    let numbers = |count: usize| {
        let lines = texts(&entries(&container, Query::default()));
        let numbers: Vec<u32> = lines.iter().map(|line| line.trim_end().parse().unwrap()).collect();
        assert_eq!(numbers, (1..=count as u32).collect::<Vec<_>>());
    };
    numbers(5000);
    let query = Query { tail: Tail::Lines(4000), ..Query::default() };
    assert_eq!(entries(&container, query).len(), 4000);
    drop(stream(container.path(), Call::Attach(Streams::ALL)).unwrap());
    running.control.exit();
    numbers(6000);
}

fn remote(container: &mut Container, target: LogTarget) {
    local(container);
    container.config.log.remote = Some(RemoteLog { target, non_blocking: false, buffer: 1 << 20 });
}

fn syslog(transport: SyslogTransport) -> LogTarget {
    let (tag, hostname) = ("tag".to_owned(), "host".to_owned());
    LogTarget::Syslog { transport, facility: 24, format: SyslogFormat::Rfc5424, tag, hostname }
}

fn the_journal_gets_dockers_fields() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("echo one; echo two >&2");
    let path = container.path().join("journal");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let fields = [("CONTAINER_NAME".to_owned(), "web".to_owned())].into();
    remote(&mut container, LogTarget::Journald { socket: path, fields });
    container.run(&mut spawner).control.exit();
    let mut messages = Vec::new();
    for _ in 0..2 {
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer).unwrap();
        messages.push(String::from_utf8(buffer[..count].to_vec()).unwrap());
    }
    messages.sort();
    for (message, (text, priority)) in messages.iter().zip([("one", 6), ("two", 3)]) {
        assert!(message.starts_with(&format!("MESSAGE={text}\nPRIORITY={priority}\n")), "{message}");
        assert!(message.contains("\nCONTAINER_NAME=web\n"), "{message}");
    }
    // And `logs` finds them here.
    let mut kept = texts(&entries(&container, Query::default()));
    kept.sort();
    assert_eq!(kept, ["one\n", "two\n"]);
}

/// 3,000 messages over everything that a server may listen on; more than a socket takes at once.
fn syslog_servers_get_every_message() {
    let mut spawner = Spawner::start();
    let check = |text: &str| {
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3000);
        for (at, line) in lines.iter().enumerate() {
            assert!(line.starts_with("<30>1 ") && line.ends_with(&format!(" tag - {}", at + 1)), "{line}");
        }
    };
    let run = |spawner: &mut Spawner, transport: SyslogTransport| {
        let mut container = Container::new("seq 1 3000");
        remote(&mut container, syslog(transport));
        let mut running = container.run(spawner);
        (container, std::thread::spawn(move || running.control.exit()))
    };
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_container, ended) = run(&mut spawner, SyslogTransport::Tcp(vec![listener.local_addr().unwrap()]));
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    check(&text);
    assert_eq!(ended.join().unwrap().log_lost, 0);

    let path = dir.path().join("stream");
    let listener = UnixListener::bind(&path).unwrap();
    let (_container, ended) = run(&mut spawner, SyslogTransport::Unix(path));
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    check(&text);
    assert_eq!(ended.join().unwrap().log_lost, 0);

    let path = dir.path().join("datagram");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_container, ended) = run(&mut spawner, SyslogTransport::Unixgram(path));
    let mut text = String::new();
    let mut buffer = [0; 4096];
    for _ in 0..3000 {
        let count = socket.recv(&mut buffer).unwrap();
        text += std::str::from_utf8(&buffer[..count]).unwrap();
    }
    check(&text);
    assert_eq!(ended.join().unwrap().log_lost, 0);

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_container, ended) = run(&mut spawner, SyslogTransport::Udp(vec![socket.local_addr().unwrap()]));
    let count = socket.recv(&mut buffer).unwrap();
    let text = std::str::from_utf8(&buffer[..count]).unwrap();
    assert!(text.ends_with(" tag - 1\n"), "{text}");
    ended.join().unwrap();
}

/// 2,000 messages with their lengths before them (RFC 5425); a server of an unknown authority gets none, and all are counted.
fn syslog_over_tls_trusts_whom_it_is_told_to() {
    let mut spawner = Spawner::start();
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = std::sync::Arc::new(server);
    for (ca, skip_verify, trusted) in [(Some(ca), false, true), (None, true, true), (None, false, false)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut container = Container::new("seq 1 2000");
        remote(
            &mut container,
            syslog(SyslogTransport::Tls {
                addresses: vec![listener.local_addr().unwrap()],
                server: "localhost".to_owned(),
                ca,
                cert: None,
                key: None,
                skip_verify,
            }),
        );
        let server = std::sync::Arc::clone(&server);
        let receiver = std::thread::spawn(move || {
            let connection = rustls::ServerConnection::new(server).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, listener.accept().unwrap().0);
            let mut text = Vec::new();
            // The client ends without a farewell.
            let _ = stream.read_to_end(&mut text);
            String::from_utf8(text).unwrap()
        });
        let mut running = container.run(&mut spawner);
        let exit = running.control.exit();
        running.control.call(Call::Shutdown).unwrap();
        drop(running);
        let text = receiver.join().unwrap();
        if trusted {
            let mut rest = text.as_str();
            for number in 1..=2000 {
                let (length, after) = rest.split_once(' ').unwrap();
                let (message, after) = after.split_at(length.parse().unwrap());
                assert!(message.ends_with(&format!(" tag - {number}\n")), "{message}");
                rest = after;
            }
            assert_eq!((rest, exit.log_lost), ("", 0));
        } else {
            assert_eq!(text, "");
        }
    }
}

/// Nobody listens; somebody listens who never reads; a server that is away. The container prints 40 MB and ends.
fn a_dead_or_stuck_target_stops_nobody() {
    let mut spawner = Spawner::start();
    let dir = tempfile::tempdir().unwrap();
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let transports = [
        SyslogTransport::Unix(dir.path().join("nobody")),
        SyslogTransport::Tcp(vec!["127.0.0.1:1".parse().unwrap()]),
        SyslogTransport::Tcp(vec![stuck.local_addr().unwrap()]),
    ];
    for (transport, non_blocking) in transports.iter().flat_map(|t| [(t, true), (t, false)]) {
        let mut container = Container::new(
            "yes 'a line of text that a program could print, of usual length' | head -c 40000000",
        );
        remote(&mut container, syslog(transport.clone()));
        container.config.log.remote.as_mut().unwrap().non_blocking = non_blocking;
        let begin = Instant::now();
        let mut running = container.run(&mut spawner);
        let exit = running.control.exit();
        assert_eq!(exit.code, 0, "{transport:?}");
        assert!(exit.log_lost > 100_000, "{transport:?}: {} lost", exit.log_lost);
        assert!(begin.elapsed() < PATIENCE, "{transport:?}");
        assert!(running.control.lost > 0, "the engine hears of it");
    }
}

fn a_server_that_comes_later_gets_what_waits() {
    let mut spawner = Spawner::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later");
    let mut container = Container::new("echo early; cat");
    container.config.open_stdin = true;
    container.config.stdin_once = true;
    remote(&mut container, syslog(SyslogTransport::Unix(path.clone())));
    let mut running = container.run(&mut spawner);
    eventually("first line", || !entries(&container, Query::default()).is_empty());
    let listener = UnixListener::bind(&path).unwrap();
    let mut reader = BufReader::new(listener.accept().unwrap().0);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with(" early\n"), "{line}");
    // The server restarts.
    drop((reader, listener));
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let mut input = stream(container.path(), Call::Attach(Streams::ALL)).unwrap();
    input.write_all(b"late\n").unwrap();
    let mut reader = BufReader::new(listener.accept().unwrap().0);
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with(" late\n"), "{line}");
    drop(input);
    assert_eq!(running.control.exit().log_lost, 0);
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
