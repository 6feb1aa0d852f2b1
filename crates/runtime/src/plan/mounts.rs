//! Mounts of the configuration: options to attributes, parameters and propagation.
//!
//! Standard: mount(8) options as in the runtime specification, mount_setattr(2).
use super::{
    Facts, Filesystem, MapBy, Mapping, MountStep, Plan, RemountStep, Source, Step, Target, cgroups, text,
};
use crate::{Error, Result};
use knarr_linux::mount::{Attributes, Propagation};
use knarr_linux::user_namespace::{IdMaps, Range};
use knarr_oci::runtime::{IdMapping, Linux, Mount, NamespaceType};
use std::ffi::CString;

// MOUNT_ATTR_*: the kernel's numbers.
pub(super) const RDONLY: u64 = 0x1;
pub(super) const NOSUID: u64 = 0x2;
pub(super) const NODEV: u64 = 0x4;
pub(super) const NOEXEC: u64 = 0x8;
const ATIME_MASK: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Filesystems whose read-only state is the mount's alone: other mounts share the instance.
const VIRTUAL: [&str; 8] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"];

/// Binds from other processes' mount namespaces in one container: each is a descriptor that init is given.
pub const MAX_FOREIGN: usize = 16;

const DEV: &str = "/dev";

/// Filesystems whose files have labels of the kernel's choice.
const UNLABELLED: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// What may be put over a file of procfs: emulations of these by a filesystem of the host.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Options, sorted out.
#[derive(Default)]
pub(super) struct Options {
    pub attributes: Attributes,
    pub recursive: Attributes,
    pub propagation: Option<(Propagation, bool)>,
    pub bind: Option<bool>,
    pub parameters: Vec<(CString, Option<CString>)>,
    pub copy_up: bool,
    /// Id-mapped, and so what is mounted below if that is true.
    pub id_mapped: Option<bool>,
    pub remount: bool,
}

/// Whether `/dev` is somebody else's, so that nothing is made in it.
pub(super) fn binds_dev(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| clean(&mount.destination) == "/dev" && is_bind(mount))
}

fn is_bind(mount: &Mount) -> bool {
    mount.kind.as_deref() == Some("bind") || mount.options.iter().any(|o| o == "bind" || o == "rbind")
}

/// A `/dev` of the container's own becomes read-only when everything is in it.
pub(super) fn read_only_dev(mounts: &[Mount]) -> Result<Option<Step>> {
    let Some(mount) = mounts.iter().rev().find(|mount| clean(&mount.destination) == DEV && !is_bind(mount))
    else {
        return Ok(None);
    };
    let late = options(&mount.options)?.attributes.set & RDONLY != 0;
    let attributes = Attributes { set: RDONLY, ..Attributes::default() };
    Ok(late.then(|| Step::SetAttributes { path: c"/dev".to_owned(), attributes }))
}

/// Without double slashes and the trailing one.
pub(super) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    format!("/{}", parts.join("/"))
}

pub(super) fn plan(mount: &Mount, linux: &Linux, facts: &Facts<'_>, plan: &mut Plan) -> Result<()> {
    if mount.destination.is_empty() {
        return Err(Error::Invalid { what: "a mount without destination".to_owned() });
    }
    let mut options = options(&mount.options)?;
    let destination = clean(&mount.destination);
    let kind = mount.kind.as_deref().unwrap_or(if options.bind.is_some() { "bind" } else { "" });
    if options.remount {
        plan.steps.push(Step::Remount(Box::new(RemountStep {
            path: text(&destination, "mount destination")?,
            attributes: options.attributes,
            recursive: options.recursive,
            // With bind it is the mount alone.
            parameters: if options.bind.is_some() { Vec::new() } else { options.parameters },
        })));
        return Ok(());
    }
    if is_bind(mount) {
        let mapping = mapping(mount, &options, facts, plan)?;
        let step = bind(mount, &destination, options, mapping, facts, &plan.steps)?;
        plan.steps.push(step);
        return Ok(());
    }
    if options.id_mapped.is_some() || !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty() {
        return Err(Error::Unsupported {
            what: format!("an id-mapped mount of type {kind} at {destination}"),
        });
    }
    let steps = &mut plan.steps;
    match kind {
        "" | "none" => Err(Error::Invalid { what: format!("mount at {destination} has no type") }),
        "cgroup" => cgroups::plan(&destination, &options, linux, facts, steps),
        _ => {
            if !UNLABELLED.contains(&kind)
                && let Some(label) = label(linux, facts)?
            {
                options.parameters.push((c"context".to_owned(), Some(label)));
            }
            let source = mount.source.as_deref().unwrap_or(kind);
            let or_hosts = match kind {
                "sysfs" | "mqueue" => true,
                // It would show the host's processes to who is not among them.
                "proc" => linux.namespace(NamespaceType::Pid).is_none(),
                _ => false,
            };
            steps.push(filesystem(kind, source, &destination, options, or_hosts)?);
            Ok(())
        }
    }
}

/// Its own maps, or those of the container's user namespace if only the option is there.
fn mapping(mount: &Mount, options: &Options, facts: &Facts<'_>, plan: &mut Plan) -> Result<Option<Mapping>> {
    let at = &mount.destination;
    let by = match (mount.uid_mappings.is_empty(), mount.gid_mappings.is_empty()) {
        (true, true) if options.id_mapped.is_none() => return Ok(None),
        (true, true) if facts.user.is_some() => MapBy::Container,
        (true, true) => {
            let what =
                format!("the id-mapped mount at {at} has no maps, and the container no user namespace");
            return Err(Error::Invalid { what });
        }
        (false, false) => {
            let maps = id_maps(&mount.uid_mappings, &mount.gid_mappings);
            let known = plan.id_maps.iter().position(|known| *known == maps);
            MapBy::Own(known.unwrap_or_else(|| {
                plan.id_maps.push(maps);
                plan.id_maps.len() - 1
            }))
        }
        _ => {
            return Err(Error::Invalid { what: format!("the mount at {at} maps users or groups only") });
        }
    };
    Ok(Some(Mapping { by, recursive: options.id_mapped.unwrap_or(false) }))
}

pub(crate) fn id_maps(users: &[IdMapping], groups: &[IdMapping]) -> IdMaps {
    let ranges = |all: &[IdMapping]| {
        let range =
            |map: &IdMapping| Range { inside: map.container_id, outside: map.host_id, count: map.size };
        all.iter().map(range).collect()
    };
    IdMaps { users: ranges(users), groups: ranges(groups) }
}

/// SELinux context of everything that is mounted, if SELinux is there.
pub(super) fn label(linux: &Linux, facts: &Facts<'_>) -> Result<Option<CString>> {
    let label = linux.mount_label.as_deref().filter(|label| facts.selinux && !label.is_empty());
    label.map(|label| text(label, "mount label")).transpose()
}

fn bind(
    mount: &Mount,
    destination: &str,
    options: Options,
    mapping: Option<Mapping>,
    facts: &Facts<'_>,
    before: &[Step],
) -> Result<Step> {
    let source = mount.source.as_deref().filter(|s| !s.is_empty());
    let source =
        source.ok_or_else(|| Error::Invalid { what: format!("bind at {destination} has no source") })?;
    let target = if destination == "/proc" {
        Target::Procfs
    } else if REPLACEABLE.contains(&destination) {
        Target::FollowIntoProc
    } else if destination.starts_with("/proc/") {
        return Err(Error::Invalid {
            what: format!("{destination} cannot be mounted because it is inside /proc"),
        });
    } else {
        Target::Follow
    };
    Ok(Step::Mount(Box::new(MountStep {
        destination: text(destination, "mount destination")?,
        // Docker and the specification write type bind with options rbind or bind; neither means not recursive.
        source: bind_source(source, options.bind.unwrap_or(false), mapping, facts, before)?,
        attributes: options.attributes,
        recursive: options.recursive,
        propagation: options.propagation,
        target,
        copy_up: false,
    })))
}

fn bind_source(
    source: &str,
    recursive: bool,
    mapping: Option<Mapping>,
    facts: &Facts<'_>,
    before: &[Step],
) -> Result<Source> {
    let (descriptor, root) = (descriptor(source), foreign(source));
    if descriptor.is_none() && root.is_none() {
        let path = super::path_text(&facts.bundle.join(source))?;
        return Ok(Source::Bind { path, recursive, mapping });
    }
    let is_foreign = |step: &&Step| {
        let source = if let Step::Mount(mount) = step { Some(&mount.source) } else { None };
        matches!(source, Some(Source::Foreign { .. } | Source::Descriptor { .. }))
    };
    let number = before.iter().filter(is_foreign).count();
    if number == MAX_FOREIGN {
        return Err(Error::Invalid {
            what: format!("more than {MAX_FOREIGN} binds from other processes' mounts"),
        });
    }
    match (descriptor, root) {
        (None, Some((pid, path))) if mapping.is_none() => {
            Ok(Source::Foreign { pid, path: text(path, "mount source")?, recursive, number })
        }
        (Some(pid), _) => {
            Ok(Source::Descriptor { pid, path: text(source, "mount source")?, recursive, mapping, number })
        }
        _ => Err(Error::Unsupported { what: format!("an id-mapped bind of {source}") }),
    }
}

/// `/proc/<pid>/fd/<n>`, which a process in another mount namespace cannot bind.
fn descriptor(source: &str) -> Option<i32> {
    let (pid, number) = source.strip_prefix("/proc/")?.split_once("/fd/")?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits(pid) && digits(number)).then(|| pid.parse().ok()).flatten()
}

/// `/proc/<pid>/root/<path>`: what is there belongs to that process's mount namespace, and a bind does not cross.
fn foreign(source: &str) -> Option<(i32, &str)> {
    let (pid, path) = source.strip_prefix("/proc/")?.split_once("/root/")?;
    let pid = pid.bytes().all(|b| b.is_ascii_digit()).then(|| pid.parse().ok()).flatten()?;
    Some((pid, path))
}

pub(super) fn filesystem(
    kind: &str,
    source: &str,
    destination: &str,
    mut options: Options,
    or_hosts: bool,
) -> Result<Step> {
    // Labels and settings go to procfs: nothing else may be in its place or inside (CVE-2019-16884).
    if destination == "/proc" && kind != "proc" {
        let what = format!("{destination} cannot be mounted because it is not of type proc");
        return Err(Error::Invalid { what });
    }
    if destination.starts_with("/proc/") {
        let what = format!("{destination} cannot be mounted because it is inside /proc");
        return Err(Error::Invalid { what });
    }
    if options.attributes.set & RDONLY != 0 && !VIRTUAL.contains(&kind) {
        options.parameters.push((c"ro".to_owned(), None));
    }
    let guarded = ["/proc", "/sys", "/dev"];
    let strict = guarded.iter().any(|g| destination == *g || destination.starts_with(&format!("{g}/")));
    // Content is copied, and devices are made, while the filesystem can be written.
    let late_read_only = options.copy_up && destination != DEV && options.attributes.set & RDONLY != 0;
    let first = late_read_only || destination == DEV;
    let now = if first { options.attributes.set & !RDONLY } else { options.attributes.set };
    Ok(Step::Mount(Box::new(MountStep {
        destination: text(destination, "mount destination")?,
        source: Source::New(Filesystem {
            kind: text(kind, "mount type")?,
            source: text(source, "mount source")?,
            parameters: options.parameters,
            attributes: now as u32,
            or_hosts,
        }),
        attributes: if late_read_only {
            Attributes { set: RDONLY, ..Attributes::default() }
        } else {
            Attributes::default()
        },
        recursive: Attributes::default(),
        propagation: options.propagation,
        target: if strict { Target::Strict } else { Target::Follow },
        copy_up: options.copy_up,
    })))
}

pub(super) fn options(all: &[String]) -> Result<Options> {
    let mut out = Options::default();
    for option in all {
        if !known(option, &mut out)? {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(text(value, "mount option")?)),
                None => (option.as_str(), None),
            };
            out.parameters.push((text(key, "mount option")?, value));
        }
    }
    Ok(out)
}

/// Whether it is an option of every mount; then it is noted.
fn known(option: &str, out: &mut Options) -> Result<bool> {
    if propagation(option, out) || attribute(option, &mut out.attributes) {
        return Ok(true);
    }
    if let Some(rest) = option.strip_prefix('r')
        && attribute(rest, &mut out.recursive)
    {
        out.recursive.recursive = true;
        return Ok(true);
    }
    match option {
        "bind" => out.bind = Some(out.bind.unwrap_or(false)),
        "rbind" => out.bind = Some(true),
        "tmpcopyup" => out.copy_up = true,
        "defaults" | "" => {}
        "sync" | "dirsync" | "lazytime" | "mand" | "silent" => {
            out.parameters.push((text(option, "mount option")?, None));
        }
        // The states that a new filesystem has anyway.
        "async" | "nolazytime" | "nomand" | "loud" | "norelatime" | "nostrictatime" | "iversion"
        | "noiversion" | "rnorelatime" | "rnostrictatime" => {}
        "idmap" => out.id_mapped = Some(out.id_mapped.unwrap_or(false)),
        "ridmap" => out.id_mapped = Some(true),
        "remount" => out.remount = true,
        _ => return Ok(false),
    }
    Ok(true)
}

fn propagation(option: &str, out: &mut Options) -> bool {
    let (kind, recursive) = match option {
        "private" => (Propagation::Private, false),
        "rprivate" => (Propagation::Private, true),
        "slave" => (Propagation::Slave, false),
        "rslave" => (Propagation::Slave, true),
        "shared" => (Propagation::Shared, false),
        "rshared" => (Propagation::Shared, true),
        "unbindable" => (Propagation::Unbindable, false),
        "runbindable" => (Propagation::Unbindable, true),
        _ => return false,
    };
    out.propagation = Some((kind, recursive));
    true
}

fn attribute(option: &str, attributes: &mut Attributes) -> bool {
    let (bit, on) = match option {
        "ro" => (RDONLY, true),
        "rw" => (RDONLY, false),
        "nosuid" => (NOSUID, true),
        "suid" => (NOSUID, false),
        "nodev" => (NODEV, true),
        "dev" => (NODEV, false),
        "noexec" => (NOEXEC, true),
        "exec" => (NOEXEC, false),
        "nodiratime" => (NODIRATIME, true),
        "diratime" => (NODIRATIME, false),
        "nosymfollow" => (NOSYMFOLLOW, true),
        "symfollow" => (NOSYMFOLLOW, false),
        "noatime" | "strictatime" | "relatime" | "atime" => {
            let value = match option {
                "noatime" => NOATIME,
                "strictatime" => STRICTATIME,
                _ => 0,
            };
            attributes.clear |= ATIME_MASK;
            attributes.set = attributes.set & !ATIME_MASK | value;
            return true;
        }
        _ => return false,
    };
    if on {
        attributes.set |= bit;
        attributes.clear &= !bit;
    } else {
        attributes.set &= !bit;
        attributes.clear |= bit;
    }
    true
}
