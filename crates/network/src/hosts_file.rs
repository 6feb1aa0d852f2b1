//! The container's `/etc/hosts`, as Docker writes it
//! ([hosts(5)](https://man7.org/linux/man-pages/man5/hosts.5.html)). Pure.
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// What the file is made of.
#[derive(Debug, Clone, Default)]
pub struct HostsFile<'a> {
    /// Whether the container has IPv6; without it the IPv6 names are left out.
    pub ipv6: bool,
    pub hostname: &'a str,
    pub domainname: &'a str,
    /// Addresses of the container's endpoints.
    pub addresses: Vec<Ipv4Addr>,
    /// `--add-host`, already split (`parse_extra_host`).
    pub extra: Vec<(String, IpAddr)>,
    /// Other containers of its user-defined networks: address and names.
    pub peers: Vec<(Ipv4Addr, Vec<String>)>,
}

impl HostsFile<'_> {
    pub fn render(&self) -> String {
        let mut text = String::from("127.0.0.1\tlocalhost\n");
        if self.ipv6 {
            text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
            text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
            text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
        }
        for (name, address) in &self.extra {
            let _ = writeln!(text, "{address}\t{name}");
        }
        for address in &self.addresses {
            if self.domainname.is_empty() {
                let _ = writeln!(text, "{address}\t{}", self.hostname);
            } else {
                let _ = writeln!(text, "{address}\t{0}.{1} {0}", self.hostname, self.domainname);
            }
        }
        for (address, names) in &self.peers {
            let _ = writeln!(text, "{address}\t{}", names.join(" "));
        }
        text
    }
}

/// Why an `--add-host` is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidExtraHost {
    #[error("bad format for add-host: {0:?}")]
    Format(String),
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
    #[error("unable to derive the IP value for host-gateway")]
    NoGateway,
}

/// Splits `name:address` or `name=address`; `host-gateway` stands for `gateway`.
pub fn parse_extra_host(text: &str, gateway: Option<IpAddr>) -> Result<(String, IpAddr), InvalidExtraHost> {
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| InvalidExtraHost::Format(text.to_owned()))?;
    if address == "host-gateway" {
        return gateway.map(|ip| (name.to_owned(), ip)).ok_or(InvalidExtraHost::NoGateway);
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let ip = bare.parse().map_err(|_| InvalidExtraHost::Address(address.to_owned()))?;
    Ok((name.to_owned(), ip))
}
