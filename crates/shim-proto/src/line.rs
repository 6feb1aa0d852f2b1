//! Output cut into log messages, exactly as Docker's log copier does.
//!
//! A message is a line without its newline, or a piece of [`MAX_LINE`] bytes of a longer line, or what was left when the
//! stream ended. All pieces of one line carry the time of the first. Only a line's end gets a newline in the log.
//!
//! Invariant: the messages do not depend on how the bytes were cut into reads; at most [`MAX_LINE`] bytes are held.

/// Longest message; Docker's `defaultBufSize`.
pub const MAX_LINE: usize = 16 * 1024;

/// One message, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a, T> {
    pub bytes: &'a [u8],
    /// The line ends here: the log gets a newline.
    pub ends: bool,
    pub time: T,
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Splitter<T> {
    /// The beginning of an unfinished message.
    held: Vec<u8>,
    /// The time of the first piece, while in the middle of a long line.
    first_piece: Option<T>,
}

impl<T> Default for Splitter<T> {
    fn default() -> Self {
        Self { held: Vec::new(), first_piece: None }
    }
}

impl<T: Copy> Splitter<T> {
    /// Takes bytes that were read at `now`.
    pub fn push(&mut self, mut bytes: &[u8], now: T, mut emit: impl FnMut(Message<'_, T>)) {
        while !bytes.is_empty() {
            let room = MAX_LINE - self.held.len();
            let window = &bytes[..bytes.len().min(room)];
            match memchr::memchr(b'\n', window) {
                Some(at) => {
                    let time = self.first_piece.take().unwrap_or(now);
                    self.emit_with(&bytes[..at], true, time, &mut emit);
                    bytes = &bytes[at + 1..];
                }
                None if window.len() == room => {
                    let time = *self.first_piece.get_or_insert(now);
                    self.emit_with(window, false, time, &mut emit);
                    bytes = &bytes[room..];
                }
                None => {
                    self.held.extend_from_slice(bytes);
                    return;
                }
            }
        }
    }

    /// The stream has ended: what is held is a message without a newline.
    pub fn finish(&mut self, now: T, mut emit: impl FnMut(Message<'_, T>)) {
        let time = self.first_piece.take().unwrap_or(now);
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            emit(Message { bytes: &held, ends: false, time });
        }
    }

    fn emit_with(&mut self, tail: &[u8], ends: bool, time: T, emit: &mut impl FnMut(Message<'_, T>)) {
        if self.held.is_empty() {
            emit(Message { bytes: tail, ends, time });
        } else {
            self.held.extend_from_slice(tail);
            emit(Message { bytes: &self.held, ends, time });
            self.held.clear();
        }
    }
}
