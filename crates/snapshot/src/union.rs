//! Layers read as one tree, without any mount: what the kernel's overlay would show of them.
//!
//! Standard: <https://docs.kernel.org/filesystems/overlayfs.html>, "Upper and Lower", "whiteouts and opaque directories".
//! Invariants: layers do not change; no symbolic link is followed; directories are opened by their path in a layer when they
//! are read and closed again, so that the number of descriptors does not grow with depth times layers.
use crate::error::Error;
use crate::hidden::Hidden;
use crate::tree::{Path, os};
use crate::walk::is_whiteout;
use knarr_linux::Errno;
use knarr_linux::path::{Dir, Root};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

struct Layer {
    path: PathBuf,
    root: Root,
    /// None: the tree has overlayfs's marks.
    hidden: Option<Hidden>,
}

/// Layers, top first.
pub(crate) struct Union {
    layers: Vec<Layer>,
}

/// A directory of the union.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) path: Path,
    /// Numbers of the layers that it is made of, top first.
    layers: Vec<usize>,
}

/// What a name is in a directory of the union.
pub(crate) struct Node {
    /// Number of the layer that it is seen in.
    pub(crate) layer: usize,
    pub(crate) stat: Stat,
    /// Of a directory: all that have it.
    layers: Vec<usize>,
    /// Nothing of that name below these layers is seen through it.
    pub(crate) closed: bool,
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }
    /// The directory that this is, in `parent`.
    pub(crate) fn place(&self, parent: &Place, name: &[u8]) -> Place {
        Place { path: parent.path.child(name), layers: self.layers.clone() }
    }
}

impl Union {
    /// `fs` directories of layers, top first.
    pub(crate) fn open(layers: &[PathBuf]) -> Result<Self, Error> {
        let open = |path: &PathBuf| {
            let root = Root::open_beneath(path).map_err(Error::errno("open layer", path))?;
            let hidden = path.parent().map(Hidden::read).transpose()?.flatten();
            Ok(Layer { path: path.clone(), root, hidden })
        };
        Ok(Self { layers: layers.iter().map(open).collect::<Result<_, Error>>()? })
    }

    /// The root directory.
    pub(crate) fn top(&self) -> Result<Place, Error> {
        let mut layers = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            layers.push(number);
            let is_opaque = match &layer.hidden {
                Some(hidden) => hidden.is_opaque(&Path::default()),
                None => {
                    let top = self.directory(number, &Path::default())?;
                    let mut value = [0; 2];
                    rustix::fs::fgetxattr(&top, crate::apply::OPAQUE_XATTR, &mut value[..]) == Ok(1)
                        && value[0] == b'y'
                }
            };
            if is_opaque {
                break;
            }
        }
        Ok(Place { path: Path::default(), layers })
    }

    /// The names in a directory, sorted. Names that are hidden there are `None`.
    pub(crate) fn children(&self, place: &Place) -> Result<BTreeMap<Vec<u8>, Option<Node>>, Error> {
        let mut found: BTreeMap<Vec<u8>, Option<Node>> = BTreeMap::new();
        for &number in &place.layers {
            let hidden = self.layers[number].hidden.as_ref();
            let dir = self.directory(number, &place.path)?;
            let entries = dir.entries().map_err(self.fail(number, &place.path, "read"))?;
            for (name, _) in entries {
                let entry = found.entry(name.as_bytes().to_vec());
                if matches!(&entry, Entry::Occupied(known) if known.get().as_ref().is_none_or(|node| node.closed))
                {
                    continue;
                }
                let fail = |errno| self.fail(number, &place.path.child(name.as_bytes()), "look at")(errno);
                let stat = dir.metadata(&name).map_err(fail)?;
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let closed = !is_directory
                    || match hidden {
                        Some(hidden) => hidden.is_opaque(&place.path.child(name.as_bytes())),
                        None => {
                            let value = dir.xattr(&name, crate::apply::OPAQUE_XATTR).map_err(fail)?;
                            value.as_deref() == Some(b"y")
                        }
                    };
                match entry {
                    Entry::Occupied(mut known) => {
                        if let Some(node) = known.get_mut() {
                            node.closed = closed;
                            if is_directory {
                                node.layers.push(number);
                            }
                        }
                    }
                    Entry::Vacant(free) => {
                        let is_mark = hidden.is_none() && is_whiteout(&stat);
                        let layers = if is_directory { vec![number] } else { Vec::new() };
                        free.insert((!is_mark).then_some(Node { layer: number, stat, layers, closed }));
                    }
                }
            }
            for name in hidden.into_iter().flat_map(|hidden| hidden.names(&place.path)) {
                if let Some(node) = found.entry(name.to_vec()).or_insert(None) {
                    node.closed = true;
                }
            }
        }
        Ok(found)
    }

    /// A directory of one layer.
    pub(crate) fn directory(&self, layer: usize, path: &Path) -> Result<Dir, Error> {
        let joined = path.joined();
        let name = if joined.is_empty() { b".".as_slice() } else { &joined };
        self.layers[layer].root.open_dir(os(name)).map_err(self.fail(layer, path, "open"))
    }

    /// A regular file of one layer, for reading.
    pub(crate) fn file(&self, layer: usize, path: &Path) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = self.layers[layer].root.open_with(os(&path.joined()), flags, Mode::empty());
        opened.map(File::from).map_err(self.fail(layer, path, "open"))
    }

    pub(crate) fn fail(
        &self,
        layer: usize,
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(Errno) -> Error {
        let path = self.layers[layer].path.join(std::path::Path::new(os(&path.joined())));
        Error::errno(action, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view;
    use std::os::fd::AsRawFd;

    /// Everything below a place, as paths with their layer.
    fn all(union: &Union, place: &Place, list: &mut Vec<(String, usize)>) {
        for (name, node) in union.children(place).unwrap() {
            let Some(node) = node else { continue };
            let child = node.place(place, &name);
            list.push((child.path.display(), node.layer));
            if node.is_directory() {
                all(union, &child, list);
            }
        }
    }

    /// The same with the kernel's overlay.
    fn kernel(dir: &std::path::Path, top: &std::path::Path, list: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            list.push(path.strip_prefix(top).unwrap().to_string_lossy().into_owned());
            if path.symlink_metadata().unwrap().is_dir() {
                kernel(&path, top, list);
            }
        }
    }

    #[test]
    fn it_is_what_the_kernel_shows() {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<PathBuf> = ["c", "b", "a"].iter().map(|n| dir.path().join(n).join("fs")).collect();
        let [c, b, a] = [&layers[0], &layers[1], &layers[2]];
        for layer in &layers {
            std::fs::create_dir_all(layer.join("both/deep")).unwrap();
        }
        let whiteout = |path: PathBuf| {
            rustix::fs::mknodat(rustix::fs::CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        };
        std::fs::write(a.join("gone"), "a").unwrap();
        std::fs::write(a.join("both/deep/a"), "a").unwrap();
        std::fs::write(a.join("both/deep/same"), "a").unwrap();
        std::fs::write(b.join("both/deep/same"), "b").unwrap();
        std::fs::create_dir(a.join("file over directory")).unwrap();
        std::fs::write(a.join("file over directory/x"), "a").unwrap();
        std::fs::write(b.join("file over directory"), "b").unwrap();
        std::fs::create_dir(c.join("file over directory")).unwrap();
        std::fs::create_dir(a.join("opaque")).unwrap();
        std::fs::write(a.join("opaque/x"), "a").unwrap();
        std::fs::create_dir(b.join("opaque")).unwrap();
        std::fs::write(b.join("opaque/y"), "b").unwrap();
        rustix::fs::lsetxattr(
            b.join("opaque"),
            crate::apply::OPAQUE_XATTR,
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        std::fs::create_dir(c.join("opaque")).unwrap();
        whiteout(b.join("gone"));
        std::fs::write(a.join("gone and back"), "a").unwrap();
        whiteout(b.join("gone and back"));
        std::fs::write(c.join("gone and back"), "c").unwrap();
        whiteout(c.join("both/deep/a"));

        let union = Union::open(&layers).unwrap();
        let mut ours = Vec::new();
        all(&union, &union.top().unwrap(), &mut ours);
        let mut theirs = Vec::new();
        let mounted = view::read_only(&layers).unwrap();
        let top = PathBuf::from(format!("/proc/self/fd/{}/", mounted.as_raw_fd()));
        kernel(&top, &top, &mut theirs);
        let mut names: Vec<String> = ours.iter().map(|(path, _)| path.clone()).collect();
        names.sort();
        theirs.sort();
        assert_eq!(names, theirs);
        assert!(ours.contains(&("both/deep/same".to_owned(), 1)));
        assert!(ours.contains(&("gone and back".to_owned(), 0)));
    }
}
