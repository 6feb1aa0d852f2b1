//! The wire format: queries are read, answers are written, answers of others are checked. Pure.
//!
//! Standard: RFC 1035 (4.1), RFC 6891 (EDNS). Only what a name server for one machine needs is understood; the rest of a query
//! is passed on as it came.
//!
//! Invariants: nothing is read beyond the message, whatever its lengths say; a compressed name in a question is refused, and in
//! other places it is skipped, never followed, so no loop can exist; the number of records looked at is bounded.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Largest query; a question and its options have hundreds of bytes.
pub const MAX_QUERY: usize = 4096;
/// What fits into a datagram for a client that says nothing else.
pub const PLAIN_UDP: usize = 512;
/// Largest message over TCP.
pub const MAX_MESSAGE: usize = u16::MAX as usize;
/// Largest datagram over IPv4.
const MAX_UDP: usize = 65_507;
const HEADER: usize = 12;
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// Records of a query that are looked at; an honest one has one or two.
const MAX_RECORDS: usize = 16;
/// Seconds that an answer may be kept, as in Docker.
const TTL: u32 = 600;
/// What we say that we take: all.
const OWN_UDP: u16 = MAX_QUERY as u16;

const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const RECURSION_AVAILABLE: u8 = 0x80;
/// A pointer to the name of the question.
const QUESTION_NAME: [u8; 2] = [0xc0, HEADER as u8];

/// Kinds of records (`QTYPE`).
pub mod kind {
    pub const A: u16 = 1;
    pub const PTR: u16 = 12;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const ANY: u16 = 255;
}
const CLASS_IN: u16 = 1;

/// `RCODE`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code(pub u8);

impl Code {
    pub const OK: Self = Self(0);
    pub const MALFORMED: Self = Self(1);
    pub const SERVER_FAILURE: Self = Self(2);
    pub const NO_SUCH_NAME: Self = Self(3);
    pub const NOT_IMPLEMENTED: Self = Self(4);
    pub const REFUSED: Self = Self(5);
}

/// A query with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    bytes: Vec<u8>,
    question: Range<usize>,
    /// Without the last dot; `None`: a label has bytes that no name here has.
    pub name: Option<String>,
    pub kind: u16,
    pub class: u16,
    /// The client's EDNS size; `None`: it knows no EDNS.
    edns_size: Option<u16>,
}

/// Why something is no query that can be answered as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalid {
    /// Not even a header, or itself an answer: an answer to that could go on for ever.
    Ignore,
    /// The answer to send.
    Reply(Vec<u8>),
}

impl Query {
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        let Some(header) = bytes.first_chunk::<HEADER>() else { return Err(Invalid::Ignore) };
        if header[2] & RESPONSE != 0 {
            return Err(Invalid::Ignore);
        }
        if header[2] & OPCODE != 0 {
            return Err(Invalid::Reply(failure(header, Code::NOT_IMPLEMENTED)));
        }
        Self::parse_body(bytes, header).ok_or_else(|| Invalid::Reply(failure(header, Code::MALFORMED)))
    }

    fn parse_body(bytes: &[u8], header: &[u8; HEADER]) -> Option<Self> {
        let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let (questions, records) = (count(4), count(6) + count(8) + count(10));
        if bytes.len() > MAX_QUERY || questions != 1 || records > MAX_RECORDS {
            return None;
        }
        let (name, end) = question_name(bytes, HEADER)?;
        let fixed = bytes.get(end..end + 4)?;
        let (kind, class) =
            (u16::from_be_bytes([fixed[0], fixed[1]]), u16::from_be_bytes([fixed[2], fixed[3]]));
        let mut at = end + 4;
        let mut edns_size = None;
        for _ in 0..records {
            let record = Record::read(bytes, at)?;
            if record.kind == kind::OPT {
                edns_size = Some(record.class);
            }
            at = record.end;
        }
        Some(Self { bytes: bytes.to_vec(), question: HEADER..end + 4, name, kind, class, edns_size })
    }

    /// As it came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same under another number.
    pub fn numbered(&self, number: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    pub fn is_internet(&self) -> bool {
        self.class == CLASS_IN
    }

    /// Largest datagram that the client takes.
    pub fn datagram_limit(&self) -> usize {
        self.edns_size.map_or(PLAIN_UDP, |size| usize::from(size).clamp(PLAIN_UDP, MAX_UDP))
    }

    /// An answer of our own. What does not fit is left out, and the client told to ask again over TCP.
    pub fn reply(&self, code: Code, answers: &[Answer], limit: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(PLAIN_UDP);
        let flags = RESPONSE | (self.bytes[2] & RECURSION_DESIRED);
        out.extend_from_slice(&self.bytes[..2]);
        out.extend_from_slice(&[flags, RECURSION_AVAILABLE | code.0, 0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(&self.bytes[self.question.clone()]);
        let options = self.edns_size.map(|_| own_options());
        let limit = limit - options.map_or(0, |o| o.len());
        let mut written: u16 = 0;
        for answer in answers {
            let before = out.len();
            answer.write(&mut out);
            if out.len() > limit || written == u16::MAX {
                out.truncate(before);
                out[2] |= TRUNCATED;
                break;
            }
            written += 1;
        }
        out[6..8].copy_from_slice(&written.to_be_bytes());
        if let Some(options) = options {
            out.extend_from_slice(&options);
            out[11] = 1;
        }
        out
    }

    /// A server's answer made fit for the client: its number, and not more than it takes.
    pub fn pass_on(&self, mut answer: Vec<u8>, limit: usize) -> Vec<u8> {
        if answer.len() > limit {
            let mut short = self.reply(Code(answer[3] & 0x0f), &[], limit);
            short[2] |= TRUNCATED;
            return short;
        }
        answer[..2].copy_from_slice(&self.bytes[..2]);
        answer
    }

    /// What a server said; `None`: it is no answer to this query as it was sent under `number`.
    pub fn check(&self, answer: &[u8], number: u16) -> Option<Said> {
        let header = answer.first_chunk::<HEADER>()?;
        if header[..2] != number.to_be_bytes() || header[2] & RESPONSE == 0 || header[2] & OPCODE != 0 {
            return None;
        }
        let code = Code(header[3] & 0x0f);
        match [header[4], header[5]] {
            [0, 1] => {
                let asked = &self.bytes[self.question.clone()];
                let repeated = answer.get(HEADER..HEADER + asked.len())?;
                if !repeated.eq_ignore_ascii_case(asked) {
                    return None;
                }
            }
            // Old servers do not even repeat a question that they do not understand.
            [0, 0] if code != Code::OK && code != Code::NO_SUCH_NAME => {}
            _ => return None,
        }
        Some(Said { code, truncated: header[2] & TRUNCATED != 0, empty: header[6..8] == [0, 0] })
    }
}

/// The header of an answer that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub code: Code,
    pub truncated: bool,
    /// It has no answers.
    pub empty: bool,
}

/// One record of an answer of our own, to the name of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Address(IpAddr),
    Name(String),
}

impl Answer {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&QUESTION_NAME);
        let (kind, data) = match self {
            Answer::Address(IpAddr::V4(ip)) => (kind::A, ip.octets().to_vec()),
            Answer::Address(IpAddr::V6(ip)) => (kind::AAAA, ip.octets().to_vec()),
            Answer::Name(name) => (kind::PTR, encoded(name)),
        };
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        out.extend_from_slice(&TTL.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
    }
}

/// A name in wire format, cut where it is longer than a name may be.
fn encoded(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(MAX_LABEL)];
        if out.len() + label.len() + 2 > MAX_NAME {
            break;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    out
}

fn own_options() -> [u8; 11] {
    let [_, kind] = kind::OPT.to_be_bytes();
    let [high, low] = OWN_UDP.to_be_bytes();
    [0, 0, kind, high, low, 0, 0, 0, 0, 0, 0]
}

fn failure(header: &[u8; HEADER], code: Code) -> Vec<u8> {
    let flags = RESPONSE | (header[2] & (OPCODE | RECURSION_DESIRED));
    vec![header[0], header[1], flags, RECURSION_AVAILABLE | code.0, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The name at `at`, which must not be compressed, and where it ends.
fn question_name(bytes: &[u8], mut at: usize) -> Option<(Option<String>, usize)> {
    let start = at;
    let mut text = String::new();
    let mut plain = true;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return (at - start <= MAX_NAME).then_some((plain.then_some(text), at));
        }
        let label = if length <= MAX_LABEL { bytes.get(at..at + length)? } else { return None };
        at += length;
        if at - start > MAX_NAME {
            return None;
        }
        plain &= label.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'.');
        if !text.is_empty() {
            text.push('.');
        }
        text.extend(label.iter().map(|byte| char::from(*byte)));
    }
}

struct Record {
    kind: u16,
    class: u16,
    end: usize,
}

impl Record {
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let at = skip_name(bytes, at)?;
        let fixed = bytes.get(at..at + 10)?;
        let number = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let end = at + 10 + usize::from(number(8));
        (end <= bytes.len()).then_some(Self { kind: number(0), class: number(2), end })
    }
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return bytes.get(at + 1).map(|_| at + 2),
            length if length > MAX_LABEL => return None,
            length => at += 1 + length,
        }
        if at - start > MAX_NAME {
            return None;
        }
    }
}

/// The address that a name below `in-addr.arpa` or `ip6.arpa` stands for.
pub fn reverse_address(name: &str) -> Option<IpAddr> {
    let name = name.to_ascii_lowercase();
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = digits.split('.');
        for octet in octets.iter_mut().rev() {
            let part = parts.next()?;
            *octet = part.parse().ok().filter(|_| part.len() == 1 || !part.starts_with(['0', '+']))?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    let digits = name.strip_suffix(".ip6.arpa")?;
    let mut value: u128 = 0;
    let mut count = 0;
    for (index, digit) in digits.split('.').enumerate() {
        let [digit] = digit.as_bytes() else { return None };
        let nibble = char::from(*digit).to_digit(16)?;
        value |= u128::from(nibble).checked_shl(u32::try_from(4 * index).ok()?)?;
        count += 1;
    }
    (count == 32).then(|| Ipv6Addr::from(value).into())
}

/// For the fuzzer: whatever comes, reading it and answering it ends, in bounds.
pub fn fuzz(bytes: &[u8]) {
    match Query::parse(bytes) {
        Ok(query) => {
            let limit = query.datagram_limit();
            let many: Vec<Answer> = (0..100).map(|n| Answer::Address(Ipv4Addr::from(n).into())).collect();
            for answers in [&many[..], &[Answer::Name("a.b".into())], &[]] {
                let reply = query.reply(Code::OK, answers, limit);
                assert!(reply.len() <= limit, "{} > {limit}", reply.len());
                let number = u16::from_be_bytes([bytes[0], bytes[1]]);
                assert!(query.check(&reply, number).is_some(), "an answer of our own is one");
            }
            let _ = query.check(bytes, 0);
            if let Some(name) = &query.name {
                let _ = reverse_address(name);
            }
        }
        Err(Invalid::Reply(reply)) => assert_eq!(reply.len(), HEADER),
        Err(Invalid::Ignore) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend(encoded(name));
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&CLASS_IN.to_be_bytes());
        out
    }

    fn with_options(mut query: Vec<u8>, size: u16) -> Vec<u8> {
        query[11] = 1;
        query.extend_from_slice(&[0, 0, 41]);
        query.extend_from_slice(&size.to_be_bytes());
        query.extend_from_slice(&[0, 0, 0x80, 0, 0, 0]);
        query
    }

    fn code_of(invalid: Invalid) -> u8 {
        match invalid {
            Invalid::Reply(reply) => reply[3] & 0x0f,
            Invalid::Ignore => panic!("ignored"),
        }
    }

    #[test]
    fn queries_are_read() {
        let query = Query::parse(&ask("Web.Front", kind::A)).unwrap();
        assert_eq!((query.name.as_deref(), query.kind, query.datagram_limit()), (Some("Web.Front"), 1, 512));
        for (said, used) in [(0, 512), (1232, 1232), (65_535, 65_507)] {
            let query = Query::parse(&with_options(ask("a", kind::AAAA), said)).unwrap();
            assert_eq!(query.datagram_limit(), used);
        }
        let mut odd = ask("a.b", kind::A);
        odd[13] = b'.';
        assert_eq!(Query::parse(&odd).unwrap().name, None, "a dot inside of a label");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = ask("web", kind::A);
        for cut in 0..good.len() {
            let result = Query::parse(&good[..cut]).unwrap_err();
            assert_eq!(matches!(result, Invalid::Ignore), cut < 12, "{cut}");
        }
        let change = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            Query::parse(&bytes)
        };
        assert_eq!(change(2, 0x81), Err(Invalid::Ignore), "an answer");
        assert_eq!(code_of(change(2, 0x29).unwrap_err()), 4, "an update");
        assert_eq!(code_of(change(5, 2).unwrap_err()), 1, "two questions");
        assert_eq!(code_of(change(5, 0).unwrap_err()), 1, "none");
        assert_eq!(code_of(change(12, 0xc0).unwrap_err()), 1, "a compressed name, which leads to itself");
        assert_eq!(code_of(change(12, 64).unwrap_err()), 1, "a long label");
        assert_eq!(code_of(change(11, 1).unwrap_err()), 1, "a record that is not there");
        assert_eq!(code_of(change(10, 0xff).unwrap_err()), 1, "65,000 records");
        let mut long = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        (0..130).for_each(|_| long.extend_from_slice(b"\x01a"));
        long.extend_from_slice(&[0, 0, 1, 0, 1]);
        assert_eq!(code_of(Query::parse(&long).unwrap_err()), 1, "a long name");
        let mut padded = good.clone();
        padded.resize(MAX_QUERY + 1, 0);
        assert_eq!(code_of(Query::parse(&padded).unwrap_err()), 1, "a long query");
    }

    #[test]
    fn replies_are_written() {
        let query = Query::parse(&with_options(ask("web", kind::A), 1232)).unwrap();
        let address = Answer::Address("10.0.0.2".parse().unwrap());
        let reply = query.reply(Code::OK, std::slice::from_ref(&address), 1232);
        let mut wanted =
            vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 1, 3, b'w', b'e', b'b', 0, 0, 1, 0, 1];
        wanted.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 2]);
        wanted.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply, wanted);
        let many = vec![address; 100];
        let plain = Query::parse(&ask("web", kind::A)).unwrap();
        let cut = plain.reply(Code::OK, &many, 512);
        assert!(cut.len() <= 512 && cut[2] & TRUNCATED != 0 && cut[7] == 30, "{}", cut[7]);
        assert_eq!(plain.reply(Code::OK, &many, MAX_MESSAGE)[7], 100);
    }

    #[test]
    fn answers_of_servers_are_checked() {
        let query = Query::parse(&ask("Web.test", kind::A)).unwrap();
        let sent = query.numbered(0xbeef);
        let mut answer = sent.clone();
        answer[2] |= 0x80;
        let said = query.check(&answer, 0xbeef);
        assert_eq!(said, Some(Said { code: Code::OK, truncated: false, empty: true }));
        assert_eq!(query.pass_on(answer.clone(), 512)[..2], [0x12, 0x34]);
        let change = |at: usize, to: u8| {
            let mut bytes = answer.clone();
            bytes[at] = to;
            query.check(&bytes, 0xbeef)
        };
        assert_eq!(query.check(&answer, 0xbeee), None, "another number");
        assert_eq!(change(2, 1), None, "a query");
        assert_eq!(change(13, b'x'), None, "another question");
        assert!(change(13, b'w').is_some(), "another case");
        assert!(change(2, 0x83).unwrap().truncated);
        assert_eq!(change(5, 0), None, "without a question");
        let short = [0xbe, 0xef, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(query.check(&short, 0xbeef).unwrap().code, Code::MALFORMED);
        answer.resize(600, 0);
        let cut = query.pass_on(answer, 512);
        assert!(cut.len() < 100 && cut[2] & TRUNCATED != 0);
    }

    #[test]
    fn reverse_names() {
        let reverse = |name: &str| reverse_address(name).map(|ip| ip.to_string());
        assert_eq!(reverse("4.3.2.10.IN-ADDR.arpa").as_deref(), Some("10.2.3.4"));
        let v6 = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
        assert_eq!(reverse(v6).as_deref(), Some("4321:0:1:2:3:4:567:89ab"));
        for wrong in [
            "3.2.10.in-addr.arpa",
            "1.4.3.2.10.in-addr.arpa",
            "a.3.2.10.in-addr.arpa",
            "01.3.2.10.in-addr.arpa",
            "256.3.2.10.in-addr.arpa",
            "in-addr.arpa",
            "1.ip6.arpa",
            "web",
        ] {
            assert_eq!(reverse(wrong), None, "{wrong}");
        }
        let longer = format!("0.{v6}");
        assert_eq!(reverse(&longer), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            fuzz(&bytes);
        }

        #[test]
        fn nearly_queries(
            name in "[a-z.]{0,80}", kind in any::<u16>(), size in prop::option::of(any::<u16>()),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let mut bytes = ask(&name, kind);
            if let Some(size) = size {
                bytes = with_options(bytes, size);
            }
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            fuzz(&bytes);
        }

        #[test]
        fn any_answer(answer in prop::collection::vec(any::<u8>(), 0..100)) {
            let query = Query::parse(&ask("web.test", kind::A)).unwrap();
            let _ = query.check(&answer, 0);
        }
    }
}
