//! Who reaches a published port. Pure.
//!
//! The host's own programs always do. Beside them it is anybody, or only senders out of listed networks, be they other
//! machines or containers; in a list for IPv4 alone there is nobody of IPv6, and the other way round.
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Networks that one list may name.
pub const MAX_SOURCES: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Any,
    /// Sorted, none within another. Empty: nobody but the host itself.
    Only(Vec<IpNet>),
}

impl Scope {
    /// `any`, `loopback`, or networks and addresses.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let words: Vec<&str> = words.into_iter().map(str::trim).collect();
        if words.len() > MAX_SOURCES {
            return Err(format!(
                "{} source networks of a published port, at most {MAX_SOURCES}",
                words.len()
            ));
        }
        match words.as_slice() {
            [] => return Err("no source networks of a published port are named".to_owned()),
            ["any"] => return Ok(Self::Any),
            _ => {}
        }
        let mut nets = Vec::new();
        for word in words {
            nets.extend(network(word)?);
        }
        Ok(Self::Only(IpNet::aggregate(&nets)))
    }

    /// As `parse` takes it; nothing for `Any`.
    pub fn words(&self) -> Vec<String> {
        match self {
            Scope::Any => Vec::new(),
            Scope::Only(nets) if nets.is_empty() => vec!["loopback".to_owned()],
            Scope::Only(nets) => nets.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Whether a sender that is not the host itself may.
    pub(crate) fn allows(&self, sender: IpAddr) -> bool {
        match self {
            Scope::Any => true,
            Scope::Only(nets) => nets.iter().any(|net| net.contains(&sender)),
        }
    }

    /// The list for one family, if there is one.
    pub(crate) fn limits(&self, ipv4: bool) -> Option<impl Iterator<Item = IpNet>> {
        match self {
            Scope::Any => None,
            Scope::Only(nets) => Some(nets.iter().copied().filter(move |n| n.addr().is_ipv4() == ipv4)),
        }
    }

    /// Whoever one of the two lets in.
    pub(crate) fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Scope::Only(a), Scope::Only(b)) => Scope::Only(IpNet::aggregate(&[a.as_slice(), b].concat())),
            _ => Scope::Any,
        }
    }
}

/// The host itself is in every list, so `loopback` adds nothing.
fn network(word: &str) -> Result<Option<IpNet>, String> {
    let invalid = |why: &str| {
        format!(
            "invalid source {word:?} of a published port: {why} (like 10.0.0.0/8, fd00::/8, 192.0.2.7, loopback, any)"
        )
    };
    match word {
        "loopback" => return Ok(None),
        "any" => return Err(invalid("\"any\" stands alone")),
        _ => {}
    }
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Ok(Some(ip.into()));
    }
    let net: IpNet = word.parse().map_err(|_| invalid("neither a network nor an address"))?;
    match net.addr() == net.network() {
        true => Ok(Some(net)),
        false => Err(invalid(&format!("did you mean {}?", net.trunc()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Scope::parse(text.split('+')) {
            Ok(Scope::Any) => "anybody".to_owned(),
            Ok(scope) => scope.words().join("+"),
            Err(e) => e,
        }
    }

    #[test]
    fn lists_of_sources() {
        assert_eq!(shown("any"), "anybody");
        assert_eq!(shown("loopback"), "loopback");
        assert_eq!(shown("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(shown("fd00::/8+192.0.2.0/24+loopback"), "192.0.2.0/24+fd00::/8");
        assert_eq!(shown("10.1.0.0/16+10.0.0.0/8+11.0.0.0/8"), "10.0.0.0/7", "none within another");
        assert!(shown("10.0.0.1/8").contains("did you mean 10.0.0.0/8?"));
        assert!(shown("any+10.0.0.0/8").contains("stands alone"));
        assert!(shown("").contains("neither a network nor an address"));
        assert!(shown("ten").contains("neither a network nor an address"));
        assert!(shown(&["10.0.0.1"; MAX_SOURCES + 1].join("+")).contains("at most 256"));
        assert!(Scope::parse([]).is_err());
    }

    #[test]
    fn words_read_back() {
        for text in ["any", "loopback", "10.0.0.0/8", "10.0.0.0/8+fd00::/8"] {
            let scope = Scope::parse(text.split('+')).unwrap();
            let words = scope.words();
            if !words.is_empty() {
                assert_eq!(Scope::parse(words.iter().map(String::as_str)).unwrap(), scope);
            }
        }
    }

    #[test]
    fn the_wider_of_two() {
        let of = |text: &str| Scope::parse(text.split('+')).unwrap();
        assert_eq!(of("10.0.0.0/8").or(&of("192.0.2.7")), of("10.0.0.0/8+192.0.2.7"));
        assert_eq!(of("10.0.0.0/8").or(&Scope::Any), Scope::Any);
        assert_eq!(of("loopback").or(&of("10.0.0.0/8")), of("10.0.0.0/8"));
    }
}
