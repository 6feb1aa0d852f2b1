//! Masks of what no two runs have in common.

use serde_json::{Map, Value};

/// What this engine's run alone has.
#[derive(Debug, Clone)]
pub struct Run {
    /// Texts and what stands for them.
    pub words: Vec<(String, String)>,
}

/// Members whose numbers say nothing here: sizes, times, counts that the machine decides.
const NUMBERS: &[&str] = &[
    "Created",
    "Pid",
    "Size",
    "SizeRootFs",
    "SizeRw",
    "SharedSize",
    "VirtualSize",
    "LayersSize",
    "size",
    "mtime",
    "time",
    "timeNano",
    "NCPU",
    "MemTotal",
    "NFd",
    "NGoroutines",
    "SpaceReclaimed",
    "UsageData",
    "total",
    "current",
    "start",
    "TotalSize",
    "Reclaimable",
];

pub fn value(run: &Run, key: &str, v: &Value) -> Value {
    match v {
        Value::String(s) => Value::String(text(run, s)),
        Value::Number(n) if NUMBERS.contains(&key) && n.as_f64().is_some_and(|n| n > 0.0) => {
            Value::from("<number>")
        }
        Value::Array(all) => Value::Array(all.iter().map(|x| value(run, key, x)).collect()),
        Value::Object(members) => {
            let masked: Map<_, _> = members.iter().map(|(k, x)| (text(run, k), value(run, k, x))).collect();
            Value::Object(masked)
        }
        other => other.clone(),
    }
}

pub fn text(run: &Run, s: &str) -> String {
    let mut s = s.to_owned();
    for (word, instead) in &run.words {
        s = s.replace(word.as_str(), instead);
    }
    let bytes = s.as_bytes();
    let mut out = String::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &s[at..];
        let starts_word = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
        if starts_word && let Some((length, instead)) = masked_here(rest) {
            out.push_str(instead);
            at += length;
            continue;
        }
        let c = rest.chars().next().expect("not at the end");
        out.push(c);
        at += c.len_utf8();
    }
    out
}

/// What stands for the beginning of this text, and how long that is.
fn masked_here(s: &str) -> Option<(usize, &'static str)> {
    let run = s.bytes().take_while(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count();
    let ends = s.as_bytes().get(run).is_none_or(|b| !b.is_ascii_alphanumeric());
    if ends && run == 64 {
        return Some((run, "<id>"));
    }
    if ends && run == 12 && s.bytes().take(run).any(|b| b.is_ascii_digit()) {
        return Some((run, "<short id>"));
    }
    mac(s).or_else(|| time(s))
}

fn mac(s: &str) -> Option<(usize, &'static str)> {
    let b = s.as_bytes().get(..17)?;
    let shaped =
        b.iter().enumerate().all(|(i, c)| if i % 3 == 2 { *c == b':' } else { c.is_ascii_hexdigit() });
    // One that somebody chose stays.
    (shaped && !s.starts_with("02:00:00")).then_some((17, "<mac>"))
}

/// A time in RFC 3339; the zero time says something and stays.
fn time(s: &str) -> Option<(usize, &'static str)> {
    let b = s.as_bytes();
    let shape = "dddd-dd-ddTdd:dd:dd";
    let shaped = b.len() >= shape.len()
        && shape
            .bytes()
            .zip(b)
            .all(|(want, have)| if want == b'd' { have.is_ascii_digit() } else { want == *have });
    if !shaped || s.starts_with("0001-") {
        return None;
    }
    let mut end = shape.len();
    if b.get(end) == Some(&b'.') {
        end += 1 + b[end + 1..].iter().take_while(|c| c.is_ascii_digit()).count();
    }
    match b.get(end) {
        Some(b'Z') => end += 1,
        Some(b'+' | b'-') if b.len() >= end + 6 => end += 6,
        _ => {}
    }
    Some((end, "<time>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let run = Run { words: vec![("10.213.7.".to_owned(), "10.213.N.".to_owned())] };
        let id = "0123456789abcdef".repeat(4);
        for (from, to) in [
            (format!("sha256:{id} and {}", &id[..12]), "sha256:<id> and <short id>".to_owned()),
            ("busybox deadbeef facade".to_owned(), "busybox deadbeef facade".to_owned()),
            (
                "2026-01-02T03:04:05.678Z|0001-01-01T00:00:00Z".to_owned(),
                "<time>|0001-01-01T00:00:00Z".to_owned(),
            ),
            ("10.213.7.2/24 ae:12:34:56:78:9a".to_owned(), "10.213.N.2/24 <mac>".to_owned()),
            (format!("x{id}"), format!("x{id}")),
        ] {
            assert_eq!(text(&run, &from), to);
        }
    }
}
