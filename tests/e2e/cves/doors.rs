//! Doors to the kernel: capabilities, system calls, socket families, settings of the kernel.
//! CVE-2022-29162, CVE-2022-24769, CVE-2022-0811, CVE-2023-25809, CVE-2026-123876, and what bugs of the kernel needed:
//! CVE-2022-0492, CVE-2022-0185, CVE-2016-5195, CVE-2022-0847, CVE-2026-31431.

use super::run;
use knarr_e2e::attack::{self, Bundle};
use serde_json::json;
use std::collections::BTreeMap;

/// CVE-2022-29162, CVE-2022-24769, CVE-2022-27649, CVE-2022-27650.
#[test]
fn no_capability_is_inheritable() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let show = ["grep", "-E", "CapInh|CapAmb", "/proc/self/status"];
    let none = "CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\n";
    let cases: [&[&str]; 6] = [
        &[],
        &["--privileged"],
        &["-u", "1000"],
        &["-u", "1000", "--cap-add", "NET_ADMIN"],
        &["--cap-add", "ALL"],
        &["--init", "-t"],
    ];
    for options in cases {
        let o = run(&c, options, "attack:1", &show).code(0);
        assert_eq!(o.stdout.replace('\r', ""), none, "run {options:?}");
        let mut args = vec!["run", "-d", "--name", "box"];
        args.extend(options);
        args.extend(["attack:1", "/attack", "sleep"]);
        c.ok(&args);
        for exec in [&["exec", "box"][..], &["exec", "--privileged", "box"], &["exec", "-u", "1000", "box"]] {
            let args: Vec<&str> = exec.iter().chain(&show).copied().collect();
            assert_eq!(c.run(&args).code(0).stdout, none, "{args:?} in {options:?}");
        }
        c.ok(&["rm", "-f", "box"]);
    }
}

/// The families that the default filter refuses stay refused by every way into the kernel that a filter can see.
#[test]
fn socket_families_are_refused_by_every_entry() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let table = |options: &[&str]| -> BTreeMap<(String, String), String> {
        let o = run(&c, options, "attack:1", &["/attack", "sockets"]).code(0);
        let line = |l: &str| {
            let (way, rest) = l.split_once(' ')?;
            let (family, result) = rest.split_once(' ')?;
            Some(((way.to_owned(), family.to_owned()), result.to_owned()))
        };
        o.stdout.lines().filter_map(line).collect()
    };
    let open = table(&["--cap-add", "ALL", "--security-opt", "seccomp=unconfined"]);
    for options in [&[][..], &["--cap-add", "ALL"]] {
        let confined = table(options);
        assert_eq!(confined.len(), open.len());
        let answer = |way: &str, family: &str| confined[&(way.to_owned(), family.to_owned())].as_str();
        for family in ["1/1", "2/1", "10/1"] {
            assert_eq!(answer("native", family), "ok", "{family}");
        }
        // AF_ALG, AF_VSOCK and the families that only drivers and management use.
        for family in ["38/5", "40/1"] {
            for way in ["native", "x32", "i386"] {
                assert_ne!(answer(way, family), "ok", "{way} {family}: {confined:#?}");
            }
        }
        for ((way, family), result) in &confined {
            // No 32-bit pointers to 64-bit calls, for nothing.
            assert!(way != "x32" || result != "ok", "{way} {family}");
            // Whatever is refused to the usual call is refused to the one of 32-bit programs.
            if way == "i386" && answer("native", family) != "ok" {
                assert_ne!(result, "ok", "{family}: {confined:#?}");
            }
        }
    }
}

/// What exploits of the kernel began with is shut before any argument is looked at, and each stays shut for exec.
#[test]
fn calls_that_exploits_begin_with_are_refused() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "box", "attack:1", "/attack", "sleep"]);
    for o in [
        run(&c, &[], "attack:1", &["/attack", "calls"]).code(0),
        run(&c, &["-u", "1000"], "attack:1", &["/attack", "calls"]).code(0),
        c.run(&["exec", "box", "/attack", "calls"]).code(0),
    ] {
        assert!(o.stdout.lines().count() >= 20, "{o:?}");
        for line in o.stdout.lines() {
            assert!(
                line.ends_with("Operation not permitted") || line.ends_with("Function not implemented"),
                "{line}: {o:?}"
            );
        }
    }
    // CVE-2022-0492: a release agent needs a group file system of one's own.
    let o = run(
        &c,
        &[],
        "attack:1",
        &[
            "sh",
            "-c",
            "mkdir /tmp/g; mount -t cgroup -o rdma cgroup /tmp/g; \
        mount -t cgroup2 none /tmp/g; echo /x > /sys/fs/cgroup/release_agent; for f in /sys/fs/cgroup/*/release_agent; do echo /x > $f; done; \
        mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x && echo made; true",
        ],
    );
    assert!(!o.stdout.contains("made"), "{o:?}");
    c.ok(&["rm", "-f", "box"]);
}

/// CVE-2022-0811: one setting that carries another one.
#[test]
fn a_setting_of_the_kernel_is_one_setting() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    const FILE: &str = "/proc/sys/kernel/core_pattern";
    let before = std::fs::read_to_string(FILE).unwrap();
    // An attack that works must not outlive the test.
    let pattern = || {
        let now = std::fs::read_to_string(FILE).unwrap();
        if now != before {
            std::fs::write(FILE, &before).unwrap();
        }
        now
    };
    let evil = format!("|/bin/cp /etc/shadow {}", marker.display());
    let cases = [
        format!("kernel.shm_rmid_forced=1+kernel.core_pattern={evil}"),
        format!("kernel.shm_rmid_forced=1 kernel.core_pattern={evil}"),
        format!("kernel.shm_rmid_forced=1\nkernel.core_pattern={evil}"),
        format!("kernel.core_pattern={evil}"),
        format!("kernel/core_pattern={evil}"),
        format!("net/../kernel/core_pattern={evil}"),
        format!("net.../kernel/core_pattern={evil}"),
        format!("net.ipv4.ip_forward/../../../kernel/core_pattern={evil}"),
        format!("fs.mqueue.../../kernel/core_pattern={evil}"),
        format!("./kernel.core_pattern={evil}"),
    ];
    let mut bundle = Bundle::new(&e.fresh_dir("bundle"), &["true"]);
    for setting in &cases {
        let o = run(&c, &["--sysctl", setting], "attack:1", &["cat", "/proc/sys/kernel/core_pattern"]);
        assert_eq!(pattern(), before, "{setting}: {o:?}");
        let (name, value) = setting.split_once('=').unwrap();
        // The kernel reads a number up to the first blank; what follows is nothing to it.
        let own = name == "kernel.shm_rmid_forced";
        assert!(own || o.code != 0, "{setting}: {o:?}");
        bundle.config["linux"]["sysctl"] = json!({name: value});
        let o = bundle.run("sysctl");
        assert_eq!(pattern(), before, "{setting}: {o:?}");
        assert!(own || o.code != 0, "{setting}: {o:?}");
    }
    let o = run(
        &c,
        &["--sysctl", "kernel.shm_rmid_forced=1"],
        "attack:1",
        &["cat", "/proc/sys/kernel/shm_rmid_forced"],
    );
    assert_eq!(o.code(0).text(), "1");
}

/// CVE-2023-25809: groups are read-only, however they come to be visible.
#[test]
fn group_file_systems_cannot_be_written() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    let script = "grep -E ' (cgroup|cgroup2) ' /proc/mounts | grep -v ' ro,' ; \
        for d in $(find /sys/fs/cgroup -type d 2>/dev/null | head -n 20); do mkdir $d/x 2>/dev/null && echo made $d/x; done; \
        for f in $(find /sys/fs/cgroup -name cgroup.procs 2>/dev/null | head -n 20); do (echo $$ >$f) 2>/dev/null && echo wrote $f; done; true";
    for options in [&[][..], &["--cgroupns", "host"], &["--cgroupns", "private"], &["-u", "1000"]] {
        let o = run(&c, options, "attack:1", &["sh", "-c", script]).code(0);
        assert_eq!(o.stdout, "", "{options:?}: {o:?}");
    }
}
