//! Image references: `[domain/]path[:tag][@digest]`, in Docker's normal form.
//!
//! Standard: <https://github.com/distribution/reference> (grammar) and Docker's rules for short names: `nginx` is
//! `docker.io/library/nginx:latest`. Invariant: every part of a `Reference` matches its grammar; nothing in it can
//! leave a path or a URL segment.
use crate::digest::{Digest, InvalidDigest};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Domain of names that give none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library";
/// Tag of names that give neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository path.
pub const MAX_NAME_LEN: usize = 255;
/// Longest tag.
pub const MAX_TAG_LEN: usize = 128;

/// Why a text is not a reference, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must not be more than {MAX_NAME_LEN} characters")]
    NameTooLong,
    #[error("repository name must have at least one component")]
    Empty,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

/// A repository name with a tag, a digest, both or neither.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses what a person typed; adds `:latest` when there is neither tag nor digest.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let mut reference = Self::parse_name(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// Parses what a person typed; adds no tag.
    pub fn parse_name(text: &str) -> Result<Self, InvalidReference> {
        if text.is_empty() {
            return Err(InvalidReference::Format);
        }
        if is_identifier(text) {
            return Err(InvalidReference::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let name_end = remainder.find(':').unwrap_or(remainder.len());
        let remote = &remainder[..name_end];
        if remote.chars().any(char::is_uppercase) {
            return Err(InvalidReference::Uppercase(remote.to_owned()));
        }
        Self::from_parts(domain, &remainder)
    }

    fn from_parts(domain: &str, remainder: &str) -> Result<Self, InvalidReference> {
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_domain(domain) || !is_path(path) || tag.is_some_and(|t| !is_tag(t)) {
            return Err(InvalidReference::Format);
        }
        if path.len() > MAX_NAME_LEN {
            return Err(InvalidReference::NameTooLong);
        }
        let digest = match digest.map(Digest::parse) {
            None => None,
            Some(Ok(digest)) => Some(digest),
            Some(Err(InvalidDigest::Format)) => return Err(InvalidReference::Format),
            Some(Err(e)) => return Err(e.into()),
        };
        Ok(Self { domain: domain.to_owned(), path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Registry host with port, `docker.io` for Docker's own.
    pub fn domain(&self) -> &str {
        &self.domain
    }
    /// Repository within the registry: `library/nginx`.
    pub fn path(&self) -> &str {
        &self.path
    }
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
    /// Domain and path: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
    /// The name as people write it: `nginx`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix("library/") {
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => self.path.clone(),
        }
    }
    /// The reference as people write it: `nginx:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }
    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, InvalidReference> {
        if !is_tag(tag) {
            return Err(InvalidReference::Format);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
    /// The same repository with this digest and no tag.
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }
    /// The repository alone.
    pub fn repository(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }
}

/// Splits at the first slash if what stands before it can only be a host; fills in Docker's defaults.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}/{remainder}"));
    }
    (domain, remainder.to_owned())
}

/// 64 lower-case hexadecimal digits: an image id, not a name.
pub fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// `host[:port]`, where host is a name, an IPv4 address or a bracketed IPv6 address.
fn is_domain(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        let Some(end) = text.find(']') else { return false };
        let address = &text[1..end];
        if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
            return false;
        }
        ("", &text[end + 1..])
    } else {
        let end = text.find(':').unwrap_or(text.len());
        if end == 0 {
            return false;
        }
        (&text[..end], &text[end..])
    };
    let port_is_right = port.is_empty()
        || port.strip_prefix(':').is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    port_is_right && (host.is_empty() || host.split('.').all(is_domain_component))
}

fn is_domain_component(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// `[a-z0-9]+` groups joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|b| alphanumeric(*b)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-')
    })
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty()
        && text.len() <= MAX_TAG_LEN
        && word(text.as_bytes()[0])
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}
impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}
impl TryFrom<String> for Reference {
    type Error = InvalidReference;
    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Self::parse_name(&text)
    }
}
impl std::str::FromStr for Reference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normal_form_and_familiar_form() {
        let hex = "0".repeat(64);
        let by_digest = format!("busybox@sha256:{hex}");
        let both = format!("localhost:5000/a/b:v1@sha256:{hex}");
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("library/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest", "127.0.0.1:5000/a/b:latest"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
            ("Host/app", "Host/app:latest", "Host/app:latest"),
            ("a__b/c.d-e---f", "docker.io/a__b/c.d-e---f:latest", "a__b/c.d-e---f:latest"),
            (&by_digest, &format!("docker.io/library/{by_digest}"), &by_digest),
            (&both, &both, &both),
        ] {
            let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(familiar).unwrap(), reference);
        }
        assert!(Reference::parse_name("nginx").unwrap().is_name_only());
    }

    #[test]
    fn errors_in_dockers_words() {
        let long = "a".repeat(256);
        let identifier = "a".repeat(64);
        let bad_hex = format!("nginx@sha256:{}", "0".repeat(63));
        for (text, message) in [
            ("", "invalid reference format"),
            ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
            ("docker.io/A/b:c", "invalid reference format: repository name (A/b) must be lowercase"),
            ("nginx:", "invalid reference format"),
            (":x", "invalid reference format"),
            ("nginx@", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("/a", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("../a", "invalid reference format"),
            ("a/../b", "invalid reference format"),
            ("a b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a:.b", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("http://a/b", "invalid reference format"),
            ("a.b:x/c", "invalid reference format"),
            ("[::1/c", "invalid reference format"),
            ("b\u{0}", "invalid reference format"),
            (&long, "repository name must not be more than 255 characters"),
            (
                &identifier,
                &format!(
                    "invalid repository name ({identifier}), cannot specify 64-byte hexadecimal strings"
                ),
            ),
            (&bad_hex, "invalid checksum digest length"),
            (&format!("nginx@md5:{}", "0".repeat(32)), "unsupported digest algorithm"),
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert_eq!(error.to_string(), message, "{text}");
        }
        assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
        assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,300}") { let _ = Reference::parse(&text); }

        /// Names made by the grammar of docker/distribution mean what they were made of.
        #[test]
        fn the_grammars_own_names(
            domain in "(localhost|[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?\\.[A-Z]{1,3}|[A-Z]{1,3}[a-z]{0,3}|\\[[0-9a-f:]{2,8}\\])",
            port in "(:[0-9]{1,5})?",
            path in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}){0,3}",
            tag in "([A-Za-z0-9_][A-Za-z0-9_.-]{0,12})?",
            digest in "([0-9a-f]{64})?",
        ) {
            let mut suffix = String::new();
            if !tag.is_empty() {
                suffix.push_str(&format!(":{tag}"));
            }
            if !digest.is_empty() {
                suffix.push_str(&format!("@sha256:{digest}"));
            }
            // An address alone is a host by its colons; without any it needs a port to be one.
            let is_host = domain == "localhost" || format!("{domain}{port}").contains(['.', ':'])
                || domain.chars().any(char::is_uppercase);
            prop_assume!(is_host);
            let whole = format!("{domain}{port}/{path}{suffix}");
            let reference = Reference::parse_name(&whole).unwrap();
            prop_assert_eq!(reference.domain(), format!("{domain}{port}"));
            prop_assert_eq!(reference.path(), &path);
            prop_assert_eq!(reference.tag().unwrap_or_default(), &tag);
            let found = reference.digest().map(ToString::to_string).unwrap_or_default();
            prop_assert_eq!(found.trim_start_matches("sha256:"), &digest);
            prop_assert_eq!(reference.to_string(), whole);

            // Without a host it is Docker Hub's, unless what begins it can only be a host.
            let short = format!("{path}{suffix}");
            let reference = Reference::parse_name(&short);
            match path.split_once('/') {
                // (what is taken for a host need not be a good one)
                Some((first, rest)) if first.contains('.') => {
                    if let Ok(reference) = reference {
                        prop_assert_eq!((reference.domain(), reference.path()), (first, rest));
                    }
                }
                Some(_) => {
                    let reference = reference.unwrap();
                    prop_assert_eq!((reference.domain(), reference.path()), (DEFAULT_DOMAIN, path.as_str()));
                }
                None => {
                    let reference = reference.unwrap();
                    prop_assert_eq!(reference.domain(), DEFAULT_DOMAIN);
                    prop_assert_eq!(reference.path(), format!("library/{path}"));
                }
            }
        }

        /// What the grammar does not know is refused, whatever stands around it.
        #[test]
        fn what_is_not_of_the_grammar_is_refused(
            path in "[a-z0-9]{1,5}",
            bad in "[^a-zA-Z0-9._/:@\\-\\[\\]]",
            at in 0usize..5,
        ) {
            let at = at.min(path.len());
            let text = format!("{}{bad}{}", &path[..at], &path[at..]);
            prop_assert!(Reference::parse(&text).is_err(), "{:?}", text);
            let host = format!("r.test:5000/{text}:v1");
            prop_assert!(Reference::parse(&host).is_err(), "{:?}", host);
        }

        #[test]
        fn near_misses_never_panic_and_parse_to_a_fixed_point(text in "[a-zA-Z0-9.:/@_\\[\\]-]{0,80}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }
    }
}
