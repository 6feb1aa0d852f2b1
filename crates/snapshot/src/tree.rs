//! Names in archives, and the directory that unpacking is in: a chain of descriptors from the root down.
//!
//! Invariant: each descriptor of the chain was opened by one component relative to the one before it, with
//! `O_NOFOLLOW|O_DIRECTORY`, so no symbolic link is followed and nothing above the root is reached.
use crate::apply::{problem, text};
use crate::error::Error;
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Longest name in an archive, as the kernel's PATH_MAX.
pub const MAX_PATH_LEN: usize = 4096;
/// Deepest directory: each level keeps a descriptor open.
pub const MAX_DEPTH: usize = 200;

pub(crate) fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// A checked name: components without empty ones, `.` and `..`. Ordered so that a tree's members follow it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Path(Vec<Vec<u8>>);

impl Path {
    pub(crate) fn parse(name: &[u8]) -> Result<Self, &'static str> {
        if name.len() > MAX_PATH_LEN {
            return Err("name is too long");
        }
        if name.contains(&0) {
            return Err("name contains a zero byte");
        }
        let mut components = Vec::new();
        for component in name.split(|b| *b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err("name contains \"..\""),
                _ => components.push(component.to_vec()),
            }
        }
        if components.len() > MAX_DEPTH {
            return Err("directories are nested too deep");
        }
        Ok(Self(components))
    }
    /// Parent and last component; none for the root.
    pub(crate) fn split(&self) -> Option<(Self, &[u8])> {
        let (name, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), name))
    }
    /// Bytes that it takes in memory, about.
    pub(crate) fn memory(&self) -> u64 {
        const COMPONENT_LEN: usize = 40;
        self.0.iter().map(|name| (COMPONENT_LEN + name.len()) as u64).sum()
    }
    pub(crate) fn is_within(&self, tree: &Self) -> bool {
        self.0.starts_with(&tree.0)
    }
    /// The component that follows `directory` if nothing follows it.
    pub(crate) fn name_in(&self, directory: &Self) -> Option<&[u8]> {
        let (name, parent) = self.0.split_last()?;
        (parent == directory.0).then_some(name.as_slice())
    }
    pub(crate) fn child(&self, name: &[u8]) -> Self {
        let mut components = self.0.clone();
        components.push(name.to_vec());
        Self(components)
    }
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.0.join(&b'/')
    }
    pub(crate) fn display(&self) -> String {
        text(&self.joined())
    }
}

/// Why a directory on the way could not be entered.
pub(crate) struct EnterError {
    pub(crate) errno: Errno,
}

impl EnterError {
    pub(crate) fn into_error(self, entry: &[u8]) -> Error {
        match self.errno {
            Errno::LOOP => problem(entry, "name goes through a symbolic link"),
            Errno::NOTDIR => problem(entry, "name goes through something that is not a directory"),
            errno => Error::Apply { name: text(entry), action: "open directory of", errno },
        }
    }
}

/// The directory that unpacking is in.
pub(crate) struct Tree {
    root: Dir,
    names: Vec<Vec<u8>>,
    chain: Vec<Dir>,
}

impl Tree {
    pub(crate) fn new(root: Dir) -> Self {
        Self { root, names: Vec::new(), chain: Vec::new() }
    }

    pub(crate) fn current(&self) -> &Dir {
        self.chain.last().unwrap_or(&self.root)
    }

    /// Goes to `path` and makes what is missing. Returns what it made.
    pub(crate) fn enter(&mut self, path: &Path) -> Result<Vec<Path>, EnterError> {
        self.go(path, true)
    }

    /// A directory that must exist.
    pub(crate) fn open(&mut self, path: &Path) -> Result<Dir, EnterError> {
        self.go(path, false)?;
        self.current().try_clone().map_err(|errno| EnterError { errno })
    }

    fn go(&mut self, path: &Path, make: bool) -> Result<Vec<Path>, EnterError> {
        let common = self.names.iter().zip(&path.0).take_while(|(a, b)| a == b).count();
        // A directory of the chain may have been replaced by something else meanwhile; that goes only through here,
        // when unpacking is in its parent, so everything below the parent was left already.
        self.names.truncate(common);
        self.chain.truncate(common);
        let mut made = Vec::new();
        for depth in common..path.0.len() {
            let name = &path.0[depth];
            let opened = match self.current().open_dir(os(name)) {
                Err(Errno::NOENT) if make => {
                    let made_now = self.current().mkdir(os(name), 0o700);
                    made_now.map_err(|errno| EnterError { errno })?;
                    made.push(Path(path.0[..=depth].to_vec()));
                    self.current().open_dir(os(name))
                }
                // open(2) says ENOTDIR for a symbolic link when both O_NOFOLLOW and O_DIRECTORY are given
                Err(Errno::NOTDIR) if self.is_symlink(name) => Err(Errno::LOOP),
                other => other,
            };
            let dir = opened.map_err(|errno| EnterError { errno })?;
            self.chain.push(dir);
            self.names.push(name.clone());
        }
        Ok(made)
    }

    fn is_symlink(&self, name: &[u8]) -> bool {
        let kind = self.current().metadata(os(name)).map(|s| rustix::fs::FileType::from_raw_mode(s.st_mode));
        kind == Ok(rustix::fs::FileType::Symlink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        let path = Path::parse(b"/./a//b/").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.display().as_str(), name), ("a", &b"b"[..]));
        assert!(Path::parse(b"./").unwrap().split().is_none());
        for bad in [&b"a/../b"[..], b"..", b"a\0b", &[b'a'; MAX_PATH_LEN + 1], &b"a/".repeat(MAX_DEPTH + 1)] {
            assert!(Path::parse(bad).is_err());
        }
        assert!(path.is_within(&parent) && !parent.is_within(&path));
        assert!(!Path::parse(b"ab").unwrap().is_within(&parent));
    }

    proptest! {
        #[test]
        fn no_component_is_special(name in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(Path(components)) = Path::parse(&name) {
                for c in components {
                    prop_assert!(!matches!(c.as_slice(), b"" | b"." | b"..") && !c.contains(&b'/') && !c.contains(&0));
                }
            }
        }
    }
}
