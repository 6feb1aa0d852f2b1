//! Docker's `json-file` log line: `{"log":"...\n","stream":"stdout","time":"2024-01-02T03:04:05.678901234Z"}` and a newline.
//!
//! Standard: what Docker's `jsonlog` package writes; Go's `encoding/json` escaping (`<`, `>`, `&`, U+2028, U+2029 escaped,
//! bytes that are not UTF-8 become `\ufffd`). Encoding allocates nothing but the output's own growth.
use crate::stdcopy::Stream;
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One line, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    pub log: Cow<'a, str>,
    pub stream: Stream,
    pub time: Timestamp,
    pub attrs: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("log line is not valid: {0}")]
    Invalid(#[from] serde_json::Error),
    #[error("unknown stream {0:?} in log line")]
    Stream(String),
}

/// Appends one line. `time` and `attrs` are already encoded ([`encode_time`], [`encode_attrs`]).
pub fn encode(out: &mut Vec<u8>, log: &[u8], newline: bool, stream: Stream, attrs: &[u8], time: &[u8]) {
    encode_before(out, log, newline, &encode_tail(stream, attrs, time));
}

/// What follows the message, which many lines have in common.
pub fn encode_tail(stream: Stream, attrs: &[u8], time: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + attrs.len());
    out.extend_from_slice(b"\"stream\":\"");
    out.extend_from_slice(stream.name().as_bytes());
    out.extend_from_slice(b"\",");
    if !attrs.is_empty() {
        out.extend_from_slice(b"\"attrs\":");
        out.extend_from_slice(attrs);
        out.push(b',');
    }
    out.extend_from_slice(b"\"time\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(b"\"}\n");
    out
}

/// Appends one line whose end is [`encode_tail`]'s.
pub fn encode_before(out: &mut Vec<u8>, log: &[u8], newline: bool, tail: &[u8]) {
    if log.is_empty() && !newline {
        out.push(b'{');
    } else {
        out.reserve(log.len() + tail.len() + 16);
        out.extend_from_slice(b"{\"log\":\"");
        escape(out, log);
        out.extend_from_slice(if newline { b"\\n\"," } else { b"\"," });
    }
    out.extend_from_slice(tail);
}

/// A time as Go's `time.RFC3339Nano` prints it in UTC: no trailing zeros in the fraction.
pub fn encode_time(time: Timestamp) -> String {
    time.to_string()
}

/// Extra attributes as a JSON object; empty when there are none.
pub fn encode_attrs(attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in attrs {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        escape(&mut out, key.as_bytes());
        out.extend_from_slice(b"\":\"");
        escape(&mut out, value.as_bytes());
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

/// Appends bytes as the inside of a JSON string, as Go does.
pub fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let (plain, bytes) = bytes.split_at(plain_prefix(bytes));
    out.extend_from_slice(plain);
    if bytes.is_empty() {
        return;
    }
    // Nearly all output is valid, and finding that out as a whole is much faster than piece by piece.
    if std::str::from_utf8(bytes).is_ok() {
        return escape_valid(out, bytes);
    }
    for chunk in bytes.utf8_chunks() {
        escape_valid(out, chunk.valid().as_bytes());
        // Go decodes byte by byte: every byte that is not part of a character becomes one replacement.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// How many bytes at the beginning are written as they are; eight at a time, and so perhaps a few too few.
fn plain_prefix(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    // The high bit of a byte is set if the byte is 0; also of one after it, which only looks like one.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, _) = bytes.as_chunks::<8>();
    let special = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        // `<` and `>` differ in one bit, and so do `"` and `&`.
        let angle = zero((word | (ONES * 2)) ^ (ONES * 0x3e));
        let quote = zero((word | (ONES * 4)) ^ (ONES * 0x26));
        let backslash = zero(word ^ (ONES * 0x5c));
        ((control | word) & HIGH) | angle | quote | backslash
    };
    let plain = words.iter().position(|word| special(u64::from_le_bytes(*word)) != 0);
    match plain {
        Some(words) => words * 8,
        None => {
            let rest = &bytes[words.len() * 8..];
            words.len() * 8
                + rest.iter().position(|byte| *byte >= 0x80 || !PLAIN[*byte as usize]).unwrap_or(rest.len())
        }
    }
}

fn escape_valid(out: &mut Vec<u8>, text: &[u8]) {
    let mut start = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        if PLAIN[byte as usize] {
            at += 1;
            continue;
        }
        // U+2028 and U+2029 are e2 80 a8 and e2 80 a9.
        if byte == 0xe2 && !matches!(text.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) {
            at += 3;
            continue;
        }
        out.extend_from_slice(&text[start..at]);
        at += escape_one(out, &text[at..]);
        start = at;
    }
    out.extend_from_slice(&text[start..]);
}

/// Appends the escape of the first character and says how many bytes it took.
fn escape_one(out: &mut Vec<u8>, text: &[u8]) -> usize {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match text[0] {
        byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        0xe2 => {
            out.extend_from_slice(if text[2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            return 3;
        }
        byte => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    1
}

/// Bytes that are written as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain[b'<' as usize] = false;
    plain[b'>' as usize] = false;
    plain[b'&' as usize] = false;
    plain[0xe2] = false;
    plain
};

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(default, borrow)]
    log: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Cow<'a, str>,
    time: Timestamp,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// Decodes one line, with or without its newline.
pub fn decode(line: &[u8]) -> Result<Entry<'_>, DecodeError> {
    let raw: Raw = serde_json::from_slice(line)?;
    let stream = Stream::parse(&raw.stream).ok_or_else(|| DecodeError::Stream(raw.stream.into_owned()))?;
    Ok(Entry { log: raw.log, stream, time: raw.time, attrs: raw.attrs })
}
