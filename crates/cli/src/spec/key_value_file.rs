//! `--env-file`, `--label-file`: a line is `NAME=value`, `NAME`, a comment or empty.
use std::path::Path;

/// Longest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Looks up a variable of this program.
pub type Own<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The entries. `own` gives the value of a bare name; None drops it (environment) or keeps it bare (labels).
pub fn read(path: &str, own: Option<Own<'_>>) -> Result<Vec<String>, String> {
    let bytes = read_bounded(Path::new(path)).map_err(|reason| format!("open {path}: {reason}"))?;
    let text = match std::str::from_utf8(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count();
            return Err(format!("invalid env file ({path}): line {line} is not valid UTF-8"));
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
            (None, None) => entries.push(name.to_owned()),
        }
    }
    Ok(entries)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let file = std::fs::File::open(path).map_err(|e| crate::failure::os_text(&e))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| crate::failure::os_text(&e))?;
    if bytes.len() as u64 > MAX_BYTES { Err("file is too large".into()) } else { Ok(bytes) }
}
