//! The caller's side: what is known and what is wanted, put together for a [`Launch`].
use crate::created::{Created, step_error};
use crate::init::FIRST_PRESERVED;
use crate::launch::Launch;
use crate::plan::{self, Facts};
use crate::seccomp::Filter;
use crate::seccomp::listener::{self, Listener};
use crate::{CgroupOptions, CreateOptions, Error, ExecOptions, Result, Stdio, hooks, security_module, user};
use knarr_cgroup::{Cgroup, Made};
use knarr_linux::process::pidfd_send_signal;
use knarr_linux::{caps, fds, rlimit};
use knarr_oci::runtime::{Hooks, Linux, NamespaceType, Process, Resources, Spec, State, StateStatus};
use rustix::fs::{Access, CWD, Mode, OFlags};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Make a container's first process; it waits before `execve` for [`Created::start`].
pub fn create(options: CreateOptions<'_>) -> Result<Created> {
    create_with(options, None)
}

/// As [`create`]; with a FIFO the start is a byte in it, so that another process can give it.
pub(crate) fn create_with(options: CreateOptions<'_>, fifo: Option<BorrowedFd<'_>>) -> Result<Created> {
    let spec = options.spec;
    let nothing = Process::default();
    let process = spec.process.as_ref().unwrap_or(&nothing);
    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    check_preserved(options.preserve_fds)?;
    let privileged = user::is_privileged();
    let cgroup = cgroup(&options.cgroup, linux, options.id)?;
    let cgroup = cgroup.filter(|cgroup| has_groups(privileged) || asks_for_limits(linux) || is_ours(cgroup));
    let (userns, maps) = user::of_container(&options, linux)?.unzip();
    let facts = Facts {
        bundle: options.bundle,
        rootfs: options.rootfs,
        netns_given: options.netns.is_some(),
        terminal: terminal(&options.stdio),
        hierarchies: cgroup.as_ref().map(Cgroup::hierarchies),
        cgroup: cgroup.as_ref().map(Cgroup::path),
        bounding: caps::bounding(),
        hard_limits: hard_limits(),
        groups: maps.as_ref().is_none_or(user::can_set_groups),
        user: maps,
        privileged,
        apparmor: process.apparmor_profile.is_some() && security_module::has_apparmor(),
        selinux: (process.selinux_label.is_some() || linux.mount_label.is_some())
            && security_module::has_selinux(),
        new_keyring: options.new_keyring,
    };
    let detected;
    // Without a group of its own the container may still be shown those that there are.
    let facts = match facts.hierarchies {
        None => {
            detected = knarr_cgroup::Hierarchies::detect().ok();
            Facts { hierarchies: detected.as_ref(), ..facts }
        }
        Some(_) => facts,
    };
    let plan = plan::container(spec, &facts)?;
    let filter = filter(linux, options.seccomp_cache)?;
    let for_init = hooks::ForInit::new(spec, options.id, options.bundle);
    let made = cgroup.as_ref().map(|c| new_group(c, linux)).transpose()?;
    let undo = cgroup.as_ref().filter(|_| made.as_ref().is_some_and(|made| made.new));
    let placement = cgroup.as_ref().map(Cgroup::placement).transpose().map_err(cgroup_error);
    let before = runtime_hooks(&options, spec);
    let result = placement.and_then(|placement| {
        let launch = Launch {
            plan,
            process,
            filter,
            placement,
            netns: options.netns,
            userns,
            timeout: options.handshake_timeout,
            container: None,
            container_root: None,
            stdio: options.stdio,
            hooks: for_init,
            preserve_fds: options.preserve_fds,
            listener: listener(linux)?,
            state: hooks::state(spec, options.id, options.bundle, StateStatus::Creating, None),
            net_devices: Some(&linux.net_devices),
            rdt: linux.intel_rdt.as_ref().map(|rdt| (rdt, options.id)),
            fifo,
            runtime_hooks: before,
            poststart: spec
                .hooks
                .as_ref()
                .map(|h| h.poststart.clone())
                .filter(|h| !h.is_empty())
                .map(|h| (h, hooks::state(spec, options.id, options.bundle, StateStatus::Running, None))),
        };
        launch.run()
    });
    if result.is_err()
        && let Some(cgroup) = undo
    {
        // The first error is the one to report.
        let _ = cgroup.destroy();
    }
    result
}

fn runtime_hooks<'a>(options: &CreateOptions<'_>, spec: &'a Spec) -> Option<(&'a Hooks, State)> {
    let all = spec.hooks.as_ref()?;
    // Its environment is made: for hooks the container is created, and not any more being so.
    Some((all, hooks::state(spec, options.id, options.bundle, StateStatus::Created, None)))
}

/// Make another process in a running container; it waits before `execve` for [`Created::start`].
pub fn exec(options: ExecOptions<'_>) -> Result<Created> {
    let none = Linux::default();
    let linux = options.spec.linux.as_ref().unwrap_or(&none);
    check_preserved(options.preserve_fds)?;
    let privileged = user::is_privileged();
    let cgroup = cgroup(&options.cgroup, linux, options.id)?;
    let cgroup = cgroup.filter(|cgroup| has_groups(privileged) || is_ours(cgroup));
    let maps = user::of_process(options.target_pid, options.target_pidfd)?;
    let facts = Facts {
        bundle: std::path::Path::new("/"),
        rootfs: None,
        netns_given: false,
        terminal: terminal(&options.stdio),
        hierarchies: cgroup.as_ref().map(Cgroup::hierarchies),
        cgroup: cgroup.as_ref().map(Cgroup::path),
        bounding: caps::bounding(),
        hard_limits: hard_limits(),
        groups: maps.as_ref().is_none_or(user::can_set_groups),
        user: maps,
        privileged,
        apparmor: options.process.apparmor_profile.is_some() && security_module::has_apparmor(),
        selinux: (options.process.selinux_label.is_some() || linux.mount_label.is_some())
            && security_module::has_selinux(),
        new_keyring: options.new_keyring,
    };
    let plan = plan::exec(options.process, linux, &facts)?;
    let filter = match options.filter {
        Some(kept) => Some(kept.clone()),
        None => filter(linux, options.seccomp_cache)?,
    };
    let placement = cgroup.as_ref().map(|c| c.placement_beside(options.target_pid));
    let placement = placement.transpose().map_err(cgroup_error)?;
    let launch = Launch {
        plan,
        process: options.process,
        filter,
        placement,
        netns: None,
        userns: None,
        timeout: options.handshake_timeout,
        container: Some(options.target_pidfd),
        container_root: root_of(&options, linux)?,
        stdio: options.stdio,
        hooks: None,
        preserve_fds: options.preserve_fds,
        listener: listener(linux)?,
        state: hooks::state(
            options.spec,
            options.id,
            options.bundle,
            StateStatus::Running,
            Some(options.target_pid),
        ),
        net_devices: None,
        rdt: None,
        fifo: None,
        runtime_hooks: None,
        poststart: None,
    };
    launch.run()
}

fn terminal(stdio: &Stdio) -> Option<(u16, u16)> {
    match stdio {
        Stdio::Terminal { rows, cols } => Some((*rows, *cols)),
        _ => None,
    }
}

fn cgroup(options: &CgroupOptions<'_>, linux: &Linux, id: &str) -> Result<Option<Cgroup>> {
    let path = match options {
        CgroupOptions::Inherit => return Ok(None),
        CgroupOptions::Path(path) => (*path).to_owned(),
        CgroupOptions::FromSpec => match linux.cgroups_path.as_deref().filter(|p| !p.is_empty()) {
            Some(path) => path.to_owned(),
            None => format!("/{id}"),
        },
    };
    Cgroup::new(&path).map(Some).map_err(cgroup_error)
}

/// Whether every group is this user's: root of a user namespace has only those that it was given.
fn has_groups(privileged: bool) -> bool {
    privileged && !knarr_cgroup::in_user_namespace()
}

/// Whether an ordinary user has been given this group, or the one that it is made in.
fn is_ours(cgroup: &Cgroup) -> bool {
    let writable = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let usable = |path: &PathBuf| {
        if path.is_dir() {
            return writable(&path.join("cgroup.procs"));
        }
        path.ancestors().find(|above| above.is_dir()).is_some_and(writable)
    };
    cgroup.directories().iter().all(usable)
}

/// Device rules are for who could make devices.
fn asks_for_limits(linux: &Linux) -> bool {
    let wanted = |resources: &Resources| {
        let limits = Resources { devices: Vec::new(), ..resources.clone() };
        serde_json::to_value(&limits).is_ok_and(|limits| has_value(&limits))
    };
    linux.resources.as_ref().is_some_and(wanted)
}

fn has_value(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(fields) => fields.values().any(has_value),
        serde_json::Value::Array(all) => !all.is_empty(),
        value => !value.is_null(),
    }
}

pub(crate) fn cgroup_error(error: knarr_cgroup::Error) -> Error {
    match error {
        knarr_cgroup::Error::Invalid { what } => Error::Invalid { what },
        other => Error::Cgroup(other.to_string()),
    }
}

/// Make the group and set its limits. Says whether it is new, so that a failure may remove it.
fn new_group(cgroup: &Cgroup, linux: &Linux) -> Result<Made> {
    let made = cgroup.create().map_err(cgroup_error)?;
    // Nothing that is made in it would ever run, or end.
    if !made.new && cgroup.is_frozen().unwrap_or(false) {
        return Err(Error::Cgroup(format!("container's cgroup unexpectedly frozen: {}", cgroup.path())));
    }
    let limits = linux.resources.as_ref().map(knarr_cgroup::plan::with_default_devices);
    let limited = limits.map_or(Ok(()), |limits| cgroup.apply(&limits));
    if limited.is_err() && made.new {
        // The first error is the one to report.
        let _ = cgroup.destroy();
    }
    limited.map_err(cgroup_error).map(|()| made)
}

fn filter(linux: &Linux, cache: Option<&std::path::Path>) -> Result<Option<Filter>> {
    linux.seccomp.as_ref().map(|profile| crate::seccomp::filter(profile, cache)).transpose()
}

/// Where the mount namespace does not lead to the container's root.
fn root_of(options: &ExecOptions<'_>, linux: &Linux) -> Result<Option<OwnedFd>> {
    if linux.namespace(NamespaceType::Mount).is_some() {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", options.target_pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, path, flags, Mode::empty());
    // The number was that process's all the time.
    let root = root.and_then(|root| pidfd_send_signal(options.target_pidfd, 0).map(|()| root));
    root.map(Some).map_err(step_error("open the container's root"))
}

fn listener(linux: &Linux) -> Result<Option<Listener>> {
    linux.seccomp.as_ref().map(listener::of_profile).transpose().map(Option::flatten)
}

/// They are open before anything of ours is.
fn check_preserved(count: u32) -> Result<()> {
    if fds::are_open(FIRST_PRESERVED, count) {
        return Ok(());
    }
    Err(Error::Invalid { what: format!("of {count} descriptors to be preserved some are not open") })
}

/// `None` for who may raise limits.
fn hard_limits() -> Option<[u64; 16]> {
    const CAP_SYS_RESOURCE: u32 = 24;
    if caps::get().is_ok_and(|sets| sets.effective.contains(CAP_SYS_RESOURCE)) {
        return None;
    }
    let mut limits = [rlimit::UNLIMITED; 16];
    for (number, limit) in limits.iter_mut().enumerate() {
        if let Ok((_, hard)) = rlimit::get(number as u32) {
            *limit = hard;
        }
    }
    Some(limits)
}

/// Whether the container has its own PID namespace, so that the end of its first process ends all.
pub fn has_pid_namespace(spec: &Spec) -> bool {
    spec.linux.as_ref().and_then(|l| l.namespace(NamespaceType::Pid)).is_some_and(|n| n.path.is_none())
}
