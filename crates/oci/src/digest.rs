//! Content digests: `sha256:<64 hex>` and `sha512:<128 hex>`.
//!
//! Standard: <https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests>. Invariant: a `Digest`
//! holds a registered algorithm and exactly as many lower-case hexadecimal digits as it produces, so its text is
//! always safe as a file name or as part of a URL (CVE-2024-3727).
use knarr_base::ImageId;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::fmt;

/// Why a text is not a digest, in the words that Docker's clients know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    #[error("invalid checksum digest format")]
    Format,
    #[error("invalid checksum digest length")]
    Length,
    #[error("unsupported digest algorithm")]
    Algorithm,
}

/// Registered digest algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }
    /// Number of hexadecimal digits that the algorithm produces.
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A verified-in-form content digest.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (name, hex) = text.split_once(':').ok_or(InvalidDigest::Format)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ if is_algorithm_name(name) && !hex.is_empty() => return Err(InvalidDigest::Algorithm),
            _ => return Err(InvalidDigest::Format),
        };
        if hex.len() != algorithm.hex_len() {
            return Err(InvalidDigest::Length);
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidDigest::Format);
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }

    /// The SHA-256 digest of a value in memory.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex::encode(sha2::Sha256::digest(bytes)) }
    }
    /// The digest of `bytes` by the same algorithm as `self` is `self`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let mut hasher = Hasher::new(self.algorithm);
        hasher.update(bytes);
        hasher.finish() == *self
    }
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: hex::encode(bytes) }
    }
    /// The digest of the configuration that an image id stands for.
    pub fn of_image(id: &ImageId) -> Self {
        Self { algorithm: Algorithm::Sha256, hex: id.as_str().to_owned() }
    }
    /// The image whose configuration has this digest; none for algorithms that image ids do not use.
    pub fn image_id(&self) -> Option<ImageId> {
        if self.algorithm == Algorithm::Sha256 { ImageId::parse(&self.hex).ok() } else { None }
    }
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
    pub fn hex(&self) -> &str {
        &self.hex
    }
    /// Twelve digits, as people see them.
    pub fn short(&self) -> &str {
        &self.hex[..12]
    }
}

/// `[A-Za-z][A-Za-z0-9]*` groups joined by one of `+._-`.
fn is_algorithm_name(name: &str) -> bool {
    name.split(['+', '.', '_', '-']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}
impl std::str::FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        Self::parse(text)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The SHA-256 of these parts as one, as bytes: for sums over many small things.
pub fn sha256_of(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = sha2::Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// Computes a digest over a stream.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }
    pub fn sha256() -> Self {
        Self::new(Algorithm::Sha256)
    }
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(h) => h.update(bytes),
            State::Sha512(h) => h.update(bytes),
        }
    }
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(h) => Digest { algorithm: Algorithm::Sha256, hex: hex::encode(h.finalize()) },
            State::Sha512(h) => Digest { algorithm: Algorithm::Sha512, hex: hex::encode(h.finalize()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn known_digest() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert!(Digest::parse(EMPTY).unwrap().matches(b""));
        assert!(!Digest::parse(EMPTY).unwrap().matches(b"x"));
        let long = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
        assert!(!long.matches(b"x") && long.image_id().is_none());
    }

    #[test]
    fn hostile_forms_are_refused() {
        let hex = &EMPTY[7..];
        for (text, error) in [
            (String::new(), InvalidDigest::Format),
            (hex.to_owned(), InvalidDigest::Format),
            ("sha256:".to_owned(), InvalidDigest::Length),
            (format!("sha256:{}", &hex[1..]), InvalidDigest::Length),
            (format!("sha256:{hex}0"), InvalidDigest::Length),
            (format!("sha256:{}", hex.to_uppercase()), InvalidDigest::Format),
            (format!("sha256:../../{}", &hex[6..]), InvalidDigest::Format),
            (format!("SHA256:{hex}"), InvalidDigest::Algorithm),
            (format!("md5:{}", &hex[..32]), InvalidDigest::Algorithm),
            (format!("../sha256:{hex}"), InvalidDigest::Format),
            (format!("sha256:sha256:{}", &hex[7..]), InvalidDigest::Format),
        ] {
            assert_eq!(Digest::parse(&text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,200}") { let _ = Digest::parse(&text); }
        #[test]
        fn round_trip(bytes in any::<[u8; 32]>()) {
            let digest = Digest::from_sha256(&bytes);
            prop_assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
        }
    }
}
