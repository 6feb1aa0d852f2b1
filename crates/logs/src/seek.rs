//! Where to begin: the last lines, counted from the end, or the first line of a time, found by bisection.
//!
//! Both give the offset of the beginning of a line. Lines are in the order of time but for small disorder (the pieces of a
//! long line carry the time of its first), so the bisection's answer is taken one block earlier, and filtered.
use crate::lines::{BLOCK, Lines};
use jiff::Timestamp;
use knarr_shim_proto::json_log;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Offset at which the last `lines` lines begin, or how many lines the file has, if those are fewer. A last line without
/// a newline counts.
pub fn last_lines(file: &File, size: u64, lines: u64) -> io::Result<Result<u64, u64>> {
    if lines == 0 {
        return Ok(Ok(size));
    }
    let mut block = vec![0; BLOCK];
    let mut found = 0;
    let mut end = size;
    while end > 0 {
        let start = end.saturating_sub(BLOCK as u64);
        let bytes = &mut block[..(end - start) as usize];
        file.read_exact_at(bytes, start)?;
        for at in memchr::memrchr_iter(b'\n', bytes) {
            let after = start + at as u64 + 1;
            // The newline at the very end ends the last line; it does not begin another.
            if after == size {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(Ok(after));
            }
        }
        end = start;
    }
    found += u64::from(size > 0);
    Ok(if found == lines { Ok(0) } else { Err(found) })
}

/// Offset of a line before which nothing is as late as `since`.
pub fn since(file: &File, size: u64, since: Timestamp) -> io::Result<u64> {
    let (mut low, mut high) = (0, size);
    // `low` begins a line, and everything before it is too early; from `high` on nothing is known to be too early.
    while high - low > BLOCK as u64 {
        let middle = low + (high - low) / 2;
        match first_entry_after(file, middle, high)? {
            Some((begin, time)) if time < since => low = begin,
            _ => high = middle,
        }
    }
    line_at_or_before(file, low.saturating_sub(BLOCK as u64))
}

/// The first readable entry that begins after `offset` and before `limit`.
fn first_entry_after(file: &File, offset: u64, limit: u64) -> io::Result<Option<(u64, Timestamp)>> {
    let mut lines = Lines::at(offset);
    let mut begin = offset;
    let mut whole = false;
    while begin < limit {
        while let Some(line) = lines.next_line() {
            let this = begin;
            begin += line.len() as u64 + 1;
            if std::mem::replace(&mut whole, true)
                && let Ok(entry) = json_log::decode(line)
            {
                return Ok((this < limit).then_some((this, entry.time)));
            }
        }
        if !lines.fill(file)? {
            break;
        }
    }
    Ok(None)
}

/// The beginning of a line near `offset`: the first one after it, or 0.
fn line_at_or_before(file: &File, offset: u64) -> io::Result<u64> {
    if offset == 0 {
        return Ok(0);
    }
    let mut lines = Lines::at(offset);
    loop {
        if let Some(line) = lines.next_line() {
            return Ok(offset + line.len() as u64 + 1);
        }
        if !lines.fill(file)? {
            return Ok(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &[u8]) -> (File, u64) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        (file, text.len() as u64)
    }

    #[test]
    fn the_last_lines_are_found_from_the_end() {
        let (f, size) = file(b"one\ntwo\nthree\n");
        assert_eq!(last_lines(&f, size, 0).unwrap(), Ok(14));
        assert_eq!(last_lines(&f, size, 1).unwrap(), Ok(8));
        assert_eq!(last_lines(&f, size, 2).unwrap(), Ok(4));
        assert_eq!(last_lines(&f, size, 3).unwrap(), Ok(0));
        assert_eq!(last_lines(&f, size, 5).unwrap(), Err(3));
        let (f, size) = file(b"one\ntwo\ntorn");
        assert_eq!(last_lines(&f, size, 1).unwrap(), Ok(8));
        assert_eq!(last_lines(&f, size, 9).unwrap(), Err(3));
        let (f, size) = file(b"");
        assert_eq!(last_lines(&f, size, 2).unwrap(), Err(0));
    }

    #[test]
    fn blocks_do_not_matter() {
        let text: Vec<u8> = (0..20_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        let (f, size) = file(&text);
        for wanted in [1u64, 100, 7_000, 19_999] {
            let at = last_lines(&f, size, wanted).unwrap().unwrap() as usize;
            assert!(text[at..].starts_with(format!("line {}\n", 20_000 - wanted).as_bytes()), "{wanted}");
        }
    }

    #[test]
    fn a_time_is_found_by_bisection() {
        let stamp = |n: i64| Timestamp::from_second(1_700_000_000 + n).unwrap();
        let mut text = Vec::new();
        for n in 0..50_000 {
            let time = json_log::encode_time(stamp(n));
            let stream = knarr_shim_proto::stdcopy::Stream::Stdout;
            json_log::encode(&mut text, b"some text", true, stream, b"", time.as_bytes());
        }
        let (f, size) = file(&text);
        for wanted in [-5, 0, 1, 25_000, 49_999, 60_000] {
            let at = since(&f, size, stamp(wanted)).unwrap();
            assert!(at == 0 || text[at as usize - 1] == b'\n');
            let skipped = text[..at as usize].iter().filter(|b| **b == b'\n').count() as i64;
            let ideal = wanted.clamp(0, 50_000);
            assert!(skipped <= ideal, "{wanted}: skipped {skipped}");
            assert!(ideal - skipped < 3_000, "{wanted}: skipped only {skipped}");
        }
    }
}
