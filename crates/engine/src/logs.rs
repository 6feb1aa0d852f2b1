//! `docker logs`: entries of the log as bytes for a client.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::facade::LogStream;
use crate::registry::Entry;
use crate::stream::{ByteStream, STREAM_DEPTH};
use bytes::Bytes;
use knarr_docker_types::options::{ContainerAttach, ContainerLogs, WaitCondition};
use knarr_docker_types::stdcopy;
use knarr_logs::{Control, LogReader, Query, Tail};
use knarr_shim_proto::stdcopy::Stream;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Bytes gathered before they are handed on.
const CHUNK_BYTES: usize = 32 << 10;

/// How entries are shown.
#[derive(Clone, Copy)]
struct Shape {
    multiplexed: bool,
    timestamps: bool,
    details: bool,
}

pub(crate) async fn stream(engine: &Arc<Inner>, entry: &Entry, options: &ContainerLogs) -> Result<LogStream> {
    let container = &entry.snapshot.container;
    let path = crate::log_driver::path(engine, container)
        .ok_or_else(|| Error::Invalid("configured logging driver does not support reading".to_owned()))?;
    let query = Query {
        stdout: options.stdout,
        stderr: options.stderr,
        since: time(&options.since)?,
        until: time(&options.until)?,
        tail: tail(&options.tail)?,
        follow: options.follow,
    };
    let shape = Shape {
        multiplexed: !container.config.tty,
        timestamps: options.timestamps,
        details: options.details,
    };
    let bytes = read(path, entry, query, shape).await?;
    Ok(LogStream { multiplexed: shape.multiplexed, bytes })
}

/// What was printed so far, for an attach with `logs=1`.
pub(crate) async fn history(
    engine: &Arc<Inner>,
    entry: &Entry,
    options: &ContainerAttach,
) -> Result<ByteStream> {
    let query = Query { stdout: options.stdout, stderr: options.stderr, ..Query::default() };
    let shape =
        Shape { multiplexed: !entry.snapshot.container.config.tty, timestamps: false, details: false };
    match crate::log_driver::path(engine, &entry.snapshot.container) {
        Some(path) => read(path, entry, query, shape).await,
        // Docker attaches all the same.
        None => Ok(mpsc::channel(STREAM_DEPTH).1),
    }
}

async fn read(path: PathBuf, entry: &Entry, query: Query, shape: Shape) -> Result<ByteStream> {
    let control = Control::new().map_err(|e| Error::Internal(e.to_string()))?;
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    let reads = if query.follow { Some(follow_ends(entry, &control, &sender).await) } else { None };
    // A follower blocks for long: it has a thread of its own, not one of the pool.
    std::thread::Builder::new()
        .name("logs".to_owned())
        .stack_size(256 << 10)
        .spawn(move || {
            let _reads = reads;
            let mut last = Chunk { sender, bytes: Vec::new() };
            let result =
                LogReader::open(&path, query, control).and_then(|reader| pump(reader, shape, &mut last));
            if let Err(error) = result {
                let _ = last.sender.blocking_send(Err(Error::Internal(error.to_string())));
            }
        })
        .map_err(Error::io("start a reader"))?;
    Ok(receiver)
}

/// The reader ends when the container has ended or the client is gone. It may end by itself before (`until`), and drops what it
/// is given here then: the stream is over when nobody has its sender any more.
async fn follow_ends(
    entry: &Entry,
    control: &Control,
    sender: &mpsc::Sender<Result<Bytes>>,
) -> oneshot::Sender<()> {
    let ended = entry.inbox.wait(WaitCondition::NotRunning).await;
    let (control, sender) = (control.clone(), sender.clone());
    let (reads, over) = oneshot::channel::<()>();
    tokio::spawn(async move {
        match ended {
            Ok(ended) => tokio::select! {
                _ = ended => control.finish(),
                () = sender.closed() => control.stop(),
                _ = over => {}
            },
            Err(_) => control.finish(),
        }
    });
    reads
}

struct Chunk {
    sender: mpsc::Sender<Result<Bytes>>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// False when the client is gone.
    fn flush(&mut self) -> bool {
        let bytes = std::mem::take(&mut self.bytes);
        bytes.is_empty() || self.sender.blocking_send(Ok(Bytes::from(bytes))).is_ok()
    }
}

fn pump(mut reader: LogReader, shape: Shape, chunk: &mut Chunk) -> knarr_logs::Result<()> {
    let mut batch = Vec::new();
    while reader.read_batch(&mut batch)? {
        for entry in batch.drain(..) {
            write(&mut chunk.bytes, &entry, shape);
            if chunk.bytes.len() >= CHUNK_BYTES && !chunk.flush() {
                return Ok(());
            }
        }
        if !chunk.flush() {
            return Ok(());
        }
    }
    chunk.flush();
    Ok(())
}

fn write(out: &mut Vec<u8>, entry: &knarr_logs::Entry, shape: Shape) {
    let mut prefix = String::new();
    if shape.timestamps {
        let _ = write!(prefix, "{:.9} ", entry.time);
    }
    if shape.details {
        let pairs: Vec<String> = entry.attrs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = write!(prefix, "{} ", pairs.join(","));
    }
    let length = prefix.len() + entry.log.len();
    if shape.multiplexed {
        let stream = match entry.stream {
            Stream::Stdout => stdcopy::Stream::Stdout,
            _ => stdcopy::Stream::Stderr,
        };
        out.extend_from_slice(&stdcopy::header(stream, u32::try_from(length).unwrap_or(u32::MAX)));
    }
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(&entry.log);
}

fn tail(text: &str) -> Result<Tail> {
    match text {
        "" | "all" => Ok(Tail::All),
        // Docker takes what is no number, and what is negative, as everything.
        text => Ok(text.parse::<u64>().map_or(Tail::All, Tail::Lines)),
    }
}

/// Seconds since the epoch with a fraction, RFC 3339, or a date, or date and time, of the engine's time zone.
pub(crate) fn time(text: &str) -> Result<Option<jiff::Timestamp>> {
    let invalid = || Error::Invalid(format!("invalid value for \"since\" or \"until\": {text}"));
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(seconds) = seconds.parse::<i64>() {
        let digits = format!("{fraction:0<9}");
        let nanos = digits.get(..9).and_then(|d| d.parse::<i32>().ok()).ok_or_else(invalid)?;
        return jiff::Timestamp::new(seconds, nanos).map(Some).map_err(|_| invalid());
    }
    if let Ok(time) = text.parse() {
        return Ok(Some(time));
    }
    // As far as it is given, in the engine's time zone: `2006-01-02`, `2006-01-02T15:04`.
    let local: jiff::civil::DateTime = text.parse().map_err(|_| invalid())?;
    local.to_zoned(jiff::tz::TimeZone::system()).map(|zoned| Some(zoned.timestamp())).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(time("").unwrap(), None);
        assert_eq!(time("1700000000.5").unwrap().unwrap().as_nanosecond(), 1_700_000_000_500_000_000);
        assert_eq!(time("1700000000").unwrap().unwrap().as_second(), 1_700_000_000);
        assert!(time("2023-11-14T22:13:20Z").unwrap().is_some());
        let midnight = time("2023-11-14").unwrap().unwrap();
        for (text, seconds) in
            [("2023-11-14T05", 18_000), ("2023-11-14T05:06", 18_360), ("2023-11-14T05:06:07", 18_367)]
        {
            assert_eq!(time(text).unwrap().unwrap().as_second() - midnight.as_second(), seconds, "{text}");
        }
        assert!(time("yesterday").is_err());
    }
}
