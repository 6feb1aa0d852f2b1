//! Where a registry is: from the domain of a reference to URLs, in the order in which they are tried. Pure.
use crate::config::RegistryConfig;
use crate::error::{Error, Result};
use knarr_oci::reference::DEFAULT_DOMAIN;
use reqwest::Url;

/// Where `docker.io` really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One place to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// With a final slash.
    pub base: Url,
    /// The user's credentials are not for it.
    pub mirror: bool,
    /// The server's certificate must be good.
    pub verify: bool,
    /// Another endpoint is the same server over another protocol: go on to it only if nobody answers here.
    pub fallback: bool,
}

/// Endpoints of a domain. Mirrors serve reading only.
pub fn endpoints(domain: &str, config: &RegistryConfig, read_only: bool) -> Result<Vec<Endpoint>> {
    let mut found = Vec::new();
    if domain == DEFAULT_DOMAIN && read_only {
        for mirror in &config.mirrors {
            found.push(mirror_endpoint(mirror, config)?);
        }
    }
    let host = if domain == DEFAULT_DOMAIN { DOCKER_HUB } else { domain };
    let insecure = config.is_insecure(host);
    let mut push = |scheme: &str, fallback| -> Result<()> {
        let base = parse(&format!("{scheme}://{host}/"))?;
        found.push(Endpoint { base, mirror: false, verify: !insecure, fallback });
        Ok(())
    };
    push("https", insecure)?;
    if insecure {
        push("http", false)?;
    }
    Ok(found)
}

fn mirror_endpoint(mirror: &str, config: &RegistryConfig) -> Result<Endpoint> {
    let mut base = parse(mirror)?;
    if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
        return Err(Error::Config(format!("invalid mirror: {mirror}")));
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    let authority = base.authority().rsplit('@').next().unwrap_or_default().to_owned();
    Ok(Endpoint { verify: !config.is_insecure(&authority), base, mirror: true, fallback: false })
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| Error::Config(format!("invalid registry address {url:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(domain: &str, config: &RegistryConfig, read_only: bool) -> Vec<String> {
        endpoints(domain, config, read_only).unwrap().iter().map(|e| e.base.to_string()).collect()
    }

    #[test]
    fn mirrors_come_first_and_only_for_reading_from_docker_io() {
        let mirrors = vec!["http://127.0.0.1:5001".to_owned(), "https://m.test/sub".to_owned()];
        let config = RegistryConfig { mirrors, ..RegistryConfig::default() };
        let hub = "https://registry-1.docker.io/";
        assert_eq!(urls("docker.io", &config, true), ["http://127.0.0.1:5001/", "https://m.test/sub/", hub]);
        assert_eq!(urls("docker.io", &config, false), [hub]);
        assert_eq!(urls("quay.io", &config, true), ["https://quay.io/"]);
    }

    #[test]
    fn insecure_registries_may_speak_plainly() {
        let config = RegistryConfig { insecure: vec!["r.test".to_owned()], ..RegistryConfig::default() };
        assert_eq!(urls("r.test:80", &config, false), ["https://r.test:80/", "http://r.test/"]);
        assert_eq!(
            urls("localhost:5000", &config, true),
            ["https://localhost:5000/", "http://localhost:5000/"]
        );
        assert!(endpoints("docker.io", &config, true).unwrap()[0].verify);
        assert!(!endpoints("r.test", &config, true).unwrap()[0].verify);
    }

    #[test]
    fn a_bad_mirror_is_an_error() {
        for mirror in ["nonsense", "ftp://x", "https://x/?a=b"] {
            let config = RegistryConfig { mirrors: vec![mirror.to_owned()], ..RegistryConfig::default() };
            assert!(endpoints("docker.io", &config, true).is_err(), "{mirror}");
        }
    }
}
