//! What is mounted inside: the kernel's file systems, files of the engine, volumes.
use super::process::INIT_PATH;
use super::{Draft, Input};
use crate::record::{MountKind, MountRow};
use knarr_oci::runtime::Mount;

pub(super) fn defaults(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let mounts = &mut draft.spec.mounts;
    mounts.push(Mount::new("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]));
    mounts.push(Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]));
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    mounts.push(Mount::new("/dev/pts", "devpts", "devpts", &pts));
    mounts.push(Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]));
    mounts.push(Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]));
    match host.ipc_mode.as_str() {
        "host" if !input.facts.host_mqueue => {}
        "host" => mounts.push(Mount::new(
            "/dev/mqueue",
            "bind",
            "/dev/mqueue",
            &["rbind", "nosuid", "noexec", "nodev"],
        )),
        _ if input.facts.mqueue => {
            mounts.push(Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
        }
        _ => {}
    }
    hide_what_is_mounted_over(input, draft);
}

/// A volume on `/dev/shm` or below `/sys` replaces the default there.
fn hide_what_is_mounted_over(input: &Input, draft: &mut Draft) {
    let taken = |destination: &str| input.container.mounts.iter().any(|row| row.destination == destination);
    draft.spec.mounts.retain(|mount| !taken(&mount.destination));
}

pub(super) fn shared_memory(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    if input.container.mounts.iter().any(|row| row.destination == "/dev/shm") {
        return;
    }
    let mount = match (host.ipc_mode.as_str(), input.joined.ipc) {
        ("none", _) => return,
        ("host", _) => Mount::new("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"]),
        (_, Some(pid)) => {
            Mount::new("/dev/shm", "bind", &format!("/proc/{pid}/root/dev/shm"), &["bind", "rprivate"])
        }
        _ => {
            let size = if host.shm_size > 0 { host.shm_size } else { input.default_shm_size };
            let size = format!("size={size}");
            Mount::new("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])
        }
    };
    draft.spec.mounts.push(mount);
}

pub(super) fn files(input: &Input, draft: &mut Draft) {
    let files = [
        ("/etc/resolv.conf", &input.files.resolv_conf),
        ("/etc/hostname", &input.files.hostname),
        ("/etc/hosts", &input.files.hosts),
    ];
    for (destination, source) in files {
        let Some(source) = source else { continue };
        if !input.container.mounts.iter().any(|row| row.destination == destination) {
            // They are root's on disk, and shall be the container's root's.
            let options: &[&str] =
                if input.id_maps.is_some() { &["bind", "rprivate", "idmap"] } else { &["rbind", "rprivate"] };
            draft.spec.mounts.push(Mount::new(destination, "bind", &source.to_string_lossy(), options));
        }
    }
}

pub(super) fn volumes(input: &Input, draft: &mut Draft) {
    draft.spec.mounts.extend(input.container.mounts.iter().map(|row| mount(input, row)));
}

/// With a user namespace: volumes keep the container's ids on disk, so every container sees the same
/// owners; files of the host keep the host's, unless `idmap` is asked for.
fn mount(input: &Input, row: &MountRow) -> Mount {
    let mapped = input.id_maps.is_some();
    let mut options: Vec<String> = Vec::new();
    if row.kind == MountKind::Tmpfs {
        options.extend(["noexec", "nosuid", "nodev"].map(str::to_owned));
        // What is asked for wins over the default, so `exec` takes `noexec` out.
        for option in &row.options {
            let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
            options.retain(|have| *have != opposite && have != option);
            options.push(option.clone());
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        return Mount::new(&row.destination, "tmpfs", "tmpfs", &options);
    }
    options.push(if row.recursive { "rbind" } else { "bind" }.to_owned());
    if !row.rw {
        let recursive = row.recursive && !row.read_only_top_only && row.kind == MountKind::Bind;
        // Docker asks for a recursive read-only mount where the kernel can; the top is always read-only.
        options.push("ro".to_owned());
        if recursive {
            options.push("rro".to_owned());
        }
    }
    options.push(if row.propagation.is_empty() { "rprivate".to_owned() } else { row.propagation.clone() });
    if mapped && (row.kind == MountKind::Volume || row.id_map) {
        options.push("idmap".to_owned());
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let source = input.sources.get(&row.destination).unwrap_or(&row.source);
    Mount::new(&row.destination, "bind", &source.to_string_lossy(), &options)
}

pub(super) fn init(input: &Input, draft: &mut Draft) {
    if let Some(init) = &input.init {
        draft.spec.mounts.push(Mount::new(INIT_PATH, "bind", &init.to_string_lossy(), &["bind", "ro"]));
    }
}

/// A privileged container, or one that asks for it (its groups alone), sees `/sys` and the control groups writable.
pub(super) fn privileged(input: &Input, draft: &mut Draft) {
    let host = &input.container.host_config;
    let options = crate::create::security_opt::parse(&host.security_opt);
    let writable: &[&str] = match options {
        _ if host.privileged => &["sysfs", "cgroup"],
        Ok(options) if options.writable_cgroups => &["cgroup"],
        _ => return,
    };
    for mount in &mut draft.spec.mounts {
        if mount.kind.as_deref().is_some_and(|kind| writable.contains(&kind)) {
            for option in &mut mount.options {
                if option == "ro" {
                    "rw".clone_into(option);
                }
            }
        }
    }
}
