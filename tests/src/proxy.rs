//! A proxy before a registry that writes down what is asked for, and can be slow, cut answers, change bytes, or know no ranges.
//!
//! One request per connection. What is counted are requests for blobs and the bytes of their bodies that were passed on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const CHUNK: usize = 32 * 1024;

/// One request for a blob.
#[derive(Debug, Clone)]
pub struct Seen {
    pub digest: String,
    /// First byte asked for.
    pub from: u64,
    /// Last byte asked for, if it was said.
    pub to: Option<u64>,
    /// Bytes of the body that were passed on.
    pub sent: u64,
    pub open: bool,
}

#[derive(Debug, Default)]
struct Rules {
    /// Bytes per second of one answer; 0: as fast as it goes.
    rate: AtomicU64,
    /// The next answers of blobs to cut, and after how many bytes.
    cuts: AtomicU64,
    cut_after: AtomicU64,
    /// Position in the large blobs (over 64 KiB) at which a byte is changed; 0: none.
    wrong_at: AtomicU64,
    /// Ranges are not understood.
    whole_only: AtomicBool,
    seen: Mutex<Vec<Seen>>,
    down: AtomicBool,
}

#[derive(Debug)]
pub struct Proxy {
    pub port: u16,
    rules: Arc<Rules>,
}

impl Proxy {
    /// Before the registry at this port of loopback.
    ///
    /// # Panics
    /// Where no port can be had.
    pub fn start(upstream: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("address").port();
        let rules = Arc::new(Rules::default());
        let shared = Arc::clone(&rules);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.down.load(Ordering::SeqCst) {
                    return;
                }
                let rules = Arc::clone(&shared);
                thread::spawn(move || drop(serve(client, upstream, &rules)));
            }
        });
        Proxy { port, rules }
    }

    pub fn reference(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// Bytes per second of each answer; 0: as fast as it goes.
    pub fn rate(&self, bytes_per_second: u64) {
        self.rules.rate.store(bytes_per_second, Ordering::SeqCst);
    }
    /// Cuts the next `count` answers of blobs after so many bytes.
    pub fn cut(&self, count: u64, after: u64) {
        self.rules.cut_after.store(after, Ordering::SeqCst);
        self.rules.cuts.store(count, Ordering::SeqCst);
    }
    /// Changes the byte at this position of every large blob; 0: none.
    pub fn wrong_at(&self, position: u64) {
        self.rules.wrong_at.store(position, Ordering::SeqCst);
    }
    pub fn whole_only(&self, yes: bool) {
        self.rules.whole_only.store(yes, Ordering::SeqCst);
    }

    /// Requests for blobs since the last [`Proxy::forget`].
    pub fn seen(&self) -> Vec<Seen> {
        self.rules.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Those for one blob.
    pub fn seen_of(&self, digest: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.digest == digest).collect()
    }
    /// Bytes of one blob that were passed on.
    pub fn sent_of(&self, digest: &str) -> u64 {
        self.seen_of(digest).iter().map(|seen| seen.sent).sum()
    }
    pub fn forget(&self) {
        self.rules.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.rules.down.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// First line and headers, as they came.
fn head(from: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim_end().to_owned());
    }
}

fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn serve(mut client: TcpStream, upstream: u16, rules: &Rules) -> std::io::Result<()> {
    let request = head(&mut BufReader::new(client.try_clone()?))?;
    let Some(first) = request.first() else { return Ok(()) };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let blob = first
        .starts_with("GET")
        .then(|| path.split_once("/blobs/"))
        .flatten()
        .map(|(_, digest)| digest.to_owned());
    let whole_only = rules.whole_only.load(Ordering::SeqCst);
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    for line in &request {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if name == "connection" || (name == "range" && whole_only) {
            continue;
        }
        write!(server, "{line}\r\n")?;
    }
    write!(server, "Connection: close\r\n\r\n")?;
    let mut answer = BufReader::new(server);
    let lines = head(&mut answer)?;
    for line in &lines {
        if !(line.to_ascii_lowercase().starts_with("accept-ranges") && whole_only) {
            write!(client, "{line}\r\n")?;
        }
    }
    client.write_all(b"\r\n")?;
    let Some(digest) =
        blob.filter(|_| lines.first().is_some_and(|l| l.contains(" 200 ") || l.contains(" 206 ")))
    else {
        return std::io::copy(&mut answer, &mut client).map(drop);
    };
    let range = value(&request, "range").filter(|_| !whole_only).and_then(|r| r.strip_prefix("bytes="));
    let (from, to) = range
        .and_then(|r| r.split_once('-'))
        .map_or((0, None), |(a, b)| (a.parse().unwrap_or(0), b.parse().ok()));
    let place = {
        let mut seen = rules.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen { digest: digest.clone(), from, to, sent: 0, open: true });
        seen.len() - 1
    };
    let done = body(&mut answer, &mut client, from, rules, |sent| {
        let mut seen = rules.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(place).filter(|seen| seen.digest == digest) {
            seen.sent = sent;
        }
    });
    let mut seen = rules.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seen) = seen.get_mut(place).filter(|seen| seen.digest == digest) {
        seen.open = false;
    }
    done
}

fn body(
    answer: &mut impl Read,
    client: &mut TcpStream,
    from: u64,
    rules: &Rules,
    told: impl Fn(u64),
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let cut = rules.cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
    let cut_after = if cut { rules.cut_after.load(Ordering::SeqCst) } else { u64::MAX };
    let (begin, mut sent) = (Instant::now(), 0u64);
    loop {
        let n = answer.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let wrong = rules.wrong_at.load(Ordering::SeqCst);
        if wrong >= from + sent && wrong < from + sent + n as u64 && wrong > 0 {
            buffer[usize::try_from(wrong - from - sent).unwrap_or(0)] ^= 0xff;
        }
        let n = n.min(usize::try_from(cut_after - sent).unwrap_or(usize::MAX));
        client.write_all(&buffer[..n])?;
        sent += n as u64;
        told(sent);
        if sent >= cut_after {
            return client.shutdown(std::net::Shutdown::Both);
        }
        let rate = rules.rate.load(Ordering::SeqCst);
        if rate > 0 {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            thread::sleep(due.saturating_sub(begin.elapsed()).min(Duration::from_millis(500)));
        }
    }
}
