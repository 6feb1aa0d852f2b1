//! What a runtime says when it fails: the last error of its log.
//!
//! Standard: runc(8), `--log-format json`: one object per line with `level` and `msg`. A program's words are all that there
//! is to tell one failure from another, so here, and only here, text decides; Docker does the same with the same words.
use knarr_shim_proto::FailureKind;
use serde::Deserialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Most bytes of a log that are read, from its end.
pub const MOST: u64 = 64 << 10;

#[derive(Deserialize)]
struct Line {
    level: String,
    msg: String,
}

/// The last error in a log.
pub fn last(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(MOST))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    last_of(&String::from_utf8_lossy(&bytes))
}

fn last_of(text: &str) -> Option<String> {
    let lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines.filter(|line| matches!(line.level.as_str(), "error" | "fatal")).map(|line| line.msg).next()
}

/// What class of failure a runtime's message tells of.
pub fn failure_kind(message: &str) -> FailureKind {
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    // runc: `exec: "x": ...`; crun: "executable file `x` not found", "open executable: Permission denied".
    let of_program = says(&["exec: ", "executable"]);
    if of_program && says(&["executable file not found", "no such file or directory"]) {
        return FailureKind::CommandNotFound;
    }
    if of_program && says(&["permission denied", "is a directory", "exec format error", "not a directory"]) {
        return FailureKind::CommandNotExecutable;
    }
    FailureKind::Internal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_the_message() {
        let text = r#"{"level":"warning","msg":"w","time":"t"}
{"level":"error","msg":"first"}
{"level":"error","msg":"second","time":"t"}
{"level":"info","msg":"i"}
not json
"#;
        assert_eq!(last_of(text).as_deref(), Some("second"));
        assert_eq!(last_of(""), None);
    }

    #[test]
    fn messages_of_runc_and_crun_are_told_apart() {
        use FailureKind::{CommandNotExecutable, CommandNotFound, Internal};
        let prefix = "runc create failed: unable to start container process: ";
        for (message, kind) in [
            (r#"exec: "nope": executable file not found in $PATH"#, CommandNotFound),
            (r#"exec: "/nope": stat /nope: no such file or directory"#, CommandNotFound),
            (r#"exec: "/etc": is a directory"#, CommandNotExecutable),
            (r#"exec: "/etc/passwd": permission denied"#, CommandNotExecutable),
            ("executable file `nope` not found in $PATH: No such file or directory", CommandNotFound),
            ("executable file `nope` not found: No such file or directory", CommandNotFound),
            ("open executable: Permission denied", CommandNotExecutable),
            ("error mounting \"/x\" to rootfs at \"/y\": no such file or directory", Internal),
            ("container with given ID already exists", Internal),
        ] {
            assert_eq!(failure_kind(message), kind, "{message}");
            assert_eq!(failure_kind(&format!("{prefix}{message}")), kind, "{message}");
        }
    }
}
