//! Messages as entries of systemd's journal.
//!
//! Standard: "Native Journal Protocol" of systemd; the fields are those of Docker's `journald` driver. An entry is one
//! datagram; what has a newline inside is written with its length.
use super::remote::Queued;
use knarr_shim_proto::stdcopy::Stream;
use std::collections::BTreeMap;

const PRIORITY_ERROR: &str = "3";
const PRIORITY_INFO: &str = "6";

#[derive(Debug)]
pub struct Journald {
    /// Encoded already.
    fields: Vec<u8>,
    ordinal: u64,
    /// Lines that are in pieces, by stream.
    partial: [Option<Partial>; 2],
}

#[derive(Debug)]
struct Partial {
    id: String,
    ordinal: u32,
}

impl Journald {
    pub fn new(mut fields: BTreeMap<String, String>) -> Self {
        fields.insert("CONTAINER_LOG_EPOCH".to_owned(), random());
        let mut encoded = Vec::new();
        for (name, value) in &fields {
            field(&mut encoded, name, value.as_bytes());
        }
        Self { fields: encoded, ordinal: 0, partial: [None, None] }
    }

    pub fn encode(&mut self, out: &mut Vec<u8>, message: Queued<'_>) {
        self.ordinal += 1;
        field(out, "MESSAGE", message.bytes);
        let priority = if message.stream == Stream::Stderr { PRIORITY_ERROR } else { PRIORITY_INFO };
        field(out, "PRIORITY", priority.as_bytes());
        field(out, "SYSLOG_TIMESTAMP", message.time.to_string().as_bytes());
        field(out, "CONTAINER_LOG_ORDINAL", self.ordinal.to_string().as_bytes());
        let partial = &mut self.partial[usize::from(message.stream == Stream::Stderr)];
        if partial.is_some() || !message.ends {
            let this = partial.get_or_insert_with(|| Partial { id: random(), ordinal: 0 });
            this.ordinal += 1;
            field(out, "CONTAINER_PARTIAL_ID", this.id.as_bytes());
            field(out, "CONTAINER_PARTIAL_ORDINAL", this.ordinal.to_string().as_bytes());
            field(out, "CONTAINER_PARTIAL_LAST", if message.ends { b"true" } else { b"false" });
            if message.ends {
                *partial = None;
            } else {
                field(out, "CONTAINER_PARTIAL_MESSAGE", b"true");
            }
        }
        out.extend_from_slice(&self.fields);
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// 64 hexadecimal digits.
fn random() -> String {
    let mut bytes = [0; 32];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_dockers_fields() {
        let fields = [("CONTAINER_NAME", "web"), ("LABEL", "two\nlines")];
        let mut words = Journald::new(fields.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        let message = |text: &'static str, ends| Queued {
            bytes: text.as_bytes(),
            stream: Stream::Stderr,
            ends,
            time: "2024-01-02T03:04:05.5Z".parse().unwrap(),
        };
        let mut out = Vec::new();
        words.encode(&mut out, message("hello", true));
        let text = String::from_utf8(out).unwrap();
        let begin =
            "MESSAGE=hello\nPRIORITY=3\nSYSLOG_TIMESTAMP=2024-01-02T03:04:05.5Z\nCONTAINER_LOG_ORDINAL=1\n";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("CONTAINER_NAME=web\n"), "{text}");
        assert!(text.ends_with("LABEL\n\u{9}\0\0\0\0\0\0\0two\nlines\n"), "{text:?}");
        assert!(!text.contains("PARTIAL"), "{text}");
        let mut out = Vec::new();
        words.encode(&mut out, message("a", false));
        words.encode(&mut out, message("b", true));
        let text = String::from_utf8(out).unwrap();
        let ids: Vec<&str> = text.lines().filter(|line| line.starts_with("CONTAINER_PARTIAL_ID=")).collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{text}");
        for (line, count) in [
            ("CONTAINER_PARTIAL_MESSAGE=true", 1),
            ("CONTAINER_PARTIAL_LAST=false", 1),
            ("CONTAINER_PARTIAL_LAST=true", 1),
            ("CONTAINER_PARTIAL_ORDINAL=2", 1),
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), count, "{line}: {text}");
        }
    }
}
