//! The key sequence that detaches from a container.
use crate::term::output::complain;

/// `ctrl-p,ctrl-q`.
const DEFAULT: [u8; 2] = [16, 17];

/// Reads `ctrl-a,b`; None if it is not a sequence of keys.
pub fn keys(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for key in text.split(',') {
        let byte = match key.strip_prefix("ctrl-") {
            Some(control) => match control.as_bytes() {
                [letter @ b'a'..=b'z'] => letter - b'a' + 1,
                [b'@'] => 0,
                [b'['] => 27,
                [b'\\'] => 28,
                [b']'] => 29,
                [b'^'] => 30,
                [b'_'] => 31,
                _ => return None,
            },
            None => match key.as_bytes() {
                [byte] => *byte,
                _ => return None,
            },
        };
        bytes.push(byte);
    }
    Some(bytes)
}

/// Finds the sequence in what is typed, however it is cut into reads.
pub struct Detector {
    keys: Vec<u8>,
    matched: usize,
}

impl Detector {
    /// An empty text is the default sequence; a wrong one too, with a warning.
    pub fn new(text: &str) -> Self {
        let keys = match keys(text) {
            Some(keys) if !text.is_empty() => keys,
            _ if text.is_empty() => DEFAULT.to_vec(),
            _ => {
                complain(&format!("WARNING: invalid detach escape keys, using default: {text}"));
                DEFAULT.to_vec()
            }
        };
        Self { keys, matched: 0 }
    }

    /// What of `input` is for the container, and whether the sequence is complete.
    pub fn pass(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len());
        for &byte in input {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            // a sequence that goes wrong was ordinary input after all
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                out.push(byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_across_reads() {
        let mut detector = Detector::new("");
        assert_eq!(detector.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(detector.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(detector.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(detector.pass(b"\x11rest"), (Vec::new(), true));
        assert_eq!(keys("ctrl-@,x,ctrl-["), Some(vec![0, b'x', 27]));
        assert_eq!(keys("ctrl-"), None);
    }
}
