//! The bundle of a foreign runtime: the container's configuration with what only descriptors say put into words.
//!
//! Standard: <https://github.com/opencontainers/runtime-spec/blob/main/bundle.md>. The root file system and mounts of other
//! containers get places below the bundle's directory, where [`Mounts`] puts them; the network namespace is named by the
//! supervisor's descriptor.
use super::mounts::Mounts;
use super::path_of;
use crate::error::{Error, Result};
use knarr_linux::Errno;
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Mount, Namespace, NamespaceType, Root, Spec};
use std::ffi::CString;
use std::fs::{DirBuilder, File};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Every runtime takes this version; what a later one added and a runtime does not know it passes over.
const VERSION: &str = "1.0.2";

/// Writes `config.json`; what has to be mounted before the runtime runs is returned.
pub fn write(
    dir: &Path,
    spec: &Spec,
    rootfs: Option<&RootfsMount>,
    netns: Option<BorrowedFd<'_>>,
) -> Result<Mounts> {
    let mut spec = spec.clone();
    VERSION.clone_into(&mut spec.oci_version);
    if let Some(netns) = netns {
        set_network(&mut spec, path_of(netns).into());
    }
    let mut mounts = Mounts { label: label(&spec)?, ..Mounts::default() };
    set_root(&mut spec, dir, rootfs, &mut mounts)?;
    for (number, mount) in spec.mounts.iter_mut().enumerate() {
        let elsewhere = match of_other_process(mount) {
            Some((pid, path)) => Some(other_tree(pid, &path, mount)?),
            None => of_descriptor(mount)?,
        };
        if let Some(tree) = elsewhere {
            let target = dir.join(format!("mount-{number}"));
            place(&tree, &target)?;
            mount.source = Some(target.to_string_lossy().into_owned());
            mounts.trees.push((tree, target));
        }
    }
    let path = dir.join("config.json");
    let json = serde_json::to_vec(&spec).map_err(|source| Error::Json { path: path.clone(), source })?;
    std::fs::write(&path, json).map_err(Error::file("write", &path))?;
    Ok(mounts)
}

/// A label means nothing to a kernel without the security module, which would refuse the option.
fn label(spec: &Spec) -> Result<Option<CString>> {
    let label = spec.linux.as_ref().and_then(|linux| linux.mount_label.as_deref());
    let label = label.filter(|label| !label.is_empty() && knarr_runtime::has_selinux());
    let label = label.map(|label| {
        CString::new(label).map_err(|_| Error::file("label", label)(std::io::ErrorKind::InvalidInput.into()))
    });
    label.transpose()
}

fn set_network(spec: &mut Spec, path: PathBuf) {
    let namespaces = &mut spec.linux.get_or_insert_default().namespaces;
    namespaces.retain(|namespace| namespace.kind != NamespaceType::Network);
    namespaces.push(Namespace::joined(NamespaceType::Network, path));
}

fn set_root(spec: &mut Spec, dir: &Path, rootfs: Option<&RootfsMount>, mounts: &mut Mounts) -> Result<()> {
    let readonly = spec.root.as_ref().is_some_and(|root| root.readonly);
    match rootfs {
        None => {}
        Some(RootfsMount::Directory { path } | RootfsMount::Copy { path, .. }) => {
            spec.root = Some(Root { path: path.clone(), readonly });
        }
        Some(overlay @ RootfsMount::Overlay { .. }) => {
            let path = dir.join("rootfs");
            make_directory(&path)?;
            mounts.root = Some((overlay.clone(), path.clone()));
            spec.root = Some(Root { path, readonly });
        }
    }
    Ok(())
}

/// `/proc/<pid>/root/<path>` as a bind's source: mount(2) binds nothing across mount namespaces.
fn of_other_process(mount: &Mount) -> Option<(i32, String)> {
    let rest = mount.source.as_deref()?.strip_prefix("/proc/")?;
    let (pid, path) = rest.split_once("/root/")?;
    let pid = is_number(pid).then(|| pid.parse().ok()).flatten()?;
    Some((pid, format!("/{path}")))
}

/// `/proc/<pid>/fd/<n>` as a bind's source: a descriptor of the engine, in the mount namespace that the runtime leaves.
fn of_descriptor(mount: &Mount) -> Result<Option<OwnedFd>> {
    let source = mount.source.as_deref().unwrap_or_default();
    if !is_descriptor(source) {
        return Ok(None);
    }
    let path = CString::new(source)
        .map_err(|_| Error::file("name", source)(std::io::ErrorKind::InvalidInput.into()))?;
    let tree = match knarr_linux::mount::clone_path(&path, is_recursive(mount)) {
        // A detached mount was made for this container; kernels before 6.15 copy none.
        Err(Errno::INVAL) => rustix::fs::open(
            path.as_c_str(),
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        ),
        tree => tree,
    };
    tree.map(Some).map_err(|errno| Error::file("bind", source)(errno.into()))
}

fn is_descriptor(source: &str) -> bool {
    let parts = source.strip_prefix("/proc/").and_then(|rest| rest.split_once("/fd/"));
    parts.is_some_and(|(pid, number)| is_number(pid) && is_number(number))
}

/// As procfs writes one: digits and nothing else.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_recursive(mount: &Mount) -> bool {
    mount.options.iter().any(|option| option == "rbind")
}

fn other_tree(pid: i32, path: &str, mount: &Mount) -> Result<OwnedFd> {
    let path =
        CString::new(path).map_err(|_| Error::file("name", path)(std::io::ErrorKind::InvalidInput.into()))?;
    Ok(knarr_runtime::mount_of_process(pid, &path, is_recursive(mount))?)
}

/// A directory or an empty file, as the tree's root is.
fn place(tree: &OwnedFd, target: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(tree).map_err(Error::system("look at a mount"))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        make_directory(target)
    } else {
        File::create(target).map(drop).map_err(Error::file("make", target))
    }
}

fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(Error::file("make", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_become_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = Spec { root: Some(Root { path: "r".into(), readonly: true }), ..Spec::default() };
        spec.linux.get_or_insert_default().namespaces =
            vec![Namespace::new(NamespaceType::Network), Namespace::new(NamespaceType::Pid)];
        let null = File::open("/dev/null").unwrap();
        let rootfs = RootfsMount::Overlay {
            lower: vec!["/l".into()],
            upper: "/u".into(),
            work: "/w".into(),
            volatile: false,
        };
        let mounts = write(dir.path(), &spec, Some(&rootfs), Some(std::os::fd::AsFd::as_fd(&null))).unwrap();
        assert_eq!(mounts.root, Some((rootfs, dir.path().join("rootfs"))));
        let written: Spec =
            serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
        assert_eq!(written.root, Some(Root { path: dir.path().join("rootfs"), readonly: true }));
        let network = written.linux.as_ref().unwrap().namespace(NamespaceType::Network).unwrap().path.clone();
        assert_eq!(network.unwrap(), Path::new(&path_of(&null)));
        assert_eq!(written.linux.unwrap().namespaces.len(), 2);
    }

    #[test]
    fn sources_in_other_namespaces_are_found() {
        let mount = |source: &str| Mount::new("/dev/shm", "bind", source, &["bind"]);
        assert_eq!(of_other_process(&mount("/proc/17/root/dev/shm")), Some((17, "/dev/shm".to_owned())));
        for source in ["/proc/self/root/x", "/proc/17", "/srv/proc/1/root/x", "proc", "/proc/+17/root/x"] {
            assert_eq!(of_other_process(&mount(source)), None);
        }
    }
    #[test]
    fn descriptors_are_named_by_digits() {
        assert!(is_descriptor("/proc/17/fd/3"));
        for source in
            ["/proc/self/fd/3", "/proc/+17/fd/3", "/proc/17/fd/+3", "/proc/17/fd/", "/proc/17/fd/3/x"]
        {
            assert!(!is_descriptor(source), "{source}");
        }
    }
}
