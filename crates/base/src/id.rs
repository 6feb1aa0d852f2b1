//! Identifiers: 64 lower-case hexadecimal digits, as Docker and the image specification use them.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid id {0:?}: expected 64 lower-case hexadecimal digits")]
pub struct InvalidId(pub String);

/// Text of an identifier, checked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// Number of digits.
    pub const LEN: usize = 64;
    /// Number of digits of the short form that people see.
    pub const SHORT_LEN: usize = 12;

    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let ok = text.len() == Self::LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if ok { Ok(Self(text.to_owned())) } else { Err(InvalidId(text.to_owned())) }
    }
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT_LEN]
    }
}

impl TryFrom<String> for Id {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}
impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Id);
        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidId> { Id::parse(text).map(Self) }
            pub fn from_bytes(bytes: &[u8; 32]) -> Self { Self(Id::from_bytes(bytes)) }
            pub fn as_str(&self) -> &str { self.0.as_str() }
            pub fn short(&self) -> &str { self.0.short() }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
    )*};
}
ids! {
    /// A container.
    ContainerId,
    /// An image: the digest of its configuration, without the `sha256:` prefix.
    ImageId,
    /// A network.
    NetworkId,
    /// A command executed in a running container.
    ExecId,
    /// A volume, whatever it is called.
    VolumeId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixty_four_lower_case_digits_are_an_id() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(ContainerId::parse(&good).unwrap().short(), "0123456789ab");
        for bad in
            [good[1..].to_owned(), good.to_uppercase(), format!("{good}0"), "g".repeat(64), String::new()]
        {
            assert!(Id::parse(&bad).is_err(), "{bad}");
            assert!(serde_json_like(&bad).is_err());
        }
    }

    fn serde_json_like(text: &str) -> Result<Id, InvalidId> {
        Id::try_from(text.to_owned())
    }
}
