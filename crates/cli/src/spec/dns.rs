//! `--dns`, `--dns-search`.
use std::net::IpAddr;

pub fn address(value: &str) -> Result<IpAddr, String> {
    value.trim().parse().map_err(|_| format!("IP address is not correctly formatted: {value}"))
}

pub fn search(value: &str) -> Result<(), String> {
    let domain = value.trim_matches(' ');
    let word = |label: &str| {
        label.len() <= 63
            && label.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && label.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let letters = domain.chars().any(|c| c.is_ascii_alphabetic());
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let fits = domain.len() < 255 && letters && labels.split('.').all(word);
    if domain == "." || fits { Ok(()) } else { Err(format!("{domain} is not a valid domain")) }
}
