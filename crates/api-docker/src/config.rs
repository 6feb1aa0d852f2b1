//! What the server is told: where to listen, with which keys, as whom.
use crate::activity::Activity;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// Time that open replies get to end after the engine began to shut down.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// One place to listen on.
#[derive(Debug)]
pub enum Listen {
    /// `unix:///run/knarr/knarr.sock`: mode 0660 and the group of [`ServerConfig::socket_group`].
    Unix(PathBuf),
    /// `tcp://host:port`. An empty host is every address. Needs mutual TLS unless it is on a loopback address and
    /// [`ServerConfig::allow_plain_loopback`] is set.
    Tcp { host: String, port: u16 },
    /// `fd://`: a listening socket that was inherited (systemd socket activation).
    Inherited(OwnedFd),
}

impl Listen {
    /// Reads a `-H` value, `fd://` excepted: descriptors are taken over by `main`.
    pub fn parse(text: &str, tls: bool) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                Err(format!("invalid address {text:?}: the path of a unix socket is absolute"))
            };
        }
        // Without a scheme it is TCP, as for dockerd.
        let bare = (!text.contains("://") && !text.is_empty()).then_some(text);
        let Some(address) = text.strip_prefix("tcp://").or(bare) else {
            return Err(format!("invalid address {text:?}: expected unix:///path, tcp://host:port or fd://"));
        };
        let default_port = if tls { 2376 } else { 2375 };
        let invalid = |why: &str| format!("invalid address {text:?}: {why}");
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| invalid("the port is a number from 0 to 65535"))?)
            }
            _ => (address, default_port),
        };
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host,
            None if host.contains(':') => return Err(invalid("an IPv6 address stands in brackets")),
            None if host.contains('/') => return Err(invalid("a path is not allowed")),
            None => host,
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

/// Files of `--tlscert`, `--tlskey`, `--tlscacert`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients must have a certificate of this authority (`--tlsverify`). `None` is accepted on loopback only.
    pub client_ca: Option<PathBuf>,
}

/// How to serve.
#[derive(Debug)]
pub struct ServerConfig {
    pub listeners: Vec<Listen>,
    pub tls: Option<TlsConfig>,
    /// Plain TCP, or TLS without client certificates, on loopback addresses.
    pub allow_plain_loopback: bool,
    /// Group of unix sockets, by name; a group that does not exist is passed over.
    pub socket_group: String,
    /// Version shown in the `Server` header.
    pub version: String,
    pub grace: Duration,
    pub activity: Activity,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            tls: None,
            allow_plain_loopback: false,
            socket_group: "docker".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            grace: DEFAULT_GRACE,
            activity: Activity::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    fn parse(text: &str) -> String {
        match Listen::parse(text, false) {
            Ok(Listen::Unix(path)) => format!("unix {}", path.display()),
            Ok(Listen::Tcp { host, port }) => format!("tcp {host} {port}"),
            Ok(Listen::Inherited(_)) => unreachable!(),
            Err(error) => error,
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("unix:///run/k.sock", "unix /run/k.sock"),
            ("tcp://127.0.0.1:2375", "tcp 127.0.0.1 2375"),
            ("tcp://[::1]:99", "tcp ::1 99"),
            ("tcp://[::1]", "tcp ::1 2375"),
            ("tcp://host", "tcp host 2375"),
            ("tcp://:80", "tcp  80"),
            ("0.0.0.0:80", "tcp 0.0.0.0 80"),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        for bad in [
            "unix://relative",
            "http://x",
            "tcp://a:b",
            "tcp://::1:5",
            "tcp://a:1/x",
            "tcp://a:70000",
            "/run/x",
            "",
        ] {
            assert!(parse(bad).starts_with("invalid address"), "{bad}");
        }
        assert!(matches!(Listen::parse("tcp://h", true), Ok(Listen::Tcp { port: 2376, .. })));
    }
}
