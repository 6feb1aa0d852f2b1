//! The keys that a terminal's user types to leave a container running: `ctrl-p,ctrl-q` unless chosen otherwise.
use crate::error::{Error, Result};

/// Docker's default.
const DEFAULT: [u8; 2] = [16, 17];
/// Longest sequence.
const MAX_KEYS: usize = 32;

/// `ctrl-a,b,ctrl-@`: keys as bytes. Empty is the default.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.filter(|keys| keys.len() <= MAX_KEYS)
        .ok_or_else(|| Error::Invalid(format!("Invalid detach keys ({text}) provided")))
}

fn key(text: &str) -> Option<u8> {
    if let [byte] = text.as_bytes() {
        return Some(*byte);
    }
    let (ctrl, letter) = text.split_at_checked(5)?;
    let letter = *letter.as_bytes().first().filter(|_| letter.len() == 1)?;
    if !ctrl.eq_ignore_ascii_case("ctrl-") {
        return None;
    }
    match letter {
        b'a'..=b'z' => Some(letter - b'a' + 1),
        b'A'..=b'Z' => Some(letter - b'A' + 1),
        b'@' => Some(0),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    }
}

/// Finds the keys in a stream. Bytes that may be their beginning are held back until it is known.
pub struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

/// What a piece of input is.
pub struct Scanned {
    /// For the program.
    pub pass: Vec<u8>,
    pub detached: bool,
}

impl Scanner {
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    pub fn scan(&mut self, input: &[u8]) -> Scanned {
        if self.keys.is_empty() {
            return Scanned { pass: input.to_vec(), detached: false };
        }
        let mut pass = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Scanned { pass, detached: true };
                }
                continue;
            }
            pass.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                pass.push(byte);
            } else if self.keys.len() == 1 {
                return Scanned { pass, detached: true };
            }
        }
        Scanned { pass, detached: false }
    }

    /// What was held back, at the end of the input.
    pub fn rest(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,x,ctrl-@,CTRL-Z").unwrap(), [1, b'x', 0, 26]);
        for bad in ["ctrl-", "ctrl-1", "abc", "a,,b", "ctrl-ab"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    fn scan(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut scanner = Scanner::new(keys.to_vec());
        let mut passed = Vec::new();
        for piece in pieces {
            let scanned = scanner.scan(piece);
            passed.extend(scanned.pass);
            if scanned.detached {
                return (passed, true);
            }
        }
        passed.extend(scanner.rest());
        (passed, false)
    }

    #[test]
    fn sequences() {
        let keys = [16, 17];
        assert_eq!(scan(&keys, &[b"ab\x10", b"\x11rest"]), (b"ab".to_vec(), true));
        assert_eq!(scan(&keys, &[b"a\x10", b"b"]), (b"a\x10b".to_vec(), false));
        assert_eq!(scan(&keys, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(scan(&keys, &[b"\x10"]), (b"\x10".to_vec(), false));
        assert_eq!(scan(b"x", &[b"abxc"]), (b"ab".to_vec(), true));
        assert_eq!(scan(&[], &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
