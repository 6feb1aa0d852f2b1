//! How a message lies on a stream socket: its length as a little-endian `u32`, then that many bytes of JSON.
//!
//! Invariant: no frame is longer than [`MAX_FRAME`], whoever sends it; a longer one is an error before it is stored.
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of JSON in one frame. The largest message is a process with its arguments and environment, for which
/// the kernel's own bound is about 2 MiB.
pub const MAX_FRAME: usize = 4 << 20;

/// Bytes before the JSON.
pub const HEADER: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("message of {length} bytes is longer than {MAX_FRAME}")]
    TooLong { length: usize },
    #[error("message is not valid: {0}")]
    Invalid(#[from] serde_json::Error),
}

/// One frame, header included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::TooLong { length });
    }
    bytes[..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// The length that a header announces.
pub fn length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong { length }) } else { Ok(length) }
}

/// The message of a frame's JSON part.
pub fn decode<T: DeserializeOwned>(json: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(json)?)
}

/// Collects bytes as they come and gives out whole frames.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it has come.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(header) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let end = HEADER + length(*header)?;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let message = decode(&self.bytes[HEADER..end]);
        self.bytes.drain(..end);
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        message.map(Some)
    }

    /// Bytes that came after the last whole frame.
    pub fn rest(self) -> Vec<u8> {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
