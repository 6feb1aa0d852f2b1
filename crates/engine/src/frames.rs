//! Output as a client asked for it: a command with a terminal prints plain bytes and one without Docker's frames, but which of them a client
//! is sent is its own choice (`Tty` when an exec is started).
use knarr_docker_types::stdcopy::{self, HEADER_LEN, Stream};

/// What is done to output on its way.
#[derive(Debug, Default)]
pub(crate) enum Frames {
    #[default]
    Keep,
    /// Plain bytes become frames of stdout.
    Add,
    /// Frames become plain bytes; what is known of the header that comes, and how much of a frame is to come.
    Remove(Vec<u8>, usize),
}

impl Frames {
    /// From what there is to what is wanted.
    pub fn between(have: bool, want: bool) -> Self {
        match (have, want) {
            (false, true) => Self::Add,
            (true, false) => Self::Remove(Vec::new(), 0),
            _ => Self::Keep,
        }
    }

    /// The bytes to send for these; `None`: themselves.
    pub fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Keep => None,
            Self::Add => {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                Some([&stdcopy::header(Stream::Stdout, length)[..], bytes].concat())
            }
            Self::Remove(header, left) => Some(removed(header, left, bytes)),
        }
    }
}

fn removed(header: &mut Vec<u8>, left: &mut usize, mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        if *left == 0 {
            let wanted = (HEADER_LEN - header.len()).min(bytes.len());
            header.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if let [_, _, _, _, a, b, c, d] = header[..] {
                *left = u32::from_be_bytes([a, b, c, d]) as usize;
                header.clear();
            }
            continue;
        }
        let taken = (*left).min(bytes.len());
        plain.extend_from_slice(&bytes[..taken]);
        bytes = &bytes[taken..];
        *left -= taken;
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_added_and_removed_wherever_they_are_cut() {
        let mut add = Frames::between(false, true);
        let framed = [add.pass(b"hello ").unwrap(), add.pass(b"world").unwrap()].concat();
        assert_eq!(framed.len(), 2 * HEADER_LEN + 11);
        for cut in 1..framed.len() {
            let mut remove = Frames::between(true, false);
            let plain: Vec<u8> = framed.chunks(cut).flat_map(|part| remove.pass(part).unwrap()).collect();
            assert_eq!(plain, b"hello world", "{cut}");
        }
        assert!(Frames::between(true, true).pass(b"x").is_none());
    }
}
