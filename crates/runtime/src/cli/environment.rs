//! What a runtime adds to a process's environment: the home directory that the container knows for the user, and sockets of the service
//! manager.
//!
//! Standard: passwd(5), sd_listen_fds(3). As runc has it: `HOME` only if it is not set or empty, `/` for a user without entry.
use knarr_linux::path::Root;
use knarr_oci::runtime::Process;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

/// No file of users is looked at beyond this.
const MAX_PASSWD: u64 = 1 << 20;
/// More than any service has.
const MAX_SOCKETS: u32 = 64;

/// Of variables that are there more than once the last counts; `HOME` is set from the users of the tree at `root`, a path of the host,
/// unless it says something.
pub(crate) fn complete(process: &mut Process, root: &Path) {
    only_last(&mut process.env);
    if process.env.iter().any(|entry| entry.strip_prefix("HOME=").is_some_and(|home| !home.is_empty())) {
        return;
    }
    let users = users(root).unwrap_or_default();
    let home = home(&users, process.user.uid).unwrap_or("/");
    process.env.retain(|entry| entry != "HOME=");
    process.env.push(format!("HOME={home}"));
}

/// Programs take the first of several, and runc passes the last alone.
fn only_last(env: &mut Vec<String>) {
    let name = |entry: &str| entry.split_once('=').map(|(name, _)| name.to_owned());
    let mut seen = BTreeSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    for entry in env.drain(..).rev() {
        if name(&entry).is_none_or(|name| seen.insert(name)) {
            kept.push(entry);
        }
    }
    kept.reverse();
    *env = kept;
}

/// `None` without such a file. The container may have put anything in its place.
fn users(root: &Path) -> Option<String> {
    let root = Root::open(root).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = root.open_with("etc/passwd", flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_PASSWD).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// Of the first entry with that number.
fn home(users: &str, uid: u32) -> Option<&str> {
    let entry = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let number = fields.get(2)?;
        (number.parse() == Ok(uid) && number.bytes().all(|b| b.is_ascii_digit())).then_some(fields)
    })?;
    entry.get(5).copied().filter(|home| home.starts_with('/') && !home.contains('\0'))
}

/// Descriptors that the service manager passed to this very process go on to the container's: how many.
pub(crate) fn pass_sockets(process: &mut Process) -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    // The variables of another process, which only were inherited, say nothing of this one's descriptors.
    if number("LISTEN_PID") != Some(std::process::id()) {
        return 0;
    }
    let count = number("LISTEN_FDS").unwrap_or(0);
    if count == 0 || count > MAX_SOCKETS {
        return 0;
    }
    process.env.retain(|entry| !entry.starts_with("LISTEN_FDS=") && !entry.starts_with("LISTEN_PID="));
    process.env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbad\nx:x:+7:7::/seven:\na:x:7:7::/first:\nb:x:7:7::/second:\nr:x:8:8::relative:\n";
        assert_eq!(home(users, 0), Some("/root"));
        assert_eq!(home(users, 7), Some("/first"));
        assert_eq!(home(users, 8), None);
        assert_eq!(home(users, 9), None);
    }

    #[test]
    fn only_what_is_missing_and_only_a_file() {
        let root = tempfile::tempdir().unwrap();
        let with = |env: &[&str]| {
            let env = env.iter().map(|&e| e.to_owned()).collect();
            let mut process = Process { env, ..Process::default() };
            complete(&mut process, root.path());
            process.env
        };
        assert_eq!(with(&["HOME=/x"]), ["HOME=/x"]);
        assert_eq!(with(&[]), ["HOME=/"]);
        assert_eq!(with(&["HOME=/x", "A=1", "HOME=", "B=2", "A="]), ["B=2", "A=", "HOME=/"]);
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/users"), "root:x:0:0::/there:\n").unwrap();
        // A link is the container's: absolute is in its root.
        std::os::unix::fs::symlink("/etc/users", root.path().join("etc/passwd")).unwrap();
        assert_eq!(with(&[]), ["HOME=/there"]);
        std::fs::remove_file(root.path().join("etc/passwd")).unwrap();
        std::fs::create_dir(root.path().join("etc/passwd")).unwrap();
        assert_eq!(with(&[]), ["HOME=/"]);
    }
}
