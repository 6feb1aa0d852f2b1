//! What is said to people and to callers: lines on standard error, and the log that callers read errors from.
//!
//! Format: logrus, as runc writes it. With `--log` every line goes there (`--log-format json`: one object per line with `level`, `msg`, `time`),
//! and errors to standard error too, as plain text. Without it lines go to standard error only, errors as plain text.
use super::time::Time;
use super::{Global, file_error};
use crate::Result;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where lines go and how they look.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub file: Option<std::path::PathBuf>,
    pub json: bool,
    pub debug: bool,
}

impl Log {
    /// A caller that asked for a log reads errors from there: without it nothing is done.
    pub(crate) fn check(&self) -> Result<()> {
        self.file
            .as_deref()
            .map_or(Ok(()), |path| open(path).map(drop).map_err(file_error("open the log", path)))
    }
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).mode(0o644).open(path)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something is not as the configuration wants it, and the container runs all the same.
pub(crate) fn warning(global: &Global, message: &str) {
    say(global, Level::Warning, message);
}

/// Only with `--debug`.
pub(crate) fn debug(global: &Global, message: &str) {
    if global.log.debug {
        say(global, Level::Debug, message);
    }
}

fn say(global: &Global, level: Level, message: &str) {
    if !write(&global.log, level, message) {
        eprint!("{}", line(global.log.json, level, message, &Time::now().rfc3339()));
    }
}

/// The command failed.
pub(crate) fn error(global: &Global, message: &str) {
    eprintln!("{message}");
    write(&global.log, Level::Error, message);
}

/// Whether the line is in the log.
fn write(log: &Log, level: Level, message: &str) -> bool {
    let Some(path) = &log.file else { return false };
    let line = line(log.json, level, message, &Time::now().rfc3339());
    // A log that can no longer be written changes nothing about the command.
    open(path).and_then(|mut file| file.write_all(line.as_bytes())).is_ok()
}

fn line(json: bool, level: Level, message: &str, time: &str) -> String {
    if json {
        format!("{}\n", serde_json::json!({ "level": level.name(), "msg": message, "time": time }))
    } else {
        format!("time=\"{time}\" level={} msg={message:?}\n", level.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_logrus_writes_them() {
        let text = line(false, Level::Error, "a \"b\"", "2026-01-02T03:04:05Z");
        assert_eq!(text, "time=\"2026-01-02T03:04:05Z\" level=error msg=\"a \\\"b\\\"\"\n");
        let text = line(true, Level::Warning, "a\nb", "2026-01-02T03:04:05Z");
        assert_eq!(text, "{\"level\":\"warning\",\"msg\":\"a\\nb\",\"time\":\"2026-01-02T03:04:05Z\"}\n");
    }
}
