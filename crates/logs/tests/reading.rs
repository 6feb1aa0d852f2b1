//! Reading as an engine does: choices, damage, following a writer that rotates.
use jiff::Timestamp;
use knarr_logs::{Control, Entry, LogReader, Query, Tail};
use knarr_shim_proto::json_log;
use knarr_shim_proto::stdcopy::Stream;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn stamp(n: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + n).unwrap()
}

fn line(n: i64) -> Vec<u8> {
    let stream = if n % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
    let mut out = Vec::new();
    json_log::encode(
        &mut out,
        n.to_string().as_bytes(),
        true,
        stream,
        b"",
        json_log::encode_time(stamp(n)).as_bytes(),
    );
    out
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

/// Three files: 0..10 in `.2`, 10..20 in `.1`, 20..25 in the newest.
fn three_files(dir: &Path) -> PathBuf {
    let path = dir.join("c-json.log");
    for n in 0..10 {
        append(&numbered(&path, 2), &line(n));
        append(&numbered(&path, 1), &line(10 + n));
    }
    (20..25).for_each(|n| append(&path, &line(n)));
    path
}

fn numbers(entries: impl Iterator<Item = knarr_logs::Result<Entry>>) -> Vec<i64> {
    entries.map(|entry| String::from_utf8(entry.unwrap().log).unwrap().trim_end().parse().unwrap()).collect()
}

fn read(path: &Path, query: Query) -> Vec<i64> {
    numbers(LogReader::open(path, query, Control::new().unwrap()).unwrap())
}

#[test]
fn all_files_are_read_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_files(dir.path());
    assert_eq!(read(&path, Query::default()), (0..25).collect::<Vec<_>>());
    assert!(read(&dir.path().join("none"), Query::default()).is_empty());
}

#[test]
fn the_tail_reaches_into_older_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_files(dir.path());
    for (tail, first) in [(0, 25), (1, 24), (5, 20), (6, 19), (15, 10), (16, 9), (99, 0)] {
        let query = Query { tail: Tail::Lines(tail), ..Query::default() };
        assert_eq!(read(&path, query), (first..25).collect::<Vec<_>>(), "tail {tail}");
    }
}

#[test]
fn times_and_streams_are_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_files(dir.path());
    let query = Query { since: Some(stamp(18)), until: Some(stamp(21)), ..Query::default() };
    assert_eq!(read(&path, query), [18, 19, 20, 21]);
    assert_eq!(read(&path, Query { stdout: false, ..query }), [19, 21]);
    let query = Query { tail: Tail::Lines(3), since: Some(stamp(24)), ..Query::default() };
    assert_eq!(read(&path, query), [24]);
    assert!(read(&path, Query { since: Some(stamp(99)), ..Query::default() }).is_empty());
}

#[test]
fn damage_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-json.log");
    append(&path, &line(0));
    append(&path, b"\0\0\0\0 no entry\n\n");
    append(&path, &vec![b'x'; 3 << 20]);
    append(&path, b"\n");
    append(&path, &line(1));
    append(&path, &line(2)[..20]);
    assert_eq!(read(&path, Query::default()), [0, 1]);
    // A last line that is whole but for its newline counts.
    std::fs::write(&path, line(7).strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!(read(&path, Query::default()), [7]);
}

#[test]
fn following_sees_every_line_across_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-json.log");
    let control = Control::new().unwrap();
    let query = Query { follow: true, ..Query::default() };
    let reader = LogReader::open(&path, query, control.clone()).unwrap();
    let follower = std::thread::spawn(move || numbers(reader));
    let total = 20_000;
    for n in 0..total {
        if n % 1_000 == 999 {
            for number in (1..9).rev() {
                let _ = std::fs::rename(numbered(&path, number), numbered(&path, number + 1));
            }
            std::fs::rename(&path, numbered(&path, 1)).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        append(&path, &line(n));
    }
    control.finish();
    assert_eq!(follower.join().unwrap(), (0..total).collect::<Vec<_>>());
}

#[test]
fn following_is_prompt_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = three_files(dir.path());
    let control = Control::new().unwrap();
    let query = Query { follow: true, tail: Tail::Lines(0), ..Query::default() };
    let mut reader = LogReader::open(&path, query, control.clone()).unwrap();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            std::thread::sleep(Duration::from_millis(50));
            let torn = line(25);
            append(&path, &torn[..10]);
            std::thread::sleep(Duration::from_millis(20));
            append(&path, &torn[10..]);
        }
    });
    let begin = Instant::now();
    assert_eq!(numbers(reader.by_ref().take(1)), [25]);
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    writer.join().unwrap();
    let ender = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        control.stop();
    });
    assert!(reader.next().is_none());
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    ender.join().unwrap();
}

#[test]
fn a_file_replaced_at_its_size_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-json.log");
    append(&path, &line(0));
    let control = Control::new().unwrap();
    let query = Query { follow: true, ..Query::default() };
    let mut reader = LogReader::open(&path, query, control.clone()).unwrap();
    assert_eq!(numbers(reader.by_ref().take(1)), [0]);
    std::fs::remove_file(&path).unwrap();
    append(&path, &line(1));
    append(&path, &line(2));
    assert_eq!(numbers(reader.by_ref().take(2)), [1, 2]);
    control.finish();
    assert!(reader.next().is_none());
}

#[test]
fn the_end_of_a_large_log_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c-json.log");
    let text: Vec<u8> = (0..400_000).flat_map(line).collect();
    append(&path, &text);
    let begin = Instant::now();
    assert_eq!(read(&path, Query { tail: Tail::Lines(3), ..Query::default() }), [399_997, 399_998, 399_999]);
    assert_eq!(read(&path, Query { since: Some(stamp(399_998)), ..Query::default() }), [399_998, 399_999]);
    let query = Query { since: Some(stamp(200_000)), until: Some(stamp(200_001)), ..Query::default() };
    assert_eq!(read(&path, query), [200_000, 200_001]);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}
