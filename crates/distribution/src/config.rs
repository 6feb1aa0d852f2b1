//! Which registries there are beside their names' own hosts, and which are trusted without proof.
use crate::proxy::Proxies;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// As given to the engine (`--registry-mirror`, `--insecure-registry`, `daemon.json`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryConfig {
    /// URLs of mirrors of `docker.io`, tried in this order before it.
    pub mirrors: Vec<String>,
    /// URLs of mirrors by the beginning of a repository's full name (`ghcr.io`, `quay.io/team`); the longest one that fits
    /// counts, its mirrors are tried in this order before `mirrors` and the registry itself. See [`crate::mirror`].
    pub prefix_mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts (`host`, `host:port`) and networks (`10.0.0.0/8`) whose certificates are not verified and that may speak
    /// plain HTTP. Loopback always may.
    pub insecure: Vec<String>,
    /// Directories of `<host>/*.crt`, `*.cert`, `*.key`, as `/etc/docker/certs.d`.
    pub certs_dirs: Vec<PathBuf>,
    /// Proxies that are given; what is empty is the environment's.
    pub proxies: Proxies,
    /// `User-Agent` of all requests; empty: `knarr`.
    pub user_agent: String,
}

impl RegistryConfig {
    pub(crate) fn is_insecure(&self, domain: &str) -> bool {
        let host = host_of(domain);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.insecure.iter().any(|entry| match (entry.parse::<IpNet>(), address) {
            (Ok(net), Some(address)) => net.contains(&address),
            _ => entry == domain || entry == host,
        })
    }
}

/// Without the port, and without an IPv6 address's brackets.
pub(crate) fn host_of(domain: &str) -> &str {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    domain.rsplit_once(':').map_or(domain, |(host, _)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_what_is_named_is_insecure() {
        let insecure = vec!["10.1.0.0/16".to_owned(), "reg.test:5000".to_owned(), "any.test".to_owned()];
        let config = RegistryConfig { insecure, ..RegistryConfig::default() };
        for yes in
            ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "10.1.2.3:443"]
        {
            assert!(config.is_insecure(yes), "{yes}");
        }
        for yes in ["reg.test:5000", "any.test", "any.test:8443"] {
            assert!(config.is_insecure(yes), "{yes}");
        }
        for no in ["docker.io", "reg.test", "reg.test:5001", "10.2.0.1", "localhost.test", "notany.test"] {
            assert!(!config.is_insecure(no), "{no}");
        }
    }
}
