//! Ports: what a container exposes, what is asked to be published, and what was bound.
use crate::scope::Scope;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The protocol's number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Protocol::Tcp),
            "udp" => Some(Protocol::Udp),
            "sctp" => Some(Protocol::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Ports from `begin` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortRange {
    pub begin: u16,
    pub end: u16,
}

impl PortRange {
    pub fn one(port: u16) -> Self {
        Self { begin: port, end: port }
    }
}

/// A port that the image or `--expose` declares; published by `-P`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExposedPort {
    pub protocol: Protocol,
    pub port: u16,
}

/// One `-p`: Docker's `PortBindings["80/tcp"] = [{HostIp, HostPort}]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PortBinding {
    pub protocol: Protocol,
    pub container_port: u16,
    /// `None`: the daemon's `--ip`.
    pub host_ip: Option<IpAddr>,
    /// `None`: a free port of the kernel's ephemeral range. A range of several ports: the first free one of them.
    pub host_port: Option<PortRange>,
    /// `None`: what the container, its network or the daemon says of all ports.
    pub scope: Option<Scope>,
}

/// A port that is reachable on the host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_ip: IpAddr,
    pub host_port: u16,
    #[serde(default, skip_serializing_if = "Scope::is_any")]
    pub scope: Scope,
}
