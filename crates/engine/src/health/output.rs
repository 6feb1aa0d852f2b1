//! What a probe said: a bounded part of Docker's multiplexed stream.
use crate::frames::Frames;

/// Bytes of output that are kept.
pub(super) const MAX_OUTPUT: usize = 4096;

/// Puts the payloads of frames together, whatever pieces they come in.
#[derive(Debug)]
pub(super) struct Output {
    kept: Vec<u8>,
    truncated: bool,
    frames: Frames,
}

impl Default for Output {
    fn default() -> Self {
        Self { kept: Vec::new(), truncated: false, frames: Frames::between(true, false) }
    }
}

impl Output {
    pub fn push(&mut self, piece: &[u8]) {
        let payload = self.frames.pass(piece).unwrap_or_default();
        self.keep(&payload);
    }

    fn keep(&mut self, payload: &[u8]) {
        let room = MAX_OUTPUT - self.kept.len();
        self.truncated |= payload.len() > room;
        self.kept.extend_from_slice(&payload[..payload.len().min(room)]);
    }

    pub fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        if self.truncated { format!("{text}...") } else { text.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::stdcopy::{Stream, header};

    #[test]
    fn any_pieces_and_no_more_than_the_bound() {
        let mut bytes = Vec::new();
        for (stream, text) in [(Stream::Stdout, "one "), (Stream::Stderr, ""), (Stream::Stderr, "two")] {
            bytes.extend(header(stream, text.len() as u32));
            bytes.extend(text.as_bytes());
        }
        for size in 1..=bytes.len() {
            let mut output = Output::default();
            bytes.chunks(size).for_each(|piece| output.push(piece));
            assert_eq!(output.text(), "one two", "pieces of {size}");
        }
        let mut output = Output::default();
        for _ in 0..3 {
            output.push(&header(Stream::Stdout, 3000));
            output.push(&[b'x'; 3000]);
        }
        assert_eq!(output.text().len(), MAX_OUTPUT + 3);
        assert!(output.text().ends_with("x..."));
    }
}
