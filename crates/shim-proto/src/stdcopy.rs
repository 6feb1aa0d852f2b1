//! Docker's multiplexed stream: `[stream, 0, 0, 0, length as big-endian u32]`, then the bytes.
//!
//! Standard: "Stream format" of the Engine API's attach operation.

/// Bytes of one header.
pub const HEADER: usize = 8;

/// Which standard stream bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Its name in log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "stdout" => Some(Self::Stdout),
            "stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// The header of `length` bytes of a stream.
pub const fn header(stream: Stream, length: u32) -> [u8; HEADER] {
    let [a, b, c, d] = length.to_be_bytes();
    [stream.number(), 0, 0, 0, a, b, c, d]
}

/// What a header says: the stream's number (0 stdin, 1 stdout, 2 stderr, 3 system error) and the length.
pub const fn parse(header: [u8; HEADER]) -> (u8, u32) {
    (header[0], u32::from_be_bytes([header[4], header[5], header[6], header[7]]))
}
