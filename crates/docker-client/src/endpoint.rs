//! Where an engine listens: `unix:///path`, `tcp://host:port`, `ssh://user@host`, `http://`, `https://`.
use crate::error::Error;
use crate::ssh::Remote;
use std::path::PathBuf;

/// Port of the API without and with TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// A parsed `-H` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    Ssh(Remote),
    Tcp {
        host: String,
        port: u16,
        /// The scheme itself asks for TLS.
        tls: bool,
        /// Path before `/v1.xx`.
        base_path: String,
    },
}

impl Endpoint {
    /// Parses a host; `tls` chooses the default port.
    pub fn parse(host: &str, tls: bool) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidHost { host: host.to_owned(), reason };
        let text = host.trim();
        for scheme in ["unix://", "http+unix://"] {
            if let Some(path) = text.strip_prefix(scheme) {
                return match decode_path(path) {
                    path if path.starts_with('/') => Ok(Self::Unix(path.into())),
                    _ => Err(invalid("a socket needs an absolute path")),
                };
            }
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            return Remote::parse(rest).map(Self::Ssh).map_err(invalid);
        }
        let (rest, secure) = if let Some(rest) = text.strip_prefix("tcp://") {
            (rest, tls)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (rest, true)
        } else if let Some(rest) = text.strip_prefix("http://") {
            (rest, false)
        } else if text.contains("://") {
            return Err(invalid("unknown scheme (expected unix, tcp, ssh, http or https)"));
        } else if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        } else {
            (text, tls)
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, port) = split_authority(authority).ok_or_else(|| invalid("invalid address"))?;
        let default = if secure { TLS_PORT } else { PLAIN_PORT };
        let port = match port {
            None => default,
            Some(digits) => digits.parse().map_err(|_| invalid("invalid port"))?,
        };
        let name = if name.is_empty() { "127.0.0.1" } else { name };
        let base_path = path.trim_end_matches('/');
        let base_path = if base_path.is_empty() { String::new() } else { format!("/{base_path}") };
        Ok(Self::Tcp { host: name.to_owned(), port, tls: secure, base_path })
    }

    /// What goes into the `Host` header.
    pub(crate) fn authority(&self) -> String {
        match self {
            // Docker's clients send this for sockets; servers must not look at it.
            Self::Unix(_) | Self::Ssh(_) => "api.moby.localhost".to_owned(),
            Self::Tcp { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port, .. } => format!("{host}:{port}"),
        }
    }

    pub(crate) fn base_path(&self) -> &str {
        match self {
            Self::Unix(_) | Self::Ssh(_) => "",
            Self::Tcp { base_path, .. } => base_path,
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Ssh(remote) => {
                let user = if remote.user.is_empty() { String::new() } else { format!("{}@", remote.user) };
                let port = remote.port.map(|port| format!(":{port}")).unwrap_or_default();
                let host = if remote.host.contains(':') {
                    format!("[{}]", remote.host)
                } else {
                    remote.host.clone()
                };
                write!(f, "ssh://{user}{host}{port}{}", remote.path)
            }
            Self::Tcp { base_path, .. } => write!(f, "tcp://{}{base_path}", self.authority()),
        }
    }
}

/// `host:port`, `[v6]:port`, `host`.
pub(crate) fn split_authority(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

/// `%2Fvar%2Frun` of `http+unix://` URLs.
fn decode_path(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
        match hex.filter(|_| bytes[i] == b'%').and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 3;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_parse_as_docker_parses_them() {
        let show = |text, tls| Endpoint::parse(text, tls).map(|e| e.to_string()).map_err(|e| e.to_string());
        assert_eq!(show("unix:///run/x.sock", false).unwrap(), "unix:///run/x.sock");
        assert_eq!(show("http+unix://%2Frun%2Fx.sock", false).unwrap(), "unix:///run/x.sock");
        assert_eq!(show("ssh://me@there:22/x.sock", false).unwrap(), "ssh://me@there:22/x.sock");
        assert_eq!(show("tcp://10.0.0.1", false).unwrap(), "tcp://10.0.0.1:2375");
        assert_eq!(show("tcp://10.0.0.1", true).unwrap(), "tcp://10.0.0.1:2376");
        assert_eq!(show("tcp://[::1]:99", false).unwrap(), "tcp://[::1]:99");
        assert_eq!(show("tcp://:99/base/", false).unwrap(), "tcp://127.0.0.1:99/base");
        for bad in ["ftp://x", "tcp://a:b", "tcp://::1", "unix://relative", "ssh://"] {
            assert!(show(bad, false).is_err(), "{bad}");
        }
    }
}
