//! Who a program runs as: texts that are misread, numbers that wrap, files of the image that never end.
//! CVE-2024-9676, CVE-2024-40635, CVE-2026-30892, CVE-2026-47262.

use super::run;
use knarr_e2e::tarball::Entry;
use knarr_e2e::{Cli, Engine, attack, workspace};
use std::time::{Duration, Instant};

/// A bounded answer, on a machine that has other things to do too.
const SOON: Duration = Duration::from_secs(20);
/// What the engine may have grown by after reading endless files.
const GROWTH_KIB: u64 = 128 << 10;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n1000:x:0:0:a number as a name:/root:/bin/sh\n\
    tester:x:1001:1002::/home/tester:/bin/sh\nwraps:x:4294967296:4294967296::/:/bin/sh\nminus:x:-1:-1::/:/bin/sh\n\
    :x:0:0:no name:/:/bin/sh\nempty::0\n";
const GROUP: &str =
    "root:x:0:\n1003:x:0:a number as a name\ntester:x:1002:\nextra:x:44:tester\nwraps:x:4294967296:\n";

/// Text, then `uid gid groups` as dockerd has it, or nothing where it has to be an error.
const USERS: &[(&str, Option<&str>)] = &[
    ("", Some("0 0 0")),
    ("0", Some("0 0 0")),
    ("00", Some("0 0 0")),
    ("root", Some("0 0 0")),
    ("root:root", Some("0 0 0")),
    ("tester", Some("1001 1002 1002 44")),
    ("tester:", Some("1001 1002 1002 44")),
    ("1001", Some("1001 1002 1002 44")),
    ("tester:extra", Some("1001 44 44")),
    ("tester:0", Some("1001 0 0")),
    (":1002", Some("0 1002 1002")),
    (":", Some("0 0 0")),
    // A number is a number, whatever a line of the image calls itself.
    ("1000", Some("1000 0 0")),
    ("1000:1003", Some("1000 1003 1003")),
    ("0001001", Some("1001 1002 1002 44")),
    ("2147483647", Some("2147483647 0 0")),
    ("2147483648", None),
    ("4294967295", None),
    ("4294967296", None),
    ("18446744073709551616", None),
    ("-1", None),
    ("-0x1", None),
    ("0:2147483648", None),
    ("0:4294967296", None),
    ("0:-1", None),
    ("nosuch", None),
    ("nosuch:0", None),
    ("0:nosuch", None),
    ("wraps", None),
    ("minus", None),
    ("0:wraps", None),
    (" 0", None),
    ("0 ", None),
    ("root ", None),
    ("0x0", None),
    ("1e3", None),
    ("\u{660}", None),
    ("\u{ff10}", None),
    ("root\n", None),
    // dockerd takes these for numbers, as Go does.
    ("+0", None),
    ("-0", None),
    ("+1001", None),
    ("0:+0", None),
    ("0:0:0", None),
    ("../root", None),
    ("*", None),
];

/// `uid gid groups` as the kernel has them: the program of the image is not asked.
const SHOW: &str = "set -- $(grep -E '^(Uid|Gid|Groups):' /proc/self/status | sed -n 's/^Uid:\t\\([0-9]*\\).*/\\1/p; s/^Gid:\t\\([0-9]*\\).*/\\1/p; s/^Groups://p'); echo $*";

/// The first group is among the others or not, as the version of Docker has it.
fn same(got: &str, wanted: &str) -> bool {
    let parts = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let (ids, groups) = words.split_at(words.len().min(2));
        let mut groups = groups.to_vec();
        groups.extend(ids.get(1).cloned());
        groups.sort();
        groups.dedup();
        (ids.to_vec(), groups)
    };
    parts(got) == parts(wanted)
}

#[test]
fn a_user_is_never_somebody_else() {
    let e = Engine::start();
    let files = [
        Entry::file("etc/passwd", 0o644, PASSWD.as_bytes()),
        Entry::file("etc/group", 0o644, GROUP.as_bytes()),
    ];
    assert_eq!(attack::load(&e, &attack::image("users:1", &files)).code, 0);
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "box", "users:1", "/attack", "sleep"]);
    let mut wrong = Vec::new();
    for &(user, wanted) in USERS {
        let option = format!("--user={user}");
        let ran = run(&c, &[&option], "users:1", &["sh", "-c", SHOW]);
        let executed = c.run(&["exec", &option, "box", "sh", "-c", SHOW]);
        for (how, o) in [("run", ran), ("exec", executed)] {
            let good = match wanted {
                Some(wanted) => o.code == 0 && same(o.text(), wanted),
                None => o.code != 0,
            };
            if !good {
                wrong.push(format!(
                    "{how} {user:?}: wanted {wanted:?}, got {} {:?} {:?}",
                    o.code,
                    o.text(),
                    o.stderr
                ));
            }
        }
    }
    c.ok(&["rm", "-f", "box"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Kibibytes of memory that the engine has.
fn memory(e: &Engine) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", e.pid())).expect("the engine's status");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("number")
}

/// Both ways of asking for a user by name end soon, whatever they say.
#[track_caller]
fn bounded(e: &Engine, c: &Cli, what: &str) {
    let before = memory(e);
    for user in ["tester", "1000", "nosuch"] {
        let start = Instant::now();
        // No program of the image may open the file too.
        let o = c.run(&["exec", "-u", user, "box", "cat", "/proc/self/status"]);
        assert!(start.elapsed() < SOON, "{what}: exec -u {user} took {:?}", start.elapsed());
        assert!(o.code != 0 || o.stdout.contains("\nUid:\t1000\t"), "{what}: {o:?}");
    }
    // The next start reads the files too.
    c.ok(&["kill", "box"]);
    e.wait_status("box", "exited");
    let start = Instant::now();
    let o = c.run(&["start", "box"]);
    assert!(start.elapsed() < SOON, "{what}: start took {:?}", start.elapsed());
    if o.code == 0 {
        let comm = format!("/proc/{}/comm", c.field("box", "{{.State.Pid}}"));
        assert_eq!(std::fs::read_to_string(comm).unwrap(), "attack\n", "{what}");
    }
    let after = memory(e);
    assert!(after < before + GROWTH_KIB, "{what}: {before} KiB grew to {after} KiB");
}

#[test]
fn endless_user_files_end() {
    if workspace::peer().is_some() {
        return;
    }
    let e = Engine::start();
    let fifo = e.fresh("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
    assert!(made.success());
    let host_fifo = fifo.display().to_string();
    let up = format!("{}{}", "../".repeat(20), host_fifo.trim_start_matches('/'));
    assert_eq!(attack::load(&e, &attack::image("users:1", &[Entry::fifo("pipe", 0o666)])).code, 0);
    let c = e.knarr();
    let links = [
        "/dev/zero",
        "/proc/self/environ",
        "/proc/1/mem",
        "/dev/stdin",
        "/dev/tty",
        "/pipe",
        "/etc/passwd",
        &host_fifo,
        &up,
    ];
    let mut cases: Vec<(String, String)> = vec![
        ("4 GiB".to_owned(), "truncate -s 4G $f".to_owned()),
        ("a pipe".to_owned(), "rm $f; mkfifo $f".to_owned()),
        ("a directory".to_owned(), "rm $f; mkdir $f".to_owned()),
        ("one long line".to_owned(), "head -c 30000000 /dev/zero | tr '\\0' a > $f".to_owned()),
        ("many lines".to_owned(), "yes 'u:x:1:1::/:/bin/sh' | head -n 300000 > $f".to_owned()),
    ];
    cases.extend(links.map(|l| (format!("a link to {l}"), format!("rm $f; ln -s {l} $f"))));
    for file in ["/etc/passwd", "/etc/group"] {
        for (what, script) in &cases {
            c.ok(&["run", "-d", "--name", "box", "users:1", "/attack", "sleep"]);
            let o = c.run(&["exec", "box", "sh", "-c", &format!("f={file}; {script}")]);
            assert_eq!(o.code, 0, "{what}: {o:?}");
            bounded(&e, &c, &format!("{file}: {what}"));
            c.ok(&["rm", "-f", "box"]);
        }
    }
}
