//! Options of networks and endpoints, by Docker's names, and what they mean
//! ([bridge driver](https://docs.docker.com/engine/network/drivers/bridge/#options)). Pure.
//!
//! A value that cannot be understood is refused when the network is made; a name that nobody knows is kept and ignored.
use crate::error::{Error, Result};
use crate::scope::Scope;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
pub const ICC: &str = "com.docker.network.bridge.enable_icc";
pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
pub const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
pub const GATEWAY_MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
pub const GATEWAY_MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
pub const INHIBIT_V4: &str = "com.docker.network.bridge.inhibit_ipv4";
pub const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
/// Our own: who reaches published ports that do not say, separated by commas. Also an annotation of containers.
pub const SOURCES: &str = "io.knarr.publish.sources";
pub const MTU: &str = "com.docker.network.driver.mtu";
pub const INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
pub const SOURCE_V4: &str = "com.docker.network.host_ipv4";
pub const SOURCE_V6: &str = "com.docker.network.host_ipv6";
pub const ENABLE_V4: &str = "com.docker.network.enable_ipv4";
pub const ENABLE_V6: &str = "com.docker.network.enable_ipv6";
/// Of `macvlan` and `ipvlan`.
pub const PARENT: &str = "parent";
pub const MACVLAN_MODE: &str = "macvlan_mode";
pub const IPVLAN_MODE: &str = "ipvlan_mode";
pub const IPVLAN_FLAG: &str = "ipvlan_flag";
/// Of endpoints.
pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
pub const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// Names of interfaces have at most this many bytes.
pub const MAX_INTERFACE_NAME: usize = 15;
/// What an interface may carry.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

/// How packets get from and to a bridge network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GatewayMode {
    /// Under the host's address; published ports only.
    #[default]
    Nat,
    /// Under the host's address, but whoever has a route reaches all ports.
    Unprotected,
    /// Under the containers' own addresses; published ports only.
    Routed,
    /// Not at all: the host has no address on the bridge.
    Isolated,
}

impl GatewayMode {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "nat" => Some(Self::Nat),
            "nat-unprotected" => Some(Self::Unprotected),
            "routed" => Some(Self::Routed),
            "isolated" => Some(Self::Isolated),
            _ => None,
        }
    }

    pub fn is_translated(self) -> bool {
        matches!(self, Self::Nat | Self::Unprotected)
    }
}

/// A network's options, read.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a>(pub &'a BTreeMap<String, String>);

impl<'a> Options<'a> {
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub fn flag(self, name: &str, default: bool) -> bool {
        self.0.get(name).and_then(|text| parse_flag(text)).unwrap_or(default)
    }

    pub fn mtu(self) -> Option<u32> {
        self.text(MTU).and_then(|text| text.parse().ok()).filter(|mtu| *mtu > 0)
    }

    pub fn gateway_mode(self, ipv4: bool) -> GatewayMode {
        let name = if ipv4 { GATEWAY_MODE_V4 } else { GATEWAY_MODE_V6 };
        self.text(name).and_then(GatewayMode::parse).unwrap_or_default()
    }

    /// What containers' packets leave under, when it is not whatever address the host has there.
    pub fn source(self, ipv4: bool) -> Option<IpAddr> {
        let name = if ipv4 { SOURCE_V4 } else { SOURCE_V6 };
        self.text(name)?.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == ipv4)
    }

    /// Host interfaces from which containers are reached by their own addresses.
    pub fn trusted(self) -> impl Iterator<Item = &'a str> {
        self.text(TRUSTED).unwrap_or_default().split(':').filter(|name| !name.is_empty())
    }

    /// Host address of published ports that name none.
    pub fn host_binding(self) -> Option<IpAddr> {
        self.text(HOST_BINDING).and_then(|text| text.parse().ok())
    }

    /// Who reaches published ports that do not say.
    pub fn publish_scope(self) -> Option<Scope> {
        self.text(SOURCES).and_then(|text| Scope::parse(text.split(',')).ok())
    }

    /// Options of a bridge that would be taken for their defaults otherwise.
    pub fn check_bridge(self, internal: bool) -> Result<()> {
        for name in [ICC, MASQUERADE, INHIBIT_V4, DEFAULT_BRIDGE] {
            self.check(name, |text| {
                parse_flag(text)
                    .map(drop)
                    .ok_or_else(|| format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))
            })?;
        }
        self.check_mtu()?;
        for name in [GATEWAY_MODE_V4, GATEWAY_MODE_V6] {
            self.check(name, |text| {
                GatewayMode::parse(text).map(drop).ok_or_else(|| format!("unknown gateway mode {text}"))
            })?;
            if self.0.get(name).is_some_and(|text| text == "isolated") && !internal {
                let text = "gateway mode 'isolated' can only be used for an internal network";
                return Err(Error::Invalid(text.to_owned()));
            }
        }
        let nil = || "nil ip".to_owned();
        for name in [HOST_BINDING, SOURCE_V4] {
            self.check(name, |text| text.parse::<Ipv4Addr>().map(drop).map_err(|_| nil()))?;
        }
        self.check(SOURCE_V6, |text| text.parse::<Ipv6Addr>().map(drop).map_err(|_| nil()))?;
        self.check(SOURCES, |text| match text {
            "" => Ok(()),
            text => Scope::parse(text.split(',')).map(drop),
        })?;
        for name in self.trusted().chain(self.text(INTERFACE_PREFIX)) {
            check_interface(name)?;
        }
        Ok(())
    }

    pub fn check_mtu(self) -> Result<()> {
        self.check(MTU, |text| {
            let Ok(mtu) = text.parse::<i64>() else {
                return Err(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
            };
            let mtu =
                u32::try_from(mtu).map_err(|_| "number must be greater than or equal to 0".to_owned())?;
            match mtu == 0 || MTUS.contains(&mtu) {
                true => Ok(()),
                false => Err("an interface takes from 68 to 65535 bytes".to_owned()),
            }
        })
    }

    fn check(self, option: &'static str, check: impl Fn(&str) -> Result<(), String>) -> Result<()> {
        let Some(value) = self.0.get(option) else { return Ok(()) };
        check(value).map_err(|reason| Error::InvalidOption { option, value: value.clone(), reason })
    }
}

/// A boolean as Go's `strconv.ParseBool` takes it.
pub(crate) fn parse_flag(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Whether the kernel takes it for an interface's name.
pub(crate) fn check_interface(name: &str) -> Result<()> {
    let bytes = name.as_bytes();
    let valid = !bytes.is_empty()
        && bytes.len() <= MAX_INTERFACE_NAME
        && !bytes.iter().any(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b':' | 0))
        && name != "."
        && name != "..";
    match valid {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "invalid interface name {name:?}: 1 to 15 bytes, no slash, colon or space"
        ))),
    }
}

/// Settings of the kernel for an endpoint's interface: `net.ipv4.conf.IFNAME.log_martians=1`, several with commas. Gives paths
/// below `/proc/sys` with `IFNAME` in place, and values.
pub(crate) fn sysctls(options: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, String> {
    let Some(text) = options.get(SYSCTLS) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for setting in text.split(',').filter(|s| !s.is_empty()) {
        let bad = || {
            format!(
                "unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            )
        };
        let (key, value) = setting.split_once('=').ok_or_else(bad)?;
        let parts: Vec<&str> = key.split('.').collect();
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match parts.as_slice() {
            ["net", family @ ("ipv4" | "ipv6" | "mpls"), group, "IFNAME", name]
                if word(group) && word(name) =>
            {
                found.push((format!("net/{family}/{group}/IFNAME/{name}"), value.to_owned()));
            }
            _ => return Err(bad()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> String {
        let lines = pairs.iter().map(|(name, value)| {
            let options = [((*name).to_owned(), (*value).to_owned())].into();
            match Options(&options).check_bridge(false) {
                Ok(()) => format!("{name}={value}: taken"),
                Err(e) => e.to_string(),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_refused_and_how() {
        insta::assert_snapshot!(texts(&[
            (ICC, "maybe"),
            (ICC, "1"),
            (INHIBIT_V4, "x"),
            (MTU, "abc"),
            (MTU, "-1"),
            (MTU, "9000"),
            (MTU, "12"),
            (HOST_BINDING, "nope"),
            (GATEWAY_MODE_V4, "weird"),
            (GATEWAY_MODE_V4, "isolated"),
            (GATEWAY_MODE_V6, "routed"),
            (SOURCE_V4, "bad"),
            (SOURCE_V6, "1.2.3.4"),
            (SOURCES, "10.0.0.1/8"),
            (SOURCES, "10.0.0.0/8,loopback"),
            (TRUSTED, "eth0:eth1"),
            (INTERFACE_PREFIX, "a/b"),
            ("unknown.option", "1"),
        ]), @r#"
        failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing "maybe": invalid syntax)
        com.docker.network.bridge.enable_icc=1: taken
        failed to parse com.docker.network.bridge.inhibit_ipv4 value: x (strconv.ParseBool: parsing "x": invalid syntax)
        failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax)
        failed to parse com.docker.network.driver.mtu value: -1 (number must be greater than or equal to 0)
        com.docker.network.driver.mtu=9000: taken
        failed to parse com.docker.network.driver.mtu value: 12 (an interface takes from 68 to 65535 bytes)
        failed to parse com.docker.network.bridge.host_binding_ipv4 value: nope (nil ip)
        failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: weird (unknown gateway mode weird)
        gateway mode 'isolated' can only be used for an internal network
        com.docker.network.bridge.gateway_mode_ipv6=routed: taken
        failed to parse com.docker.network.host_ipv4 value: bad (nil ip)
        failed to parse com.docker.network.host_ipv6 value: 1.2.3.4 (nil ip)
        failed to parse io.knarr.publish.sources value: 10.0.0.1/8 (invalid source "10.0.0.1/8" of a published port: did you mean 10.0.0.0/8? (like 10.0.0.0/8, fd00::/8, 192.0.2.7, loopback, any))
        io.knarr.publish.sources=10.0.0.0/8,loopback: taken
        com.docker.network.bridge.trusted_host_interfaces=eth0:eth1: taken
        invalid interface name "a/b": 1 to 15 bytes, no slash, colon or space
        unknown.option=1: taken
        "#);
    }

    #[test]
    fn settings_of_an_interface() {
        let read = |text: &str| {
            let options = [(SYSCTLS.to_owned(), text.to_owned())].into();
            sysctls(&options)
        };
        assert_eq!(
            read("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2").unwrap(),
            [
                ("net/ipv4/conf/IFNAME/log_martians".to_owned(), "1".to_owned()),
                ("net/ipv6/conf/IFNAME/accept_ra".to_owned(), "2".to_owned())
            ]
        );
        for bad in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.x=1",
            "net.ipv4.conf.IFNAME.x",
            "net.core.a.IFNAME.b=1",
            "net.ipv4.../IFNAME.x=1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
