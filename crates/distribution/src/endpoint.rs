//! Where a registry is: from the domain of a reference to URLs, in the order in which they are tried. Pure.
use crate::config::RegistryConfig;
use crate::error::{Error, Result};
use crate::mirror;
use knarr_oci::reference::DEFAULT_DOMAIN;
use reqwest::Url;

/// Where `docker.io` really is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One place to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// With a final slash.
    pub base: Url,
    /// What the repository is called there.
    pub repository: String,
    /// The user's credentials are not for it.
    pub mirror: bool,
    /// The server's certificate must be good.
    pub verify: bool,
    /// Another endpoint is the same server over another protocol: go on to it only if nobody answers here.
    pub fallback: bool,
}

/// Endpoints of a repository. Mirrors serve reading only: those of its longest prefix, those of `docker.io`, the registry.
pub fn endpoints(
    domain: &str,
    path: &str,
    config: &RegistryConfig,
    read_only: bool,
) -> Result<Vec<Endpoint>> {
    let mut found = Vec::new();
    if read_only {
        for mirror in mirror::of(domain, path, &config.prefix_mirrors)? {
            found.push(mirror_endpoint(mirror.base, mirror.repository, config));
        }
        let of_hub = config.mirrors.iter().filter(|_| domain == DEFAULT_DOMAIN);
        for mirror in of_hub {
            let mut base = mirror::parse(mirror)?;
            if !base.path().ends_with('/') {
                base.set_path(&format!("{}/", base.path()));
            }
            found.push(mirror_endpoint(base, path.to_owned(), config));
        }
    }
    let host = if domain == DEFAULT_DOMAIN { DOCKER_HUB } else { domain };
    let insecure = config.is_insecure(host);
    let mut push = |scheme: &str, fallback| -> Result<()> {
        let base = parse(&format!("{scheme}://{host}/"))?;
        let repository = path.to_owned();
        found.push(Endpoint { base, repository, mirror: false, verify: !insecure, fallback });
        Ok(())
    };
    push("https", insecure)?;
    if insecure {
        push("http", false)?;
    }
    Ok(found)
}

fn mirror_endpoint(base: Url, repository: String, config: &RegistryConfig) -> Endpoint {
    let verify = !config.is_insecure(base.authority());
    Endpoint { base, repository, mirror: true, verify, fallback: false }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| Error::Config(format!("invalid registry address {url:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(domain: &str, config: &RegistryConfig, read_only: bool) -> Vec<String> {
        endpoints(domain, "a/b", config, read_only).unwrap().iter().map(|e| e.base.to_string()).collect()
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
    fn mirrors_of_a_prefix_come_before_those_of_docker_io() {
        let prefix_mirrors = [
            ("docker.io/library".to_owned(), vec!["https://p.test/hub".to_owned()]),
            ("quay.io".to_owned(), vec!["http://127.0.0.1:5000".to_owned()]),
        ];
        let mirrors = vec!["https://m.test/sub".to_owned()];
        let config =
            RegistryConfig { mirrors, prefix_mirrors: prefix_mirrors.into(), ..RegistryConfig::default() };
        let all = endpoints("docker.io", "library/app", &config, true).unwrap();
        let all: Vec<(String, &str)> =
            all.iter().map(|e| (e.base.to_string(), e.repository.as_str())).collect();
        let want = [
            ("https://p.test/", "hub/app"),
            ("https://m.test/sub/", "library/app"),
            ("https://registry-1.docker.io/", "library/app"),
        ];
        assert_eq!(all, want.map(|(base, repository)| (base.to_owned(), repository)));
        let all = endpoints("quay.io", "a/b", &config, true).unwrap();
        assert!(all[0].mirror && !all[0].verify && !all[1].mirror && all[1].verify);
        assert_eq!(endpoints("quay.io", "a/b", &config, false).unwrap().len(), 1);
    }

    #[test]
    fn insecure_registries_may_speak_plainly() {
        let config = RegistryConfig { insecure: vec!["r.test".to_owned()], ..RegistryConfig::default() };
        assert_eq!(urls("r.test:80", &config, false), ["https://r.test:80/", "http://r.test/"]);
        assert_eq!(
            urls("localhost:5000", &config, true),
            ["https://localhost:5000/", "http://localhost:5000/"]
        );
        assert!(endpoints("docker.io", "a", &config, true).unwrap()[0].verify);
        assert!(!endpoints("r.test", "a", &config, true).unwrap()[0].verify);
    }

    #[test]
    fn a_bad_mirror_is_an_error() {
        for mirror in ["nonsense", "ftp://x", "https://x/?a=b", "https://u:secret@x/"] {
            let config = RegistryConfig { mirrors: vec![mirror.to_owned()], ..RegistryConfig::default() };
            let error = endpoints("docker.io", "a", &config, true).expect_err(mirror);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
