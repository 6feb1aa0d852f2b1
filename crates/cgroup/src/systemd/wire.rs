//! Messages of D-Bus as bytes: as much as talking to systemd takes.
//!
//! Standard: D-Bus Specification, "Message Protocol", version 1. Values are aligned to their size. Invariant: what is read
//! comes from another process, so every length is checked against what is there.

/// A property's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Str(String),
    Bool(bool),
    U64(u64),
    U32s(Vec<u32>),
    Bytes(Vec<u8>),
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Str(_) => "s",
            Self::Bool(_) => "b",
            Self::U64(_) => "t",
            Self::U32s(_) => "au",
            Self::Bytes(_) => "ay",
            Self::Pairs(_) => "a(ss)",
        }
    }
}

/// Little-endian, from a boundary of 8 bytes.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
    pub fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
    }
    /// Strings and object paths.
    pub fn string(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }
    pub fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }
    /// The length counts from the first element, which is aligned.
    pub fn array(&mut self, element: usize, write: impl FnOnce(&mut Self)) {
        self.u32(0);
        let length = self.bytes.len() - 4;
        self.align(element);
        let start = self.bytes.len();
        write(self);
        let written = (self.bytes.len() - start) as u32;
        self.bytes[length..length + 4].copy_from_slice(&written.to_le_bytes());
    }
    pub fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Str(text) => self.string(text),
            Value::Bool(on) => self.u32((*on).into()),
            Value::U64(number) => {
                self.align(8);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::U32s(numbers) => self.array(4, |w| numbers.iter().for_each(|&n| w.u32(n))),
            Value::Bytes(bytes) => self.array(1, |w| w.bytes.extend(bytes)),
            Value::Pairs(pairs) => self.array(8, |w| {
                for (a, b) in pairs {
                    w.align(8);
                    w.string(a);
                    w.string(b);
                }
            }),
        }
    }
    /// `a(sv)`.
    pub fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |w| {
            for (name, value) in properties {
                w.align(8);
                w.string(name);
                w.variant(value);
            }
        });
    }
}

/// Whom and what a call is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    /// Empty on a connection without a bus.
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'a str,
    pub signature: &'a str,
}

const CALL: u8 = 1;
pub(super) const ERROR: u8 = 3;
pub(super) const SIGNAL: u8 = 4;
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;
/// Bytes before the fields of the header.
pub(super) const FIXED: usize = 16;

/// A method call with its body.
pub(super) fn call(call: &Call<'_>, serial: u32, body: &[u8]) -> Vec<u8> {
    let mut w = Writer { bytes: vec![b'l', CALL, 0, 1] };
    w.u32(body.len() as u32);
    w.u32(serial);
    w.array(8, |w| {
        let fields = [
            (PATH, 'o', call.path),
            (DESTINATION, 's', call.destination),
            (INTERFACE, 's', call.interface),
            (MEMBER, 's', call.member),
            (SIGNATURE, 'g', call.signature),
        ];
        for (code, kind, text) in fields.into_iter().filter(|(_, _, text)| !text.is_empty()) {
            w.align(8);
            w.bytes.push(code);
            w.signature(kind.encode_utf8(&mut [0; 4]));
            if kind == 'g' { w.signature(text) } else { w.string(text) }
        }
    });
    w.align(8);
    w.bytes.extend(body);
    w.bytes
}

/// What is of interest in a message that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub kind: u8,
    pub reply_to: u32,
    pub member: String,
    pub error: String,
    pub signature: String,
    pub body: Vec<u8>,
}

/// Length of the whole message, from its first bytes.
pub(super) fn length(fixed: [u8; FIXED]) -> Option<usize> {
    // Only our own byte order is spoken: the other side runs on this machine.
    let number =
        |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]) as usize;
    (fixed[0] == b'l').then(|| (FIXED + number(12)).next_multiple_of(8) + number(4))
}

/// A whole message.
pub(super) fn parse(bytes: &[u8]) -> Option<Message> {
    let mut r = Reader { bytes, at: 4 };
    let mut message = Message { kind: *bytes.get(1)?, ..Message::default() };
    let body = r.u32()? as usize;
    r.u32()?;
    let end = r.u32()? as usize + FIXED;
    while r.at < end {
        r.align(8);
        let code = r.byte()?;
        match r.signature()? {
            "s" | "o" => {
                let text = r.string()?.to_owned();
                match code {
                    MEMBER => message.member = text,
                    ERROR_NAME => message.error = text,
                    _ => {}
                }
            }
            "g" => {
                let text = r.signature()?.to_owned();
                if code == SIGNATURE {
                    message.signature = text;
                }
            }
            "u" => {
                let number = r.u32()?;
                if code == REPLY_SERIAL {
                    message.reply_to = number;
                }
            }
            _ => return None,
        }
    }
    r.align(8);
    message.body = bytes.get(r.at..r.at.checked_add(body)?)?.to_vec();
    Some(message)
}

/// Reads from a boundary of 8 bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }
    pub fn u32(&mut self) -> Option<u32> {
        self.align(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
    pub fn string(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.byte()?;
        Some(text)
    }
    pub fn signature(&mut self) -> Option<&'a str> {
        let length = self.byte()?.into();
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        self.byte()?;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let hello = Call { destination: "a.b", path: "/", interface: "c.d", member: "Hi", signature: "" };
        let bytes = call(&hello, 7, b"");
        assert_eq!(bytes[..16], [b'l', 1, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 59, 0, 0, 0]);
        assert_eq!(bytes[16..26], [1, 1, b'o', 0, 1, 0, 0, 0, b'/', 0]);
        assert_eq!(bytes.len() % 8, 0);
        let fixed: [u8; FIXED] = bytes[..FIXED].try_into().unwrap();
        assert_eq!(length(fixed), Some(bytes.len()));
        let parsed = parse(&bytes).unwrap();
        assert_eq!((parsed.kind, parsed.member.as_str()), (CALL, "Hi"));
    }

    #[test]
    fn properties_are_aligned() {
        let mut w = Writer::default();
        w.properties(&[("A", Value::U64(5)), ("B", Value::U32s(vec![9])), ("C", Value::Bool(true))]);
        let expected: &[u8] = &[
            60, 0, 0, 0, 0, 0, 0, 0, // length, then a structure begins at 8
            1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, // A: t
            1, 0, 0, 0, b'B', 0, 2, b'a', b'u', 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, // B: au
            1, 0, 0, 0, b'C', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0, // C: b
        ];
        assert_eq!(w.bytes[8..], expected[8..]);
        assert_eq!(w.bytes[0] as usize, w.bytes.len() - 8);
    }

    #[test]
    fn nonsense_is_no_message() {
        assert_eq!(length([0; FIXED]), None);
        let good =
            call(&Call { destination: "", path: "/", interface: "i", member: "M", signature: "s" }, 1, b"xx");
        assert!(parse(&good).is_some());
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_none(), "{end}");
        }
        let mut wild = good;
        wild[12..16].copy_from_slice(&[255; 4]);
        assert!(parse(&wild).is_none());
    }
}
