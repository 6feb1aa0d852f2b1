//! What a process is besides its user: working directory, descriptors, scheduling, clocks.
use crate::bundle::{Bundle, pipes, process};
use knarr_oci::runtime::{
    CpuAffinity, IoPriority, MemoryPolicy, Mount, Namespace, NamespaceType, Process, Scheduler, TimeOffset,
};
use knarr_runtime::{CgroupOptions, CreateOptions, Error, ExecOptions};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

pub const TESTS: &[(&str, fn())] = &[
    ("process::working_directory_of_others", working_directory_of_others),
    ("process::preserved_descriptors", preserved_descriptors),
    ("process::scheduling", scheduling),
    ("process::time_namespace", time_namespace),
    ("process::mount_namespace_by_path", mount_namespace_by_path),
    ("process::labels_without_security_modules", labels_without_security_modules),
    ("process::stopped_by_the_container", stopped_by_the_container),
    ("process::never_seen_with_anything_of_the_host", never_seen_with_anything_of_the_host),
    ("process::remount", remount),
    ("process::mounts_of_the_host", mounts_of_the_host),
    ("process::nothing_to_execute", nothing_to_execute),
    ("process::net_devices", net_devices),
    ("process::what_the_kernel_lacks", what_the_kernel_lacks),
];

/// A user may start where only root may go.
fn working_directory_of_others() {
    let mut bundle = Bundle::new(&["sh", "-c", "pwd; ls"]);
    fs::set_permissions(bundle.lower().join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    bundle.process().user.uid = 1000;
    bundle.process().cwd = "/root".to_owned();
    let outcome = bundle.run().unwrap();
    assert!(outcome.stdout.starts_with("/root\n"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("Permission denied"), "{}", outcome.stderr);
}

fn preserved_descriptors() {
    use knarr_linux::process::{self as processes, Clone3, Exit};
    let bundle = Bundle::new(&["sh", "-c", "echo /proc/$$/fd/* >&5"]);
    let path = bundle.cgroup().path().to_owned();
    let rootfs = bundle.rootfs();
    let log = bundle.dir.path().join("log");
    // Another process, whose descriptors are known.
    let run = || {
        knarr_linux::supervise::close_from(3).unwrap();
        let files = [0; 3].map(|_| fs::File::create(&log).unwrap());
        assert_eq!(files.each_ref().map(AsRawFd::as_raw_fd), [3, 4, 5]);
        let (stdio, ..) = pipes();
        let with = |preserve_fds, stdio| CreateOptions {
            rootfs: Some(&rootfs),
            stdio,
            cgroup: CgroupOptions::Path(&path),
            preserve_fds,
            ..CreateOptions::new(&bundle.id, &bundle.spec, bundle.dir.path())
        };
        let refused = knarr_runtime::create(with(500, pipes().0));
        assert!(matches!(refused, Err(Error::Invalid { .. })));
        let mut created = knarr_runtime::create(with(3, stdio)).unwrap();
        created.start().unwrap();
        processes::wait(created.pidfd.as_fd(), true).unwrap();
        0
    };
    let child = Clone3::default().spawn(run).unwrap();
    assert_eq!(processes::wait(child.pidfd.as_fd(), true).unwrap(), Some(Exit::Code(0)));
    bundle.cgroup().destroy().unwrap();
    let text = fs::read_to_string(&log).unwrap();
    let numbers: Vec<&str> = text.split_whitespace().map(|path| &path["/proc/1/fd/".len()..]).collect();
    // The last is the directory that the shell reads.
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6"], "{text}");
}

fn scheduling() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "cut() { echo $1; }; set -- $(cat /proc/self/stat); echo ${19} ${41}; busybox ionice -p $$; grep Cpus_allowed_list /proc/self/status",
    ]);
    bundle.process().scheduler =
        Some(Scheduler { policy: "SCHED_BATCH".to_owned(), nice: 7, ..Scheduler::default() });
    bundle.process().io_priority = Some(IoPriority { class: "IOPRIO_CLASS_BE".to_owned(), priority: 6 });
    bundle.process().exec_cpu_affinity =
        Some(CpuAffinity { initial: Some("0".to_owned()), last: Some("0".to_owned()) });
    let all = fs::read_to_string("/proc/self/status").unwrap();
    let all = all.lines().find(|l| l.starts_with("Cpus_allowed_list")).unwrap().to_owned();
    assert_eq!(
        bundle.output(),
        format!("7 3\nbest-effort: prio 6\n{all}\n"),
        "affinity is for other processes"
    );
    bundle.process().args = ["sleep", "1000"].map(str::to_owned).to_vec();
    bundle.process().scheduler = None;
    let running = bundle.start();
    let mut inside = process(&["grep", "Cpus_allowed_list", "/proc/self/status"]);
    for (initial, last) in [(Some("0"), None), (None, Some("0")), (Some("0"), Some("0"))] {
        let text = |list: Option<&str>| list.map(str::to_owned);
        inside.exec_cpu_affinity = Some(CpuAffinity { initial: text(initial), last: text(last) });
        assert_eq!(running.exec(&inside).unwrap().stdout, "Cpus_allowed_list:\t0\n");
    }
    inside.exec_cpu_affinity = Some(CpuAffinity { initial: Some("4000".to_owned()), last: None });
    assert!(running.exec(&inside).is_err());
}

fn time_namespace() {
    let uptime = |text: &str| text.split('.').next().unwrap().parse::<u64>().unwrap();
    let now = uptime(&fs::read_to_string("/proc/uptime").unwrap());
    for with_user in [false, true] {
        let mut bundle = Bundle::new(&["sh", "-c", "cat /proc/uptime; exec sleep 1000"]);
        bundle.linux().namespaces.push(Namespace::new(NamespaceType::Time));
        bundle
            .linux()
            .time_offsets
            .insert("boottime".to_owned(), TimeOffset { secs: 1_000_000, nanosecs: 5 });
        bundle.linux().time_offsets.insert("monotonic".to_owned(), TimeOffset { secs: 77, nanosecs: 0 });
        if with_user {
            crate::users::with_user(bundle.linux());
        }
        let running = bundle.start();
        let inside = running.exec(&process(&["cat", "/proc/uptime"])).unwrap();
        let difference = uptime(&inside.stdout) - now;
        assert!((1_000_000..1_000_100).contains(&difference), "{difference}{}", inside.stderr);
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux().time_offsets.insert("boottime".to_owned(), TimeOffset::default());
    assert!(bundle.run().is_err(), "offsets without a namespace");
    bundle.linux().namespaces.push(Namespace::new(NamespaceType::Time));
    bundle.linux().time_offsets.insert("realtime".to_owned(), TimeOffset::default());
    assert!(bundle.run().map(|o| o.exit).unwrap_err().to_string().contains("realtime"));
}

fn mount_namespace_by_path() {
    use knarr_linux::process::{Clone3, flags};
    let child = Clone3 { flags: flags::NEWNS, cgroup: None };
    let child = child
        .spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(100))
            }
        })
        .unwrap();
    let path = format!("/proc/{}/ns/mnt", child.pid);
    let name = fs::read_link(&path).unwrap();
    let mut bundle = Bundle::new(&["sh", "-c", "readlink /proc/self/ns/mnt; ls -d /lower /bin"]);
    bundle.linux().namespaces.retain(|n| n.kind != NamespaceType::Mount);
    bundle.linux().namespaces.push(Namespace::joined(NamespaceType::Mount, path));
    let before = bundle.host_mounts();
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, format!("{}\n/bin\n", name.display()), "{}", outcome.stderr);
    assert_eq!(bundle.host_mounts(), before);
    knarr_linux::process::pidfd_send_signal(child.pidfd.as_fd(), 9).unwrap();
    knarr_linux::process::wait(child.pidfd.as_fd(), true).unwrap();
}

fn labels_without_security_modules() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.process().apparmor_profile = Some("docker-default".to_owned());
    bundle.process().selinux_label = Some("system_u:system_r:container_t:s0".to_owned());
    bundle.linux().mount_label = Some("system_u:object_r:container_file_t:s0".to_owned());
    let (stdio, ..) = pipes();
    let mut created = bundle.create(stdio).unwrap();
    let has = |path: &str| fs::metadata(path).is_ok();
    if !has("/sys/kernel/security/apparmor") && !has("/sys/fs/selinux/enforce") {
        assert_eq!(created.warnings.len(), 2, "{:?}", created.warnings);
    }
    created.start().unwrap();
    knarr_linux::process::wait(created.pidfd.as_fd(), true).unwrap();
    bundle.cgroup().destroy().unwrap();
}

/// Root in a container can stop whatever it sees; who waits for the new process does not wait for ever.
fn stopped_by_the_container() {
    let mut bundle = Bundle::new(&["sh", "-c", "trap '' TERM; while true; do kill -STOP -1; done"]);
    bundle.linux().seccomp = None;
    let running = bundle.start();
    let path = bundle.cgroup().path().to_owned();
    let begin = Instant::now();
    let inside = process(&["true"]);
    for _ in 0..5 {
        let (stdio, ..) = pipes();
        let made = knarr_runtime::exec(ExecOptions {
            stdio,
            cgroup: CgroupOptions::Path(&path),
            handshake_timeout: Duration::from_millis(300),
            ..ExecOptions::new(running.created.pid, running.created.pidfd.as_fd(), &bundle.spec, &inside)
        });
        match made {
            Ok(mut created) => {
                let started = created.start();
                assert!(matches!(started, Ok(()) | Err(Error::Silent { .. })), "{started:?}");
                let _ = knarr_linux::process::pidfd_send_signal(created.pidfd.as_fd(), 9);
                knarr_linux::process::wait(created.pidfd.as_fd(), true).unwrap();
            }
            Err(error) => assert!(matches!(error, Error::Silent { .. }), "{error}"),
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
}

/// CVE-2016-9962: a container that may trace looks at every process that appears, as often as it can.
fn never_seen_with_anything_of_the_host() {
    let script = "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do case $p in /proc/1) ;; *) \
        [ -e $p/root/etc/host-marker ] && echo root $p >> /seen; \
        for f in $p/fd/*; do case $(readlink $f) in socket:*|pipe:*|/dev/null|'') ;; /proc/*|/seen|/) ;; *) readlink $f >> /seen;; esac; done;; esac; done; done";
    let marker = std::path::Path::new("/etc/host-marker");
    fs::write(marker, "").unwrap();
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    let caps = bundle.process().capabilities.as_mut().unwrap();
    for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
        set.extend(["CAP_SYS_PTRACE".to_owned(), "CAP_SYS_ADMIN".to_owned()]);
    }
    bundle.linux().seccomp = None;
    let running = bundle.start();
    for _ in 0..30 {
        running.exec(&Process { cwd: "/tmp".to_owned(), ..process(&["true"]) }).unwrap();
    }
    running.exec(&process(&["touch", "/stop"])).unwrap();
    let seen = fs::read_to_string(bundle.dir.path().join("upper/seen")).unwrap_or_default();
    fs::remove_file(marker).unwrap();
    assert_eq!(seen, "");
}

fn remount() {
    let mut bundle = Bundle::new(&["sh", "-c", "grep -E ' /(dev/shm|data) ' /proc/mounts; touch /dev/shm/x"]);
    bundle.spec.mounts.push(Mount::new("/data", "tmpfs", "tmpfs", &["size=64k"]));
    bundle.spec.mounts.push(Mount::new("/dev/shm", "bind", "none", &["remount", "bind", "ro"]));
    bundle.spec.mounts.push(Mount::new("/data", "tmpfs", "tmpfs", &["remount", "size=128k", "noexec"]));
    let outcome = bundle.run().unwrap();
    assert!(
        outcome.stdout.contains("/dev/shm tmpfs ro,") && outcome.stdout.contains("size=128k"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.lines().any(|l| l.contains("/data") && l.contains("noexec")),
        "{}",
        outcome.stdout
    );
    assert!(outcome.stderr.contains("Read-only"));
}

/// In a network namespace of the test's own, because interfaces are taken away.
fn net_devices() {
    use knarr_linux::process::{self as processes, Clone3, Exit, flags};
    use knarr_netlink::{Rtnetlink, address, link};
    let script = "ip -o addr show eth7 | grep -c 'inet 10.7.0.2/24\\|inet6 fd07::2/64'; ip -o link show eth7 | grep -c ',UP'; ls /sys/class/net | wc -l";
    let mut bundle = Bundle::new(&["sh", "-c", script]);
    let name = |name: &str| knarr_oci::runtime::NetDevice { name: name.to_owned() };
    bundle.linux().net_devices.insert("kt0".to_owned(), name("eth7"));
    bundle.linux().net_devices.insert("kt1".to_owned(), name("dev%d"));
    let child = Clone3 { flags: flags::NEWNET, cgroup: None }.spawn(|| {
        let mut rt = Rtnetlink::open().unwrap();
        rt.change(vec![link::add_veth_alone("kt0", "kt1")]).unwrap();
        let index = rt.link("kt0").unwrap().unwrap().index;
        let add = |net: &str| address::add(index, net.parse().unwrap());
        rt.change(vec![add("10.7.0.2/24"), add("fd07::2/64")]).unwrap();
        assert_eq!(bundle.output(), "2\n1\n3\n");
        let error = bundle.run().map(|o| o.exit).unwrap_err();
        assert!(error.to_string().contains("no interface kt0"), "{error}");
        0
    });
    let exit = processes::wait(child.unwrap().pidfd.as_fd(), true).unwrap();
    assert_eq!(exit, Some(Exit::Code(0)));
}

fn what_the_kernel_lacks() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux().intel_rdt = Some(Default::default());
    if fs::metadata("/sys/fs/resctrl/schemata").is_err() {
        let error = bundle.run().map(|o| o.exit).unwrap_err();
        assert!(error.to_string().contains("resctrl"), "{error}");
    }
    bundle.linux().intel_rdt = None;
    bundle.linux().memory_policy =
        Some(MemoryPolicy { mode: "MPOL_BIND".to_owned(), nodes: "0".to_owned(), flags: Vec::new() });
    match bundle.run() {
        Ok(outcome) => assert_eq!(outcome.exit.status(), 0),
        Err(error) => assert!(error.to_string().contains("memory policy"), "{error}"),
    }
}

/// The configuration may leave out the mount namespace: then the tree hangs nowhere, and the host sees nothing of it.
fn mounts_of_the_host() {
    let mut bundle = Bundle::new(&[
        "sh",
        "-c",
        "readlink /proc/self/ns/mnt; ls /; ls /dev | wc -l; cd /; cd ../../..; ls -d etc/hosts; echo x > /made; exec sleep 1000",
    ]);
    bundle.linux().namespaces.retain(|n| n.kind != NamespaceType::Mount);
    let before = bundle.host_mounts();
    let running = bundle.start();
    let script = "until [ -s /made ]; do sleep 0.01; done; readlink /proc/self/ns/mnt; ls / | wc -l; busybox chroot . ls /lower; cat /made; busybox chroot /tmp ../bin/ls /";
    let outcome = running.exec(&process(&["sh", "-c", script])).unwrap();
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert_eq!(outcome.stdout, format!("{}\n9\nx\n", own.display()), "{}", outcome.stderr);
    assert_eq!(bundle.host_mounts(), before);
    assert_eq!(
        fs::read_link(format!("/proc/{}/root", running.created.pid)).unwrap(),
        std::path::Path::new("/")
    );
    drop(running);
    assert_eq!(bundle.host_mounts(), before);
}

/// That there is nothing to execute is known at the start.
fn nothing_to_execute() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.spec.process = None;
    let mut created = bundle.create(pipes().0).unwrap();
    assert!(created.start().is_err());
    knarr_linux::process::wait(created.pidfd.as_fd(), true).unwrap();
    bundle.cgroup().destroy().unwrap();
}
