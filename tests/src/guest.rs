//! The virtual machine with cgroup v2 (`scripts/guest`): one run per first process, its report as a list of results.

use crate::workspace;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    boot(init, None)
}

/// The same with another script, of `scripts/`.
///
/// # Panics
/// Where the machine cannot be booted or reports no end.
pub fn run_script(script: &str) -> Vec<Check> {
    boot(Init::Busybox, Some(script))
}

fn boot(init: Init, script: Option<&str>) -> Vec<Check> {
    let mut c = Command::new(workspace::top().join("scripts/guest"));
    c.arg(workspace::knarr()).arg(workspace::image("busybox.tar"));
    if let Some(script) = script {
        c.arg(workspace::top().join("scripts").join(script));
    }
    if init == Init::Systemd {
        c.env("KNARR_GUEST_INIT", "systemd");
    }
    let f = crate::command::run(&mut c, None, Duration::from_secs(600));
    let text = String::from_utf8_lossy(&f.stdout).into_owned();
    let err = String::from_utf8_lossy(&f.stderr).into_owned();
    assert!(text.contains("KNARR-GUEST-END"), "the guest reported no end (exit {})\n{text}\n{err}", f.code);
    parse(&text)
}

/// Boot the guest with a disk of its own again and again, and cut its power each time while it changes images; the last time it
/// only looks. Gives what each look found.
///
/// # Panics
/// Where the machine cannot be booted, or does not come to the point where its power is to be cut.
pub fn power_cuts(disk: &std::path::Path, cuts: usize) -> Vec<Vec<Check>> {
    let boot = |last: bool| {
        let mut c = Command::new(workspace::top().join("scripts/guest"));
        c.arg(workspace::knarr()).arg(workspace::image("awkward.tar"));
        c.arg(workspace::top().join("scripts/guest-power-checks")).env("KNARR_GUEST_DATA", disk);
        if last {
            c.env("KNARR_GUEST_APPEND", "knarr.last");
        }
        c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = c.spawn().expect("scripts/guest");
        let mut text = String::new();
        let out = child.stdout.take().expect("stdout");
        let mut at_work = false;
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            text.push_str(&line);
            text.push('\n');
            if line.contains("KNARR-POWER-READY") {
                at_work = true;
                // At any moment of what comes now.
                let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
                std::thread::sleep(Duration::from_millis(u64::from(nanos / 1000 % 4000)));
                machine_of(child.id()).into_iter().for_each(|pid| crate::leaks::signal(pid, "KILL"));
            }
        }
        drop(child.wait());
        assert!(
            if last { text.contains("KNARR-GUEST-END") } else { at_work },
            "the guest ended early\n{text}"
        );
        parse(&text)
    };
    (0..cuts).map(|_| boot(false)).chain(std::iter::once_with(|| boot(true))).collect()
}

/// Boot the guest with a disk that has project quotas, and give what it reported of volumes with a size.
///
/// # Panics
/// Where the machine cannot be booted or reports no end.
pub fn quotas(disk: &std::path::Path) -> Vec<Check> {
    let file = std::fs::File::create(disk).expect("a file");
    file.set_len(256 << 20).expect("a sparse file");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-O", "quota,project", "-E", "quotatype=prjquota"]).arg(disk);
    assert!(make.status().expect("mke2fs").success(), "no ext4 with project quotas");
    let mut c = Command::new(workspace::top().join("scripts/guest"));
    c.arg(workspace::knarr()).arg(workspace::image("busybox.tar"));
    c.arg(workspace::top().join("scripts/guest-quota-checks")).env("KNARR_GUEST_DATA", disk);
    let f = crate::command::run(&mut c, None, Duration::from_secs(600));
    let text = String::from_utf8_lossy(&f.stdout).into_owned();
    assert!(text.contains("KNARR-GUEST-END"), "the guest reported no end (exit {})\n{text}", f.code);
    parse(&text)
}

/// The emulator among a process's descendants.
fn machine_of(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for child in crate::engine::children(pid) {
        let name = std::fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        if name.starts_with("qemu-system") {
            found.push(child);
        }
        found.extend(machine_of(child));
    }
    found
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
