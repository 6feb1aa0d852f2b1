//! Isolation: limits that bind, capabilities, seccomp, masked paths, namespaces, escapes that must fail.

use knarr_e2e::{Cli, Engine};
use std::time::{Duration, Instant};

#[track_caller]
fn sh(c: &Cli, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", script]);
    c.ok(&args)
}

#[test]
fn memory_limit_kills_and_says_so() {
    let e = Engine::start();
    for c in e.clients() {
        let eat = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo survived";
        let o =
            c.run(&["run", "--name", "oom", "-m", "32m", "--memory-swap", "32m", "busybox", "sh", "-c", eat]);
        assert_eq!(o.code, 137, "{o:?}");
        assert!(!o.stdout.contains("survived"));
        assert_eq!(c.field("oom", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
        c.ok(&["rm", "oom"]);
        assert_eq!(c.run(&["run", "--name", "ok", "-m", "32m", "busybox", "true"]).code, 0);
        assert_eq!(c.field("ok", "{{.State.OOMKilled}}"), "false");
        c.ok(&["rm", "ok"]);
    }
}

#[test]
fn processes_are_refused() {
    let e = Engine::start();
    for c in e.clients() {
        let o = c.run(&[
            "run",
            "--rm",
            "--pids-limit",
            "8",
            "busybox",
            "sh",
            "-c",
            "for i in $(seq 20); do sleep 5 & done; echo all",
        ]);
        assert!(
            o.stderr.contains("can't fork") || o.stderr.contains("Resource temporarily unavailable"),
            "{o:?}"
        );
        assert!(!o.stdout.contains("all"), "{o:?}");
    }
}

/// Seconds of processor time that a container used per second, spinning.
fn share(c: &Cli, name: &str, options: &[&str]) -> f64 {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", "while :; do :; done"]);
    c.ok(&args);
    measure(c, name, Duration::from_secs(2))
}

fn measure(c: &Cli, name: &str, time: Duration) -> f64 {
    // utime + stime of PID 1, in hundredths of a second (proc_pid_stat(5)).
    let read = || -> f64 {
        let stat = c.ok(&["exec", name, "cat", "/proc/1/stat"]);
        let after: Vec<_> =
            stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        after[11..13].iter().filter_map(|s| s.parse::<f64>().ok()).sum()
    };
    let (t, a) = (Instant::now(), read());
    std::thread::sleep(time);
    (read() - a) / 100.0 / t.elapsed().as_secs_f64()
}

#[test]
fn cpu_quota_is_measured() {
    let e = Engine::start();
    let c = e.docker();
    let s = share(&c, "quarter", &["--cpus", "0.25"]);
    assert!((0.12..0.38).contains(&s), "--cpus 0.25 gave {s:.2} of a processor");
    c.ok(&["rm", "-f", "quarter"]);
}

#[test]
fn cpu_shares_are_measured() {
    let e = Engine::start();
    let c = e.docker();
    // On one processor, four to one.
    for (name, shares) in [("big", "2048"), ("small", "512")] {
        c.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--cpuset-cpus",
            "0",
            "-c",
            shares,
            "busybox",
            "sh",
            "-c",
            "while :; do :; done",
        ]);
    }
    let (mut big, mut small) = (0.0, 0.0);
    std::thread::scope(|s| {
        let b = s.spawn(|| measure(&c, "big", Duration::from_secs(4)));
        small = measure(&c, "small", Duration::from_secs(4));
        big = b.join().expect("measured");
    });
    let ratio = big / small;
    assert!((2.2..7.0).contains(&ratio), "shares 2048:512 gave {big:.2} and {small:.2}, ratio {ratio:.1}");
    assert_eq!(
        c.ok(&["exec", "big", "grep", "Cpus_allowed_list", "/proc/1/status"]).split_whitespace().last(),
        Some("0")
    );
}

#[test]
fn default_capabilities_are_dockers() {
    let e = Engine::start();
    for c in e.clients() {
        let caps = |opts: &[&str], which: &str| {
            sh(&c, opts, &format!("grep {which} /proc/self/status"))
                .split_whitespace()
                .last()
                .unwrap()
                .to_owned()
        };
        assert_eq!(caps(&[], "CapBnd"), "00000000a80425fb");
        assert_eq!(caps(&[], "CapEff"), "00000000a80425fb");
        assert_eq!(caps(&[], "CapInh"), "0000000000000000", "CVE-2022-24769");
        assert_eq!(caps(&["-u", "1000"], "CapEff"), "0000000000000000");
        assert_eq!(caps(&["-u", "1000"], "CapBnd"), "00000000a80425fb");
        assert_eq!(caps(&["--cap-drop", "ALL"], "CapBnd"), "0000000000000000");
        assert_eq!(
            caps(&["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"], "CapEff"),
            "0000000000000400"
        );
        assert_eq!(caps(&["--cap-add", "CAP_SYS_ADMIN"], "CapEff"), "00000000a82425fb");
        assert_eq!(caps(&["--cap-drop", "cap_chown", "--cap-drop", "kill"], "CapEff"), "00000000a80425da");
        let all = std::fs::read_to_string("/proc/self/status").unwrap();
        let bounding = all
            .lines()
            .find(|l| l.starts_with("CapBnd"))
            .unwrap()
            .split_whitespace()
            .last()
            .unwrap()
            .to_owned();
        assert_eq!(caps(&["--cap-add", "ALL"], "CapEff"), bounding);
        c.fails(125, &["run", "--rm", "--cap-add", "NONSENSE", "busybox", "true"])
            .says("invalid CapAdd: unknown capability: \"CAP_NONSENSE\"");
    }
}

#[test]
fn privileged_gets_all_and_devices() {
    let e = Engine::start();
    for c in e.clients() {
        let script = "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev/kmsg; mount -t tmpfs x /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs x /mnt; echo $?; touch /sys/x 2>&1";
        let out = c.run(&["run", "--rm", "--privileged", "busybox", "sh", "-c", script]);
        assert!(out.stdout.contains("/dev/kmsg") && out.stdout.contains("Seccomp:\t0"), "{out:?}");
        assert!(!out.stdout.contains("00000000a80425fb"), "{out:?}");
        let mounts = sh(&c, &["--privileged"], "grep -E ' (/proc|/sys)' /proc/mounts");
        assert!(
            !mounts
                .lines()
                .any(|l| l.split(' ').nth(3).unwrap().split(',').any(|o| o == "ro") && !l.contains("cgroup")),
            "{mounts}"
        );
    }
}

#[test]
fn seccomp_and_no_new_privileges() {
    let e = Engine::start();
    for c in e.clients() {
        let status = |opts: &[&str], key: &str| {
            sh(&c, opts, &format!("grep -E '^{key}:' /proc/self/status"))
                .split_whitespace()
                .last()
                .unwrap()
                .to_owned()
        };
        assert_eq!(status(&[], "Seccomp"), "2");
        assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
        assert_eq!(status(&[], "NoNewPrivs"), "0");
        assert_eq!(status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
        // Docker's profile refuses unshare(CLONE_NEWUSER) and mount without CAP_SYS_ADMIN.
        for script in ["unshare -U true", "mount -t tmpfs x /tmp", "unshare -m true"] {
            let o = c.run(&["run", "--rm", "busybox", "sh", "-c", script]);
            assert!(o.code != 0 && o.stderr.contains("ermi"), "{script}: {o:?}");
        }
        let f = e.fresh("profile.json");
        std::fs::write(&f, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#).unwrap();
        let opt = format!("seccomp={}", f.display());
        let o = c.run(&["run", "--rm", "--security-opt", &opt, "busybox", "mkdir", "/x"]);
        assert!(o.code == 1 && o.stderr.contains("No space left on device"), "a profile of one's own: {o:?}");
        c.fails(125, &["run", "--rm", "--security-opt", "nonsense", "busybox", "true"])
            .says("invalid --security-opt");
    }
}

#[test]
fn masked_and_read_only_paths() {
    let e = Engine::start();
    for c in e.clients() {
        let out = sh(
            &c,
            &[],
            "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v : | tr -d '\\n'",
        );
        assert_eq!(out.trim(), "0");
        for path in [
            "/proc/sys/kernel/hostname",
            "/proc/sysrq-trigger",
            "/proc/sys/vm/drop_caches",
            "/sys/kernel/mm/x",
        ] {
            let o = c.run(&["run", "--rm", "busybox", "sh", "-c", &format!("echo 1 >{path}")]);
            assert!(
                o.code != 0
                    && (o.stderr.contains("Read-only")
                        || o.stderr.contains("ermission")
                        || o.stderr.contains("nonexistent")),
                "{path}: {o:?}"
            );
        }
        let o = sh(
            &c,
            &[],
            "for p in bus fs irq sys sysrq-trigger; do [ ! -e /proc/$p ] || grep -q \" /proc/$p proc ro\" /proc/mounts && echo $p; done | wc -l",
        );
        assert_eq!(o, "5");
        let unmasked = sh(
            &c,
            &["--security-opt", "systempaths=unconfined"],
            "grep -c ' /proc/[a-z]' /proc/mounts; true",
        );
        assert_eq!(unmasked, "0");
    }
}

#[test]
fn the_host_is_out_of_sight() {
    let e = Engine::start();
    for c in e.clients() {
        assert!(sh(&c, &[], "ls -d /proc/[0-9]* | wc -l").parse::<u32>().unwrap() <= 5);
        let mounts = sh(&c, &[], "cat /proc/self/mountinfo");
        assert!(
            !mounts.contains("/boot") && !mounts.lines().any(|l| l.split(' ').nth(4) == Some("/home")),
            "{mounts}"
        );
        assert!(mounts.lines().next().unwrap().contains(" / / "), "the root is a mount of its own: {mounts}");
        assert_eq!(sh(&c, &[], "ls /sys/class/net").replace('\n', " "), "eth0 lo");
        let open = sh(&c, &[], "exec ls /proc/self/fd");
        assert!(
            open.lines().all(|f| matches!(f, "0" | "1" | "2" | "3")),
            "no descriptor leaks in (CVE-2024-21626): {open}"
        );
        assert_eq!(sh(&c, &[], "cat /proc/1/comm; true"), "sh");
        assert_eq!(sh(&c, &[], "umask; ulimit -c >/dev/null; echo $SHLVL"), "0022\n1");
    }
}

#[test]
fn paths_do_not_lead_out() {
    let e = Engine::start();
    let secret = e.fresh("secret");
    std::fs::write(&secret, "host's own").unwrap();
    for c in e.clients() {
        // A link in the image to a host path, then cp, -v and -w over it.
        let setup = format!(
            "ln -s {} /link; ln -s / /rootlink; ln -s ../../../../.. /up; sleep 600",
            e.dir.display()
        );
        c.ok(&["run", "-d", "--name", "links", "busybox", "sh", "-c", &setup]);
        std::thread::sleep(Duration::from_millis(300));
        let o =
            c.run(&["cp", &format!("links:/link/{}", secret.file_name().unwrap().to_str().unwrap()), "-"]);
        assert!(o.code != 0 && !o.stdout.contains("host's own"), "{o:?}");
        let o = c.run(&["cp", &format!("links:/up{}", secret.display()), "-"]);
        assert!(o.code != 0 && !o.stdout.contains("host's own"), "{o:?}");
        let from = e.fresh("from");
        std::fs::write(&from, "copied").unwrap();
        drop(c.run(&["cp", from.to_str().unwrap(), &format!("links:/up{}/escaped", e.dir.display())]));
        drop(c.run(&["cp", from.to_str().unwrap(), "links:/link/escaped"]));
        assert!(!e.dir.join("escaped").exists(), "cp does not write outside");
        c.ok(&["commit", "links", "links:v1"]);
        c.ok(&["rm", "-f", "links"]);
        let o = c.run(&[
            "run",
            "--rm",
            "-v",
            &format!("{}:/rootlink/tmp/mounted", e.fresh_dir("vol").display()),
            "links:v1",
            "ls",
            "/tmp",
        ]);
        assert!(o.code != 0 || o.stdout.contains("mounted"), "{o:?}");
        let o = c.run(&["run", "--rm", "-w", "/proc/self/fd/7", "busybox", "cat", "../../../../etc/shadow"]);
        assert_ne!(o.code, 0, "CVE-2024-21626: {o:?}");
        c.ok(&["rmi", "links:v1"]);
    }
}

#[test]
fn the_engines_binary_cannot_be_overwritten() {
    if knarr_e2e::workspace::peer().is_some() {
        return;
    }
    let e = Engine::start();
    for c in e.clients() {
        // CVE-2019-5736: the entry point is a link to the runtime itself.
        let script = "for f in /proc/[0-9]*/exe; do (echo x >>$f) 2>/dev/null && readlink $f; done; true";
        let before = std::fs::read(knarr_e2e::workspace::knarr()).map(|b| b.len()).unwrap_or(0);
        c.ok(&["run", "-d", "--name", "ow", "busybox", "sleep", "600"]);
        let out = c.ok(&["exec", "ow", "sh", "-c", script]);
        assert_eq!(out, "");
        drop(c.run(&["exec", "ow", "/proc/self/exe", "true"]));
        assert_eq!(std::fs::read(knarr_e2e::workspace::knarr()).map(|b| b.len()).unwrap_or(0), before);
        c.ok(&["rm", "-f", "ow"]);
    }
}

#[test]
fn setuid_programs_and_devices_in_volumes() {
    let e = Engine::start();
    for c in e.clients() {
        let out =
            sh(&c, &["--tmpfs", "/t"], "cp /bin/busybox /t/su; chmod 4755 /t/su; grep ' /t ' /proc/mounts");
        assert!(out.contains("nosuid") && out.contains("nodev"), "{out}");
        let root = sh(&c, &[], "grep -E ' (/proc|/sys|/dev/pts|/dev/shm|/dev/mqueue) ' /proc/mounts");
        for l in root.lines() {
            assert!(l.contains("nosuid") && l.contains("noexec"), "{l}");
        }
    }
}
