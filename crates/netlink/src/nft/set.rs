//! Sets and maps: their declaration and their elements.
use super::{Family, message, nfgenmsg};
use crate::Request;
use crate::request::flag;
use crate::socket::CHANGE;

const TABLE: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 3;
const KEY_TYPE: u16 = 4;
const KEY_LEN: u16 = 5;
const DATA_TYPE: u16 = 6;
const DATA_LEN: u16 = 7;
const DESC: u16 = 9;
const ID: u16 = 10;
const USERDATA: u16 = 13;
const DESC_CONCAT: u16 = 2;
const FIELD_LEN: u16 = 1;

const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const LIST_ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_USERDATA: u16 = 6;
const ELEMENT_KEY_END: u16 = 10;
const DATA_VALUE: u16 = 1;

const SET_INTERVAL: u32 = 0x4;
const SET_MAP: u32 = 0x8;
const SET_CONCAT: u32 = 0x80;

/// One message carries at most this many elements: the list's length field has 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 256;
/// Comments are cut to what the kernel takes.
const MAX_COMMENT_BYTES: usize = 120;

/// What `nft` keeps for itself beside a set: the key's byte order (type 0, length 4) is the host's. Without it `nft`
/// lists texts as empty.
const KEY_IS_TEXT: [u8; 6] = {
    let [a, b, c, d] = 1u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// A field of a key or a value, with `nft`'s type numbers, so that `nft list` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Ipv4Addr,
    Ipv6Addr,
    InetProto,
    InetService,
    IfName,
}

impl Field {
    fn type_number(self) -> u32 {
        match self {
            Field::Ipv4Addr => 7,
            Field::Ipv6Addr => 8,
            Field::InetProto => 12,
            Field::InetService => 13,
            Field::IfName => 41,
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Field::Ipv4Addr => 4,
            Field::Ipv6Addr => 16,
            Field::InetProto => 1,
            Field::InetService => 2,
            Field::IfName => 16,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Field::Ipv4Addr => "ipv4_addr",
            Field::Ipv6Addr => "ipv6_addr",
            Field::InetProto => "inet_proto",
            Field::InetService => "inet_service",
            Field::IfName => "ifname",
        }
    }
}

/// Number and length of a concatenation, as registers hold it: each field padded to four bytes.
fn concatenation(fields: &[Field]) -> (u32, u32) {
    let number = fields.iter().fold(0, |n, f| n << 6 | f.type_number());
    let len: usize = match fields {
        [one] => one.size(),
        many => many.iter().map(|f| f.size().next_multiple_of(4)).sum(),
    };
    (number, u32::try_from(len).unwrap_or(u32::MAX))
}

/// A named set, or a map when it has `data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSpec {
    pub name: &'static str,
    pub key: Vec<Field>,
    pub data: Vec<Field>,
    /// Keys may be ranges.
    pub interval: bool,
}

impl SetSpec {
    pub(crate) fn request(&self, family: Family, table: &str, id: u32) -> Request {
        let (key_type, key_len) = concatenation(&self.key);
        let mut flags = 0;
        for (on, bit) in [
            (self.interval, SET_INTERVAL),
            (!self.data.is_empty(), SET_MAP),
            (self.key.len() > 1, SET_CONCAT),
        ] {
            flags |= if on { bit } else { 0 };
        }
        let operation = format!("create set {} in table {table}", self.name);
        let mut request =
            Request::new(operation, message::NEW_SET, CHANGE | flag::CREATE, &nfgenmsg(family.number(), 0))
                .text(TABLE, table)
                .text(NAME, self.name)
                .be32(FLAGS, flags)
                .be32(KEY_TYPE, key_type)
                .be32(KEY_LEN, key_len)
                .be32(ID, id);
        if !self.data.is_empty() {
            let (data_type, data_len) = concatenation(&self.data);
            request = request.be32(DATA_TYPE, data_type).be32(DATA_LEN, data_len);
        }
        if self.key == [Field::IfName] {
            request = request.bytes(USERDATA, &KEY_IS_TEXT);
        }
        if self.key.len() > 1 {
            request = request.nest(DESC, |r| {
                r.nest(DESC_CONCAT, |r| {
                    self.key.iter().fold(r, |r, field| {
                        let len = u32::try_from(field.size()).unwrap_or(u32::MAX);
                        r.nest(LIST_ELEMENT, |r| r.be32(FIELD_LEN, len))
                    })
                })
            });
        }
        request
    }
}

/// An element: fields in network byte order, without padding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Element {
    pub key: Vec<Vec<u8>>,
    /// Upper bounds of the fields, included; only in interval sets.
    pub key_end: Option<Vec<Vec<u8>>>,
    /// The value in a map.
    pub data: Vec<Vec<u8>>,
    pub comment: String,
}

/// An interface's name as sets hold it.
pub(crate) fn ifname(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(Field::IfName.size(), 0);
    bytes
}

impl Element {
    /// An interface name alone or several of them.
    pub fn interfaces(names: &[&str]) -> Self {
        let key = names.iter().map(|name| ifname(name)).collect();
        Self { key, key_end: None, data: Vec::new(), comment: String::new() }
    }
}

fn padded(fields: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for field in fields {
        bytes.extend_from_slice(field);
        if fields.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

fn put_element(request: Request, element: &Element, with_data: bool) -> Request {
    request.nest(LIST_ELEMENT, |mut r| {
        r = r.nest(ELEMENT_KEY, |r| r.bytes(DATA_VALUE, &padded(&element.key)));
        if let Some(end) = &element.key_end {
            r = r.nest(ELEMENT_KEY_END, |r| r.bytes(DATA_VALUE, &padded(end)));
        }
        if with_data && !element.data.is_empty() {
            r = r.nest(ELEMENT_DATA, |r| r.bytes(DATA_VALUE, &padded(&element.data)));
        }
        if with_data && !element.comment.is_empty() {
            r = r.bytes(ELEMENT_USERDATA, &comment(&element.comment));
        }
        r
    })
}

/// A comment as `nft` keeps it: type 0, length, text, zero.
pub(crate) fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(MAX_COMMENT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = vec![0, u8::try_from(end + 1).unwrap_or(u8::MAX)];
    bytes.extend_from_slice(&text.as_bytes()[..end]);
    bytes.push(0);
    bytes
}

/// Requests that add or delete elements.
pub(crate) fn elements(
    family: Family,
    table: &str,
    set: &str,
    elements: &[Element],
    add: bool,
) -> Vec<Request> {
    let (word, kind, flags) = if add {
        ("add", message::NEW_ELEMENT, CHANGE | flag::CREATE)
    } else {
        ("delete", message::DEL_ELEMENT, CHANGE)
    };
    let chunks = elements.chunks(ELEMENTS_PER_MESSAGE);
    chunks
        .map(|chunk| {
            let operation = format!("{word} {} elements of set {set} in table {table}", chunk.len());
            Request::new(operation, kind, flags, &nfgenmsg(family.number(), 0))
                .text(ELEMENTS_TABLE, table)
                .text(ELEMENTS_SET, set)
                .nest(ELEMENTS, |r| chunk.iter().fold(r, |r, e| put_element(r, e, add)))
        })
        .collect()
}
