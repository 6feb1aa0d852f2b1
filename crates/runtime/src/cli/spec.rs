//! `spec`: a configuration to start from.
use super::arguments::Arguments;
use super::{file_error, unknown};
use crate::{Error, Result};
use knarr_cgroup::{Hierarchies, Version};
use knarr_oci::runtime::{
    Capabilities, DeviceRule, IdMapping, Linux, Mount, Namespace, NamespaceType, Process, Resources, Rlimit,
    Root, Spec, VERSION,
};
use std::io::Write;
use std::path::PathBuf;

pub(crate) fn spec(arguments: &mut Arguments<'_>) -> Result<u8> {
    let (mut bundle, mut rootless) = (PathBuf::from("."), false);
    while let Some((name, value)) = arguments.option()? {
        match name.as_str() {
            "rootless" => rootless = arguments.flag(&name, value)?,
            "bundle" | "b" => bundle = arguments.value(&name, value)?.into(),
            _ => return Err(unknown(&name)),
        }
    }
    arguments.end()?;
    let path = bundle.join("config.json");
    let mut spec = example();
    if rootless {
        make_rootless(&mut spec);
    }
    let text = serde_json::to_string_pretty(&spec).map_err(|e| Error::Invalid { what: e.to_string() })?;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{text}")).map_err(file_error("make", &path))?;
    Ok(0)
}

fn example() -> Spec {
    use NamespaceType::{Cgroup, Ipc, Mount as Mnt, Network, Pid, Uts};
    let texts = |all: &[&str]| all.iter().map(|&t| t.to_owned()).collect::<Vec<_>>();
    let caps = texts(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    // As runc: version 1 has no such namespace in a usual container.
    let is_v2 = Hierarchies::detect().is_ok_and(|found| found.version() == Version::V2);
    let cgroup = is_v2.then_some(Cgroup);
    let deny = DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() };
    Spec {
        oci_version: VERSION.to_owned(),
        process: Some(Process {
            terminal: true,
            args: texts(&["sh"]),
            env: texts(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]),
            cwd: "/".to_owned(),
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), hard: 1024, soft: 1024 }],
            no_new_privileges: true,
            ..Process::default()
        }),
        root: Some(Root { path: "rootfs".into(), readonly: true }),
        hostname: Some("knarr".to_owned()),
        mounts: mounts(),
        linux: Some(Linux {
            resources: Some(Resources { devices: vec![deny], ..Resources::default() }),
            namespaces: [Pid, Network, Ipc, Uts, Mnt].into_iter().chain(cgroup).map(Namespace::new).collect(),
            masked_paths: texts(&[
                "/proc/acpi",
                "/proc/asound",
                "/proc/kcore",
                "/proc/keys",
                "/proc/latency_stats",
                "/proc/timer_list",
                "/proc/timer_stats",
                "/proc/sched_debug",
                "/sys/firmware",
                "/proc/scsi",
            ]),
            readonly_paths: texts(&[
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/sys",
                "/proc/sysrq-trigger",
            ]),
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// For a user without privileges: a user namespace with the user as its root, the host's network, no limits, and the host's sysfs,
/// because a new one needs a network namespace of one's own.
fn make_rootless(spec: &mut Spec) {
    use NamespaceType::{Network, User};
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Some(linux) = &mut spec.linux {
        linux.namespaces.retain(|namespace| namespace.kind != Network);
        linux.namespaces.push(Namespace::new(User));
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: uid, size: 1 }];
        linux.gid_mappings = vec![IdMapping { container_id: 0, host_id: gid, size: 1 }];
        linux.resources = None;
    }
    for mount in &mut spec.mounts {
        // A group that is not mapped.
        mount.options.retain(|option| !option.starts_with("gid=") && !option.starts_with("uid="));
        if mount.destination == "/sys" {
            *mount = Mount::new("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
}

fn mounts() -> Vec<Mount> {
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    vec![
        Mount::new("/proc", "proc", "proc", &[]),
        Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        Mount::new("/dev/pts", "devpts", "devpts", &pts),
        Mount::new("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}
