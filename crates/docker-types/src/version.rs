//! Versions of the API: `1.24` to `1.55`.
use std::fmt;

/// `major.minor`, compared as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl ApiVersion {
    /// The newest version that is spoken.
    pub const CURRENT: Self = Self::new(1, 55);
    /// The oldest version that is spoken.
    pub const MINIMUM: Self = Self::new(1, 24);

    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads `1.41` (also `v1.41`).
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.strip_prefix('v').unwrap_or(text).split_once('.')?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if plain { digits.parse::<u16>().ok() } else { None }
        };
        Some(Self::new(number(major)?, number(minor)?))
    }

    /// Whether this version is older than 1.`minor`.
    pub fn before(self, minor: u16) -> bool {
        self < Self::new(1, minor)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::ApiVersion;

    #[test]
    fn versions_compare_as_numbers() {
        let parse = |text| ApiVersion::parse(text).unwrap();
        assert!(parse("1.9") < parse("1.24"));
        assert!(parse("v1.55") == ApiVersion::CURRENT);
        assert!(parse("2.0") > ApiVersion::CURRENT);
        for bad in ["", "1", "1.", ".5", "1.x", "1.+5", "1.5.1", "1.99999999"] {
            assert_eq!(ApiVersion::parse(bad), None, "{bad}");
        }
    }
}
