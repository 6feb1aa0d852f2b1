//! Writing a container's `json-file` log, with rotation.
//!
//! Standard: Docker's `json-file` driver: `<path>` is the newest file, `<path>.1` the one before, and so on; a file that
//! has reached `max-size` is rotated before the next line. Invariants: a file holds whole lines, also after a full disk
//! (what was torn is cut off, what was lost is counted); the container is never stopped by its log.
use crate::error::{Error, Result};
use jiff::Timestamp;
use knarr_shim_proto::line::Message;
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{LogConfig, json_log};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Encoded bytes that are written at once.
const WRITE_AT: usize = 64 * 1024;
/// Most files of one log.
const MAX_FILES: u32 = 1000;

#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    /// Bytes in the file; all of them whole lines.
    size: u64,
    max_size: Option<u64>,
    max_file: u32,
    attrs: Vec<u8>,
    buffer: Vec<u8>,
    buffered_lines: u64,
    time: (Timestamp, String),
    /// Lines that could not be written.
    pub lost_lines: u64,
}

impl LogFile {
    pub fn open(config: &LogConfig) -> Result<Self> {
        let (file, size) = open(&config.path)?;
        Ok(Self {
            path: config.path.clone(),
            file,
            size,
            max_size: config.max_size.filter(|size| *size > 0),
            max_file: config.max_file.clamp(1, MAX_FILES),
            attrs: json_log::encode_attrs(&config.attrs),
            buffer: Vec::new(),
            buffered_lines: 0,
            time: (Timestamp::UNIX_EPOCH, json_log::encode_time(Timestamp::UNIX_EPOCH)),
            lost_lines: 0,
        })
    }

    /// Opens the file at the same path again, after somebody else has moved it.
    pub fn reopen(&mut self) -> Result<()> {
        self.flush();
        (self.file, self.size) = open(&self.path)?;
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
        if self.time.0 != message.time {
            self.time = (message.time, json_log::encode_time(message.time));
        }
        json_log::encode(
            &mut self.buffer,
            message.bytes,
            message.ends,
            stream,
            &self.attrs,
            self.time.1.as_bytes(),
        );
        self.buffered_lines += 1;
        if self.buffer.len() >= WRITE_AT {
            self.flush();
        }
    }

    /// Writes what is in memory.
    pub fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match self.file.write_all(&self.buffer) {
            Ok(()) => self.size += self.buffer.len() as u64,
            Err(_) => {
                let _ = self.file.set_len(self.size);
                self.lost_lines += self.buffered_lines;
            }
        }
        self.buffer.clear();
        self.buffered_lines = 0;
    }

    /// Gives the buffer's memory back.
    pub fn shrink(&mut self) {
        self.flush();
        self.buffer = Vec::new();
    }

    fn rotate(&mut self) -> Result<()> {
        for number in (1..self.max_file).rev() {
            let from = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match std::fs::rename(&from, numbered(&self.path, number)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file("rotate", from)(error));
                }
                _ => {}
            }
        }
        if self.max_file == 1 {
            // A new file, not an emptied one: a reader that follows sees that it is another.
            std::fs::remove_file(&self.path).map_err(Error::file("rotate", &self.path))?;
        }
        (self.file, self.size) = open(&self.path)?;
        Ok(())
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// Opens for appending. A torn last line (a supervisor was killed while writing) is cut off by starting a new line.
fn open(path: &Path) -> Result<(File, u64)> {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .read(true)
        .append(true)
        .mode(0o640)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let file = options.open(path).map_err(Error::file("open log", path))?;
    let mut size = file.metadata().map_err(Error::file("read size of log", path))?.len();
    if size > 0 && !ends_with_newline(&file, size) {
        (&file).write_all(b"\n").map_err(Error::file("write log", path))?;
        size += 1;
    }
    Ok((file, size))
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
        assert_eq!(log.lost_lines, 2);
    }
}
