//! The formats on the wire and on disk: round trips, golden text, and independence of how bytes were cut.
use knarr_shim_proto::frame::{self, Assembler};
use knarr_shim_proto::line::{MAX_LINE, Message, Splitter};
use knarr_shim_proto::stdcopy::{self, Stream};
use knarr_shim_proto::{Answer, Call, Event, ExitRecord, FromShim, Reply, Request, json_log};
use proptest::prelude::*;

fn encoded(log: &[u8], newline: bool) -> String {
    let mut out = Vec::new();
    json_log::encode(&mut out, log, newline, Stream::Stdout, b"", b"2024-01-02T03:04:05.6789Z");
    String::from_utf8(out).unwrap()
}

#[test]
fn log_lines_are_dockers() {
    let tail = r#""stream":"stdout","time":"2024-01-02T03:04:05.6789Z"}"#;
    for (input, newline, log) in [
        (&b"hello"[..], true, r"hello\n"),
        (b"", true, r"\n"),
        (b"no newline", false, r"no newline"),
        (b"tab\tcr\rnul\0esc\x1b[1m", true, r"tab\u0009cr\rnul\u0000esc\u001b[1m\n"),
        (b"<a href=\"x\">&\\", true, r#"\u003ca href=\"x\"\u003e\u0026\\\n"#),
        ("\u{2028}\u{2029}\u{2027}€".as_bytes(), true, "\\u2028\\u2029\u{2027}€\\n"),
        (b"bad\xff\xfeutf\xe2\x82", true, r"bad\ufffd\ufffdutf\ufffd\ufffd\n"),
        ("\u{7f}é🦀".as_bytes(), true, "\u{7f}é🦀\\n"),
    ] {
        assert_eq!(encoded(input, newline), format!("{{\"log\":\"{log}\",{tail}\n"));
    }
    assert_eq!(encoded(b"", false), format!("{{{tail}\n"));
}

/// Eight bytes are looked at together: every byte at every place beside others.
#[test]
fn every_byte_is_escaped_wherever_it_stands() {
    for byte in 0..=255 {
        let alone = encoded(&[byte], false);
        let escaped = alone.split_once("\"log\":\"").unwrap().1.split_once("\",\"stream\"").unwrap().0;
        for at in 0..20 {
            let mut text = [b'a'; 20];
            text[at] = byte;
            let want = format!("{{\"log\":\"{}{escaped}{}\",", "a".repeat(at), "a".repeat(19 - at));
            let got = encoded(&text, false);
            assert!(got.starts_with(&want), "byte {byte} at {at}: {got}");
        }
    }
}

#[test]
fn attributes_come_before_the_time() {
    let attrs = json_log::encode_attrs(&[("tag".to_owned(), "<x>".to_owned())].into());
    let mut out = Vec::new();
    json_log::encode(&mut out, b"a", true, Stream::Stderr, &attrs, b"2024-01-02T03:04:05Z");
    let want =
        r#"{"log":"a\n","stream":"stderr","attrs":{"tag":"\u003cx\u003e"},"time":"2024-01-02T03:04:05Z"}"#;
    assert_eq!(String::from_utf8(out.clone()).unwrap().trim_end(), want);
    assert_eq!(json_log::decode(&out).unwrap().attrs["tag"], "<x>");
}

#[test]
fn times_have_no_trailing_zeros() {
    for (nanos, text) in [(0, "Z"), (100_000_000, ".1Z"), (1, ".000000001Z"), (123_456_780, ".12345678Z")] {
        let time = jiff::Timestamp::new(1_704_164_645, nanos).unwrap();
        assert_eq!(json_log::encode_time(time), format!("2024-01-02T03:04:05{text}"));
    }
}

#[test]
fn lines_that_are_not_entries_are_errors() {
    for bad in [&b""[..], b"{", b"\0\0\0", br#"{"log":"x","stream":"stdin","time":"2024-01-02T03:04:05Z"}"#] {
        assert!(json_log::decode(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn long_lines_are_cut_at_sixteen_kib() {
    let mut splitter = Splitter::default();
    let mut got = Vec::new();
    let mut input = vec![b'x'; MAX_LINE];
    input.extend_from_slice(b"\nab\n");
    input.extend_from_slice(&vec![b'y'; MAX_LINE + 3]);
    let mut emit = |m: Message<'_, u32>| got.push((m.bytes.len(), m.ends, m.time));
    splitter.push(&input, 1, &mut emit);
    splitter.finish(2, &mut emit);
    assert_eq!(got, [(MAX_LINE, false, 1), (0, true, 1), (2, true, 1), (MAX_LINE, false, 1), (3, false, 1)]);
}

#[test]
fn frames_have_a_bound() {
    assert!(frame::length(u32::MAX.to_le_bytes()).is_err());
    let mut assembler = Assembler::default();
    assembler.push(&[0xff; 8]);
    assert!(assembler.take::<Request>().is_err());
    assert!(frame::encode(&"x".repeat(frame::MAX_FRAME)).is_err());
}

#[test]
fn messages_survive_the_wire() {
    let exit = ExitRecord {
        pid: 7,
        code: 137,
        signal: Some(9),
        oom_killed: true,
        exited_at: "2024-01-02T03:04:05.000000006Z".parse().unwrap(),
        error: None,
        log_lost: 0,
    };
    let text = serde_json::to_string(&exit).unwrap();
    assert!(text.contains(r#""exited_at":"2024-01-02T03:04:05.000000006Z""#), "{text}");
    let messages = [
        FromShim::Reply(Reply { number: 1, result: Ok(Answer::Started { pid: 3 }) }),
        FromShim::Event(Event::Exited(exit)),
        FromShim::Event(Event::Oom),
    ];
    let mut assembler = Assembler::default();
    for message in &messages {
        for byte in frame::encode(message).unwrap() {
            assembler.push(&[byte]);
        }
    }
    for message in messages {
        assert_eq!(assembler.take::<FromShim>().unwrap(), Some(message));
    }
    assert!(assembler.is_empty());
    let text = serde_json::to_string(&Call::Kill { exec_id: None, signal: 15 }).unwrap();
    assert_eq!(text, r#"{"kill":{"signal":15}}"#);
    let process = r#"{"args":["sh"],"unknown":1}"#;
    let request =
        format!(r#"{{"number":4,"call":{{"exec":{{"exec_id":"e","process":{process},"attach":true}}}}}}"#);
    let Request { call: Call::Exec(exec), .. } = serde_json::from_str(&request).unwrap() else { panic!() };
    assert_eq!(exec.process.get(), process);
}

fn cut(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
    at.push(bytes.len());
    at.sort_unstable();
    at
}

proptest! {
    #[test]
    fn any_text_comes_back(log: String, newline: bool, err: bool) {
        let stream = if err { Stream::Stderr } else { Stream::Stdout };
        let mut out = Vec::new();
        json_log::encode(&mut out, log.as_bytes(), newline, stream, b"", b"2024-01-02T03:04:05Z");
        prop_assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        let entry = json_log::decode(&out).unwrap();
        prop_assert_eq!(entry.log, if newline { log + "\n" } else { log });
        prop_assert_eq!(entry.stream, stream);
    }

    #[test]
    fn any_bytes_are_one_valid_line(log: Vec<u8>) {
        let text = encoded(&log, true);
        let entry = json_log::decode(text.as_bytes()).unwrap();
        // Go replaces each stray byte by itself; std replaces longest prefixes: the valid characters agree.
        let keep = |s: &str| s.chars().filter(|c| *c != '\u{fffd}').collect::<String>();
        prop_assert_eq!(keep(&entry.log), keep(&String::from_utf8_lossy(&log)) + "\n");
    }

    #[test]
    fn messages_do_not_depend_on_reads(
        pieces in prop::collection::vec(("[a-z]{0,9}", 0usize..40_000, any::<bool>()), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut input = Vec::new();
        for (text, pad, newline) in pieces {
            input.extend_from_slice(text.as_bytes());
            input.resize(input.len() + pad, b'.');
            if newline { input.push(b'\n') }
        }
        let run = |ends: &[usize]| {
            let mut got = Vec::new();
            let mut splitter = Splitter::default();
            let mut start = 0;
            for end in ends {
                splitter.push(&input[start..*end], 0u8, |m| got.push((m.bytes.to_vec(), m.ends)));
                start = *end;
            }
            splitter.finish(0, |m| got.push((m.bytes.to_vec(), m.ends)));
            got
        };
        let whole = run(&[input.len()]);
        prop_assert_eq!(&whole, &run(&cut(&input, &cuts)));
        let joined: Vec<u8> = whole.iter().flat_map(|(bytes, ends)| {
            bytes.iter().copied().chain(ends.then_some(b'\n'))
        }).collect();
        prop_assert_eq!(joined, input);
    }

    #[test]
    fn stdcopy_headers_come_back(length: u32, err: bool) {
        let stream = if err { Stream::Stderr } else { Stream::Stdout };
        prop_assert_eq!(stdcopy::parse(stdcopy::header(stream, length)), (stream.number(), length));
    }
}
