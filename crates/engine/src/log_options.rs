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

/// Labels and variables that the options name: attributes of every line.
pub fn attributes(container: &crate::record::Container) -> BTreeMap<String, String> {
    let mut attributes = BTreeMap::new();
    let names = |option: &str| {
        container.log_opts.get(option).map(|text| text.split(',').map(str::trim).collect::<Vec<_>>())
    };
    for name in names("labels").unwrap_or_default() {
        if let Some(value) = container.config.labels.get(name) {
            attributes.insert(name.to_owned(), value.clone());
        }
    }
    for name in names("env").unwrap_or_default() {
        let found =
            container.config.env.iter().filter_map(|e| e.split_once('=')).find(|(key, _)| *key == name);
        if let Some((_, value)) = found {
            attributes.insert(name.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = container.log_opts.get("tag").filter(|tag| !tag.is_empty()) {
        let tag = tag.replace("{{.ID}}", container.id.short()).replace("{{.FullID}}", container.id.as_str());
        let tag =
            tag.replace("{{.Name}}", &container.name).replace("{{.ImageName}}", &container.config.image);
        attributes.insert("tag".to_owned(), tag);
    }
    attributes
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
