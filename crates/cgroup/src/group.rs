//! One group, under the same path in every hierarchy.
use crate::files::{self, fail};
use crate::systemd::{Hold, Unit};
use crate::{Error, Hierarchies, Result};
use knarr_linux::Errno;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long removal waits for the last processes to be gone.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often making it is begun again when a parent goes away meanwhile.
const MAKE_TRIES: u32 = 8;
/// First pause between two tries; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// A group by its path. Holds no descriptor; nothing happens when it is dropped.
#[derive(Debug, Clone)]
pub struct Cgroup {
    pub(crate) hierarchies: Hierarchies,
    path: String,
    /// The scope of systemd that the group is.
    pub(crate) unit: Option<Unit>,
}

/// What a new process needs to get into the group.
#[derive(Debug)]
pub enum Placement {
    /// `tasks` of each tree, open for writing: the process, which has one thread, writes `0`. A thread that moves itself
    /// takes no lock over all processes of the machine; `cgroup.procs` does, and waits a grace period of RCU for it.
    V1(Vec<OwnedFd>),
    /// The directory, for `CLONE_INTO_CGROUP`.
    V2(OwnedFd),
}

/// A group that exists now.
#[derive(Debug)]
pub struct Made {
    /// It was not there before.
    pub new: bool,
    /// Kept until the first process is in the group: systemd removes a scope without one.
    pub hold: Hold,
}

impl Cgroup {
    /// The group `path` on this host: `/parent/id`, or `slice:prefix:name` for a scope that systemd makes.
    pub fn new(path: &str) -> Result<Self> {
        Self::with_hierarchies(Hierarchies::detect()?, path)
    }
    pub fn with_hierarchies(hierarchies: Hierarchies, path: &str) -> Result<Self> {
        if Unit::is_name(path) {
            let unit = Unit::parse(path)?;
            return Ok(Self { hierarchies, path: unit.path()?, unit: Some(unit) });
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.is_empty() || parts.iter().any(|part| *part == ".." || part.contains('\0')) {
            return Err(Error::Path { path: path.to_owned() });
        }
        Ok(Self { hierarchies, path: format!("/{}", parts.join("/")), unit: None })
    }

    pub fn path(&self) -> &str {
        &self.path
    }
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }
    /// Its directory for a controller of v1, or its one directory of v2.
    pub fn directory(&self, controller: &str) -> Option<PathBuf> {
        Some(self.below(self.hierarchies.mountpoint(controller)?))
    }
    /// All its directories.
    pub fn directories(&self) -> Vec<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V1(trees) => trees.iter().map(|tree| self.below(&tree.mountpoint)).collect(),
            Hierarchies::V2(mountpoint) => vec![self.below(mountpoint)],
        }
    }
    fn below(&self, mountpoint: &Path) -> PathBuf {
        mountpoint.join(&self.path[1..])
    }
    pub fn exists(&self) -> bool {
        self.directories().iter().any(|directory| directory.is_dir())
    }

    /// Make it in every hierarchy, with what is missing above it. What a failure leaves half made goes again.
    pub fn create(&self) -> Result<Made> {
        // The directories of a scope are made by systemd.
        let was_there = self.unit.is_some() && self.exists();
        let hold = self.unit.as_ref().map(|unit| unit.start(self.hierarchies.version())).transpose()?;
        let mut found = was_there;
        let made = match &self.hierarchies {
            Hierarchies::V1(trees) => trees.iter().try_for_each(|tree| {
                let cpuset = tree.controllers.iter().any(|c| c == "cpuset");
                found |= self.make_in(&tree.mountpoint, cpuset)? && self.unit.is_none();
                Ok(())
            }),
            Hierarchies::V2(mountpoint) => {
                self.make_below(mountpoint).map(|was| found |= was && self.unit.is_none())
            }
        };
        if made.is_err() && !found {
            // The first error is the one to report.
            let _ = self.destroy();
        }
        made.map(|()| Made { new: !found, hold: hold.unwrap_or_default() })
    }

    /// In one tree of v1. Says whether it was there. Mostly only the last level is missing.
    fn make_in(&self, mountpoint: &Path, cpuset: bool) -> Result<bool> {
        let directory = self.below(mountpoint);
        // A parent may be removed between the two steps by whoever found it empty.
        for tries in (0..MAKE_TRIES).rev() {
            match make(&directory) {
                Err(error) if tries > 0 && error.errno() == Some(Errno::NOENT) => {
                    self.make_parents(mountpoint, cpuset)?
                }
                Ok(was_there) => {
                    match directory.parent() {
                        Some(parent) if cpuset => inherit_cpuset(parent, &directory)?,
                        _ => {}
                    }
                    return Ok(was_there);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn make_parents(&self, mountpoint: &Path, cpuset: bool) -> Result<()> {
        let parents = self.path[1..].split('/').count() - 1;
        self.levels(mountpoint).take(parents).try_for_each(|(parent, directory)| {
            match make(&directory).and_then(|was_there| match cpuset {
                // What the kernel gives to new groups below, nobody has to read and write for each of them.
                true => inherit_cpuset(&parent, &directory)
                    .and_then(|()| if was_there { Ok(()) } else { give_cpuset(&directory) }),
                false => Ok(()),
            }) {
                Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
                done => done,
            }
        })
    }

    /// In the tree of v2. Says whether it was there.
    fn make_below(&self, mountpoint: &Path) -> Result<bool> {
        for tries in (0..MAKE_TRIES).rev() {
            let mut was_there = false;
            let made: Result<()> = self.levels(mountpoint).try_for_each(|(parent, directory)| {
                enable_controllers(&parent)?;
                was_there = make(&directory)?;
                Ok(())
            });
            match made {
                Err(error) if tries > 0 && error.errno() == Some(Errno::NOENT) => {}
                made => return made.map(|()| was_there),
            }
        }
        Ok(false)
    }

    /// Each level below a mountpoint with its parent, from the top.
    fn levels(&self, mountpoint: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        self.path[1..].split('/').scan(mountpoint.to_owned(), |parent, part| {
            let directory = parent.join(part);
            Some((std::mem::replace(parent, directory.clone()), directory))
        })
    }

    /// Whether a limit can be set on this host, such as `("memory", "memory.memsw.limit_in_bytes")`: asked of this group's
    /// directory, so it has to exist.
    pub fn supports(&self, controller: &str, file: &str) -> bool {
        self.directory(controller).is_some_and(|directory| directory.join(file).exists())
    }

    /// Open what a new process needs to start in the group.
    pub fn placement(&self) -> Result<Placement> {
        let open = |path: &Path, flags| {
            rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(fail("open", path))
        };
        match &self.hierarchies {
            Hierarchies::V1(_) => {
                let files = self.directories().into_iter().map(|d| open(&d.join("tasks"), OFlags::WRONLY));
                files.collect::<Result<_>>().map(Placement::V1)
            }
            Hierarchies::V2(mountpoint) => {
                open(&self.below(mountpoint), OFlags::PATH | OFlags::DIRECTORY).map(Placement::V2)
            }
        }
    }

    /// [`Cgroup::placement`] for another process of a container that runs. A group of v2 that has given controllers to groups
    /// of its own takes no process any more; then it starts where the first process `pid` has gone.
    pub fn placement_beside(&self, pid: i32) -> Result<Placement> {
        let Hierarchies::V2(mountpoint) = &self.hierarchies else { return self.placement() };
        let given = files::read_optional(&self.below(mountpoint).join("cgroup.subtree_control"))?;
        if given.is_none_or(|controllers| controllers.trim().is_empty()) {
            return self.placement();
        }
        let of_process = files::read(Path::new(&format!("/proc/{pid}/cgroup")))?;
        let path = of_process.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        // Only below this group, whatever the process has been made to be in.
        match path.strip_prefix(self.path()).filter(|rest| rest.starts_with('/')) {
            Some(_) => Self::with_hierarchies(self.hierarchies.clone(), path)?.placement(),
            None => self.placement(),
        }
    }

    /// Move a process into the group.
    pub fn add(&self, pid: i32) -> Result<()> {
        let pid = pid.to_string();
        self.directories().iter().try_for_each(|d| files::write(&d.join("cgroup.procs"), &pid))
    }

    /// Processes of this group, without groups below it.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(directory) = self.process_directory() else { return Ok(Vec::new()) };
        read_pids(&directory)
    }
    /// Processes of this group and of all groups below it.
    pub fn all_pids(&self) -> Result<Vec<i32>> {
        let Some(directory) = self.process_directory() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        for directory in tree(&directory) {
            pids.extend(read_pids(&directory)?);
        }
        Ok(pids)
    }
    /// The directory in which processes are listed and frozen.
    pub(crate) fn process_directory(&self) -> Option<PathBuf> {
        let preferred = ["freezer", "pids", "memory", "devices"].iter().find_map(|c| self.directory(c));
        preferred.or_else(|| self.directories().into_iter().next())
    }

    /// Remove it with all groups below it. Waits a little for processes that are ending; what is not there is no error.
    pub fn destroy(&self) -> Result<()> {
        if let Some(unit) = &self.unit {
            unit.stop()?;
        }
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        self.directories().iter().try_for_each(|directory| self.remove(directory, deadline))
    }

    /// Remove it unless something is in it: for a parent of groups when the last of them may be gone.
    pub fn remove_if_empty(&self) -> Result<()> {
        self.directories().iter().try_for_each(|directory| match rustix::fs::rmdir(directory) {
            Ok(()) | Err(Errno::NOENT | Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(fail("remove", directory)(errno)),
        })
    }

    fn remove(&self, directory: &Path, deadline: Instant) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            match rustix::fs::rmdir(directory) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY | Errno::NOTEMPTY) if Instant::now() < deadline => {
                    for below in tree(directory).iter().skip(1).rev() {
                        // What stays is found busy in the next round.
                        let _ = rustix::fs::rmdir(below);
                    }
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                Err(Errno::BUSY | Errno::NOTEMPTY) => return Err(Error::Busy { path: self.path.clone() }),
                Err(errno) => return Err(fail("remove", directory)(errno)),
            }
        }
    }
}

/// Says whether it was there.
fn make(directory: &Path) -> Result<bool> {
    match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(false),
        Err(Errno::EXIST) => Ok(true),
        Err(errno) => Err(fail("create", directory)(errno)),
    }
}

/// A new group of v1's cpuset has no CPU and no memory node, and takes no process before it has both.
fn inherit_cpuset(parent: &Path, directory: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if files::read(&directory.join(file))?.trim().is_empty() {
            files::write(&directory.join(file), files::read(&parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

/// New groups below get the CPUs and memory nodes of this one from the kernel. Without that they get them from us.
fn give_cpuset(directory: &Path) -> Result<()> {
    let _ = files::write(&directory.join("cgroup.clone_children"), "1");
    Ok(())
}

/// Children of a v2 group have the controllers that it enables for them. One that cannot be enabled is noticed when a limit
/// needs it.
fn enable_controllers(parent: &Path) -> Result<()> {
    let available = files::read(&parent.join("cgroup.controllers"))?;
    let file = parent.join("cgroup.subtree_control");
    let enabled = files::read(&file)?;
    let missing: Vec<String> = available
        .split_whitespace()
        .filter(|c| enabled.split_whitespace().all(|e| e != *c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() || files::write(&file, &missing.join(" ")).is_ok() {
        return Ok(());
    }
    for controller in missing {
        let _ = files::write(&file, &controller);
    }
    Ok(())
}

/// A directory and all below it, parents first.
pub(crate) fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    let mut next = 0;
    while next < found.len() {
        if let Ok(entries) = std::fs::read_dir(&found[next]) {
            let below =
                entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path());
            found.extend(below);
        }
        next += 1;
    }
    found
}

fn read_pids(directory: &Path) -> Result<Vec<i32>> {
    let text = files::read_optional(&directory.join("cgroup.procs"))?.unwrap_or_default();
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}
