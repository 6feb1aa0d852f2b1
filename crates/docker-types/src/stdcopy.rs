//! Docker's multiplexed stream: frames with an 8-byte header `[stream, 0, 0, 0, length (big-endian u32)]`.

/// Length of a frame's header.
pub const HEADER_LEN: usize = 8;

/// The stream that a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the daemon, as text.
    SystemErr = 3,
}

/// The header of a frame of `len` bytes.
pub fn header(stream: Stream, len: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = len.to_be_bytes();
    [stream as u8, 0, 0, 0, a, b, c, d]
}

/// Reads a header; `None` when the stream is unknown.
pub fn parse_header(header: [u8; HEADER_LEN]) -> Option<(Stream, u32)> {
    let [kind, _, _, _, a, b, c, d] = header;
    let stream = match kind {
        0 => Stream::Stdin,
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        3 => Stream::SystemErr,
        _ => return None,
    };
    Some((stream, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        for stream in [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::SystemErr] {
            assert_eq!(parse_header(header(stream, 0x0102_0304)), Some((stream, 0x0102_0304)));
        }
        assert_eq!(header(Stream::Stderr, 5), [2, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(parse_header([9, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
