//! User namespaces: new, given and joined; what is shared with the host through id-mapped mounts.
use crate::bundle::{Bundle, pipes, process};
use knarr_linux::namespace;
use knarr_linux::process::{Clone3, flags};
use knarr_linux::user_namespace::{self, IdMaps, Range, Writer};
use knarr_oci::runtime::{IdMapping, Linux, Mount, Namespace, NamespaceType, Process};
use knarr_runtime::{Error, Stdio};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

pub const TESTS: &[(&str, fn())] = &[
    ("users::root_is_nobody_outside", root_is_nobody_outside),
    ("users::layers_keep_the_ids_of_the_container", layers_keep_the_ids_of_the_container),
    ("users::layers_in_different_places", layers_in_different_places),
    ("users::another_process", another_process),
    ("users::given_with_a_network", given_with_a_network),
    ("users::network_of_the_host", network_of_the_host),
    ("users::joined_by_path", joined_by_path),
    ("users::binds_that_root_cannot_open", binds_that_root_cannot_open),
    ("users::id_mapped_binds", id_mapped_binds),
    ("users::binds_with_maps_of_their_own", binds_with_maps_of_their_own),
    ("users::devices_and_streams", devices_and_streams),
    ("users::terminal", terminal),
    ("users::limits", limits),
    ("users::host_table_is_untouched", host_table_is_untouched),
    ("users::maps_are_needed", maps_are_needed),
];

const FIRST: u32 = 100_000;
const COUNT: u32 = 65_536;

fn map() -> Vec<IdMapping> {
    vec![IdMapping { container_id: 0, host_id: FIRST, size: COUNT }]
}

pub fn with_user(linux: &mut Linux) {
    linux.namespaces.push(Namespace::new(NamespaceType::User));
    (linux.uid_mappings, linux.gid_mappings) = (map(), map());
    // All groups: not even the namespace has so many.
    linux.sysctl.remove("net.ipv4.ping_group_range");
}

fn mapped(args: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(args);
    with_user(bundle.linux());
    // Another user than the one who runs the tests has to find the way.
    fs::set_permissions(bundle.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    bundle
}

fn made() -> OwnedFd {
    let range = Range { inside: 0, outside: FIRST, count: COUNT };
    let maps = IdMaps { users: vec![range], groups: vec![range] };
    user_namespace::create(&maps, &Writer::Privileged).unwrap()
}

fn root_is_nobody_outside() {
    let bundle = mapped(&["sh", "-c", "id -u; cat /proc/self/uid_map; exec sleep 1000"]);
    let running = bundle.start();
    let status = fs::read_to_string(format!("/proc/{}/status", running.created.pid)).unwrap();
    assert!(status.contains(&format!("Uid:\t{FIRST}\t{FIRST}\t{FIRST}\t{FIRST}")), "{status}");
    drop(running);
    let bundle = mapped(&[
        "sh",
        "-c",
        "id -u; cat /proc/self/uid_map; cat /proc/1/comm; hostname; ls /sys/class/net; mount -t tmpfs x /tmp || echo no",
    ]);
    let text = bundle.output();
    let words: Vec<&str> = text.split_whitespace().collect();
    let host = &bundle.id[bundle.id.len() - 8..];
    assert_eq!(words, ["0", "0", "100000", "65536", "sh", host, "lo", "no"], "{text}");
}

/// Image files belong to ids as the image says, on disk and inside; nothing is chowned, and what is written is on disk as seen.
fn layers_keep_the_ids_of_the_container() {
    let script = "stat -c %u:%g:%a /etc/mine /etc/his; cat /etc/mine; echo more >> /etc/mine; mkdir /new; chown 7:8 /new; \
        rm /etc/gone; ls /etc; id -u; touch /tmp/x; rm -r /whole; mkdir /whole; mv /etc/his /etc/ours; cp /bin/busybox /tmp/b; echo done";
    let bundle = mapped(&["sh", "-c", script]);
    let etc = bundle.lower().join("etc");
    for (name, id) in [("mine", 0), ("his", 1000), ("gone", 0)] {
        fs::write(etc.join(name), name).unwrap();
        chown(etc.join(name), Some(id), Some(id)).unwrap();
        fs::set_permissions(etc.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::create_dir(bundle.lower().join("whole")).unwrap();
    fs::write(bundle.lower().join("whole/file"), "").unwrap();
    assert_eq!(bundle.output(), "0:0:600\n1000:1000:600\nminehis\nmine\n0\ndone\n");
    let upper = |name: &str| fs::symlink_metadata(bundle.dir.path().join("upper").join(name)).unwrap();
    let ids = |name: &str| (upper(name).uid(), upper(name).gid());
    assert_eq!((ids("etc/mine"), ids("new"), ids("etc/ours")), ((0, 0), (7, 8), (1000, 1000)));
    assert_eq!((upper("etc/gone").rdev(), ids("tmp/x")), (0, (0, 0)));
    assert_eq!(fs::metadata(etc.join("his")).unwrap().uid(), 1000);
    assert_eq!(fs::read_to_string(etc.join("mine")).unwrap(), "mine");
}

/// Lower layers on different mounts have no mount in common.
fn layers_in_different_places() {
    use knarr_oci::rootfs::RootfsMount;
    let bundle = mapped(&["sh", "-c", "cat /there; stat -c %u /there; touch /new"]);
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::write(other.path().join("there"), "x\n").unwrap();
    let rootfs = RootfsMount::Overlay {
        lower: vec![other.path().to_owned(), bundle.lower()],
        upper: bundle.dir.path().join("upper"),
        work: bundle.dir.path().join("work"),
        volatile: false,
    };
    assert_eq!(bundle.output_of(&rootfs), "x\n0\n");
    assert_eq!(fs::metadata(bundle.dir.path().join("upper/new")).unwrap().uid(), 0);
}

fn another_process() {
    let bundle = mapped(&["sleep", "1000"]);
    let running = bundle.start();
    let script = "id -u; cat /proc/self/uid_map | wc -l; ls -l /proc/self/fd | wc -l; touch /made; for n in user pid mnt; do readlink /proc/self/ns/$n; done; \
        grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status";
    let outcome = running.exec(&process(&["sh", "-c", script])).unwrap();
    let of = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", running.created.pid)).unwrap();
    let names = ["user", "pid", "mnt"].map(|name| of(name).to_str().unwrap().to_owned()).join("\n");
    let end = "NoNewPrivs:\t0\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n";
    let text = format!("0\n1\n5\n{names}\n");
    assert!(outcome.stdout.starts_with(&text), "{}{}", outcome.stdout, outcome.stderr);
    assert!(
        outcome.stdout.contains("Seccomp:\t2") && outcome.stdout.contains("CapEff:\t00000000a80425fb"),
        "{end}{}",
        outcome.stdout
    );
    assert_eq!(fs::metadata(bundle.dir.path().join("upper/made")).unwrap().uid(), 0);
    let mut user = process(&["sh", "-c", "id -u; id -g; echo hi > /dev/stderr; cd /root && echo in"]);
    (user.user.uid, user.user.gid) = (1000, 1001);
    let outcome = running.exec(&user).unwrap();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("1000\n1001\nin\n", "hi\n"));
    let outside = Process { user: knarr_oci::runtime::User { uid: COUNT, ..user.user.clone() }, ..user };
    assert!(running.exec(&outside).is_err(), "an id that the namespace does not have");
}

/// The way of the engine: both namespaces are made before.
fn given_with_a_network() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "id -u; ls /sys/class/net; readlink /proc/self/ns/net; ip link set lo up && echo up",
    ]);
    let caps = bundle.process().capabilities.as_mut().unwrap();
    for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
        set.push("CAP_NET_ADMIN".to_owned());
    }
    let userns = made();
    bundle.linux().sysctl.clear();
    let (netns, name) = network_of(&userns);
    bundle.userns = Some(userns);
    bundle.netns = Some(netns);
    assert_eq!(bundle.output(), format!("0\nlo\n{name}\nup\n"));
    assert_eq!(fs::metadata(bundle.dir.path().join("upper")).unwrap().uid(), 0);
}

/// A network namespace that belongs to a user namespace.
fn network_of(userns: &OwnedFd) -> (OwnedFd, String) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let child = Clone3::default()
        .spawn(|| {
            namespace::join(userns.as_fd(), flags::NEWUSER).unwrap();
            namespace::unshare(flags::NEWNET).unwrap();
            rustix::io::write(&write, b"x").unwrap();
            std::thread::sleep(std::time::Duration::from_secs(100));
            0
        })
        .unwrap();
    rustix::io::read(&read, &mut [0]).unwrap();
    let path = format!("/proc/{}/ns/net", child.pid);
    let name = fs::read_link(&path).unwrap().to_str().unwrap().to_owned();
    let opened = OwnedFd::from(fs::File::open(&path).unwrap());
    knarr_linux::process::pidfd_send_signal(child.pidfd.as_fd(), 9).unwrap();
    knarr_linux::process::wait(child.pidfd.as_fd(), true).unwrap();
    (opened, name)
}

/// The host's network belongs to another user namespace, so /sys is the host's, read-only.
fn network_of_the_host() {
    let mut bundle = mapped(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/net; ls -d /sys/class/net/lo; touch /sys/x; mkdir /sys/fs/cgroup/x",
    ]);
    bundle.linux().namespaces.retain(|n| n.kind != NamespaceType::Network);
    bundle.linux().sysctl.clear();
    let outcome = bundle.run().unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(outcome.stdout, format!("{}\n/sys/class/net/lo\n", own.display()), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("Read-only"), "{}", outcome.stderr);
}

fn joined_by_path() {
    let first = mapped(&["sleep", "1000"]);
    let running = first.start();
    let pid = running.created.pid;
    let mut second = mapped(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/user; readlink /proc/self/ns/net; ps | grep -c '[s]leep 1000'; touch /x",
    ]);
    second.spec.hostname = None;
    let linux = second.linux();
    linux.namespaces.retain(|n| matches!(n.kind, NamespaceType::Mount | NamespaceType::Cgroup));
    let kinds = [
        (NamespaceType::User, "user"),
        (NamespaceType::Network, "net"),
        (NamespaceType::Pid, "pid"),
        (NamespaceType::Ipc, "ipc"),
    ];
    for (kind, name) in kinds {
        linux.namespaces.push(Namespace::joined(kind, format!("/proc/{pid}/ns/{name}")));
    }
    // The maps are read from the kernel.
    (linux.uid_mappings, linux.gid_mappings) = (Vec::new(), Vec::new());
    let name = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    let outcome = second.run().unwrap();
    assert_eq!(outcome.stdout, format!("{}\n{}\n1\n", name("user"), name("net")), "{}", outcome.stderr);
    assert_eq!(fs::metadata(second.dir.path().join("upper/x")).unwrap().uid(), 0);
}

/// The parent opens sources: their directories are closed to everybody but the host's root.
fn binds_that_root_cannot_open() {
    let source = tempfile::tempdir().unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let inner = source.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("file"), "content").unwrap();
    let mut bundle = mapped(&[
        "sh",
        "-c",
        "cat /a/file; stat -c %u /a; touch /ro/x; touch /a/x; mount -o remount,rw /ro || echo no",
    ]);
    let path = inner.to_str().unwrap();
    bundle.spec.mounts.push(Mount::new("/a", "bind", path, &["rbind", "rprivate"]));
    bundle.spec.mounts.push(Mount::new("/ro", "bind", path, &["rbind", "ro"]));
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, "content65534\nno\n", "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("Read-only") && outcome.stderr.contains("Permission denied"),
        "{}",
        outcome.stderr
    );
    bundle.spec.mounts.push(Mount::new("/c", "bind", "/does/not/exist", &["bind"]));
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert!(error.errno() == Some(2) && error.to_string().contains("/does/not/exist"), "{error}");
}

/// `idmap`: the owner outside is the owner inside.
fn id_mapped_binds() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    chown(source.path().join("file"), Some(5), Some(6)).unwrap();
    let mut bundle =
        mapped(&["sh", "-c", "stat -c %u:%g /a /a/file; touch /a/new; chown 9:9 /a/new; stat -c %u /b"]);
    let path = source.path().to_str().unwrap();
    bundle.spec.mounts.push(Mount::new("/a", "bind", path, &["rbind", "idmap"]));
    bundle.spec.mounts.push(Mount::new("/b", "bind", path, &["rbind", "ridmap"]));
    assert_eq!(bundle.output(), "0:0\n5:6\n0\n");
    assert_eq!(fs::metadata(source.path().join("new")).unwrap().uid(), 9);
    let mut none = Bundle::new(&["true"]);
    none.spec.mounts.push(Mount::new("/a", "bind", path, &["rbind", "idmap"]));
    assert!(none.run().map(|o| o.exit).unwrap_err().to_string().contains("no maps"));
    // procfs has no such mounts.
    bundle.spec.mounts.push(Mount::new("/c", "bind", "/proc/sys", &["bind", "idmap"]));
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

/// As Kubernetes asks for them, with or without a user namespace.
fn binds_with_maps_of_their_own() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    chown(source.path().join("file"), Some(1000), Some(1000)).unwrap();
    let own = |from, to| vec![IdMapping { container_id: from, host_id: to, size: 1 }];
    let mut bundle = Bundle::new(&["sh", "-c", "stat -c %u:%g /a/file"]);
    let mut mount = Mount::new("/a", "bind", source.path().to_str().unwrap(), &["rbind"]);
    (mount.uid_mappings, mount.gid_mappings) = (own(1000, 0), own(1000, 7));
    bundle.spec.mounts.push(mount.clone());
    assert_eq!(bundle.output(), "0:7\n");
    with_user(bundle.linux());
    let last = bundle.spec.mounts.last_mut().unwrap();
    (last.uid_mappings, last.gid_mappings) = (own(1000, FIRST), own(1000, FIRST + 7));
    last.options.push("idmap".to_owned());
    assert_eq!(bundle.output(), "0:7\n");
    bundle.spec.mounts.last_mut().unwrap().gid_mappings.clear();
    assert!(bundle.run().is_err());
}

fn devices_and_streams() {
    let mut bundle = mapped(&[
        "sh",
        "-c",
        "echo x > /dev/null; head -c 3 /dev/zero | wc -c; stat -c %t:%T /dev/full; ls /dev; echo out > /dev/stdout; cat /proc/timer_list | wc -c",
    ]);
    bundle.process().user.uid = 1000;
    let text = bundle.output();
    assert!(text.starts_with("3\n1:7\n") && text.ends_with("out\n0\n"), "{text}");
    assert!(["null", "tty", "ptmx", "fd", "urandom"].iter().all(|d| text.lines().any(|l| l == *d)), "{text}");
}

fn terminal() {
    let mut bundle = mapped(&["sh", "-c", "tty; id -u; stat -c %u /dev/console; exit 3"]);
    bundle.process().terminal = true;
    let mut created = bundle.create(Stdio::Terminal { rows: 20, cols: 30 }).unwrap();
    let console = created.console.take().unwrap();
    created.start().unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = rustix::io::read(&console, &mut buffer) {
        text.extend_from_slice(&buffer[..n]);
    }
    let exit = knarr_linux::process::wait(created.pidfd.as_fd(), true).unwrap().unwrap();
    bundle.cgroup().destroy().unwrap();
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    assert_eq!((text.as_str(), exit.status()), ("/dev/pts/0\n0\n0\n", 3));
}

fn limits() {
    let mut bundle = mapped(&["sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"]);
    bundle.process().rlimits =
        vec![knarr_oci::runtime::Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 333, hard: 444 }];
    bundle.process().oom_score_adj = Some(77);
    assert_eq!(bundle.output(), "333\n444\n77\n");
}

fn host_table_is_untouched() {
    let bundle = mapped(&["cat", "/proc/self/mountinfo"]);
    let text = bundle.output();
    assert!(!text.contains("/tmp/knarr-runtime"), "nothing of the host is left inside: {text}");
    assert_eq!(text.lines().filter(|line| line.contains(" / / ")).count(), 1, "{text}");
    let running = bundle.create(pipes().0).unwrap();
    assert_eq!(bundle.host_mounts(), [""; 0]);
    knarr_linux::process::pidfd_send_signal(running.pidfd.as_fd(), 9).unwrap();
    knarr_linux::process::wait(running.pidfd.as_fd(), true).unwrap();
    bundle.cgroup().destroy().unwrap();
    assert_eq!(bundle.host_mounts(), [""; 0]);
}

fn maps_are_needed() {
    let mut bundle = mapped(&["true"]);
    bundle.linux().uid_mappings.clear();
    assert!(bundle.run().map(|o| o.exit).unwrap_err().to_string().contains("uidMappings"));
    let mut bundle = mapped(&["true"]);
    bundle.linux().uid_mappings[0].container_id = 5;
    assert!(bundle.run().map(|o| o.exit).unwrap_err().to_string().contains("no user 0"));
    assert!(!bundle.cgroup().exists());
}
