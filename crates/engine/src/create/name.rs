//! Names of containers.
use crate::error::{Error, Result};

/// Longest name; it becomes a hostname's label in nobody's hands, but a bound is needed.
const MAX_LEN: usize = 255;

/// The name without its leading slash, if it is one: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
pub fn check(name: &str) -> Result<String> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    let bytes = plain.as_bytes();
    let first = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if first && rest && (2..=MAX_LEN).contains(&bytes.len()) {
        return Ok(plain.to_owned());
    }
    Err(Error::Invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, plain) in [("web", "web"), ("/web", "web"), ("a.b_c-1", "a.b_c-1"), ("0x", "0x")] {
            assert_eq!(check(name).unwrap(), plain);
        }
        for bad in ["", "/", "a", "-a", ".a", "a b", "a/b", "//ab", "ab\n", "\u{e4}b", &"x".repeat(256)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
