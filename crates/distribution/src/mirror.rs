//! Mirrors of any part of any registry: which ones stand in for a repository, and what it is called there. Pure.
//!
//! A prefix is a registry's host, or a host and the first components of a path (`ghcr.io`, `quay.io/team`). The longest
//! prefix of a repository counts. A mirror's URL stands in for the prefix: what follows the prefix in the repository's name
//! is added to the URL's path, so with `ghcr.io/team` -> `https://cache.test/ghcr` the repository `ghcr.io/team/app` is
//! `ghcr/app` at `cache.test`, as proxy caches of Harbor, Artifactory, Nexus and ECR have it. A registry whose API does not
//! lie at the top says where: `https://cache.test/sub/v2/ghcr` is the repository `ghcr/app` below `/sub/v2/`.
use crate::error::{Error, Result};
use knarr_oci::reference::{DEFAULT_DOMAIN, Reference};
use reqwest::Url;
use std::collections::BTreeMap;

/// Most prefixes, and most mirrors of one.
pub const MAX_MIRRORS: usize = 64;

/// A repository at a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// With a final slash; `v2/` follows.
    pub base: Url,
    pub repository: String,
}

/// Where a repository is mirrored, best first.
pub fn of(domain: &str, path: &str, all: &BTreeMap<String, Vec<String>>) -> Result<Vec<Mirrored>> {
    let name = format!("{domain}/{path}");
    let rest_after = |prefix: &str| -> Option<String> {
        let prefix = normal(prefix);
        let rest = name.strip_prefix(prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
    };
    let fitting = all.iter().filter_map(|(prefix, urls)| Some((prefix.len(), rest_after(prefix)?, urls)));
    let Some((_, rest, urls)) = fitting.max_by_key(|(length, ..)| *length) else { return Ok(Vec::new()) };
    urls.iter()
        .map(|url| {
            let (base, above) = split(url)?;
            let repository = joined(&above, &rest);
            if repository.is_empty() {
                return Err(invalid(url, "it needs a path: the prefix is a whole repository"));
            }
            Ok(Mirrored { base, repository })
        })
        .collect()
}

/// What cannot be meant is an error at the start, not at the first pull.
pub fn check(all: &BTreeMap<String, Vec<String>>) -> Result<()> {
    if all.len() > MAX_MIRRORS || all.values().any(|urls| urls.len() > MAX_MIRRORS) {
        return Err(Error::Config(format!("more than {MAX_MIRRORS} registry prefixes or mirrors of one")));
    }
    for (prefix, urls) in all {
        let host = prefix.split('/').next().unwrap_or_default();
        let is_host = host.contains(['.', ':']) || host == "localhost";
        let repository = Reference::parse_name(&format!("{prefix}/a/b"));
        if !is_host || repository.is_err() || prefix.ends_with('/') {
            return Err(Error::Config(format!(
                "invalid registry prefix {prefix:?}: expected HOST[:PORT][/PATH], without scheme, tag or final slash"
            )));
        }
        for url in urls {
            let (_, above) = split(url)?;
            let name = format!("mirror.test/{}", joined(&above, "a"));
            if Reference::parse_name(&name).is_err() {
                return Err(invalid(url, "its path is no beginning of a repository's name"));
            }
        }
    }
    Ok(())
}

fn joined(above: &str, rest: &str) -> String {
    let parts = [above, rest];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn normal(prefix: &str) -> String {
    match prefix.strip_prefix("index.docker.io") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{DEFAULT_DOMAIN}{rest}"),
        _ => prefix.to_owned(),
    }
}

fn invalid(url: &str, why: &str) -> Error {
    Error::Config(format!("invalid mirror {url:?}: {why}"))
}

/// The API's base and the beginning of repositories' names.
fn split(text: &str) -> Result<(Url, String)> {
    let mut url = parse(text)?;
    let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let (base, above) = match segments.iter().position(|segment| *segment == "v2") {
        Some(at) => (segments[..at].join("/"), segments[at + 1..].join("/")),
        None => (String::new(), segments.join("/")),
    };
    let path = if base.is_empty() { "/".to_owned() } else { format!("/{base}/") };
    url.set_path(&path);
    Ok((url, above))
}

/// A mirror's URL, with Docker's rules and words.
pub fn parse(text: &str) -> Result<Url> {
    let config = |what: String| Error::Config(format!("invalid mirror: {what}"));
    let url = Url::parse(text).map_err(|_| config(format!("{text:?} is not a valid URI")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(config(format!("unsupported scheme {:?} in {text:?}", url.scheme())));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(config(format!("query or fragment at end of the URI {text:?}")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let shown = url.host_str().unwrap_or_default();
        return Err(config(format!("username/password not allowed in the URI of {shown:?}")));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let strings = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect();
        rows.iter().map(|(prefix, urls)| ((*prefix).to_owned(), strings(urls))).collect()
    }

    fn found(domain: &str, path: &str, all: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let mirrors = of(domain, path, all).unwrap();
        mirrors.iter().map(|m| format!("{}v2/{}", m.base, m.repository)).collect()
    }

    #[test]
    fn the_longest_prefix_wins_and_gives_way_to_the_mirrors_path() {
        let all = table(&[
            ("ghcr.io", &["https://m.test/ghcr", "http://n.test:5000"]),
            ("ghcr.io/team", &["https://m.test/sub/v2/ours"]),
            ("ghcr.io/team/app", &["https://app.test/copy"]),
            ("docker.io/library", &["https://m.test/official/"]),
            ("r.test:5000", &["https://r.test"]),
            ("empty.test", &[]),
        ]);
        check(&all).unwrap();
        for (domain, path, want) in [
            (
                "ghcr.io",
                "other/app",
                &["https://m.test/v2/ghcr/other/app", "http://n.test:5000/v2/other/app"][..],
            ),
            (
                "ghcr.io",
                "teams/app",
                &["https://m.test/v2/ghcr/teams/app", "http://n.test:5000/v2/teams/app"],
            ),
            ("ghcr.io", "team/x/y", &["https://m.test/sub/v2/ours/x/y"]),
            ("ghcr.io", "team/app", &["https://app.test/v2/copy"]),
            ("ghcr.io", "team/app/sub", &["https://app.test/v2/copy/sub"]),
            ("docker.io", "library/nginx", &["https://m.test/v2/official/nginx"]),
            ("docker.io", "other/nginx", &[]),
            ("r.test:5000", "a", &["https://r.test/v2/a"]),
            ("r.test", "a", &[]),
            ("r.test:50000", "a", &[]),
            ("empty.test", "a", &[]),
        ] {
            assert_eq!(found(domain, path, &all), want, "{domain}/{path}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (prefix, url) in [
            ("ghcr", "https://m.test"),
            ("", "https://m.test"),
            ("https://ghcr.io", "https://m.test"),
            ("ghcr.io/", "https://m.test"),
            ("ghcr.io/UP", "https://m.test"),
            ("ghcr.io/a:tag", "https://m.test"),
            ("ghcr.io", "m.test"),
            ("ghcr.io", "ftp://m.test"),
            ("ghcr.io", "https://m.test/UP"),
            ("ghcr.io", "https://m.test/a?b=c"),
            ("ghcr.io", "https://u:p@m.test"),
        ] {
            let error = check(&table(&[(prefix, &[url])])).expect_err(&format!("{prefix} {url}"));
            assert!(!error.to_string().contains(":p@"), "{error}");
        }
    }

    proptest::proptest! {
        /// What is asked for at a mirror is a repository below the path that the configuration names, and nothing else.
        #[test]
        fn nothing_leaves_a_mirrors_path(path in "[a-z0-9]{1,4}(/[a-z0-9]{1,4}){0,3}", cut in 0usize..3) {
            let head: Vec<&str> = path.split('/').take(cut).collect();
            let prefix = joined("r.test", &head.join("/"));
            let prefix = prefix.trim_end_matches('/');
            let all = table(&[(prefix, &["https://m.test/v2/below"])]);
            for mirror in of("r.test", &path, &all).unwrap() {
                let below = mirror.repository == "below" || mirror.repository.starts_with("below/");
                proptest::prop_assert!(below, "{}", mirror.repository);
                let rest = mirror.repository.trim_start_matches("below").trim_start_matches('/');
                proptest::prop_assert!(path.ends_with(rest));
            }
        }
    }
}
