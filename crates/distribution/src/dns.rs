//! Names to addresses without the C library: `/etc/hosts`, then the servers of `/etc/resolv.conf`.
//!
//! Standard: RFC 1035, RFC 3596, resolv.conf(5), hosts(5). The program is static, and the C library's resolver would load
//! shared libraries. Invariants: an answer counts only if it has the random number, the question and the server of the
//! query; sizes, servers, attempts and waits are bounded.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const PORT: u16 = 53;
const MAX_SERVERS: usize = 3;
const ATTEMPTS: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(3);
const MAX_ADDRESSES: usize = 32;
const MAX_UDP: usize = 4096;
const MAX_SEARCH: usize = 6;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;
const NAME_ERROR: u8 = 3;

/// Why a name has no addresses.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// For reqwest.
#[derive(Debug, Clone, Default)]
pub struct Resolver;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let name = name.as_str().to_owned();
        Box::pin(async move {
            let found = lookup(&name).await?;
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("lookup {0}: no such host")]
    NoSuchHost(String),
    #[error("lookup {name}: {cause}")]
    Failed { name: String, cause: String },
}

/// Addresses of a name, IPv4 first.
pub async fn lookup(name: &str) -> std::result::Result<Vec<IpAddr>, BoxError> {
    let name = name.trim_end_matches('.');
    let hosts = tokio::fs::read_to_string("/etc/hosts").await.unwrap_or_default();
    let found = in_hosts(&hosts, name);
    if !found.is_empty() {
        return Ok(found);
    }
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let text = tokio::fs::read_to_string("/etc/resolv.conf").await.unwrap_or_default();
    let config = Config::parse(&text);
    let mut failure = LookupError::NoSuchHost(name.to_owned());
    for candidate in config.candidates(name) {
        match ask_all(&config, &candidate).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => {}
            Err(cause) => failure = LookupError::Failed { name: name.to_owned(), cause },
        }
    }
    Err(failure.into())
}

fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let mut found = Vec::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found.truncate(MAX_ADDRESSES);
    found
}

#[derive(Debug, PartialEq, Eq)]
struct Config {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Config {
    fn parse(text: &str) -> Self {
        let mut config = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    config.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
                }
                Some("search" | "domain") => {
                    config.search =
                        words.take(MAX_SEARCH).map(|w| w.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    config.ndots = ndots.unwrap_or(config.ndots).min(15);
                }
                _ => {}
            }
        }
        config.servers.truncate(MAX_SERVERS);
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        config
    }

    /// Full names in the order in which they are asked for.
    fn candidates(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        let dots = name.matches('.').count();
        names.insert(if dots >= self.ndots { 0 } else { names.len() }, name.to_owned());
        names
    }
}

/// Both kinds of address at once.
async fn ask_all(config: &Config, name: &str) -> Result<Vec<IpAddr>, String> {
    let (v4, v6) = tokio::join!(ask(config, name, TYPE_A), ask(config, name, TYPE_AAAA));
    match (v4, v6) {
        (Err(cause), Err(_)) => Err(cause),
        (v4, v6) => Ok(v4.into_iter().chain(v6).flatten().take(MAX_ADDRESSES).collect()),
    }
}

async fn ask(config: &Config, name: &str, kind: u16) -> Result<Vec<IpAddr>, String> {
    let mut failure = "no servers".to_owned();
    for _ in 0..ATTEMPTS {
        for server in &config.servers {
            let asked = tokio::time::timeout(TIMEOUT, ask_server(*server, name, kind)).await;
            match asked {
                Ok(Ok(addresses)) => return Ok(addresses),
                Ok(Err(error)) => failure = format!("{server}: {error}"),
                Err(_) => failure = format!("{server}: i/o timeout"),
            }
        }
    }
    Err(failure)
}

async fn ask_server(server: SocketAddr, name: &str, kind: u16) -> Result<Vec<IpAddr>, BoxError> {
    let mut number = [0; 2];
    aws_random(&mut number)?;
    let number = u16::from_be_bytes(number);
    let query = query(number, name, kind).ok_or("name is not valid")?;
    let local: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    // A connected socket takes datagrams of this server only.
    socket.connect(server).await?;
    socket.send(&query).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let count = socket.recv(&mut buffer).await?;
        match parse(&buffer[..count], &query, kind) {
            // Not an answer to this question: somebody else's, or a forgery.
            None => {}
            Some(Answer::Truncated) => break,
            Some(Answer::Addresses(addresses)) => return Ok(addresses),
            Some(Answer::Failure(code)) => return Err(format!("server misbehaving (code {code})").into()),
        }
    }
    let mut stream = TcpStream::connect(server).await?;
    stream.write_u16(query.len() as u16).await?;
    stream.write_all(&query).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match parse(&answer, &query, kind) {
        Some(Answer::Addresses(addresses)) => Ok(addresses),
        _ => Err("server misbehaving".into()),
    }
}

fn aws_random(bytes: &mut [u8]) -> Result<(), BoxError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    provider.secure_random.fill(bytes).map_err(|_| "no randomness".into())
}

fn query(number: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&number.to_be_bytes());
    // Recursion desired; one question.
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    (name.len() <= 253).then_some(out)
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    Truncated,
    Failure(u8),
}

/// `None`: not an answer to this query.
fn parse(bytes: &[u8], query: &[u8], kind: u16) -> Option<Answer> {
    let (number, question) = (query.get(..2)?, query.get(12..)?);
    let header = bytes.get(..12)?;
    let is_answer = header[2] & 0x80 != 0;
    let asked = bytes.get(12..12 + question.len())?;
    if !is_answer || &header[..2] != number || header[4..6] != [0, 1] || !asked.eq_ignore_ascii_case(question)
    {
        return None;
    }
    match header[3] & 0x0f {
        0 | NAME_ERROR => {}
        code => return Some(Answer::Failure(code)),
    }
    if header[2] & 2 != 0 {
        return Some(Answer::Truncated);
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut addresses = Vec::new();
    let mut at = 12 + question.len();
    for _ in 0..count {
        let Some((next, address)) = record(bytes, at, kind) else { break };
        addresses.extend(address);
        at = next;
    }
    addresses.truncate(MAX_ADDRESSES);
    Some(Answer::Addresses(addresses))
}

/// One record: where the next one is, and its address if it has one of the wanted kind.
fn record(bytes: &[u8], at: usize, kind: u16) -> Option<(usize, Option<IpAddr>)> {
    let at = skip_name(bytes, at)?;
    let fixed = bytes.get(at..at + 10)?;
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let data = bytes.get(at + 10..at + 10 + length)?;
    let matches = fixed[..2] == kind.to_be_bytes() && fixed[2..4] == CLASS_IN.to_be_bytes();
    let address = match kind {
        TYPE_A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
    };
    Some((at + 10 + length, address.filter(|_| matches)))
}

fn skip_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_resolv_conf_are_read() {
        let hosts = "# x\n127.0.0.1 localhost\n::1 localhost reg\n10.0.0.9\treg.test  REG # reg2\nbad reg\n";
        assert_eq!(in_hosts(hosts, "Reg"), ["10.0.0.9".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(in_hosts(hosts, "reg2").is_empty());
        let config =
            Config::parse("nameserver 10.0.0.2\nnameserver ::1\nsearch a.test. b.test\noptions x ndots:2\n");
        assert_eq!(
            config.servers,
            ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(config.candidates("r.x"), ["r.x.a.test", "r.x.b.test", "r.x"]);
        assert_eq!(config.candidates("r.x.y")[0], "r.x.y");
        assert_eq!(Config::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn answers_are_checked() {
        let query = query(0x1234, "reg.test", TYPE_A).unwrap();
        let mut answer = query.clone();
        answer[2] |= 0x80;
        answer[7] = 2;
        // An alias, then an address, both with compressed names.
        answer.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 1, 2, 3]);
        let want = Answer::Addresses(vec!["10.1.2.3".parse().unwrap()]);
        assert_eq!(parse(&answer, &query, TYPE_A), Some(want));
        for cut in 0..answer.len() {
            parse(&answer[..cut], &query, TYPE_A);
        }
        let change = |at: usize, to: u8| {
            let mut changed = answer.clone();
            changed[at] = to;
            parse(&changed, &query, TYPE_A)
        };
        assert_eq!(change(0, 9), None);
        assert_eq!(change(13, b'x'), None);
        assert_eq!(change(2, 0), None);
        assert_eq!(change(3, 2), Some(Answer::Failure(2)));
        assert_eq!(change(2, 0x83), Some(Answer::Truncated));
        assert!(super::query(1, "a..b", TYPE_A).is_none());
        assert!(super::query(1, &"a".repeat(64), TYPE_A).is_none());
    }

    #[tokio::test]
    async fn localhost_needs_no_server() {
        assert!(lookup("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
    }
}
