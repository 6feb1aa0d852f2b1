//! `docker top`: processes of a container, read from `/proc` as the host sees them (proc(5)).
//!
//! Invariant: no program is run, neither the host's `ps` nor anything from the image (CVE-2022-1227).
use crate::error::{Error, Result};
use knarr_docker_types::container::TopResponse;
use std::collections::HashMap;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// A column: title, and its value.
type Column = (&'static str, fn(&Process, &Host) -> String);

struct Process {
    pid: i32,
    ppid: i32,
    pgid: i32,
    sid: i32,
    state: char,
    tty: i32,
    ticks: u64,
    nice: i64,
    priority: i64,
    threads: i64,
    start_ticks: u64,
    vsz_bytes: u64,
    rss_bytes: u64,
    uid: u32,
    gid: u32,
    command: String,
    name: String,
}

struct Host {
    users: HashMap<u32, String>,
    boot_s: u64,
    ticks_per_s: u64,
    now_s: u64,
    memory_bytes: u64,
}

const FULL: &[Column] = &[
    ("UID", |p, h| user(h, p.uid)),
    ("PID", |p, _| p.pid.to_string()),
    ("PPID", |p, _| p.ppid.to_string()),
    ("C", |p, h| (cpu_tenths(p, h) / 10).to_string()),
    ("STIME", start_time),
    ("TTY", tty),
    ("TIME", |p, h| clock(p.ticks / h.ticks_per_s.max(1))),
    ("CMD", |p, _| p.command.clone()),
];

const SHORT: &[Column] = &[
    ("PID", |p, _| p.pid.to_string()),
    ("TTY", tty),
    ("TIME", |p, h| clock(p.ticks / h.ticks_per_s.max(1))),
    ("CMD", |p, _| p.name.clone()),
];

const BSD: &[Column] = &[
    ("USER", |p, h| user(h, p.uid)),
    ("PID", |p, _| p.pid.to_string()),
    ("%CPU", |p, h| tenths(cpu_tenths(p, h))),
    ("%MEM", memory_share),
    ("VSZ", |p, _| (p.vsz_bytes / 1024).to_string()),
    ("RSS", |p, _| (p.rss_bytes / 1024).to_string()),
    ("TTY", tty),
    ("STAT", |p, _| p.state.to_string()),
    ("START", start_time),
    ("TIME", |p, h| {
        let s = p.ticks / h.ticks_per_s.max(1);
        format!("{}:{:02}", s / 60, s % 60)
    }),
    ("COMMAND", |p, _| p.command.clone()),
];

/// Columns of `-o`, by their names in ps(1).
const NAMED: &[(&str, Column)] = &[
    ("pid", ("PID", |p, _| p.pid.to_string())),
    ("ppid", ("PPID", |p, _| p.ppid.to_string())),
    ("pgid", ("PGID", |p, _| p.pgid.to_string())),
    ("pgrp", ("PGRP", |p, _| p.pgid.to_string())),
    ("sid", ("SID", |p, _| p.sid.to_string())),
    ("user", ("USER", |p, h| user(h, p.uid))),
    ("uid", ("UID", |p, _| p.uid.to_string())),
    ("gid", ("GID", |p, _| p.gid.to_string())),
    ("comm", ("COMMAND", |p, _| p.name.clone())),
    ("ucmd", ("CMD", |p, _| p.name.clone())),
    ("args", ("COMMAND", |p, _| p.command.clone())),
    ("cmd", ("CMD", |p, _| p.command.clone())),
    ("command", ("COMMAND", |p, _| p.command.clone())),
    ("tty", ("TT", tty)),
    ("stat", ("STAT", |p, _| p.state.to_string())),
    ("s", ("S", |p, _| p.state.to_string())),
    ("state", ("S", |p, _| p.state.to_string())),
    ("time", ("TIME", |p, h| clock(p.ticks / h.ticks_per_s.max(1)))),
    ("etime", ("ELAPSED", elapsed)),
    ("rss", ("RSS", |p, _| (p.rss_bytes / 1024).to_string())),
    ("vsz", ("VSZ", |p, _| (p.vsz_bytes / 1024).to_string())),
    ("pcpu", ("%CPU", |p, h| tenths(cpu_tenths(p, h)))),
    ("%cpu", ("%CPU", |p, h| tenths(cpu_tenths(p, h)))),
    ("pmem", ("%MEM", memory_share)),
    ("%mem", ("%MEM", memory_share)),
    ("ni", ("NI", |p, _| p.nice.to_string())),
    ("nice", ("NI", |p, _| p.nice.to_string())),
    ("pri", ("PRI", |p, _| (39 - p.priority).to_string())),
    ("nlwp", ("NLWP", |p, _| p.threads.to_string())),
    ("stime", ("STIME", start_time)),
    ("start", ("STARTED", start_time)),
];

/// The processes `pids`, in columns that `args` asks for.
pub(crate) fn top(pids: &[i32], args: &str) -> Result<TopResponse> {
    let columns = columns(args)?;
    let host = Host::read();
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    let rows = pids.into_iter().filter_map(Process::read);
    let row = |p: Process| columns.iter().map(|(_, value)| value(&p, &host)).collect();
    Ok(TopResponse {
        processes: rows.map(row).collect(),
        titles: columns.iter().map(|(title, _)| (*title).to_owned()).collect(),
    })
}

/// `-ef`, `aux`, `-o pid,comm` and their like.
fn columns(args: &str) -> Result<Vec<Column>> {
    let mut chosen: Vec<Column> = Vec::new();
    let mut full = args.trim().is_empty();
    let mut bsd = false;
    let mut words = args.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let names = match word {
            "-o" | "o" | "--format" => Some(words.next().unwrap_or("").to_owned()),
            word => word
                .strip_prefix("-o")
                .or_else(|| word.strip_prefix("--format="))
                .or_else(|| word.strip_prefix("-eo"))
                .map(str::to_owned),
        };
        let names = match (names, word) {
            (Some(names), "-eo") if names.is_empty() => Some(words.next().unwrap_or("").to_owned()),
            (names, _) => names,
        };
        match names {
            Some(names) => {
                for name in names.split(',').filter(|n| !n.is_empty()) {
                    chosen.push(named(name)?);
                }
            }
            None if word.starts_with("--") => return Err(unsupported(args)),
            None => {
                let flags = word.trim_start_matches('-');
                let known = flags.bytes().all(|b| b"aAdefFglnuwxj".contains(&b));
                if !known {
                    return Err(unsupported(args));
                }
                full |= word.starts_with('-') && flags.contains(['f', 'F']);
                bsd |= flags.contains('u') && !word.starts_with('-');
            }
        }
    }
    Ok(match (chosen.is_empty(), bsd, full) {
        (false, ..) => chosen,
        (true, true, _) => BSD.to_vec(),
        (true, false, true) => FULL.to_vec(),
        (true, false, false) => SHORT.to_vec(),
    })
}

fn named(text: &str) -> Result<Column> {
    // `pid=NAME` gives the column another title; the title is the client's and not kept.
    let name = text.split('=').next().unwrap_or(text).to_ascii_lowercase();
    let found = NAMED.iter().find(|(known, _)| *known == name);
    found
        .map(|(_, column)| *column)
        .ok_or_else(|| Error::Invalid(format!("error: unknown user-defined format specifier \"{text}\"")))
}

fn unsupported(args: &str) -> Error {
    Error::Invalid(format!("ps arguments are not supported: {args}"))
}

impl Process {
    /// `None` when it is gone.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (head, tail) = stat.rsplit_once(") ")?;
        let name = head.split_once(" (")?.1.to_owned();
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |i: usize| fields.get(i).and_then(|t| t.parse::<i64>().ok()).unwrap_or(0);
        let positive = |i: usize| u64::try_from(number(i)).unwrap_or(0);
        let small = |i: usize| i32::try_from(number(i)).unwrap_or(0);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let id = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
        };
        let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&raw).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            ppid: small(1),
            pgid: small(2),
            sid: small(3),
            tty: small(4),
            ticks: positive(11) + positive(12),
            priority: number(15),
            nice: number(16),
            threads: number(17),
            start_ticks: positive(19),
            vsz_bytes: positive(20),
            rss_bytes: positive(21) * rustix::param::page_size() as u64,
            uid: id("Uid:"),
            gid: id("Gid:"),
            command: if line.is_empty() { format!("[{name}]") } else { line },
            name,
        })
    }
}

impl Host {
    fn read() -> Self {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        });
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
        Self {
            users: users.collect(),
            boot_s: boot.and_then(|t| t.trim().parse().ok()).unwrap_or(0),
            ticks_per_s: rustix::param::clock_ticks_per_second(),
            now_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            memory_bytes: crate::host::memory(),
        }
    }

    fn started_s(&self, process: &Process) -> u64 {
        self.boot_s + process.start_ticks / self.ticks_per_s.max(1)
    }
}

fn user(host: &Host, uid: u32) -> String {
    host.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
}

/// CPU time as a share of the life time, in tenths of a percent.
fn cpu_tenths(process: &Process, host: &Host) -> u64 {
    let life = host.now_s.saturating_sub(host.started_s(process)).max(1);
    process.ticks * 1000 / host.ticks_per_s.max(1) / life
}

fn memory_share(process: &Process, host: &Host) -> String {
    tenths(process.rss_bytes * 1000 / host.memory_bytes.max(1))
}

fn tenths(value: u64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn elapsed(process: &Process, host: &Host) -> String {
    let s = host.now_s.saturating_sub(host.started_s(process));
    match (s / 86_400, s / 3600 % 24) {
        (0, 0) => format!("{:02}:{:02}", s / 60, s % 60),
        (0, h) => format!("{h:02}:{:02}:{:02}", s / 60 % 60, s % 60),
        (d, h) => format!("{d}-{h:02}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

fn start_time(process: &Process, host: &Host) -> String {
    let at = i64::try_from(host.started_s(process)).unwrap_or(0);
    let Ok(time) = jiff::Timestamp::from_second(at) else { return "?".to_owned() };
    let format = if host.now_s.saturating_sub(host.started_s(process)) < 86_400 { "%H:%M" } else { "%b%d" };
    time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string()
}

/// `pts/0`; `?` without a terminal.
fn tty(process: &Process, _: &Host) -> String {
    let number = u32::try_from(process.tty).unwrap_or(0);
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match (major, minor) {
        (0, 0) => "?".to_owned(),
        (136..=143, minor) => format!("pts/{}", (major - 136) * 256 + minor),
        (4, minor) => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> Vec<&'static str> {
        columns(args).unwrap().into_iter().map(|(title, _)| title).collect()
    }

    #[test]
    fn arguments() {
        assert_eq!(titles(""), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(titles("-ef"), titles(""));
        assert_eq!(titles("aux")[..3], ["USER", "PID", "%CPU"]);
        assert_eq!(titles("-o pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(titles("-eo pid,args"), ["PID", "COMMAND"]);
        assert_eq!(titles("-e"), ["PID", "TTY", "TIME", "CMD"]);
        assert!(columns("-o nonsense").is_err() && columns("--forest").is_err());
    }

    #[test]
    fn this_very_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let top = top(&[pid, -5], "-o pid,ppid,args").unwrap();
        assert_eq!(top.processes.len(), 1, "a process that is gone is left out");
        assert_eq!(top.processes[0][0], pid.to_string());
    }
}
