//! Which hierarchies the host has, from `/proc/self/mountinfo`.
use crate::{Error, Result, files};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What was found first. A host mounts its hierarchies when it boots; the text is long where there are many mounts, and the
/// spawner's children know it without reading it again.
static FOUND: OnceLock<Hierarchies> = OnceLock::new();

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One tree per controller. Hosts with both are used through v1, where their controllers are.
    V1,
    /// One tree.
    V2,
}

/// A mounted tree of v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Tree {
    pub mountpoint: PathBuf,
    /// `cpu`, `cpuacct`, ..., or `name=systemd`.
    pub controllers: Vec<String>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchies {
    V1(Vec<V1Tree>),
    V2(PathBuf),
}

/// Options of a v1 mount that are not controllers.
const NOT_CONTROLLERS: [&str; 8] =
    ["rw", "ro", "noprefix", "clone_children", "xattr", "cpuset_v2_mode", "none", "favordynmods"];

impl Hierarchies {
    /// What this process saw when it asked first.
    pub fn detect() -> Result<Self> {
        if let Some(found) = FOUND.get() {
            return Ok(found.clone());
        }
        let found =
            Self::parse(&files::read(Path::new("/proc/self/mountinfo"))?).ok_or(Error::NoHierarchy)?;
        Ok(FOUND.get_or_init(|| found).clone())
    }

    /// From the text of a mountinfo file. A mount that shows only a part of its tree is taken as that part.
    pub fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1: Vec<V1Tree> = Vec::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let Some(mountpoint) = front.split(' ').nth(4) else { continue };
            let mut back = back.split(' ');
            let (Some(kind), Some(_), Some(options)) = (back.next(), back.next(), back.next()) else {
                continue;
            };
            let mountpoint = PathBuf::from(unescape(mountpoint));
            match kind {
                "cgroup2" if v2.is_none() => v2 = Some(mountpoint),
                "cgroup" => {
                    let is_controller = |o: &&str| {
                        !NOT_CONTROLLERS.contains(o) && (!o.contains('=') || o.starts_with("name="))
                    };
                    let controllers: Vec<String> =
                        options.split(',').filter(is_controller).map(str::to_owned).collect();
                    if !controllers.is_empty() && v1.iter().all(|tree| tree.controllers != controllers) {
                        v1.push(V1Tree { mountpoint, controllers });
                    }
                }
                _ => {}
            }
        }
        // With controllers in v1 trees the v2 tree only follows processes (a hybrid host).
        let has_controllers = v1.iter().any(|t| t.controllers.iter().any(|c| !c.starts_with("name=")));
        match v2 {
            Some(mountpoint) if !has_controllers => Some(Self::V2(mountpoint)),
            _ if v1.is_empty() => None,
            _ => Some(Self::V1(v1)),
        }
    }

    pub fn version(&self) -> Version {
        match self {
            Self::V1(_) => Version::V1,
            Self::V2(_) => Version::V2,
        }
    }

    /// Where a controller of v1 is, or the one tree of v2.
    pub fn mountpoint(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1(trees) => trees
                .iter()
                .find(|tree| tree.controllers.iter().any(|c| c == controller))
                .map(|tree| tree.mountpoint.as_path()),
            Self::V2(mountpoint) => Some(mountpoint),
        }
    }
}

/// mountinfo writes space, tab, newline and backslash as octal.
fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pure_v2() {
        let text = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Hierarchies::parse(text), Some(Hierarchies::V2("/sys/fs/cgroup".into())));
    }

    #[test]
    fn hybrid_is_v1_with_comounted_controllers() {
        let text = "\
33 31 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 31 0:31 / /a\\040b/memory rw - cgroup cgroup rw,memory
37 31 0:31 / /again/memory rw - cgroup cgroup rw,memory
";
        let found = Hierarchies::parse(text).unwrap();
        assert_eq!(found.version(), Version::V1);
        assert_eq!(found.mountpoint("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.mountpoint("memory"), Some(Path::new("/a b/memory")));
        assert_eq!(found.mountpoint("pids"), None);
        let Hierarchies::V1(trees) = found else { unreachable!() };
        assert_eq!(trees.len(), 3);
    }

    #[test]
    fn named_v1_beside_v2_is_v2() {
        let text = "\
33 31 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
34 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";
        assert_eq!(Hierarchies::parse(text).unwrap().version(), Version::V2);
        assert_eq!(Hierarchies::parse(""), None);
    }
}
