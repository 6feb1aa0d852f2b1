//! Writing a container's log to files, with rotation.
//!
//! `<path>` is the newest file, `<path>.1` the one before, and so on; a file that has reached `max-size` is rotated before
//! the next message. Formats: Docker's `json-file`, and [`super::local`]. Invariants: a file holds whole messages, also after
//! a full disk (what was torn is cut off, what was lost is counted); the container is never stopped by its log.
use super::compress::Compression;
use super::local::Local;
use crate::error::{Error, Result};
use jiff::Timestamp;
use knarr_shim_proto::line::Message;
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{LogConfig, LogDriver, json_log};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Encoded bytes that are written at once.
const WRITE_AT: usize = 128 * 1024;
/// Most files of one log.
const MAX_FILES: u32 = 1000;

#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in the file; all of them whole messages.
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
    compression: Option<Compression>,
    format: Format,
    buffer: Vec<u8>,
    buffered: u64,
    /// Messages that could not be written, and why the last one could not.
    pub lost: u64,
    pub failure: Option<String>,
}

/// How a message is written.
#[derive(Debug)]
enum Format {
    Json { attrs: Vec<u8>, tails: [(Timestamp, Vec<u8>); 2] },
    Local(Local),
}

impl Format {
    /// Makes an open file ready for the next message; gives its size.
    fn begin(&mut self, file: &File, buffer: &mut Vec<u8>) -> std::io::Result<u64> {
        let size = file.metadata()?.len();
        match self {
            Self::Json { .. } => {
                if size == 0 || ends_with_newline(file, size) {
                    return Ok(size);
                }
                // Torn by a supervisor that was killed: the next message has a line of its own.
                let mut file = file;
                file.write_all(b"\n")?;
                Ok(size + 1)
            }
            Self::Local(local) => local.begin(file, size, buffer),
        }
    }

    fn append(&mut self, out: &mut Vec<u8>, stream: Stream, message: Message<'_, Timestamp>) {
        match self {
            Self::Json { attrs, tails } => {
                let tail = &mut tails[usize::from(stream == Stream::Stderr)];
                if tail.0 != message.time || tail.1.is_empty() {
                    let time = json_log::encode_time(message.time);
                    *tail = (message.time, json_log::encode_tail(stream, attrs, time.as_bytes()));
                }
                json_log::encode_before(out, message.bytes, message.ends, &tail.1);
            }
            Self::Local(local) => local.append(out, stream, message),
        }
    }
}

impl LogFile {
    pub fn open(config: &LogConfig) -> Result<Self> {
        let mut format = match config.driver {
            LogDriver::Local => Format::Local(Local::new(&config.attrs)),
            LogDriver::JsonFile | LogDriver::None => {
                Format::Json { attrs: json_log::encode_attrs(&config.attrs), tails: Default::default() }
            }
        };
        let mut buffer = Vec::new();
        let file = open(&config.path)?;
        let size = format.begin(&file, &mut buffer).map_err(Error::file("begin log", &config.path))?;
        let max_file = config.max_file.clamp(1, MAX_FILES);
        let compress = config.compress && max_file > 1;
        Ok(Self {
            path: config.path.clone(),
            file,
            size,
            max_size: config.max_size.filter(|size| *size > 0),
            max_file,
            compression: compress.then(|| Compression::new(&config.path, max_file)),
            format,
            buffer,
            buffered: 0,
            lost: 0,
            failure: None,
        })
    }

    /// Opens the file at the same path again, after somebody else has moved it.
    pub fn reopen(&mut self) -> Result<()> {
        self.flush();
        self.replace()
    }

    fn replace(&mut self) -> Result<()> {
        self.file = open(&self.path)?;
        let begun = self.format.begin(&self.file, &mut self.buffer);
        self.size = begun.map_err(Error::file("begin log", &self.path))?;
        Ok(())
    }

    /// Adds a message; it may stay in memory until [`LogFile::flush`].
    pub fn append(&mut self, stream: Stream, message: Message<'_, Timestamp>) {
        if self.max_size.is_some_and(|most| self.size + self.buffer.len() as u64 >= most) {
            self.flush();
            if let Err(_error) = self.rotate() {
                // The old file goes on: more than was asked for is better than nothing.
                self.max_size = self.max_size.map(|most| most.saturating_mul(2));
            }
        }
        self.format.append(&mut self.buffer, stream, message);
        self.buffered += 1;
        if self.buffer.len() >= WRITE_AT {
            self.flush();
        }
    }

    /// Writes what is in memory.
    pub fn flush(&mut self) {
        if let Format::Local(local) = &mut self.format {
            local.seal(&mut self.buffer);
        }
        if !self.buffer.is_empty() {
            self.write();
        }
        if let Some(compression) = &mut self.compression {
            compression.go_on(Instant::now());
        }
    }

    fn write(&mut self) {
        match self.file.write_all(&self.buffer) {
            Ok(()) => {
                self.size += self.buffer.len() as u64;
                if let Format::Local(local) = &mut self.format {
                    local.written();
                }
            }
            Err(error) => {
                let _ = self.file.set_len(self.size);
                self.lost += self.buffered;
                self.failure = Some(format!("write {}: {error}", self.path.display()));
                self.buffer.clear();
                if let Format::Local(local) = &mut self.format {
                    local.failed(self.size, &mut self.buffer);
                }
                self.buffered = 0;
                return;
            }
        }
        self.buffer.clear();
        self.buffered = 0;
    }

    /// Gives the buffer's memory back.
    pub fn shrink(&mut self) {
        self.flush();
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.compression.as_ref().and_then(Compression::next_deadline)
    }

    fn rotate(&mut self) -> Result<()> {
        if let Some(compression) = &mut self.compression {
            compression.stop();
        }
        for number in (1..self.max_file).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            rename(&from, &numbered(&self.path, number))?;
            if self.compression.is_some() {
                rename(&compressed(&from), &compressed(&numbered(&self.path, number)))?;
            }
        }
        if self.max_file == 1 {
            // A new file, not an emptied one: a reader that follows sees that it is another.
            std::fs::remove_file(&self.path).map_err(Error::file("rotate", &self.path))?;
        }
        self.replace()?;
        if let Some(compression) = &mut self.compression {
            compression.rotated(Instant::now());
        }
        Ok(())
    }
}

/// What does not exist takes what was there along.
fn rename(from: &Path, to: &Path) -> Result<()> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match std::fs::remove_file(to) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("rotate", to)(error)),
            _ => Ok(()),
        },
        Err(error) => Err(Error::file("rotate", from)(error)),
    }
}

pub fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

pub fn compressed(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// Opens for appending.
fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .read(true)
        .append(true)
        .mode(0o640)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options.open(path).map_err(Error::file("open log", path))
}

fn ends_with_newline(file: &File, size: u64) -> bool {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    file.read_exact_at(&mut last, size - 1).is_ok() && last[0] == b'\n'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, max_size: Option<u64>, max_file: u32) -> LogFile {
        let config = LogConfig { path: dir.join("c-json.log"), max_size, max_file, ..LogConfig::default() };
        LogFile::open(&config).unwrap()
    }

    fn put(log: &mut LogFile, text: &str) {
        let time = "2024-01-02T03:04:05Z".parse().unwrap();
        log.append(Stream::Stdout, Message { bytes: text.as_bytes(), ends: true, time });
    }

    fn lines(dir: &Path, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        text.lines().map(|l| json_log::decode(l.as_bytes()).unwrap().log.trim_end().to_owned()).collect()
    }

    #[test]
    fn a_full_file_is_rotated_before_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Some(100), 3);
        for number in 0..7 {
            put(&mut log, &format!("line {number}"));
        }
        log.flush();
        assert_eq!(lines(dir.path(), "c-json.log"), ["line 6"]);
        assert_eq!(lines(dir.path(), "c-json.log.1"), ["line 4", "line 5"]);
        assert_eq!(lines(dir.path(), "c-json.log.2"), ["line 2", "line 3"]);
        assert!(!dir.path().join("c-json.log.3").exists());
    }

    #[test]
    fn one_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), Some(100), 1);
        for number in 0..5 {
            put(&mut log, &format!("line {number}"));
        }
        log.flush();
        assert_eq!(lines(dir.path(), "c-json.log"), ["line 4"]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_line_does_not_spoil_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c-json.log"), "{\"log\":\"to").unwrap();
        let mut log = log(dir.path(), None, 1);
        put(&mut log, "whole");
        log.flush();
        let text = std::fs::read_to_string(dir.path().join("c-json.log")).unwrap();
        assert!(text.starts_with("{\"log\":\"to\n{\"log\":\"whole\\n\""), "{text}");
    }

    #[test]
    fn a_full_disk_loses_lines_and_says_how_many() {
        let mut log = LogFile::open(&LogConfig { path: "/dev/full".into(), ..LogConfig::default() }).unwrap();
        put(&mut log, "lost");
        put(&mut log, "lost too");
        log.flush();
        assert_eq!(log.lost, 2);
    }
}
