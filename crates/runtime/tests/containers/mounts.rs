//! Mounts of every kind.
use crate::bundle::Bundle;
use knarr_oci::runtime::{Device, DeviceType, Mount, Namespace, NamespaceType};
use std::fs;
use std::os::unix::fs::symlink;

pub const TESTS: &[(&str, fn())] = &[
    ("mounts::binds", binds),
    ("mounts::recursive_read_only", recursive_read_only),
    ("mounts::places_are_made", places_are_made),
    ("mounts::tmpfs_with_content", tmpfs_with_content),
    ("mounts::many_layers", many_layers),
    ("mounts::plain_directory_root", plain_directory_root),
    ("mounts::the_hosts_root", the_hosts_root),
    ("mounts::modes_of_tmpfs", modes_of_tmpfs),
    ("mounts::read_only_dev", read_only_dev),
    ("mounts::only_a_procfs_for_procfs", only_a_procfs_for_procfs),
    ("mounts::devices", devices),
    ("mounts::host_namespaces", host_namespaces),
    ("mounts::joined_namespaces", joined_namespaces),
    ("mounts::bind_from_another_container", bind_from_another_container),
    ("mounts::bind_of_a_descriptor", bind_of_a_descriptor),
    ("mounts::host_table_is_untouched", host_table_is_untouched),
];

fn binds() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let path = source.path().to_str().unwrap();
    let mut bundle = Bundle::new(&["sh", "-c", "cat /a/file /b; echo new > /a/made; touch /ro/x"]);
    bundle.spec.mounts.push(Mount::new("/a", "bind", path, &["rbind", "rprivate"]));
    bundle.spec.mounts.push(Mount::new("/b", "bind", &format!("{path}/file"), &["bind", "ro", "nosuid"]));
    bundle.spec.mounts.push(Mount::new("/ro", "bind", path, &["rbind", "ro"]));
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, "contentcontent");
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
    assert_eq!(fs::read_to_string(source.path().join("made")).unwrap(), "new\n");
    let mut bundle = Bundle::new(&["true"]);
    bundle.spec.mounts.push(Mount::new("/a", "bind", "/does/not/exist", &["rbind"]));
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert_eq!(error.errno(), Some(2), "{error}");
}

fn recursive_read_only() {
    let mut bundle = Bundle::new(&["sh", "-c", "touch /host/shm/knarr-test; touch /host/knarr-test"]);
    bundle.spec.mounts.push(Mount::new("/host", "bind", "/dev", &["rbind", "rro"]));
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stderr.matches("Read-only file system").count(), 2, "{}", outcome.stderr);
}

/// Also through links of the image, dangling ones included, which stay inside.
fn places_are_made() {
    let mut bundle = Bundle::new(&["sh", "-c", "cat /etc/resolv.conf /run/x/stub; ls -d /deep/er"]);
    symlink("../run/x/stub", bundle.lower().join("etc/resolv.conf")).unwrap();
    symlink("/real", bundle.lower().join("deep")).unwrap();
    let file = bundle.dir.path().join("resolv.conf");
    fs::write(&file, "nameserver\n").unwrap();
    bundle.spec.mounts.push(Mount::new("/etc/resolv.conf", "bind", file.to_str().unwrap(), &["rbind"]));
    bundle.spec.mounts.push(Mount::new("/deep/er", "tmpfs", "tmpfs", &["size=1m"]));
    assert_eq!(bundle.output(), "nameserver\nnameserver\n/deep/er\n");
    assert!(bundle.dir.path().join("upper/real/er").is_dir());
}

fn tmpfs_with_content() {
    let mut bundle = Bundle::new(&["sh", "-c", "ls /data; stat -c %a /data /data/file; touch /data/new"]);
    fs::create_dir(bundle.lower().join("data")).unwrap();
    fs::write(bundle.lower().join("data/file"), "x").unwrap();
    bundle.spec.mounts.push(Mount::new("/data", "tmpfs", "tmpfs", &["tmpcopyup", "mode=1777", "ro"]));
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, "file\n1777\n644\n");
    assert!(outcome.stderr.contains("Read-only"), "{}", outcome.stderr);
}

/// More layers than one page of options could name.
fn many_layers() {
    use knarr_linux::mount;
    use std::ffi::CString;
    let bundle = Bundle::new(&["true"]);
    let text = |path: &std::path::Path| CString::new(path.to_str().unwrap()).unwrap();
    let layers: Vec<CString> = (0..150)
        .map(|n| {
            let path = bundle.dir.path().join(format!("layer-{n:064}"));
            fs::create_dir(&path).unwrap();
            fs::write(path.join(format!("file{n}")), "").unwrap();
            text(&path)
        })
        .collect();
    let (upper, work) = (text(&bundle.dir.path().join("upper")), text(&bundle.dir.path().join("work")));
    let overlay = mount::Overlay {
        lower: &layers,
        upper: &upper,
        work: &work,
        options: &[],
        volatile: false,
        place: &upper,
    };
    let count = |made: std::os::fd::OwnedFd| {
        let root = knarr_linux::path::Root::from_fd(made, knarr_linux::path::Resolve::InRoot);
        root.open_dir("/").unwrap().entries().unwrap().len()
    };
    assert_eq!(count(overlay.mount().unwrap()), 150);
    // As on kernels that take the layers as one text; that mounts in the mount namespace of the caller.
    let child = knarr_linux::process::Clone3 { flags: knarr_linux::process::flags::NEWNS, cgroup: None }
        .spawn(|| {
            mount::set_root_propagation(mount::Propagation::Private, true).unwrap();
            let made = overlay.by_option_string().unwrap();
            // What was mounted is for another mount namespace too.
            knarr_linux::namespace::unshare(knarr_linux::process::flags::NEWNS).unwrap();
            mount::attach_over_root(std::os::fd::AsFd::as_fd(&made)).unwrap();
            u8::from(count(made) != 150)
        });
    let exit = knarr_linux::process::wait(std::os::fd::AsFd::as_fd(&child.unwrap().pidfd), true).unwrap();
    assert_eq!(exit, Some(knarr_linux::process::Exit::Code(0)));
}

fn plain_directory_root() {
    let mut bundle = Bundle::new(&["sh", "-c", "touch /written; ls /"]);
    bundle.overlay = false;
    bundle.output();
    assert!(bundle.lower().join("written").exists());
}

/// A bind of `/`, also by another name, is the host's root and not the container's.
fn the_hosts_root() {
    let marker = tempfile::tempdir().unwrap();
    fs::write(marker.path().join("file"), "of the host").unwrap();
    symlink("/", marker.path().join("root")).unwrap();
    let link = marker.path().join("root");
    let path = marker.path().join("file");
    let script = format!("cat /one{0} /two{0}", path.display());
    for overlay in [true, false] {
        for propagation in [None, Some("rslave")] {
            let mut bundle = Bundle::new(&["sh", "-c", &script]);
            bundle.overlay = overlay;
            bundle.linux().rootfs_propagation = propagation.map(str::to_owned);
            bundle.spec.mounts.push(Mount::new("/one", "bind", "/", &["rbind", "ro"]));
            bundle.spec.mounts.push(Mount::new("/two", "bind", link.to_str().unwrap(), &["rbind", "ro"]));
            assert_eq!(bundle.output(), "of the hostof the host", "{overlay} {propagation:?}");
        }
    }
}

/// The directory's, unless there is none or the options say otherwise.
fn modes_of_tmpfs() {
    use std::os::unix::fs::PermissionsExt;
    let mut bundle = Bundle::new(&["stat", "-c", "%a", "/there", "/missing", "/said"]);
    for name in ["there", "said"] {
        let place = bundle.lower().join(name);
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o710)).unwrap();
    }
    bundle.spec.mounts.push(Mount::new("/there", "tmpfs", "tmpfs", &["nodev"]));
    bundle.spec.mounts.push(Mount::new("/missing", "tmpfs", "tmpfs", &["nodev"]));
    bundle.spec.mounts.push(Mount::new("/said", "tmpfs", "tmpfs", &["nodev", "mode=1500"]));
    assert_eq!(bundle.output(), "710\n1777\n1500\n");
}

fn read_only_dev() {
    let mut bundle =
        Bundle::new(&["sh", "-c", "echo > /dev/null; test -c /dev/zero && echo made; touch /dev/x"]);
    let dev = bundle.spec.mounts.iter_mut().find(|mount| mount.destination == "/dev").unwrap();
    dev.options.push("ro".to_owned());
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, "made\n");
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
}

fn only_a_procfs_for_procfs() {
    let bound = |source: &str| {
        let mut bundle = Bundle::new(&["cat", "/proc/1/comm"]);
        bundle.linux().namespaces.retain(|namespace| namespace.kind != NamespaceType::Pid);
        bundle.spec.mounts.retain(|mount| mount.destination != "/proc");
        bundle.spec.mounts.push(Mount::new("/proc", "bind", source, &["rbind", "nosuid", "nodev", "noexec"]));
        bundle.run()
    };
    assert_eq!(bound("/proc").unwrap().stdout, fs::read_to_string("/proc/1/comm").unwrap());
    let error = bound("/tmp").map(|outcome| outcome.stdout).unwrap_err();
    assert!(error.to_string().contains("not of type proc"), "{error}");
}

fn devices() {
    let mut bundle = Bundle::new(&["stat", "-c", "%F %a %t:%T %u", "/dev/mine", "/odd/place/fifo"]);
    let device = |kind, path: &str, mode| Device {
        kind,
        path: path.to_owned(),
        major: 1,
        minor: 5,
        file_mode: Some(mode),
        uid: Some(7),
        gid: Some(8),
    };
    bundle.linux().devices.push(device(DeviceType::Char, "/dev/mine", 0o640));
    bundle.linux().devices.push(device(DeviceType::Fifo, "/odd/place/fifo", 0o600));
    assert_eq!(bundle.output(), "character special file 640 1:5 7\nfifo 600 0:0 7\n");
}

fn host_namespaces() {
    let mut bundle = Bundle::new(&["sh", "-c", "for n in net uts pid; do readlink /proc/self/ns/$n; done"]);
    bundle
        .linux()
        .namespaces
        .retain(|n| !matches!(n.kind, NamespaceType::Network | NamespaceType::Uts | NamespaceType::Pid));
    bundle.linux().sysctl.clear();
    bundle.spec.hostname = None;
    let own = ["net", "uts", "pid"].map(|n| fs::read_link(format!("/proc/self/ns/{n}")).unwrap());
    let own: Vec<String> = own.iter().map(|p| p.to_str().unwrap().to_owned()).collect();
    assert_eq!(bundle.output().lines().collect::<Vec<_>>(), own);
}

/// Network, PID and the others of another container.
fn joined_namespaces() {
    let first = Bundle::new(&["sleep", "1000"]);
    let running = first.start();
    let pid = running.created.pid;
    let mut second =
        Bundle::new(&["sh", "-c", "ps | grep -c '[s]leep 1000'; hostname; readlink /proc/self/ns/net"]);
    second.spec.hostname = None;
    let joined = [
        (NamespaceType::Pid, "pid"),
        (NamespaceType::Network, "net"),
        (NamespaceType::Uts, "uts"),
        (NamespaceType::Ipc, "ipc"),
    ];
    second.linux().namespaces.retain(|n| matches!(n.kind, NamespaceType::Mount | NamespaceType::Cgroup));
    for (kind, name) in joined {
        second.linux().namespaces.push(Namespace::joined(kind, format!("/proc/{pid}/ns/{name}")));
    }
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let expected = format!("1\n{}\n{}\n", &first.id[first.id.len() - 8..], net.display());
    assert_eq!(second.output(), expected);
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    assert_eq!(own("pid"), own("pid_for_children"), "this process makes children in its own namespace again");
}

/// `/dev/shm` of another container, whose mounts the host does not see; links lead nowhere but into that container.
fn bind_from_another_container() {
    let first =
        Bundle::new(&["sh", "-c", "echo hello > /dev/shm/file; ln -s /dev/shm /way; exec sleep 1000"]);
    let running = first.start();
    let pid = running.created.pid;
    let there = format!("/proc/{pid}/root/dev/shm");
    while fs::symlink_metadata(format!("/proc/{pid}/root/way")).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let own = || ["ns/mnt", "root", "cwd"].map(|n| fs::read_link(format!("/proc/self/{n}")).unwrap());
    let before = own();
    let mut second = Bundle::new(&["sh", "-c", "cat /dev/shm/file /way/file; echo back > /dev/shm/answer"]);
    second.spec.mounts.retain(|mount| mount.destination != "/dev/shm");
    second.spec.mounts.push(Mount::new("/dev/shm", "bind", &there, &["bind", "rprivate"]));
    let way = format!("/proc/{pid}/root/way");
    second.spec.mounts.push(Mount::new("/way", "bind", &way, &["rbind", "rprivate", "ro"]));
    assert_eq!(second.output(), "hello\nhello\n");
    assert_eq!(fs::read_to_string(format!("{there}/answer")).unwrap(), "back\n");
    assert_eq!(own(), before);
    second.spec.mounts.pop();
    second.spec.mounts.push(Mount::new("/way", "bind", &format!("{there}/none"), &["bind"]));
    let error = second.run().map(|o| o.exit).unwrap_err();
    assert_eq!(error.errno(), Some(2), "{error}");
}

/// A directory that was checked and is held open, as the engine does with directories below volumes.
fn bind_of_a_descriptor() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content\n").unwrap();
    fs::set_permissions(source.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let held = fs::File::open(source.path()).unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&held));
    let mut bundle = Bundle::new(&["sh", "-c", "cat /data/file; stat -c %u /data; touch /data/x"]);
    bundle.spec.mounts.push(Mount::new("/data", "bind", &path, &["rbind", "ro"]));
    let outcome = bundle.run().unwrap();
    assert_eq!(outcome.stdout, "content\n0\n", "{}", outcome.stderr);
    assert!(outcome.stderr.contains("Read-only"));
    crate::users::with_user(bundle.linux());
    bundle.spec.mounts.last_mut().unwrap().options.push("idmap".to_owned());
    assert_eq!(bundle.run().unwrap().stdout, "content\n0\n");
}

fn host_table_is_untouched() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    assert_eq!(bundle.host_mounts(), [""; 0]);
    drop(running);
    assert_eq!(bundle.host_mounts(), [""; 0]);
}
