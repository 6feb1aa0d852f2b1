//! `-p [[ip:][hostPort]:]containerPort[/proto][,from=SOURCES]`, ranges included, and `--expose`.
//!
//! `from=` is our own: networks, separated by `+`, whose senders reach the port.
use knarr_docker_types::host_config::{PortBinding, PortMap};
use knarr_docker_types::{Empty, Map};
use std::net::IpAddr;

/// Most ports that one specification may name.
const MAX_RANGE: u32 = 65_536;

/// Ports to expose and where to publish them.
#[derive(Debug, Default, PartialEq)]
pub struct Ports {
    pub exposed: Map<Empty>,
    pub bindings: PortMap,
}

/// `80` or `80-90`.
pub fn range(text: &str) -> Result<(u16, u16), String> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let number = |t: &str| {
        t.parse::<u16>().map_err(|e| {
            let reason = if matches!(e.kind(), std::num::IntErrorKind::PosOverflow) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!("strconv.ParseUint: parsing {}: {reason}", knarr_gotemplate::quote(t))
        })
    };
    match text.split_once('-') {
        None => number(text).map(|n| (n, n)),
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            if to < from { Err(format!("invalid range specified for port: {text}")) } else { Ok((from, to)) }
        }
    }
}

/// `80/udp` -> port and protocol.
fn split_protocol(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        None => (text, "tcp"),
        Some((port, "")) => (port, "tcp"),
        Some((port, protocol)) => (port, protocol),
    }
}

/// `published=8080,target=80,protocol=tcp` -> the short form.
fn short_form(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=') {
            None | Some(("", _)) => {
                return Err(format!("invalid publish opts format (should be name=value but got '{field}')"));
            }
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some(_) => {}
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// ip, host port, container port.
fn parts(text: &str) -> (String, &str, &str) {
    let (rest, container) = match text.rsplit_once(':') {
        None => return (String::new(), "", text),
        Some(parts) => parts,
    };
    match rest.rsplit_once(':') {
        None => (String::new(), rest, container),
        Some((ip, host)) => (ip.to_owned(), host, container),
    }
}

/// The specification without its `from=`, and what those say.
fn split_sources(text: &str) -> Result<(String, Vec<String>), String> {
    let (mut rest, mut sources): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    for field in text.split(',') {
        match field.strip_prefix("from=") {
            None => rest.push(field),
            Some("") => return Err(format!("no source networks after 'from=': {text}")),
            Some(list) => sources.extend(list.split('+').map(str::to_owned)),
        }
    }
    Ok((rest.join(","), sources))
}

fn publish(spec: &str, sources: &[String], ports: &mut Ports) -> Result<(), String> {
    let (raw_ip, host, container) = parts(spec);
    let (container, protocol) = split_protocol(container);
    let ip = raw_ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(&raw_ip);
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {spec}<empty>"));
    }
    let (start, end) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let count = u32::from(end) - u32::from(start) + 1;
    if let Some((from, to)) = host_range
        && u32::from(to) - u32::from(from) + 1 != count
        && count != 1
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    for i in 0..count.min(MAX_RANGE) {
        let host_port = match host_range {
            None => String::new(),
            // one container port, any host port of a range
            Some((from, to)) if count == 1 && from != to => format!("{from}-{to}"),
            Some((from, _)) => (u32::from(from) + i).to_string(),
        };
        let port = format!("{}/{protocol}", u32::from(start) + i);
        ports.exposed.insert(port.clone(), Empty);
        ports.bindings.entry(port).or_default().push(PortBinding {
            host_ip: ip.to_owned(),
            host_port,
            sources: sources.to_vec().into(),
        });
    }
    Ok(())
}

/// All `-p` and `--expose`.
pub fn parse(published: &[String], exposed: &[String]) -> Result<Ports, String> {
    let mut ports = Ports { exposed: Map::empty(), bindings: Map::empty() };
    for spec in published {
        let (spec, sources) = split_sources(spec)?;
        publish(&short_form(&spec)?, &sources, &mut ports)?;
    }
    for spec in exposed {
        if spec.contains(':') {
            return Err(format!("invalid port format for --expose: {spec}"));
        }
        let (port, protocol) = split_protocol(spec);
        let (from, to) =
            range(port).map_err(|e| format!("invalid range format for --expose: {spec}, error: {e}"))?;
        for port in from..=to {
            ports.exposed.insert(format!("{port}/{protocol}"), Empty);
        }
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(spec: &str) -> Result<Vec<String>, String> {
        let ports = parse(&[spec.to_owned()], &[])?;
        Ok(ports.bindings["443/tcp"][0].sources.to_vec())
    }

    #[test]
    fn who_reaches_a_port() {
        assert_eq!(sources("443:443").unwrap(), Vec::<String>::new());
        assert_eq!(sources("443:443,from=10.0.0.0/8").unwrap(), ["10.0.0.0/8"]);
        let several = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"];
        assert_eq!(sources("[::]:443:443/tcp,from=10.0.0.0/8+fd00::/8,from=192.0.2.7").unwrap(), several);
        assert_eq!(sources("published=443,target=443,from=loopback").unwrap(), ["loopback"]);
        assert_eq!(sources("443:443,from=").unwrap_err(), "no source networks after 'from=': 443:443,from=");
        assert!(sources("443:443,to=10.0.0.0/8").is_err());
    }
}
