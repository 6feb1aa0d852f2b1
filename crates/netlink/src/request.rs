//! One netlink message being put together: header, the family's fixed part, attributes
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html)).
//!
//! Invariant: `bytes` is always a whole message, padded to four bytes, whose length field is right.

pub(crate) const HEADER_LEN: usize = 16;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const NESTED: u16 = 1 << 15;

pub(crate) mod flag {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    pub const DUMP: u16 = 0x300;
    pub const EXCL: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const APPEND: u16 = 0x800;
}

/// A message to the kernel and what it is about, for errors.
#[derive(Debug, Clone)]
pub struct Request {
    pub(crate) bytes: Vec<u8>,
    operation: String,
}

impl Request {
    /// `fixed` is the structure after the header (`ifinfomsg`, `nfgenmsg`, ...).
    pub(crate) fn new(operation: impl Into<String>, kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut request = Self { bytes, operation: operation.into() };
        request.finish();
        request
    }

    /// What was asked for, with the object.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    pub(crate) fn set_sequence(&mut self, sequence: u32) {
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    /// With the terminating zero that the kernel's names have.
    pub(crate) fn text(mut self, kind: u16, value: &str) -> Self {
        self.put_text(kind, value);
        self
    }

    pub(crate) fn u8(self, kind: u16, value: u8) -> Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u16(self, kind: u16, value: u16) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Native byte order, as rtnetlink has it.
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Network byte order, as nftables has it.
    pub(crate) fn be32(mut self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes());
        self
    }

    pub(crate) fn nest(mut self, kind: u16, inner: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; ATTRIBUTE_HEADER_LEN]);
        self = inner(self);
        let len = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        self.finish();
        self
    }

    /// Bytes without an attribute header: the fixed part of a nested message.
    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(value);
        self.finish();
        self
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(ATTRIBUTE_HEADER_LEN + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.finish();
    }

    fn put_text(&mut self, kind: u16, value: &str) {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.put(kind, &bytes);
    }

    /// Pads, and writes the length.
    fn finish(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_padding_are_right() {
        let request = Request::new("x", 16, flag::ACK, &[7; 4])
            .text(3, "lo")
            .nest(18, |r| r.text(1, "veth").nest(2, |r| r.raw(&[9; 16]).u8(5, 1)));
        let bytes = &request.bytes;
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(u32::from_ne_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        assert_eq!(&bytes[20..28], &[7, 0, 3, 0, b'l', b'o', 0, 0]);
        // Outer nest: header 4, "veth\0" 4+5+3, inner nest: header 4, 16, u8 attribute 4+1+3.
        let outer = u16::from_ne_bytes([bytes[28], bytes[29]]);
        assert_eq!(outer, 4 + 12 + 4 + 16 + 8);
        assert_eq!(u16::from_ne_bytes([bytes[30], bytes[31]]), 18 | NESTED);
    }
}
