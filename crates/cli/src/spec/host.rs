//! `--add-host name:address`, `name=address`.
use std::net::IpAddr;

/// The entry as the engine takes it, `name:address`.
pub fn parse(value: &str) -> Result<String, String> {
    let cut = value.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, address) = match cut.or_else(|| value.split_once(':')) {
        Some((name, address)) if !name.is_empty() => (name, address),
        _ => return Err(format!("bad format for add-host: {}", knarr_gotemplate::quote(value))),
    };
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let plain = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    match plain.parse::<IpAddr>() {
        Ok(_) => Ok(format!("{name}:{plain}")),
        Err(_) => Err(format!("invalid IP address in add-host: {}", knarr_gotemplate::quote(address))),
    }
}
