//! Logs that others keep: what is sent along, and where to.
use super::attributes::{extra, tag};
use super::options::{self, Address, text};
use crate::engine::Inner;
use crate::record::Container;
use knarr_shim_proto::{LogTarget, SyslogFormat, SyslogTransport};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// systemd's journal listens there.
const JOURNAL: &str = "/run/systemd/journal/socket";

pub(super) fn journald(container: &Container) -> Result<LogTarget, String> {
    if !Path::new(JOURNAL).exists() {
        return Err("journald is not enabled on this host".to_owned());
    }
    let tag = tag(container)?;
    let mut fields = extra(container, journal_name);
    fields.remove("");
    for (name, value) in [
        ("CONTAINER_ID", container.id.short()),
        ("CONTAINER_ID_FULL", container.id.as_str()),
        ("CONTAINER_NAME", &container.name),
        ("CONTAINER_TAG", &tag),
        ("IMAGE_NAME", &container.config.image),
        ("SYSLOG_IDENTIFIER", &tag),
    ] {
        fields.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok(LogTarget::Journald { socket: JOURNAL.into(), fields })
}

/// A name as the journal takes it: capitals, digits and `_`, which it does not begin with.
pub(super) fn journal_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    let valid = |c: char| if c.is_ascii_uppercase() || c.is_ascii_digit() { c } else { '_' };
    upper.chars().map(valid).collect::<String>().trim_start_matches('_').to_owned()
}

pub(super) async fn syslog(engine: &Inner, container: &Container) -> Result<LogTarget, String> {
    let options = &container.log_opts;
    let transport = match options::address(options)? {
        Address::Own => SyslogTransport::Own,
        Address::Socket { datagram: true, path } => SyslogTransport::Unixgram(path),
        Address::Socket { datagram: false, path } => SyslogTransport::Unix(path),
        Address::Network { scheme, host, port } => {
            let addresses = look_up(&host, port).await?;
            match scheme.as_str() {
                "udp" => SyslogTransport::Udp(addresses),
                "tcp" => SyslogTransport::Tcp(addresses),
                _ => {
                    let file = |key: &str| {
                        Some(text(options, key)).filter(|path| !path.is_empty()).map(PathBuf::from)
                    };
                    SyslogTransport::Tls {
                        addresses,
                        server: host,
                        ca: file("syslog-tls-ca-cert"),
                        cert: file("syslog-tls-cert"),
                        key: file("syslog-tls-key"),
                        // As in Docker: that it is given counts.
                        skip_verify: options.contains_key("syslog-tls-skip-verify"),
                    }
                }
            }
        }
    };
    let format = match text(options, "syslog-format") {
        "rfc3164" => SyslogFormat::Rfc3164,
        "rfc5424" => SyslogFormat::Rfc5424,
        "rfc5424micro" => SyslogFormat::Rfc5424Micro,
        _ => SyslogFormat::Unix,
    };
    let facility = options::facility(options)?;
    Ok(LogTarget::Syslog {
        transport,
        facility,
        format,
        tag: tag(container)?,
        hostname: engine.host.hostname.clone(),
    })
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = knarr_distribution::lookup(host).await.map_err(|error| format!("syslog-address: {error}"))?;
    Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
}
