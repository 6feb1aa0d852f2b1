//! The options of `run` and `create` that people use, seen from inside the container.

use knarr_e2e::{Cli, Engine};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// `run --rm OPTIONS busybox sh -c SCRIPT`
#[track_caller]
fn sh(c: &Cli, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", script]);
    c.ok(&args)
}

#[test]
fn environment() {
    let e = Engine::start();
    for c in e.clients() {
        let file = e.fresh("env");
        std::fs::write(&file, "# comment\nFROM_FILE=yes\nSPACED=a b  c\nEMPTY=\nHOST_VALUE\n\nNOT_ON_HOST\n")
            .unwrap();
        let c = c.env("HOST_VALUE", "h");
        let opts =
            ["-e", "A=1", "-e", "HOST_VALUE", "-e", "UNSET_ON_HOST", "--env-file", file.to_str().unwrap()];
        let out = sh(&c, &opts, "env | sort");
        for want in ["A=1", "FROM_FILE=yes", "SPACED=a b  c", "EMPTY=", "HOST_VALUE=h", "HOME=/root"] {
            assert!(out.lines().any(|l| l == want), "{want} in\n{out}");
        }
        assert!(out.contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        assert!(
            out.lines().any(|l| l.starts_with("HOSTNAME=") && l.len() == "HOSTNAME=".len() + 12),
            "{out}"
        );
        assert!(!out.contains("NOT_ON_HOST") && !out.contains("UNSET_ON_HOST"), "{out}");
        assert_eq!(sh(&c, &["-e", "PATH=/bin", "-e", "HOME=/x"], "echo $PATH $HOME"), "/bin /x");
    }
}

#[test]
fn working_directory_is_made() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(sh(&c, &[], "pwd"), "/");
        assert_eq!(sh(&c, &["-w", "/new/deep"], "pwd; stat -c '%a %u' ."), "/new/deep\n755 0");
        let o = c.run(&["run", "--rm", "-w", "relative", "busybox", "true"]);
        assert_eq!(o.code, 125, "{}", o.stderr);
        assert!(
            o.stderr.contains("the working directory 'relative' is invalid, it needs to be an absolute path"),
            "{}",
            o.stderr
        );
    }
}

#[test]
fn users_and_groups() {
    let e = Engine::start();
    for c in e.clients() {
        let id = |u: &str| sh(&c, &["-u", u], "id -u; id -g; id -G; echo $HOME").replace('\n', " ");
        assert_eq!(id("tester"), "1000 1000 1000 44 /home/tester");
        assert_eq!(id("1000"), "1000 1000 1000 44 /home/tester");
        assert_eq!(id("1000:33"), "1000 33 33 /home/tester");
        assert_eq!(id("www-data:tester"), "33 1000 1000 /var/www");
        assert_eq!(id("4242"), "4242 0 0 /");
        let o = c.fails(125, &["run", "--rm", "-u", "nosuch", "busybox", "true"]);
        o.says("unable to find user nosuch: no matching entries in passwd file");
        let o = c.fails(125, &["run", "--rm", "-u", "0:nosuch", "busybox", "true"]);
        o.says("unable to find group nosuch: no matching entries in group file");
        let groups = sh(&c, &["-u", "1000", "--group-add", "33", "--group-add", "bin"], "id -G");
        let mut groups: Vec<_> = groups.split_whitespace().collect();
        groups.sort_unstable();
        assert_eq!(groups, ["1000", "2", "33", "44"]);
    }
}

#[test]
fn host_and_domain_name() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(sh(&c, &["-h", "box"], "hostname; cat /etc/hostname"), "box\nbox");
        assert!(sh(&c, &["-h", "box"], "cat /etc/hosts").contains("\tbox"));
        assert_eq!(
            sh(&c, &["--domainname", "example.test"], "cat /proc/sys/kernel/domainname"),
            "example.test"
        );
        let out = sh(&c, &[], "hostname");
        assert_eq!(out.len(), 12);
    }
}

#[test]
fn entrypoint() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(c.ok(&["run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"]), "a b");
        assert_eq!(
            c.run_with_stdin(&["run", "--rm", "-i", "--entrypoint", "cat", "busybox"], b"in").stdout,
            "in",
            "the image's Cmd is dropped"
        );
        assert_eq!(c.ok(&["run", "--rm", "--entrypoint", "", "busybox", "echo", "x"]), "x");
    }
}

#[test]
fn bind_mounts() {
    let e = Engine::start();
    for c in e.clients() {
        let dir = e.fresh("bind");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("file"), "from host").unwrap();
        let d = dir.to_str().unwrap();
        let v = format!("{d}:/data");
        assert_eq!(
            sh(&c, &["-v", &v], "cat /data/file; echo back >/data/made; chown 7:8 /data/made"),
            "from host"
        );
        let m = std::fs::metadata(dir.join("made")).unwrap();
        assert_eq!((m.uid(), m.gid()), (7, 8));
        let o = c.run(&["run", "--rm", "-v", &format!("{v}:ro"), "busybox", "touch", "/data/x"]);
        assert_eq!(o.code, 1);
        assert!(o.stderr.contains("Read-only file system"), "{}", o.stderr);
        assert_eq!(sh(&c, &["-v", &format!("{d}/file:/etc/single:ro")], "cat /etc/single"), "from host");
        let made = dir.join("made-by-v/deep");
        sh(&c, &["-v", &format!("{}:/x", made.display())], "true");
        assert!(made.is_dir(), "-v makes a missing source");
        let missing = format!("type=bind,source={d}/nosuch,target=/x");
        c.fails(125, &["run", "--rm", "--mount", &missing, "busybox", "true"])
            .says("bind source path does not exist");
        let ro = format!("type=bind,src={d},dst=/data,readonly");
        assert_eq!(c.run(&["run", "--rm", "--mount", &ro, "busybox", "touch", "/data/x"]).code, 1);
        c.fails(125, &["run", "--rm", "-v", "relative/path:/x", "busybox", "true"]);
        c.fails(125, &["run", "--rm", "-v", &format!("{d}:relative"), "busybox", "true"])
            .says("mount path must be absolute");
        c.fails(125, &["run", "--rm", "-v", &format!("{d}:/x:nonsense"), "busybox", "true"])
            .says("invalid mode");
    }
}

#[test]
fn bind_mount_order_and_nesting() {
    let e = Engine::start();
    for c in e.clients() {
        let dir = e.fresh("nest");
        for sub in ["a", "b"] {
            std::fs::create_dir_all(dir.join(sub)).unwrap();
            std::fs::write(dir.join(sub).join("name"), sub).unwrap();
        }
        std::fs::create_dir(dir.join("a/inner")).unwrap();
        let (inner, outer) = (format!("{}/b:/m/inner", dir.display()), format!("{}/a:/m", dir.display()));
        assert_eq!(
            sh(&c, &["-v", &inner, "-v", &outer], "cat /m/name /m/inner/name"),
            "ab",
            "inner over outer, however given"
        );
    }
}

#[test]
fn tmpfs_mounts() {
    let e = Engine::start();
    for c in e.clients() {
        let out = sh(
            &c,
            &["--tmpfs", "/t:size=1m,mode=1770,uid=5"],
            "grep ' /t ' /proc/mounts; stat -c '%a %u' /t",
        );
        assert!(
            out.contains("tmpfs")
                && out.contains("size=1024k")
                && out.contains("nosuid")
                && out.contains("noexec")
                && out.ends_with("1770 5"),
            "{out}"
        );
        let o = c.run(&[
            "run",
            "--rm",
            "--tmpfs",
            "/t:size=1m",
            "busybox",
            "dd",
            "if=/dev/zero",
            "of=/t/x",
            "bs=1M",
            "count=2",
        ]);
        assert_eq!(o.code, 1);
        assert!(o.stderr.contains("No space left"), "{}", o.stderr);
        let m = "type=tmpfs,dst=/t,tmpfs-size=2097152,tmpfs-mode=700";
        let out = sh(&c, &["--mount", m], "grep ' /t ' /proc/mounts; stat -c '%a' /t");
        assert!(out.contains("size=2048k") && out.ends_with("700"), "{out}");
    }
}

#[test]
fn volumes_keep_data_and_copy_the_image() {
    let e = Engine::start();
    for c in e.clients() {
        sh(&c, &["-v", "vol:/etc"], "echo kept >/etc/kept");
        let out = sh(&c, &["-v", "vol:/data"], "cat /data/kept; head -n 1 /data/passwd");
        assert_eq!(out, "kept\nroot:x:0:0:root:/root:/bin/sh", "a new volume takes what the image has there");
        assert_eq!(c.ok(&["volume", "ls", "-q"]), "vol");
        assert!(c.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "vol"]).ends_with("/volumes/vol/_data"));
        c.ok(&[
            "run",
            "-d",
            "--name",
            "holds",
            "-v",
            "vol:/v",
            "-v",
            "/anonymous",
            "busybox",
            "sleep",
            "600",
        ]);
        c.fails(1, &["volume", "rm", "vol"]).says("volume is in use");
        assert_eq!(c.ok(&["volume", "ls", "-q"]).lines().count(), 2);
        c.ok(&["rm", "-f", "-v", "holds"]);
        assert_eq!(c.ok(&["volume", "ls", "-q"]), "vol", "rm -v removes anonymous volumes only");
        c.ok(&["volume", "rm", "vol"]);
    }
}

#[test]
fn read_only_root() {
    let e = Engine::start();
    for c in e.clients() {
        let o = c.run(&[
            "run",
            "--rm",
            "--read-only",
            "--tmpfs",
            "/tmp",
            "busybox",
            "sh",
            "-c",
            "touch /tmp/ok && touch /no",
        ]);
        assert_eq!(o.code, 1);
        assert!(o.stderr.contains("/no: Read-only file system"), "{}", o.stderr);
        assert!(
            !sh(&c, &["--read-only"], "cat /etc/hostname").is_empty(),
            "the engine's own files are there"
        );
    }
}

#[test]
fn shm_size() {
    let e = Engine::start();
    for c in e.clients() {
        let shm = |o: &[&str]| {
            sh(&c, o, "df -k /dev/shm | tail -n 1").split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(shm(&[]), "65536");
        assert_eq!(shm(&["--shm-size", "8m"]), "8192");
    }
}

#[test]
fn devices() {
    let e = Engine::start();
    for c in e.clients() {
        let all = sh(&c, &[], "ls /dev").replace('\n', " ");
        for d in [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
            "tty", "urandom", "zero",
        ] {
            assert!(all.split(' ').any(|x| x == d), "{d} in {all}");
        }
        assert!(!all.contains("loop0") && !all.contains("kmsg") && !all.contains("mem"), "{all}");
        assert_eq!(
            sh(&c, &["--device", "/dev/kmsg"], "stat -c '%F %t:%T' /dev/kmsg"),
            "character special file 1:b"
        );
        assert_eq!(sh(&c, &["--device", "/dev/zero:/dev/other:r"], "head -c 3 /dev/other | wc -c"), "3");
        let o = c.run(&["run", "--rm", "--device", "/dev/nosuch", "busybox", "true"]);
        // Docker's client makes 127 of it because of the words "no such file or directory".
        assert!(matches!(o.code, 125 | 127), "{o:?}");
        o.says("error gathering device information");
        let o = c.run(&[
            "run",
            "--rm",
            "--cap-add",
            "MKNOD",
            "busybox",
            "sh",
            "-c",
            "mknod /k c 1 11 && head -c 1 /k",
        ]);
        assert!(
            o.code != 0 && o.stderr.contains("Operation not permitted"),
            "the device cgroup refuses /dev/kmsg: {o:?}"
        );
    }
}

#[test]
fn sysctls() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(
            sh(
                &c,
                &["--sysctl", "net.ipv4.ip_unprivileged_port_start=77"],
                "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
            ),
            "77"
        );
        assert_eq!(sh(&c, &[], "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
        let o = c.run(&["run", "--rm", "--sysctl", "kernel.panic=1", "busybox", "true"]);
        assert_eq!(o.code, 125, "{}", o.stderr);
        c.fails(125, &["run", "--rm", "--sysctl", "nonsense", "busybox", "true"]);
    }
}

#[test]
fn ulimits() {
    let e = Engine::start();
    for c in e.clients() {
        assert_eq!(
            sh(&c, &["--ulimit", "nofile=77:99", "--ulimit", "core=0"], "ulimit -n; ulimit -Hn; ulimit -c"),
            "77\n99\n0"
        );
        c.fails(125, &["run", "--rm", "--ulimit", "nofile=99:77", "busybox", "true"]);
        c.fails(125, &["run", "--rm", "--ulimit", "nosuch=1", "busybox", "true"]);
    }
}

#[test]
fn init_reaps_and_passes_signals() {
    let e = Engine::start();
    for c in e.clients() {
        assert!(sh(&c, &["--init"], "tr '\\0' ' ' </proc/1/cmdline").contains("init"));
        assert_ne!(sh(&c, &["--init"], "echo $$"), "1");
        let script = "(sleep 0.1 &) ; sleep 0.5; ps -o stat | grep -c Z; true";
        assert_eq!(sh(&c, &["--init"], script), "0", "no zombies");
        c.ok(&["run", "-d", "--init", "--name", "i1", "busybox", "sleep", "600"]);
        let t = std::time::Instant::now();
        c.ok(&["stop", "i1"]);
        assert!(t.elapsed().as_secs() < 8, "init passes SIGTERM on");
        assert_eq!(c.field("i1", "{{.State.ExitCode}}"), "143");
        c.ok(&["rm", "i1"]);
        assert_eq!(c.run(&["run", "--rm", "--init", "busybox", "sh", "-c", "exit 23"]).code, 23);
    }
}

#[test]
fn labels_from_options_and_file() {
    let e = Engine::start();
    for c in e.clients() {
        let f = e.fresh("labels");
        std::fs::write(&f, "from=file\n").unwrap();
        let id = c.ok(&["create", "-l", "a=b=c", "--label-file", f.to_str().unwrap(), "busybox"]);
        assert_eq!(c.field(&id, "{{json .Config.Labels}}"), r#"{"a":"b=c","from":"file"}"#);
        c.ok(&["rm", &id]);
    }
}

#[test]
fn names_added_to_hosts_and_resolvers() {
    let e = Engine::start();
    for c in e.clients() {
        let opts = ["--add-host", "db:10.1.2.3", "--add-host", "gw:host-gateway", "--add-host", "six=::1"];
        let hosts = sh(&c, &opts, "cat /etc/hosts");
        assert!(hosts.contains("10.1.2.3\tdb"), "{hosts}");
        assert!(hosts.contains(&format!("{}\tgw", e.gateway())), "{hosts}");
        assert!(hosts.contains("::1\tsix") && hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
        let resolv = sh(
            &c,
            &["--dns", "9.9.9.9", "--dns-search", "example.test", "--dns-option", "ndots:3"],
            "cat /etc/resolv.conf",
        );
        for want in ["nameserver 9.9.9.9", "search example.test", "options ndots:3"] {
            assert!(resolv.lines().any(|l| l == want), "{want} in {resolv}");
        }
        c.fails(125, &["run", "--rm", "--dns", "nonsense", "busybox", "true"]);
        c.fails(125, &["run", "--rm", "--add-host", "nonsense", "busybox", "true"]);
    }
}

#[test]
fn shared_namespaces() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "base", "--ipc", "shareable", "busybox", "sleep", "601"]);
        let ns = |kind: &str| c.ok(&["exec", "base", "readlink", &format!("/proc/self/ns/{kind}")]);
        let of = |opts: &[&str], kind: &str| sh(&c, opts, &format!("readlink /proc/self/ns/{kind}"));
        assert_eq!(of(&["--pid", "container:base"], "pid"), ns("pid"));
        assert!(sh(&c, &["--pid", "container:base"], "ps").contains("sleep 601"));
        assert_eq!(of(&["--ipc", "container:base"], "ipc"), ns("ipc"));
        c.ok(&["exec", "base", "sh", "-c", "echo shared > /dev/shm/f"]);
        assert_eq!(sh(&c, &["--ipc", "container:base"], "cat /dev/shm/f; echo back > /dev/shm/g"), "shared");
        assert_eq!(c.ok(&["exec", "base", "cat", "/dev/shm/g"]), "back");
        c.ok(&["run", "-d", "--name", "guest", "--ipc", "container:base", "busybox", "sleep", "600"]);
        assert_eq!(sh(&c, &["--ipc", "container:guest"], "cat /dev/shm/f"), "shared", "through a guest");
        for mode in ["private", "none", "shareable"] {
            assert_eq!(sh(&c, &["--ipc", mode], "ls -A /dev/shm 2>/dev/null; true"), "", "{mode}");
            assert_ne!(of(&["--ipc", mode], "ipc"), ns("ipc"), "{mode}");
        }
        assert_eq!(sh(&c, &["--ipc", "none"], "grep -c /dev/shm /proc/mounts; true"), "0");
        c.ok(&["run", "-d", "--name", "own", "--ipc", "private", "busybox", "sleep", "600"]);
        c.fails(125, &["run", "--rm", "--ipc", "container:own", "busybox", "true"]).says("non-shareable IPC");
        c.ok(&["rm", "-f", "guest", "own"]);
        assert_eq!(of(&["--network", "container:base"], "net"), ns("net"));
        for kind in ["pid", "ipc", "net", "uts", "mnt"] {
            assert_ne!(of(&[], kind), ns(kind), "{kind}");
        }
        let host = |kind: &str| {
            std::fs::read_link(format!("/proc/{}/ns/{kind}", e.pid())).unwrap().display().to_string()
        };
        assert_eq!(of(&["--ipc", "host"], "ipc"), host("ipc"));
        assert_eq!(of(&["--uts", "host"], "uts"), host("uts"));
        assert_eq!(of(&["--network", "host"], "net"), host("net"));
        if knarr_e2e::workspace::peer().is_none() {
            assert_eq!(of(&["--pid", "host"], "pid"), host("pid"));
            assert_eq!(of(&["--cgroupns", "host"], "cgroup"), host("cgroup"));
            assert_ne!(of(&["--cgroupns", "private"], "cgroup"), host("cgroup"));
        }
        c.ok(&["rm", "-f", "base"]);
    }
}

#[test]
fn limits_are_recorded_and_checked() {
    let e = Engine::start();
    for c in e.clients() {
        let opts =
            ["-m", "64m", "--cpus", "1.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "99"];
        let mut args = vec!["create"];
        args.extend(opts);
        args.extend(["busybox", "true"]);
        let id = c.ok(&args);
        let h = c.inspect(&id)["HostConfig"].clone();
        assert_eq!((h["Memory"].as_i64(), h["NanoCpus"].as_i64()), (Some(67_108_864), Some(1_500_000_000)));
        assert_eq!((h["CpuShares"].as_i64(), h["PidsLimit"].as_i64()), (Some(512), Some(99)));
        assert_eq!(h["CpusetCpus"], "0");
        c.ok(&["rm", &id]);
        c.fails(125, &["run", "--rm", "-m", "1k", "busybox", "true"])
            .says("Minimum memory limit allowed is 6MB");
        c.fails(125, &["run", "--rm", "--cpus", "1000", "busybox", "true"])
            .says("Range of CPUs is from 0.01 to");
        c.fails(125, &["run", "--rm", "--cpuset-cpus", "99", "busybox", "true"])
            .says("Requested CPUs are not available");
    }
}

#[test]
fn restart_policies_are_checked() {
    let e = Engine::start();
    for c in e.clients() {
        c.fails(125, &["run", "-d", "--restart", "nonsense", "busybox", "true"]);
        c.fails(125, &["run", "-d", "--restart", "always:3", "busybox", "true"])
            .says("maximum retry count can only be used with 'on-failure'");
        c.fails(125, &["run", "--rm", "--restart", "always", "busybox", "true"]).says("conflicting options");
    }
}

#[test]
fn engine_files_have_safe_modes() {
    let e = Engine::start();
    let mode = |p: std::path::PathBuf| {
        std::fs::metadata(&p).map(|m| m.permissions().mode() & 0o777).unwrap_or_else(|e| panic!("{p:?}: {e}"))
    };
    e.docker().ok(&["run", "-d", "--name", "xx", "busybox", "sleep", "60"]);
    assert_eq!(mode(e.socket()) & 0o007, 0, "the socket is not for everybody");
    assert_eq!(mode(e.data()) & 0o066, 0, "nobody else lists the data");
}
