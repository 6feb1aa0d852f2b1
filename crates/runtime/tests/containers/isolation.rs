//! What a container cannot do: the escapes of the past, tried.
use crate::bundle::{Bundle, DEFAULT_CAPS, process};
use knarr_oci::runtime::{Mount, Process};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

pub const TESTS: &[(&str, fn())] = &[
    ("isolation::only_standard_descriptors", only_standard_descriptors),
    ("isolation::capabilities_are_exact", capabilities_are_exact),
    ("isolation::working_directory_through_a_descriptor", working_directory_through_a_descriptor),
    ("isolation::null_device_replaced_by_a_link", null_device_replaced_by_a_link),
    ("isolation::dev_proc_sys_as_links", dev_proc_sys_as_links),
    ("isolation::binds_over_proc", binds_over_proc),
    ("isolation::masked_and_read_only_paths", masked_and_read_only_paths),
    ("isolation::filter_is_in_force", filter_is_in_force),
    ("isolation::exec_is_confined_too", exec_is_confined_too),
    ("isolation::user_and_groups", user_and_groups),
    ("isolation::own_binary_cannot_be_reached", own_binary_cannot_be_reached),
    ("isolation::devices_are_refused", devices_are_refused),
    ("isolation::mount_target_exchanged_for_a_link", mount_target_exchanged_for_a_link),
    ("isolation::sysctl_names_are_checked", sysctl_names_are_checked),
];

/// CVE-2016-9962, CVE-2024-21626: nothing of ours is open inside, neither for the first process nor for another.
fn only_standard_descriptors() {
    // The fourth is the directory that ls itself reads.
    let list = ["sh", "-c", "ls -l /proc/self/fd | wc -l; ls /proc/1/fd; readlink /proc/1/fd/0"];
    let text = Bundle::new(&list).output();
    assert_eq!(text, "5\n0\n1\n2\n/dev/null\n");
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    let text = running.exec(&process(&["sh", "-c", "ls /proc/$$/fd; true"])).unwrap().stdout;
    assert_eq!(text, "0\n1\n2\n");
}

/// CVE-2022-29162 and its kin: inheritable and ambient sets are empty.
fn capabilities_are_exact() {
    let text = Bundle::new(&["grep", "Cap", "/proc/self/status"]).output();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    let wanted = DEFAULT_CAPS.iter().map(|c| 1 << knarr_linux::caps::number(c).unwrap()).sum::<u64>();
    assert_eq!((field("CapInh"), field("CapAmb")), (0, 0));
    assert_eq!((field("CapPrm"), field("CapEff"), field("CapBnd")), (wanted, wanted, wanted));
    let mut bundle = Bundle::new(&["true"]);
    bundle.process().capabilities.as_mut().unwrap().bounding.push("CAP_FUTURE".to_owned());
    let (stdio, ..) = crate::bundle::pipes();
    let mut created = bundle.create(stdio).unwrap();
    assert_eq!(created.warnings, ["unknown capability CAP_FUTURE is ignored"]);
    created.start().unwrap();
    knarr_linux::process::wait(std::os::fd::AsFd::as_fd(&created.pidfd), true).unwrap();
    bundle.cgroup().destroy().unwrap();
}

/// CVE-2024-21626.
fn working_directory_through_a_descriptor() {
    for number in [0, 3, 4, 5, 6, 7, 8, 9, 10, 20, 63] {
        let mut bundle = Bundle::new(&["pwd"]);
        bundle.process().cwd = format!("/proc/self/fd/{number}");
        assert!(bundle.run().is_err(), "{number}");
    }
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    for number in 3..32 {
        let inside = Process { cwd: format!("/proc/self/fd/{number}/../.."), ..process(&["pwd"]) };
        assert!(running.exec(&inside).is_err(), "{number}");
    }
    let mut bundle = Bundle::new(&["pwd"]);
    bundle.process().cwd = "/made/on/../the way".to_owned();
    assert_eq!(bundle.output(), "/made/the way\n");
}

/// CVE-2025-31133: what is bound over masked files is the host's null device, whatever the image calls /dev/null.
fn null_device_replaced_by_a_link() {
    let bundle =
        Bundle::new(&["sh", "-c", "cat /proc/keys /proc/timer_list | wc -c; stat -c %t:%T /proc/timer_list"]);
    fs::remove_dir(bundle.lower().join("dev")).unwrap();
    fs::create_dir(bundle.lower().join("dev")).unwrap();
    symlink("/proc/sysrq-trigger", bundle.lower().join("dev/null")).unwrap();
    assert_eq!(bundle.output(), "0\n1:3\n");
    // Without a /dev of its own the image's link is all there is.
    let mut bundle = Bundle::new(&["sh", "-c", "cat /proc/timer_list | wc -c"]);
    bundle.spec.mounts.retain(|m| !m.destination.starts_with("/dev"));
    symlink("/proc/sysrq-trigger", bundle.lower().join("dev/null")).unwrap();
    assert!(bundle.run().is_err(), "a device cannot be made where the image has a link");
}

/// CVE-2026-41579, CVE-2019-19921, CVE-2023-27561.
fn dev_proc_sys_as_links() {
    for name in ["dev", "proc", "sys"] {
        for target in ["/tmp", "../../../../tmp", "/proc/1/root/dev"] {
            let bundle = Bundle::new(&["true"]);
            fs::remove_dir(bundle.lower().join(name)).unwrap();
            symlink(target, bundle.lower().join(name)).unwrap();
            let error = bundle.run().map(|o| o.exit).unwrap_err();
            assert!(error.to_string().contains(&format!("not on a link: /{name}")), "{error}");
        }
    }
}

/// CVE-2019-16884: no false files in procfs, neither by name nor through a link.
fn binds_over_proc() {
    for destination in ["/proc", "/proc/self/attr", "/proc/1", "//proc/./self"] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.spec.mounts.push(Mount::new(destination, "bind", "/tmp", &["rbind"]));
        assert!(bundle.run().is_err(), "{destination}");
    }
    let mut bundle = Bundle::new(&["true"]);
    symlink("/proc/self", bundle.lower().join("data")).unwrap();
    bundle.spec.mounts.push(Mount::new("/data/attr", "bind", "/tmp", &["rbind"]));
    assert!(bundle.run().is_err());
    let mut bundle = Bundle::new(&["head", "-c", "4", "/proc/cpuinfo"]);
    fs::write(bundle.lower().join("etc/cpus"), "mine").unwrap();
    let file = bundle.lower().join("etc/cpus").to_str().unwrap().to_owned();
    bundle.spec.mounts.push(Mount::new("/proc/cpuinfo", "bind", &file, &["bind", "ro"]));
    assert_eq!(bundle.output(), "mine");
}

fn masked_and_read_only_paths() {
    let script = "cat /proc/timer_list /proc/keys; ls -A /sys/firmware; \
        echo 1 > /proc/sys/kernel/core_uses_pid; echo h > /proc/sysrq-trigger; touch /sys/fs/cgroup/memory/x; \
        mkdir /sys/fs/cgroup/pids/x; touch /ok";
    let outcome = Bundle::new(&["sh", "-c", script]).run().unwrap();
    assert_eq!(outcome.stdout, "");
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 3, "{}", outcome.stderr);
    let mut bundle = Bundle::new(&["touch", "/no"]);
    bundle.spec.root.as_mut().unwrap().readonly = true;
    let outcome = bundle.run().unwrap();
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
}

fn filter_is_in_force() {
    let script = "grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp || echo refused";
    let outcome = Bundle::new(&["sh", "-c", script]).run().unwrap();
    assert_eq!(outcome.stdout, "Seccomp:\t2\nrefused\n");
    let mut bundle = Bundle::new(&["grep", "-E", "Seccomp:|NoNewPrivs", "/proc/self/status"]);
    bundle.process().no_new_privileges = true;
    assert_eq!(bundle.output(), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    let directory = tempfile::tempdir().unwrap();
    let profile = bundle.spec.linux.as_ref().unwrap().seccomp.as_ref().unwrap();
    let first = knarr_runtime::seccomp::filter(profile, Some(directory.path())).unwrap();
    assert_eq!(knarr_runtime::seccomp::filter(profile, Some(directory.path())).unwrap(), first);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

fn exec_is_confined_too() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    let script = "grep -E 'CapInh|CapEff|Seccomp:' /proc/self/status; cat /proc/1/comm; ls /proc/1/root; pwd; id -u; umask";
    let mut inside = Process { cwd: "/tmp".to_owned(), ..process(&["sh", "-c", script]) };
    inside.user.uid = 1000;
    inside.user.umask = Some(0o077);
    inside.env.push("HOME=/home".to_owned());
    let outcome = running.exec(&inside).unwrap();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let expected = [
        "CapInh:\t0000000000000000",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
        "sleep",
        "/tmp",
        "1000",
        "0077",
    ];
    assert_eq!(lines, expected, "{}", outcome.stderr);
    assert_eq!(running.bundle.cgroup().all_pids().unwrap(), [running.created.pid]);
}

fn user_and_groups() {
    let mut bundle = Bundle::new(&["sh", "-c", "id; cat /etc/secret; echo x > /dev/stderr; touch /etc/x"]);
    let secret = bundle.lower().join("etc/secret");
    fs::write(&secret, "secret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    bundle.process().user.uid = 1234;
    bundle.process().user.gid = 5678;
    bundle.process().user.additional_gids = vec![20, 30];
    let outcome = bundle.run().unwrap();
    assert!(outcome.stdout.starts_with("uid=1234 gid=5678 groups=20,30"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr.matches("Permission denied").count(), 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("x\n"));
    let mut bundle = Bundle::new(&["true"]);
    bundle.process().user.uid = u32::MAX;
    assert!(bundle.run().is_err());
}

/// CVE-2019-5736: between exec and the program's start nothing of the runtime can be opened from inside; a program that
/// executes /proc/self/exe runs itself.
fn own_binary_cannot_be_reached() {
    let before = fs::metadata("/proc/self/exe").unwrap().len();
    let bundle = Bundle::new(&["/entry"]);
    let entry = bundle.lower().join("entry");
    fs::write(&entry, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o755)).unwrap();
    // The kernel looks the interpreter up in the process that is being replaced, so this executes the runtime once more,
    // without any of its descriptors; in the engine and on the command line that is a sealed copy.
    let _ = bundle.run();
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    let script = "for p in /proc/[0-9]*; do readlink $p/exe; done";
    let text = running.exec(&process(&["sh", "-c", script])).unwrap().stdout;
    assert!(text.lines().all(|l| l == "/bin/busybox"), "{text}");
    assert_eq!(fs::metadata("/proc/self/exe").unwrap().len(), before);
}

fn devices_are_refused() {
    // Nodes can be made, but not opened: the device controller decides.
    let script = "busybox mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem; busybox mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk; \
        head -c 3 /dev/zero | wc -c";
    let outcome = Bundle::new(&["sh", "-c", script]).run().unwrap();
    assert_eq!(outcome.stdout, "3\n");
    assert_eq!(outcome.stderr.matches("Operation not permitted").count(), 2, "{}", outcome.stderr);
}

/// CVE-2021-30465: while containers start, one of the components of a mount's place flips between a directory and a link to
/// the outside.
fn mount_target_exchanged_for_a_link() {
    const ROUNDS: usize = 40;
    let volume = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(volume.path().join("a")).unwrap();
    symlink(outside.path(), volume.path().join("b")).unwrap();
    let stop = tempfile::NamedTempFile::new().unwrap();
    let flipper = flip(volume.path(), stop.path());
    for _ in 0..ROUNDS {
        let mut bundle = Bundle::new(&["true"]);
        let source = volume.path().to_str().unwrap();
        bundle.spec.mounts.push(Mount::new("/volume", "bind", source, &["rbind"]));
        bundle.spec.mounts.push(Mount::new("/volume/a/deep/place", "tmpfs", "tmpfs", &[]));
        let _ = bundle.run();
    }
    fs::remove_file(stop.path()).unwrap();
    knarr_linux::process::wait(std::os::fd::AsFd::as_fd(&flipper.pidfd), true).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

/// A process, not a thread: this program has to stay single-threaded.
fn flip(volume: &std::path::Path, stop: &std::path::Path) -> knarr_linux::process::Child {
    let dir = knarr_linux::path::Root::open(volume).unwrap().open_dir("/").unwrap();
    let stop = stop.to_owned();
    knarr_linux::process::Clone3::default()
        .spawn(move || {
            while stop.exists() {
                let _ = dir.rename_with("a", &dir, "b", rustix::fs::RenameFlags::EXCHANGE);
            }
            0
        })
        .unwrap()
}

fn sysctl_names_are_checked() {
    for name in ["../../etc/x", "net..ipv4", "kernel/../x", "/kernel/x", ""] {
        let mut bundle = Bundle::new(&["true"]);
        bundle.linux().sysctl.insert(name.to_owned(), "1".to_owned());
        assert!(bundle.run().is_err(), "{name}");
    }
    let mut bundle =
        Bundle::new(&["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shm_rmid_forced"]);
    bundle.linux().sysctl.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    bundle.linux().sysctl.insert("kernel/shm_rmid_forced".to_owned(), "1".to_owned());
    assert_eq!(bundle.output(), "1\n1\n");
}
