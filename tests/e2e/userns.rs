//! User namespaces: a remapped default, ids of a container's own, and everything that has to work inside of them.

use knarr_e2e::command::eventually;
use knarr_e2e::terminal::Terminal;
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A peer keeps other files in other places, and makes a user on the machine.
macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

/// Where the pool of these tests begins.
const POOL: u32 = 1_000_000;
const SIZE: u32 = 65536;

fn remapped() -> Options {
    Options::new().arg("--userns-remap").arg("default").arg("--userns-pool").arg("1000000:1000000")
}

/// `(inside, outside, count)` of each line.
fn map(text: &str) -> Vec<(u32, u32, u32)> {
    let numbers = |line: &str| line.split_whitespace().map(|n| n.parse().unwrap()).collect::<Vec<u32>>();
    text.lines().map(numbers).map(|n| (n[0], n[1], n[2])).collect()
}

fn pid(c: &Cli, name: &str) -> u32 {
    c.field(name, "{{.State.Pid}}").parse().unwrap()
}

/// User and group of a process as the host knows them.
fn host_ids(pid: u32) -> (u32, u32) {
    let metadata = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let id = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u32>().unwrap()
    };
    let ids = (id("Uid:"), id("Gid:"));
    assert_eq!(metadata.uid(), ids.0);
    ids
}

/// What an archive holds, with numbers of owners.
fn owners_in(tar: &Path) -> String {
    let listed =
        std::process::Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(tar).output().unwrap();
    String::from_utf8_lossy(&listed.stdout).into_owned()
}

fn upper(e: &Engine, c: &Cli, name: &str) -> PathBuf {
    e.data().join("containers").join(c.field(name, "{{.Id}}")).join("upper")
}

#[test]
fn a_remapped_container_works_and_its_root_is_nobody_on_the_host() {
    knarr_only!();
    let e = remapped().start();
    let c = e.docker();
    assert!(c.ok(&["info", "-f", "{{json .SecurityOptions}}"]).contains(r#""name=userns""#));
    c.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        "touch /made /tmp/t /dev/shm/s; mkdir /w; echo page >/w/index.html; httpd -p 80 -h /w; sleep 600",
    ]);
    let init = pid(&c, "box");
    assert_eq!(host_ids(init), (POOL, POOL));
    assert_eq!(map(&c.ok(&["exec", "box", "cat", "/proc/self/uid_map"])), [(0, POOL, SIZE)]);
    assert_eq!(map(&c.ok(&["exec", "box", "cat", "/proc/self/gid_map"])), [(0, POOL, SIZE)]);
    let owners = "for f in /made /bin/busybox /etc/hosts /etc/resolv.conf /etc/hostname /dev/shm/s /proc/self /dev/pts; do stat -c '%u:%g' -L $f; done | sort | uniq -c | tr -s ' '";
    let seen = c.ok(&["exec", "box", "sh", "-c", owners]);
    assert_eq!(seen.trim(), "8 0:0", "everything that is the container's is its root's");
    c.ok(&["exec", "box", "sh", "-c", "echo 1.2.3.4 name >>/etc/hosts && grep -q name /etc/hosts"]);
    // What it made is root's on disk, which no user of the host can reach.
    let upper = upper(&e, &c, "box");
    let made = std::fs::metadata(upper.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0), "the container's ids are on disk");
    let closed = upper
        .ancestors()
        .take_while(|p| *p != e.data())
        .any(|p| std::fs::metadata(p).unwrap().permissions().mode() & 0o007 == 0);
    assert!(closed, "nobody else gets there");
    // The network namespace is the container's own: its sysctls can be set, its /sys shows it.
    assert_eq!(c.ok(&["exec", "box", "ls", "/sys/class/net"]), "eth0\nlo");
    let out = c.ok(&["run", "--rm", "--sysctl", "net.ipv4.ip_forward=0", "busybox", "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; ip link add d0 type dummy 2>&1 | head -1; ping -c1 -W2 127.0.0.1 | grep -c ' 0% packet loss'"]);
    assert!(out.starts_with('0') && out.ends_with('1'), "{out}");
    eventually("the published port", Duration::from_secs(10), || {
        let got = e.net.as_ref()?.sh("timeout 5 busybox wget -qO- http://127.0.0.1:8080/");
        (got.code == 0 && got.stdout == b"page\n").then_some(())
    });
    let address = c.field("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert_eq!(c.ok(&["run", "--rm", "busybox", "wget", "-qO-", &format!("http://{address}/")]), "page");
    assert_eq!(c.ok(&["run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"]), "lo");
    c.ok(&["rm", "-f", "box"]);
    e.assert_no_leaks();
}

#[test]
fn layers_are_shared_and_not_copied() {
    knarr_only!();
    let e = remapped().start();
    let c = e.knarr();
    for (name, mode) in [("plain", "host"), ("mapped", ""), ("auto1", "auto"), ("auto2", "auto")] {
        c.ok(&["run", "-d", "--name", name, "--userns", mode, "busybox", "sleep", "600"]);
    }
    let inode =
        |name: &str| std::fs::metadata(format!("/proc/{}/root/bin/busybox", pid(&c, name))).unwrap().ino();
    let first = inode("plain");
    for name in ["mapped", "auto1", "auto2"] {
        assert_eq!(inode(name), first, "{name} reads the same file, so the same pages");
        assert!(!upper(&e, &c, name).join("bin").exists(), "{name} has no copy");
    }
    let layers: Vec<_> = std::fs::read_dir(e.data().join("layers")).unwrap().flatten().collect();
    let found = layers.iter().filter_map(|l| std::fs::metadata(l.path().join("fs/bin/busybox")).ok());
    let found: Vec<_> = found.map(|m| (m.ino(), m.uid())).collect();
    assert_eq!(found, [(first, 0)], "and it is the layer's, root's as ever");
    c.ok(&["rm", "-f", "plain", "mapped", "auto1", "auto2"]);
}

#[test]
fn containers_with_ids_of_their_own_share_none() {
    knarr_only!();
    let mut e = remapped().start();
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "remapped", "busybox", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "one", "--userns", "auto", "busybox", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "two", "--userns", "auto:size=5000", "busybox", "sleep", "600"]);
    e.crash_and_restart();
    c.ok(&["run", "-d", "--name", "three", "--userns", "auto", "busybox", "sleep", "600"]);
    let maps = || -> Vec<(u32, u32, u32)> {
        let names = ["remapped", "one", "two", "three"];
        names.iter().flat_map(|name| map(&c.ok(&["exec", name, "cat", "/proc/self/uid_map"]))).collect()
    };
    let all = maps();
    assert_eq!(all.iter().map(|m| m.2).collect::<Vec<_>>(), [SIZE, SIZE, 5000, SIZE]);
    for (number, a) in all.iter().enumerate() {
        for b in &all[number + 1..] {
            assert!(a.1 + a.2 <= b.1 || b.1 + b.2 <= a.1, "{all:?}");
        }
    }
    for (name, expected) in ["remapped", "one", "two", "three"].iter().zip(&all) {
        assert_eq!(host_ids(pid(&c, name)), (expected.1, expected.1), "{name}");
        let daemon = c.ok(&["exec", "-u", "daemon", name, "sh", "-c", "sleep 60 >/dev/null 2>&1 & id -u"]);
        assert_eq!(daemon, "1");
    }
    // A file of one's root is not root's to the other, nor to the host, where it can be seen from there.
    let dir = e.fresh_dir("shared");
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let bind = format!("{}:/s", dir.display());
    c.ok(&[
        "run",
        "--rm",
        "--userns",
        "auto",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        "echo mine >/s/f; chmod 600 /s/f",
    ]);
    let owner = std::fs::metadata(dir.join("f")).unwrap().uid();
    assert!(owner > all[3].1, "not root on the host: {owner}");
    c.ok(&["run", "-d", "--name", "next", "--userns", "auto:size=65536", "busybox", "sleep", "600"]);
    let other = c.run(&[
        "run",
        "--rm",
        "--userns",
        "auto",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        "stat -c %u /s/f; cat /s/f",
    ]);
    assert_eq!(other.text(), "65534");
    assert!(other.stderr.contains("Permission denied"), "{}", other.stderr);
    // The same container keeps its ids, and a removed one's are free again.
    c.ok(&["restart", "-t", "0", "two"]);
    assert_eq!(map(&c.ok(&["exec", "two", "cat", "/proc/self/uid_map"])), [all[2]]);
    c.ok(&["rm", "-f", "one"]);
    c.ok(&["run", "-d", "--name", "four", "--userns", "auto", "busybox", "sleep", "600"]);
    assert_eq!(map(&c.ok(&["exec", "four", "cat", "/proc/self/uid_map"])), [all[1]]);
    c.ok(&["rm", "-f", "remapped", "two", "three", "four", "next"]);
    e.assert_no_leaks();
}

#[test]
fn forms_of_auto() {
    knarr_only!();
    let e = Options::new().arg("--userns-pool").arg("2000000:2000").start();
    let c = e.knarr();
    let maps = |options: &str| {
        let auto = format!("auto:{options}");
        c.run(&[
            "run",
            "--rm",
            "--userns",
            &auto,
            "busybox",
            "sh",
            "-c",
            "cat /proc/self/uid_map; echo; cat /proc/self/gid_map",
        ])
    };
    let out = maps("size=1000,uidmapping=7:5000:2,gidmapping=0:6000:1").code(0);
    let (users, groups) = out.text().split_once("\n\n").unwrap();
    assert_eq!(map(users), [(0, 2_000_000, 7), (7, 5000, 2), (9, 2_000_007, 991)]);
    assert_eq!(map(groups), [(0, 6000, 1), (1, 2_000_000, 999)]);
    maps("size=2001").code(125).says("in a row are free");
    c.fails(125, &["run", "--rm", "--userns", "auto", "busybox", "true"]).says("in a row are free");
    c.fails(125, &["run", "--rm", "--userns", "auto:bogus=1", "busybox", "true"])
        .says("invalid user namespace mode");
    c.fails(125, &["run", "--rm", "--userns", "bogus", "busybox", "true"]).says("invalid USER mode");
    let body = r#"{"Image":"busybox","HostConfig":{"UsernsMode":"bogus"}}"#;
    e.api().post("/containers/create", body).expect(400);
    assert!(!c.ok(&["info", "-f", "{{json .SecurityOptions}}"]).contains("userns"), "it is not the default");
    assert_eq!(map(&c.ok(&["run", "--rm", "busybox", "cat", "/proc/self/uid_map"]))[0].1, 0);
}

#[test]
fn what_cannot_be_had_together() {
    knarr_only!();
    let e = remapped().start();
    let c = e.docker();
    let privileged = "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace";
    c.fails(125, &["run", "--rm", "--privileged", "busybox", "true"]).says(privileged);
    c.fails(125, &["run", "--rm", "--network", "host", "busybox", "true"])
        .says("cannot share the host's network namespace when user namespaces are enabled");
    c.fails(125, &["run", "--rm", "--pid", "host", "busybox", "true"])
        .says("cannot share the host PID namespace when user namespaces are enabled");
    for more in [
        &["--privileged"][..],
        &["--network", "host"],
        &["--pid", "host"],
        &["--privileged", "--pid", "host"],
    ] {
        let run =
            [&["run", "--rm", "--userns", "host"], more, &["busybox", "cat", "/proc/self/uid_map"]].concat();
        assert_eq!(map(&c.ok(&run)), [(0, 0, u32::MAX)]);
    }
    // Whoever joins another's namespaces joins its user namespace.
    c.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--ipc",
        "shareable",
        "busybox",
        "sh",
        "-c",
        "echo s >/dev/shm/s; sleep 600",
    ]);
    let box_namespace = c.ok(&["exec", "box", "readlink", "/proc/self/ns/user"]);
    for mode in ["--network", "--pid", "--ipc"] {
        let out = c.ok(&[
            "run",
            "--rm",
            mode,
            "container:box",
            "busybox",
            "sh",
            "-c",
            "readlink /proc/self/ns/user; ls /sys/class/net | head -1",
        ]);
        assert!(out.starts_with(&box_namespace), "{mode}: {out}");
    }
    assert_eq!(c.ok(&["run", "--rm", "--ipc", "container:box", "busybox", "cat", "/dev/shm/s"]), "s");
    assert_eq!(
        c.ok(&[
            "run",
            "--rm",
            "--userns",
            "host",
            "--network",
            "container:box",
            "busybox",
            "ls",
            "/sys/class/net"
        ]),
        "eth0\nlo"
    );
    c.ok(&["run", "-d", "--name", "hosts", "--userns", "host", "busybox", "sleep", "600"]);
    c.fails(125, &["run", "--rm", "--network", "container:hosts", "busybox", "true"])
        .says("it is in the host's user namespace");
    let k = e.knarr();
    k.fails(125, &["run", "--rm", "--userns", "auto", "--network", "container:box", "busybox", "true"])
        .says("cannot have ids of its own");
    c.ok(&["rm", "-f", "box", "hosts"]);
}

#[test]
fn volumes_and_binds() {
    knarr_only!();
    let e = remapped().start();
    let c = e.knarr();
    let show = "stat -c '%u:%g' /v/f; touch /v/by-$0 && echo written";
    c.ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "touch /v/f; touch /v/g; chown 5:6 /v/g"]);
    let data = e.data().join("volumes/vol/_data");
    let on_disk = |name: &str| {
        let metadata = std::fs::metadata(data.join(name)).unwrap();
        (metadata.uid(), metadata.gid())
    };
    assert_eq!((on_disk("f"), on_disk("g")), ((0, 0), (5, 6)), "the container's ids are on disk");
    for mode in ["auto", "host", ""] {
        let name = if mode.is_empty() { "remap" } else { mode };
        assert_eq!(
            c.ok(&["run", "--rm", "--userns", mode, "-v", "vol:/v", "busybox", "sh", "-c", show, name]),
            "0:0\nwritten"
        );
    }
    // A bind shows the host's owners, unless they are to be the container's.
    let dir = e.fresh_dir("bind");
    std::fs::write(dir.join("f"), "text").unwrap();
    let plain = format!("{}:/v", dir.display());
    let out = c.run(&["run", "--rm", "-v", &plain, "busybox", "sh", "-c", show, "plain"]);
    assert_eq!(out.text(), "65534:65534", "{}", out.stderr);
    for mode in ["", "auto"] {
        let mapped = format!("{}:/v:idmap", dir.display());
        let name = format!("v{mode}");
        assert_eq!(
            c.ok(&["run", "--rm", "--userns", mode, "-v", &mapped, "busybox", "sh", "-c", show, &name]),
            "0:0\nwritten"
        );
        assert_eq!(std::fs::metadata(dir.join(format!("by-{name}"))).unwrap().uid(), 0);
        let mount = format!("type=bind,source={},target=/v,idmap", dir.display());
        let name = format!("mount{mode}");
        assert_eq!(
            c.ok(&["run", "--rm", "--userns", mode, "--mount", &mount, "busybox", "sh", "-c", show, &name]),
            "0:0\nwritten"
        );
    }
    let mapped = format!("{}:/v:ro,idmap", dir.display());
    let out = c.run(&["run", "--rm", "-v", &mapped, "busybox", "sh", "-c", show, "ro"]);
    assert_eq!(out.text(), "0:0");
    assert_eq!(
        c.ok(&["run", "--rm", "--userns", "host", "-v", &mapped, "busybox", "stat", "-c", "%u", "/v/f"]),
        "0",
        "nothing to map"
    );
    assert_eq!(c.ok(&["run", "--rm", "--tmpfs", "/t:size=1m", "busybox", "stat", "-c", "%u", "/t"]), "0");
    let below = "type=volume,source=vol,target=/s,volume-subpath=sub";
    c.ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "mkdir /v/sub; echo x >/v/sub/f"]);
    assert_eq!(
        c.ok(&["run", "--rm", "--userns", "auto", "--mount", below, "busybox", "stat", "-c", "%u", "/s/f"]),
        "0"
    );
    c.ok(&["volume", "rm", "vol"]);
    e.assert_no_leaks();
}

#[test]
fn copy_commit_diff_and_export_keep_the_containers_ids() {
    knarr_only!();
    let e = remapped().start();
    let c = e.knarr();
    c.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        "mkdir /d; touch /d/a; chown 5:6 /d/a; sleep 600",
    ]);
    let file = e.fresh("file");
    std::fs::write(&file, "copied in").unwrap();
    let path = file.to_str().unwrap();
    for state in ["running", "stopped"] {
        let to = format!("box:/d/{state}");
        c.ok(&["cp", path, &to]);
        c.ok(&["cp", "-a", path, &format!("{to}-a")]);
        let out = e.fresh_dir("out");
        c.ok(&["cp", "box:/d", out.to_str().unwrap()]);
        let tar = e.fresh("cp.tar");
        std::fs::write(&tar, c.bytes(&["cp", "box:/d", "-"])).unwrap();
        let owners = owners_in(&tar);
        assert!(owners.lines().any(|l| l.contains(" 5/6 ") && l.ends_with("d/a")), "{state}: {owners}");
        assert_eq!(std::fs::read_to_string(out.join("d").join(state)).unwrap(), "copied in");
        if state == "running" {
            c.ok(&["stop", "-t", "0", "box"]);
        }
    }
    let diff = c.ok(&["diff", "box"]);
    assert!(diff.contains("A /d/a") && !diff.contains("/bin"), "{diff}");
    c.ok(&["commit", "box", "made:1"]);
    c.ok(&["start", "box"]);
    let list = "stat -c '%n %u:%g' /d/*";
    let expected = "/d/a 5:6\n/d/running 0:0\n/d/running-a 0:0\n/d/stopped 0:0\n/d/stopped-a 0:0";
    assert_eq!(c.ok(&["exec", "box", "sh", "-c", list]), expected);
    for mode in ["", "host", "auto"] {
        assert_eq!(c.ok(&["run", "--rm", "--userns", mode, "made:1", "sh", "-c", list]), expected, "{mode}");
    }
    let tar = e.fresh("export.tar");
    c.ok(&["export", "-o", tar.to_str().unwrap(), "box"]);
    let numeric = owners_in(&tar);
    assert!(numeric.lines().any(|l| l.contains(" 5/6 ") && l.ends_with("d/a")), "{numeric}");
    assert!(!numeric.contains(&POOL.to_string()), "{numeric}");
    c.ok(&["rm", "-f", "box"]);
    c.ok(&["rmi", "made:1"]);
}

#[test]
fn the_rest_of_a_containers_life() {
    knarr_only!();
    let mut e = remapped().start();
    let c = e.docker();
    let t = Terminal::new(&c, &e.fresh_dir("tmux"));
    t.line("$C run -it --name tty --init busybox");
    t.sees("/ #");
    t.line("tty; id -u; stat -c %u $(tty)");
    t.sees("/dev/pts/0");
    t.line("exit 3");
    t.prompt("host>");
    assert_eq!(c.field("tty", "{{.State.ExitCode}}"), "3");
    let user = c.ok(&[
        "run",
        "--rm",
        "-u",
        "daemon",
        "busybox",
        "sh",
        "-c",
        "id -u; touch /tmp/x; stat -c %u /tmp/x",
    ]);
    assert_eq!(user, "1\n1");
    c.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "-m",
        "64m",
        "--device",
        "/dev/null:/dev/other",
        "busybox",
        "sh",
        "-c",
        "echo x >/dev/other && echo ready; trap 'exit 4' TERM; while :; do sleep 0.1; done",
    ]);
    eventually("ready", Duration::from_secs(5), || c.ok(&["logs", "box"]).contains("ready").then_some(()));
    assert_eq!(
        c.ok(&["exec", "-u", "1:2", "-w", "/tmp", "box", "sh", "-c", "id -u; id -g; pwd"]),
        "1\n2\n/tmp"
    );
    let host = c.run(&[
        "exec",
        "box",
        "sh",
        "-c",
        "mknod /n c 1 3; mount -t proc proc /mnt; cat /proc/1/environ | head -c0 && echo own",
    ]);
    assert!(host.text().ends_with("own"), "{}", host.text());
    let stats = c.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "box"]);
    assert!(stats.contains("/ 64MiB"), "{stats}");
    assert!(c.ok(&["top", "box", "-o", "pid,args"]).contains("trap"));
    c.ok(&["pause", "box"]);
    c.ok(&["unpause", "box"]);
    e.crash_and_restart();
    assert_eq!(c.ok(&["exec", "box", "id", "-u"]), "0");
    assert_eq!(host_ids(pid(&c, "box")).0, POOL);
    c.ok(&["stop", "box"]);
    assert_eq!(c.field("box", "{{.State.ExitCode}}"), "4");
    // The host's own processes are out of reach, though the numbers could be guessed.
    assert!(Path::new("/proc/1").exists());
    c.ok(&["network", "create", "net"]);
    c.ok(&["run", "-d", "--name", "later", "busybox", "sleep", "600"]);
    c.ok(&["network", "connect", "net", "later"]);
    assert_eq!(c.ok(&["exec", "later", "ls", "/sys/class/net"]), "eth0\neth1\nlo");
    c.ok(&["network", "disconnect", "net", "later"]);
    c.ok(&["rm", "-f", "box", "tty", "later"]);
    c.ok(&["network", "rm", "net"]);
    e.assert_no_leaks();
}

#[test]
fn a_wrong_configuration_is_named() {
    knarr_only!();
    for (args, words) in [
        (
            &["--userns-remap", "no-such-user-here"][..],
            "no subuid ranges found for user \"no-such-user-here\"",
        ),
        (&["--userns-remap", "4000000001"], "has no entry in /etc/passwd"),
        (&["--userns-pool", "0:5"], "invalid userns-pool"),
        (&["--default-runtime", "nope"], "specified default runtime 'nope' does not exist"),
    ] {
        let mut options = Options::new().may_leak();
        for arg in args {
            options = options.arg(arg);
        }
        let mut e = Engine::prepare(options);
        e.spawn_daemon();
        assert_ne!(e.wait_death(Duration::from_secs(10)), 0);
        assert!(e.log_tail().contains(words), "{}", e.log_tail());
    }
}
