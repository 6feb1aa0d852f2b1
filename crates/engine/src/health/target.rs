//! Where native probes ask: `5432`, `:8080`, `127.0.0.1:80`, `[::1]:443`, `localhost:1`. Names would have to be looked up with
//! somebody's resolver, so there are none.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `None`: the loopback, of whichever family answers.
    ip: Option<IpAddr>,
    port: u16,
}

impl Target {
    pub fn parse(text: &str, default_port: Option<u16>) -> Result<Self, String> {
        let wrong =
            || format!("invalid address {text:?} of a health check: a port, or an IP address and a port");
        let (host, port) = match text.rsplit_once(':') {
            _ if text.bytes().all(|b| b.is_ascii_digit()) && default_port.is_none() => ("", Some(text)),
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None => default_port,
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip = match (host, bare) {
            ("" | "localhost", _) => None,
            (_, Some(v6)) => Some(IpAddr::V6(v6.parse().map_err(|_| wrong())?)),
            (host, None) => Some(IpAddr::V4(host.parse().map_err(|_| wrong())?)),
        };
        Ok(Self { ip, port: port.ok_or_else(wrong)? })
    }

    /// To be tried in this order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = match self.ip {
            Some(ip) => vec![ip],
            None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        };
        all.into_iter().map(|ip| SocketAddr::new(ip, self.port)).collect()
    }

    /// As HTTP names it.
    pub fn authority(&self) -> String {
        match self.ip {
            Some(ip) => SocketAddr::new(ip, self.port).to_string(),
            None => format!("localhost:{}", self.port),
        }
    }
}
