//! Messages in the words of syslog.
//!
//! Standards: RFC 3164, RFC 5424, RFC 5425 (length before each message, over TLS); formats, priorities and tag are those of
//! Docker's `syslog` driver. Over streams a message ends with its newline.
use super::remote::{Address, Queued};
use jiff::{Timestamp, tz::TimeZone};
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{SyslogFormat, SyslogTransport};
use rustix::net::SocketType;
use std::fmt::Write;

const SEVERITY_ERROR: u8 = 3;
const SEVERITY_INFO: u8 = 6;
/// Where the machine's own server listens.
const OWN: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

#[derive(Debug)]
pub struct Syslog {
    facility: u8,
    format: SyslogFormat,
    tag: String,
    hostname: String,
    pid: i32,
    /// RFC 5425.
    with_length: bool,
    zone: TimeZone,
    /// The newest time in words.
    time: (Timestamp, String),
}

/// Where the server may be, in the order of attempts.
pub fn addresses(transport: &SyslogTransport) -> Vec<Address> {
    let internet = |list: &[std::net::SocketAddr], kind| -> Vec<Address> {
        list.iter().map(|address| Address::Internet(*address, kind)).collect()
    };
    match transport {
        SyslogTransport::Own => {
            let kinds = [SocketType::DGRAM, SocketType::STREAM];
            let all = kinds.into_iter().flat_map(|kind| OWN.map(|path| Address::Unix(path.into(), kind)));
            all.collect()
        }
        SyslogTransport::Unix(path) => vec![Address::Unix(path.clone(), SocketType::STREAM)],
        SyslogTransport::Unixgram(path) => vec![Address::Unix(path.clone(), SocketType::DGRAM)],
        SyslogTransport::Udp(list) => internet(list, SocketType::DGRAM),
        SyslogTransport::Tcp(list) => internet(list, SocketType::STREAM),
        SyslogTransport::Tls { addresses, .. } => internet(addresses, SocketType::STREAM),
    }
}

impl Syslog {
    pub fn new(facility: u8, format: SyslogFormat, tag: &str, hostname: &str, tls: bool) -> Self {
        let rfc5424 = matches!(format, SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro);
        Self {
            facility,
            format,
            tag: tag.to_owned(),
            hostname: hostname.to_owned(),
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            with_length: tls && rfc5424,
            zone: TimeZone::system(),
            time: (Timestamp::MIN, String::new()),
        }
    }

    pub fn encode(&mut self, out: &mut Vec<u8>, message: Queued<'_>) {
        let severity = if message.stream == Stream::Stderr { SEVERITY_ERROR } else { SEVERITY_INFO };
        let priority = self.facility | severity;
        if self.time.0 != message.time {
            self.time = (message.time, self.time_in_words(message.time));
        }
        let (time, host, tag, pid) = (&self.time.1, &self.hostname, &self.tag, self.pid);
        let head = match self.format {
            SyslogFormat::Unix => format!("<{priority}>{time} {tag}[{pid}]: "),
            SyslogFormat::Rfc3164 => format!("<{priority}>{time} {host} {tag}[{pid}]: "),
            SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro => {
                format!("<{priority}>1 {time} {host} {tag} {pid} {tag} - ")
            }
        };
        if self.with_length {
            out.extend_from_slice(format!("{} ", head.len() + message.bytes.len() + 1).as_bytes());
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(message.bytes);
        out.push(b'\n');
    }

    fn time_in_words(&self, time: Timestamp) -> String {
        let local = time.to_zoned(self.zone.clone());
        let mut text = String::new();
        let form = match self.format {
            SyslogFormat::Unix | SyslogFormat::Rfc3164 => "%b %e %H:%M:%S",
            SyslogFormat::Rfc5424 => "%Y-%m-%dT%H:%M:%S",
            SyslogFormat::Rfc5424Micro => "%Y-%m-%dT%H:%M:%S.%6f",
        };
        let _ = write!(text, "{}", local.strftime(form));
        if matches!(self.format, SyslogFormat::Rfc5424 | SyslogFormat::Rfc5424Micro) {
            // As Go prints it: `Z` where there is no offset.
            let _ = match local.offset().seconds() {
                0 => write!(text, "Z"),
                _ => write!(text, "{}", local.strftime("%:z")),
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: SyslogFormat, stream: Stream, tls: bool) -> String {
        let mut words = Syslog::new(3 << 3, format, "web", "host", tls);
        (words.pid, words.zone) = (7, TimeZone::UTC);
        let mut out = Vec::new();
        let time = "2024-01-02T03:04:05.123456789Z".parse().unwrap();
        words.encode(&mut out, Queued { bytes: b"hello", stream, ends: true, time });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_format_is_dockers() {
        let texts = [
            line(SyslogFormat::Unix, Stream::Stdout, false),
            line(SyslogFormat::Rfc3164, Stream::Stderr, false),
            line(SyslogFormat::Rfc5424, Stream::Stdout, false),
            line(SyslogFormat::Rfc5424Micro, Stream::Stdout, true),
        ];
        assert_eq!(
            texts,
            [
                "<30>Jan  2 03:04:05 web[7]: hello\n",
                "<27>Jan  2 03:04:05 host web[7]: hello\n",
                "<30>1 2024-01-02T03:04:05Z host web 7 web - hello\n",
                "57 <30>1 2024-01-02T03:04:05.123456Z host web 7 web - hello\n",
            ]
        );
        let counted = texts[3].split_once(' ').unwrap().1;
        assert!(texts[3].starts_with(&format!("{} ", counted.len())), "{}", texts[3]);
    }
}
