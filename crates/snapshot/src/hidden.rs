//! What a layer hides of the layers below it, as a list beside its tree: for file systems that cannot keep overlayfs's marks.
//!
//! Format of the file: for each path a letter (`w` whiteout, `o` opaque directory), the path, a zero byte. Invariant: a path
//! that is hidden is nothing in the layer itself, and an opaque one is a directory in it.
use crate::error::Error;
use crate::tree::Path;
use std::collections::BTreeSet;
use std::fs;
use std::io;

/// Name of the file, beside the layer's tree.
pub(crate) const FILE: &str = "hidden";
/// Longest list that is read: entries of layers are bounded, and so are names.
const MAX_LEN: u64 = 256 << 20;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    whiteouts: BTreeSet<Path>,
    opaque: BTreeSet<Path>,
}

impl Hidden {
    pub fn is_empty(&self) -> bool {
        self.whiteouts.is_empty() && self.opaque.is_empty()
    }
    pub(crate) fn hide(&mut self, path: Path) {
        self.whiteouts.insert(path);
    }
    pub(crate) fn make_opaque(&mut self, path: Path) {
        self.opaque.insert(path);
    }
    /// A directory of the layer comes where it hid something: then the directory hides what lies below it.
    pub(crate) fn directory_made(&mut self, path: &Path) {
        if self.whiteouts.remove(path) {
            self.opaque.insert(path.clone());
        }
    }
    /// Something that is no directory comes there, or what was there goes.
    pub(crate) fn replaced(&mut self, path: &Path) {
        if self.is_empty() {
            return;
        }
        for set in [&mut self.whiteouts, &mut self.opaque] {
            let below = set.range(path.clone()..).take_while(|p| p.is_within(path)).cloned();
            for path in below.collect::<Vec<_>>() {
                set.remove(&path);
            }
        }
    }
    pub(crate) fn is_opaque(&self, directory: &Path) -> bool {
        self.opaque.contains(directory)
    }
    /// Names that are hidden in a directory.
    pub(crate) fn names<'a>(&'a self, directory: &'a Path) -> impl Iterator<Item = &'a [u8]> {
        let below = self.whiteouts.range(directory.clone()..).take_while(|p| p.is_within(directory));
        below.filter_map(|path| path.name_in(directory))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (letter, set) in [(b'w', &self.whiteouts), (b'o', &self.opaque)] {
            for path in set {
                bytes.push(letter);
                bytes.extend(path.joined());
                bytes.push(0);
            }
        }
        bytes
    }

    /// Of the layer in this directory; none where the tree has overlayfs's marks itself.
    pub(crate) fn read(layer: &std::path::Path) -> Result<Option<Self>, Error> {
        let path = layer.join(FILE);
        let len = match fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("look at", path)(e)),
        };
        if len > MAX_LEN {
            return Err(Error::Limit { what: "bytes of whiteouts", limit: MAX_LEN });
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let damaged = || Error::io("parse", &path)(io::ErrorKind::InvalidData.into());
        let mut hidden = Self::default();
        for record in bytes.split(|b| *b == 0).filter(|record| !record.is_empty()) {
            let name = Path::parse(&record[1..]).map_err(|_| damaged())?;
            match record[0] {
                b'w' => hidden.hide(name),
                b'o' => hidden.make_opaque(name),
                _ => return Err(damaged()),
            }
        }
        Ok(Some(hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_file_says_what_was_hidden() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Hidden::read(dir.path()).unwrap(), None);
        let mut hidden = Hidden::default();
        hidden.hide(path("a/b"));
        hidden.hide(path("a/c/d"));
        hidden.hide(path("ab"));
        hidden.make_opaque(path(""));
        hidden.make_opaque(path("x"));
        fs::write(dir.path().join(FILE), hidden.encode()).unwrap();
        assert_eq!(Hidden::read(dir.path()).unwrap().as_ref(), Some(&hidden));
        assert_eq!(hidden.names(&path("a")).collect::<Vec<_>>(), [b"b"]);
        assert_eq!(hidden.names(&path("")).collect::<Vec<_>>(), [b"ab"]);
        assert!(hidden.is_opaque(&path("")) && !hidden.is_opaque(&path("a")));
        hidden.directory_made(&path("a/b"));
        assert!(hidden.is_opaque(&path("a/b")));
        hidden.replaced(&path("a"));
        assert!(!hidden.is_opaque(&path("a/b")) && hidden.names(&path("a/c")).next().is_none());
        assert_eq!(hidden.names(&path("")).count(), 1);
    }
}
