//! Options of the `json-file` log driver.
use knarr_shim_proto::{LogConfig, LogDriver};
use std::collections::BTreeMap;
use std::path::Path;

/// `10m`, `1g`, `500k`, `1024`: bytes, in powers of 1024. `-1` is no limit (0).
pub fn size(text: &str) -> Option<u64> {
    if text == "-1" {
        return Some(0);
    }
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix('b').unwrap_or(&lower);
    let (digits, unit) = match lower.char_indices().last()? {
        (at, 'k') => (&lower[..at], 1u64 << 10),
        (at, 'm') => (&lower[..at], 1 << 20),
        (at, 'g') => (&lower[..at], 1 << 30),
        (at, 't') => (&lower[..at], 1 << 40),
        _ => (lower, 1),
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// What the supervisor is told. Options were validated before.
pub fn config(
    driver: &str,
    options: &BTreeMap<String, String>,
    path: &Path,
    attrs: BTreeMap<String, String>,
) -> LogConfig {
    LogConfig {
        driver: if driver == "none" { LogDriver::None } else { LogDriver::JsonFile },
        path: path.to_owned(),
        max_size: options.get("max-size").and_then(|text| size(text)).filter(|size| *size > 0),
        max_file: options.get("max-file").and_then(|text| text.parse().ok()).unwrap_or(1),
        attrs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("10m", 10 << 20), ("1g", 1 << 30), ("512", 512), ("5kb", 5120), ("-1", 0), ("20MB", 20 << 20)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "x", "1x", "-5", "99999999999999999999g"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
