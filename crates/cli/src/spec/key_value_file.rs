//! `--env-file`, `--label-file`: a line is `NAME=value`, `NAME`, a comment or empty.
use crate::failure::os_text;

/// Longest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Looks up a variable of this program.
pub type Own<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The entries. `own` gives the value of a bare name; a name without any is no entry.
pub fn read(path: &str, own: Option<Own<'_>>) -> Result<Vec<String>, String> {
    let bytes = read_bounded(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let number = 1 + before.iter().filter(|b| **b == b'\n').count();
            let line = bytes.split(|b| *b == b'\n').nth(number - 1).unwrap_or_default();
            let numbers: Vec<String> = line.iter().map(u8::to_string).collect();
            let numbers = numbers.join(" ");
            return Err(format!(
                "invalid env file ({path}): invalid utf8 bytes at line {number}: [{numbers}]"
            ));
        }
    };
    let mut entries = Vec::new();
    for line in text.lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        let name = name.trim_start();
        if name.is_empty() {
            return Err(format!("invalid env file ({path}): no variable name on line '{line}'"));
        }
        if name.contains([' ', '\t']) {
            return Err(format!("invalid env file ({path}): variable '{name}' contains whitespaces"));
        }
        match (value, own) {
            (Some(value), _) => entries.push(format!("{name}={value}")),
            (None, Some(own)) => entries.extend(own(name).map(|value| format!("{name}={value}"))),
            (None, None) => {}
        }
    }
    Ok(entries)
}

fn read_bounded(path: &str) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| format!("open {path}: {}", os_text(&e)))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("invalid env file ({path}): read {path}: {}", os_text(&e)))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("invalid env file ({path}): it is longer than {MAX_BYTES} bytes"));
    }
    Ok(bytes)
}
