//! Which process does what: how the container's process is born, and who opens what for it.
//!
//! Mostly the new process does everything itself. With a user namespace there is one before it, with the host's privileges:
//! it opens what the container's root may not, joins the user namespace, and from there the container's process is born, so
//! that all its other new namespaces belong to the user namespace. So it is when a PID namespace is joined: what is born in
//! it is one that is about to be the finished process. The first of the two never enters the PID namespace.
//!
//! What is born in a joined PID namespace still sees the host's mounts until the root is changed: its procfs can only be mounted from
//! inside. It cannot be traced but with `CAP_SYS_PTRACE` in the caller's user namespace.
use super::{Facts, MountStep, Plan, RootSource, Shared, Source, Step, path_text};
use crate::{Error, Result};
use knarr_linux::process::flags;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the configuration says of namespaces.
#[derive(Default)]
pub(super) struct Namespaces {
    /// `CLONE_NEW*` of those that are made with the process.
    pub new: u64,
    /// Steps that join others.
    pub joined: Vec<Step>,
    /// The PID namespace is joined: it holds for children only.
    pub joins_pid: bool,
    /// Made when the process is in its group, which becomes the root.
    pub cgroup: bool,
    /// No mount namespace but the host's.
    pub hosts_mounts: bool,
    /// A new time namespace: its offsets, which have to be written before a process is in it.
    pub time: Option<CString>,
}

/// Put the steps of the tree and of the process behind those that bring the process about.
pub(super) fn arrange(
    namespaces: Namespaces,
    before: Vec<Step>,
    inner: Vec<Step>,
    uid: u32,
    facts: &Facts<'_>,
    plan: &mut Plan,
) -> Result<()> {
    let mut steps = before;
    let mut inner = inner;
    let group = facts.cgroup.map(|_| Step::JoinCgroup);
    let time = namespaces.time.map(|offsets| Step::NewTimeNamespace { offsets });
    let in_two = namespaces.joins_pid || time.is_some();
    // The first of two processes would count in the group beside the second.
    plan.cgroup_by_file = true;
    match &facts.user {
        None if !in_two => {
            open_host_root(&mut inner);
            plan.clone_flags = namespaces.new;
            plan.cgroup_by_file = false;
            steps.extend(group);
            steps.extend(namespaces.joined);
        }
        None => {
            open_host_root(&mut inner);
            steps.extend(namespaces.joined);
            steps.extend(time);
            steps.push(Step::Spawn { flags: namespaces.new });
            steps.extend(group);
        }
        Some(maps) if facts.privileged => {
            let propagation = inner.iter().find(|step| matches!(step, Step::HostPropagation(_))).cloned();
            steps.push(Step::SeparateMounts);
            steps.extend(propagation);
            let root = |map: Option<u32>, what| {
                map.ok_or_else(|| Error::Invalid { what: format!("the user namespace has no {what} 0") })
            };
            let ids = (root(maps.user_outside(0), "user")?, root(maps.group_outside(0), "group")?);
            open_before(&mut inner, &mut steps, ids)?;
            if let Some(uid) = maps.user_outside(uid) {
                steps.push(Step::GiveStreams { uid });
            }
            steps.extend(namespaces.joined);
            steps.push(Step::JoinUser);
            steps.extend(time);
            steps.push(Step::Spawn { flags: namespaces.new });
            steps.extend(group);
        }
        Some(_) => {
            open_host_root(&mut inner);
            steps.push(Step::JoinUser);
            steps.extend(namespaces.joined);
            steps.extend(time);
            steps.push(Step::Spawn { flags: namespaces.new });
            steps.extend(group);
        }
    }
    steps.push(Step::AnyProcessor);
    if namespaces.cgroup {
        steps.push(Step::NewCgroupNamespace);
    }
    steps.append(&mut inner);
    plan.steps = steps;
    Ok(())
}

/// Binds of the host's root are opened before the container's is attached: it may have to go over it.
fn open_host_root(inner: &mut Vec<Step>) {
    let Some(at) = inner.iter().position(|step| matches!(step, Step::AttachRoot)) else { return };
    let is_root = |mount: &MountStep| match &mount.source {
        Source::Bind { path, .. } => Path::new(OsStr::from_bytes(path.to_bytes())).parent().is_none(),
        _ => false,
    };
    let mut opened = Vec::new();
    for step in inner.iter_mut() {
        if let Step::Mount(mount) = step
            && is_root(mount)
            && let Some(step) = open_source(mount, opened.len())
        {
            opened.push(step);
        }
    }
    inner.splice(at..at, opened);
}

/// Move what needs the host's privileges, the root and the sources of binds, from the inner steps to those before.
fn open_before(inner: &mut Vec<Step>, before: &mut Vec<Step>, ids: (u32, u32)) -> Result<()> {
    let mut number = 0;
    let mut error = None;
    inner.retain_mut(|step| match step {
        Step::OpenRoot(root) => {
            error = share(root, ids).err();
            before.push(step.clone());
            false
        }
        Step::Mount(mount) => {
            if let Some(step) = open_source(mount, number) {
                before.push(step);
                number += 1;
            }
            true
        }
        _ => true,
    });
    error.map_or(Ok(()), Err)
}

fn open_source(mount: &mut MountStep, number: usize) -> Option<Step> {
    let (path, recursive, mapping) = match &mount.source {
        Source::Bind { path, recursive, mapping } => (path.clone(), *recursive, *mapping),
        Source::Group { path } => (path.clone(), true, None),
        _ => return None,
    };
    mount.source = Source::Opened { number, path: path.clone() };
    Some(Step::OpenSource { number, path, recursive, mapping })
}

/// Layers are the same files for every container, whatever its user namespace: an id-mapped mount shows them.
fn share(root: &mut RootSource, (user, group): (u32, u32)) -> Result<()> {
    match root {
        RootSource::Overlay { lower, upper, work, shared, .. } => {
            let lower = common(lower.iter())?;
            let upper = common([&*upper, &*work].into_iter())?;
            *shared = Some(Shared { user, group, lower, upper });
        }
        RootSource::Copy { mapped, .. } => *mapped = true,
        RootSource::Directory(_) => {}
    }
    Ok(())
}

/// The deepest directory that all of these are below.
fn common<'a>(paths: impl Iterator<Item = &'a CString>) -> Result<CString> {
    let mut parents = paths.map(|path| {
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        path.parent().unwrap_or(path).to_owned()
    });
    let first = parents.next().unwrap_or_else(|| PathBuf::from("/"));
    let all = parents.fold(first, |all, path| {
        all.components().zip(path.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    path_text(&all)
}

/// Kinds of namespaces that another process of the container joins. Without privileges only those that the container does not
/// share with the host can be.
pub(super) fn container_namespaces(own: u64, facts: &Facts<'_>) -> u64 {
    let all = flags::NEWNS | flags::NEWIPC | flags::NEWUTS | flags::NEWNET | flags::NEWCGROUP | flags::NEWPID;
    let user = if facts.user.is_some() { flags::NEWUSER } else { 0 };
    let time = own & flags::NEWTIME;
    if facts.privileged { all | user | time } else { own | user }
}
