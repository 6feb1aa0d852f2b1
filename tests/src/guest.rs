//! The virtual machine with cgroup v2 (`scripts/guest`): one run per first process, its report as a list of results.

use crate::workspace;
use std::process::Command;
use std::time::Duration;

/// One line of the guest's report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub detail: String,
}

/// Who is process 1 of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    Busybox,
    Systemd,
}

/// Boot the guest, run its script in it, give what it reported.
///
/// # Panics
/// Where the machine cannot be booted or reports no end.
pub fn run(init: Init) -> Vec<Check> {
    let mut c = Command::new(workspace::top().join("scripts/guest"));
    c.arg(workspace::knarr()).arg(workspace::image("busybox.tar"));
    if init == Init::Systemd {
        c.env("KNARR_GUEST_INIT", "systemd");
    }
    let f = crate::command::run(&mut c, None, Duration::from_secs(600));
    let text = String::from_utf8_lossy(&f.stdout).into_owned();
    let err = String::from_utf8_lossy(&f.stderr).into_owned();
    assert!(text.contains("KNARR-GUEST-END"), "the guest reported no end (exit {})\n{text}\n{err}", f.code);
    parse(&text)
}

/// `PASS name: detail` and `FAIL name: detail`.
pub fn parse(console: &str) -> Vec<Check> {
    let mut found = Vec::new();
    for line in console.lines().map(str::trim) {
        for (word, passed) in [("PASS ", true), ("FAIL ", false)] {
            if let Some(rest) = line.strip_prefix(word) {
                let (name, detail) = rest.split_once(':').unwrap_or((rest, ""));
                found.push(Check { name: name.trim().to_owned(), passed, detail: detail.trim().to_owned() });
            }
        }
    }
    found
}
