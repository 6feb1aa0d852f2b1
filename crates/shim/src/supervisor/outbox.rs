//! Bytes that wait until a descriptor takes them.
//!
//! Invariant: order is kept; memory is given back when the box is empty.
use rustix::io::Errno;

#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Gives bytes to `write` until the box is empty or `write` would block.
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        while self.sent < self.bytes.len() {
            match write(&self.bytes[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        self.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_stays_in_order() {
        let mut outbox = Outbox::default();
        outbox.push(b"hello ");
        outbox.push(b"world");
        let mut got = Vec::new();
        let mut room = 3;
        let mut take = |bytes: &[u8]| {
            let count = bytes.len().min(room);
            if count == 0 {
                return Err(Errno::AGAIN);
            }
            room -= count;
            got.extend_from_slice(&bytes[..count]);
            Ok(count)
        };
        outbox.flush(&mut take).unwrap();
        assert_eq!(outbox.len(), 8);
        outbox.flush(|_| Err(Errno::PIPE)).unwrap_err();
        outbox
            .flush(|bytes| {
                got.extend_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap();
        assert_eq!((got.as_slice(), outbox.len()), (&b"hello world"[..], 0));
    }
}
