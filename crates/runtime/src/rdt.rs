//! Intel's resource director: a container's share of cache and memory bandwidth.
//!
//! Standard: <https://docs.kernel.org/arch/x86/resctrl.html>, runtime-spec `linux.intelRdt`. Invariant: only a group that was
//! made for the container, under its id, is removed with it.
use crate::{Error, Result};
use knarr_oci::runtime::IntelRdt;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

const MOUNTPOINT: &str = "/sys/fs/resctrl";
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;

/// Put a process into the group that the configuration names.
pub(crate) fn join(wanted: &IntelRdt, id: &str, pid: i32) -> Result<()> {
    join_at(&mounted()?, wanted, id, pid)
}

/// Remove what was made for a container. Without resctrl there is nothing.
pub fn remove(wanted: &IntelRdt, id: &str) -> Result<()> {
    match mounted() {
        Ok(root) => remove_at(&root, wanted, id),
        Err(_) => Ok(()),
    }
}

fn mounted() -> Result<PathBuf> {
    let is_resctrl = rustix::fs::statfs(MOUNTPOINT).is_ok_and(|fs| fs.f_type == RDTGROUP_SUPER_MAGIC);
    if is_resctrl {
        return Ok(MOUNTPOINT.into());
    }
    Err(Error::Unsupported { what: format!("linux.intelRdt: no resctrl is mounted at {MOUNTPOINT}") })
}

/// One directory below the root, or the root itself.
fn group(root: &Path, wanted: &IntelRdt, id: &str) -> Result<PathBuf> {
    match wanted.clos_id.as_deref() {
        Some("/") => Ok(root.to_owned()),
        Some(name) if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\n', '\0']) => {
            Err(Error::Invalid { what: format!("intelRdt.closID {name:?}") })
        }
        Some(name) => Ok(root.join(name)),
        None => Ok(root.join(id)),
    }
}

fn join_at(root: &Path, wanted: &IntelRdt, id: &str, pid: i32) -> Result<()> {
    let group = group(root, wanted, id)?;
    let lines = lines(wanted)?;
    let existed = group.is_dir();
    if !existed {
        if wanted.clos_id.is_some() && lines.is_empty() {
            return Err(Error::Invalid {
                what: format!("intelRdt.closID: {} does not exist", group.display()),
            });
        }
        fs::create_dir(&group).map_err(fail("make", &group))?;
    }
    if existed && wanted.clos_id.is_some() {
        compare(&group, &lines)?;
    } else {
        lines.iter().try_for_each(|line| write(&group.join("schemata"), line))?;
    }
    write(&group.join("tasks"), &pid.to_string())?;
    if wanted.enable_monitoring {
        let monitor = group.join("mon_groups").join(id);
        match fs::create_dir(&monitor) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(fail("make", &monitor))?,
        }
        write(&monitor.join("tasks"), &pid.to_string())?;
    }
    Ok(())
}

/// In the order in which they are written.
fn lines(wanted: &IntelRdt) -> Result<Vec<String>> {
    let lines: Vec<String> =
        wanted.l3_cache_schema.iter().chain(&wanted.mem_bw_schema).chain(&wanted.schemata).cloned().collect();
    let bad = lines.iter().any(|line| line.contains('\n'))
        || wanted.mem_bw_schema.as_deref().is_some_and(|line| !line.starts_with("MB:"));
    if bad { Err(Error::Invalid { what: "intelRdt schema".to_owned() }) } else { Ok(lines) }
}

/// A group that is there has to be what is wanted.
fn compare(group: &Path, lines: &[String]) -> Result<()> {
    let path = group.join("schemata");
    let there = fs::read_to_string(&path).map_err(fail("read", &path))?;
    let plain = |line: &str| line.split_whitespace().collect::<String>();
    let there: Vec<String> = there.lines().map(plain).collect();
    match lines.iter().find(|line| !there.contains(&plain(line))) {
        Some(line) => Err(Error::Invalid { what: format!("{} is not {line:?}", path.display()) }),
        None => Ok(()),
    }
}

fn remove_at(root: &Path, wanted: &IntelRdt, id: &str) -> Result<()> {
    let group = group(root, wanted, id)?;
    let remove = |path: &Path| match fs::remove_dir(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(fail("remove", path)(error)),
        _ => Ok(()),
    };
    if wanted.enable_monitoring {
        remove(&group.join("mon_groups").join(id))?;
    }
    if wanted.clos_id.is_none() { remove(&group) } else { Ok(()) }
}

fn write(path: &Path, line: &str) -> Result<()> {
    let file = fs::OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{line}")).map_err(fail("write", path))
}

fn fail(stage: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::Step {
        stage: stage.to_owned(),
        path: Some(path),
        errno: error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory stands for resctrl, whose files are there as soon as a group is.
    fn root(groups: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, schemata) in groups {
            let group = root.path().join(name);
            fs::create_dir_all(group.join("mon_groups")).unwrap();
            fs::write(group.join("schemata"), schemata).unwrap();
            fs::write(group.join("tasks"), "").unwrap();
        }
        root
    }

    fn rdt(json: &str) -> IntelRdt {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_group_that_is_there_is_joined_if_it_is_what_is_wanted() {
        let root = root(&[("gold", "    L3:0=ff;1=ff\n    MB:0=100\n")]);
        let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
        join_at(root.path(), &rdt(r#"{"closID": "gold"}"#), "x", 7).unwrap();
        join_at(root.path(), &rdt(r#"{"closID": "gold", "l3CacheSchema": "L3:0=ff;1=ff"}"#), "x", 8).unwrap();
        assert_eq!(read("gold/tasks"), "7\n8\n");
        let other = rdt(r#"{"closID": "gold", "memBwSchema": "MB:0=50"}"#);
        assert!(join_at(root.path(), &other, "x", 9).is_err());
        assert!(join_at(root.path(), &rdt(r#"{"closID": "silver"}"#), "x", 9).is_err());
        for bad in ["", "..", "a/b"] {
            assert!(
                group(root.path(), &IntelRdt { clos_id: Some(bad.to_owned()), ..rdt("{}") }, "x").is_err()
            );
        }
        assert_eq!(group(root.path(), &rdt(r#"{"closID": "/"}"#), "x").unwrap(), root.path());
    }

    #[test]
    fn a_group_of_the_containers_own_is_written_and_removed() {
        let root = root(&[("x", "")]);
        let own = rdt(r#"{"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50", "schemata": ["L2:0=1"]}"#);
        join_at(root.path(), &own, "x", 7).unwrap();
        let schemata = fs::read_to_string(root.path().join("x/schemata")).unwrap();
        assert_eq!(schemata, "L3:0=f\nMB:0=50\nL2:0=1\n");
        for file in ["schemata", "tasks"] {
            fs::remove_file(root.path().join("x").join(file)).unwrap();
        }
        fs::remove_dir(root.path().join("x/mon_groups")).unwrap();
        remove_at(root.path(), &own, "x").unwrap();
        assert!(!root.path().join("x").exists());
        remove_at(root.path(), &own, "x").unwrap();
        assert!(lines(&rdt(r#"{"memBwSchema": "L3:0=f"}"#)).is_err());
    }
}
