//! Containers on a host with cgroup v2 alone: a mount namespace in which only the unified tree is mounted. Controllers that
//! the real host uses through v1 are missing there, so what is tested is what needs none: placement, freezing, killing,
//! device rules, the container's view.
use crate::bundle::Bundle;
use knarr_linux::mount::{self, Propagation};
use knarr_linux::process::{self, Clone3, Exit, flags};
use std::os::fd::AsFd;

pub const TESTS: &[(&str, fn())] = &[
    ("unified::container_on_v2", || in_unified(container_on_v2)),
    ("unified::freeze_and_kill", || in_unified(freeze_and_kill)),
    ("unified::missing_controller", || in_unified(missing_controller)),
];

fn in_unified(test: fn()) {
    let child = Clone3 { flags: flags::NEWNS, cgroup: None }.spawn(|| {
        mount::set_root_propagation(Propagation::Private, true).unwrap();
        let _ = rustix::mount::unmount("/sys/fs/cgroup", rustix::mount::UnmountFlags::DETACH);
        let tree = mount::filesystem_from(c"cgroup2", c"cgroup", &[], 0).unwrap();
        let place = knarr_linux::path::Root::open("/sys/fs/cgroup".as_ref()).unwrap();
        mount::attach(tree.as_fd(), place.as_fd()).unwrap();
        test();
        // Others of these tests may be running.
        let _ = knarr_cgroup::Cgroup::new("/knarr-test").and_then(|group| group.remove_if_empty());
        0
    });
    let child = child.unwrap();
    assert_eq!(process::wait(child.pidfd.as_fd(), true).unwrap(), Some(Exit::Code(0)));
}

fn container_on_v2() {
    let script = "cat /proc/self/cgroup | grep ^0::; grep -c cgroup2 /proc/mounts; cat /sys/fs/cgroup/cgroup.procs; \
        touch /sys/fs/cgroup/x; busybox mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk; head -c 3 /dev/zero | wc -c";
    let outcome = Bundle::new(&["sh", "-c", script]).run().unwrap();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    // The last but one process is cat itself.
    assert_eq!(
        (lines[0], lines[1], lines[2], lines.last()),
        ("0::/", "1", "1", Some(&"3")),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("Operation not permitted"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("Read-only") || outcome.stderr.contains("Permission denied"),
        "{}",
        outcome.stderr
    );
}

fn freeze_and_kill() {
    let bundle = Bundle::new(&["sh", "-c", "for i in 1 2 3; do sleep 1000 & done; wait"]);
    let running = bundle.start();
    let cgroup = bundle.cgroup();
    assert_eq!(cgroup.hierarchies().version(), knarr_cgroup::Version::V2);
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());
    running.exec(&crate::bundle::process(&["true"])).unwrap();
    assert!(cgroup.stats().unwrap().cpu.usage > 0);
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert!(cgroup.all_pids().unwrap().is_empty());
}

fn missing_controller() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux().resources.as_mut().unwrap().pids = Some(knarr_oci::runtime::Pids { limit: 5 });
    let result = bundle.run().map(|o| o.exit);
    // Where the real host has it in v2 it just works.
    assert!(result.as_ref().is_ok() || result.unwrap_err().to_string().contains("needs the pids controller"));
}
