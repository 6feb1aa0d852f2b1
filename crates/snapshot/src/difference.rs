//! Whether two trees are the same: for a layer, the tree in use and one that was unpacked anew.
//!
//! Invariant: equal means equal names, kinds, owners, modes, links, devices, attributes, sizes and bytes, and equal times of
//! everything but directories and whiteouts, which get the time of their unpacking where the archive names none.
use crate::entry::{Entry, EntryKind};
use crate::error::Error;
use crate::layers::open_dir;
use crate::walk::Visit;
use knarr_linux::path::Dir;
use rustix::fs::Stat;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Deepest directory: each level keeps two descriptors open.
const MAX_DEPTH: usize = 400;
const BUFFER_LEN: usize = 256 << 10;

/// The first difference between a tree and the one that it is to be, in words; none if there is none.
pub fn difference(found: &Path, expected: &Path) -> Result<Option<String>, Error> {
    let (a, b) = (open_dir(found)?, open_dir(expected)?);
    let own = |dir: &Dir, path: &Path| dir.self_metadata().map_err(Error::errno("stat", path));
    let facts = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    if facts(&own(&a, found)?) != facts(&own(&b, expected)?) {
        return Ok(Some("/: owner or mode".to_owned()));
    }
    let mut comparison = Comparison { path: Vec::new(), buffers: [vec![0; BUFFER_LEN], vec![0; BUFFER_LEN]] };
    comparison.directories(&a, &b, 0)
}

struct Comparison {
    path: Vec<u8>,
    buffers: [Vec<u8>; 2],
}

impl Comparison {
    fn shown(&self, what: &str) -> Option<String> {
        Some(format!("/{}: {what}", crate::apply::text(&self.path)))
    }

    fn names(&self, dir: &Dir) -> Result<Vec<OsString>, Error> {
        let name = crate::apply::text(&self.path);
        let entries = dir.entries();
        let entries = entries.map_err(|errno| Error::Apply { name, action: "read directory", errno })?;
        let mut names: Vec<OsString> = entries.into_iter().map(|(name, _)| name).collect();
        names.sort();
        Ok(names)
    }

    fn directories(&mut self, a: &Dir, b: &Dir, depth: usize) -> Result<Option<String>, Error> {
        if depth > MAX_DEPTH {
            return Err(crate::apply::problem(&self.path, "directories are nested too deep"));
        }
        let (found, expected) = (self.names(a)?, self.names(b)?);
        let len = self.path.len();
        let enter = |this: &mut Self, name: &OsString| {
            this.path.truncate(len);
            if len > 0 {
                this.path.push(b'/');
            }
            this.path.extend_from_slice(name.as_bytes());
        };
        for name in &expected {
            enter(self, name);
            if found.binary_search(name).is_err() {
                return Ok(self.shown("missing"));
            }
            if let Some(difference) = self.entries(a, b, name, depth)? {
                return Ok(Some(difference));
            }
        }
        if let Some(name) = found.iter().find(|name| expected.binary_search(name).is_err()) {
            enter(self, name);
            return Ok(self.shown("does not belong there"));
        }
        self.path.truncate(len);
        Ok(None)
    }

    fn entries(&mut self, a: &Dir, b: &Dir, name: &OsString, depth: usize) -> Result<Option<String>, Error> {
        let text = crate::apply::text(&self.path);
        let stat = |dir: &Dir| {
            let shown = text.clone();
            dir.metadata(name).map_err(|errno| Error::Apply { name: shown, action: "stat", errno })
        };
        let (stat_a, stat_b) = (stat(a)?, stat(b)?);
        let path = self.path.clone();
        let left = Visit { dir: a, name: name.as_bytes(), path: &path, stat: &stat_a };
        let right = Visit { dir: b, name: name.as_bytes(), path: &path, stat: &stat_b };
        let what = match (left.entry()?, right.entry()?) {
            (Some(found), Some(expected)) => differing(&left, &right, &found, &expected)?,
            (None, None) => None,
            _ => Some("kind"),
        };
        if let Some(what) = what {
            return Ok(self.shown(what));
        }
        match left.kind() {
            rustix::fs::FileType::Directory => {
                let open = |visit: &Visit<'_>| visit.dir.open_dir(name).map_err(visit.fail("open"));
                self.directories(&open(&left)?, &open(&right)?, depth + 1)
            }
            rustix::fs::FileType::RegularFile if !self.same_bytes(&left, &right)? => {
                Ok(self.shown("content"))
            }
            _ => Ok(None),
        }
    }

    fn same_bytes(&mut self, left: &Visit<'_>, right: &Visit<'_>) -> Result<bool, Error> {
        let (mut a, mut b) = (left.open()?, right.open()?);
        let [one, other] = &mut self.buffers;
        let io = |e: std::io::Error| {
            left.fail("read")(knarr_linux::Errno::from_io_error(&e).unwrap_or(knarr_linux::Errno::IO))
        };
        loop {
            let len = a.read(one).map_err(io)?;
            if len == 0 {
                return Ok(b.read(other).map_err(io)? == 0);
            }
            match b.read_exact(&mut other[..len]) {
                Ok(()) if one[..len] == other[..len] => {}
                Ok(()) => return Ok(false),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(e) => return Err(io(e)),
            }
        }
    }
}

fn differing(
    left: &Visit<'_>,
    right: &Visit<'_>,
    found: &Entry,
    expected: &Entry,
) -> Result<Option<&'static str>, Error> {
    let timeless = expected.kind == EntryKind::Directory || right.is_whiteout();
    let nanos = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    Ok(match () {
        () if found.kind != expected.kind => Some("kind"),
        () if (found.uid, found.gid) != (expected.uid, expected.gid) => Some("owner"),
        () if found.mode != expected.mode => Some("mode"),
        () if found.link != expected.link => Some("target"),
        () if found.device != expected.device => Some("device"),
        () if found.size != expected.size => Some("size"),
        () if expected.kind != EntryKind::Directory && left.stat.st_nlink != right.stat.st_nlink => {
            Some("links")
        }
        () if !timeless && nanos(left.stat) != nanos(right.stat) => Some("time"),
        () if found.xattrs != expected.xattrs => Some("attributes"),
        () if expected.kind == EntryKind::Directory && left.is_opaque()? != right.is_opaque()? => {
            Some("attributes")
        }
        () => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn tree(dir: &Path) {
        fs::create_dir_all(dir.join("d/e")).unwrap();
        for name in ["one", "d/two", "d/e/three"] {
            fs::write(dir.join(name), name.repeat(1000)).unwrap();
            let file = fs::File::options().write(true).open(dir.join(name)).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
        }
        std::os::unix::fs::symlink("one", dir.join("link")).unwrap();
    }

    #[test]
    fn the_first_difference_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let fresh = || {
            for tree_at in [&a, &b] {
                let _ = fs::remove_dir_all(tree_at);
                tree(tree_at);
                // The time of a link is the one of its making, unless it is set.
                let times = [rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 }; 2];
                let times = rustix::fs::Timestamps { last_access: times[0], last_modification: times[1] };
                rustix::fs::utimensat(
                    rustix::fs::CWD,
                    tree_at.join("link"),
                    &times,
                    rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
                )
                .unwrap();
            }
        };
        fresh();
        assert_eq!(difference(&a, &b).unwrap(), None);
        type Damage = (&'static str, fn(&Path));
        let damages: [Damage; 5] = [
            ("/d/e/three: missing", |a| fs::remove_file(a.join("d/e/three")).unwrap()),
            ("/d/more: does not belong there", |a| fs::write(a.join("d/more"), "").unwrap()),
            ("/one: mode", |a| {
                fs::set_permissions(a.join("one"), fs::Permissions::from_mode(0o4755)).unwrap()
            }),
            ("/d/two: size", |a| fs::write(a.join("d/two"), "").unwrap()),
            ("/d/two: content", |a| {
                let time = fs::metadata(a.join("d/two")).unwrap().modified().unwrap();
                let mut bytes = fs::read(a.join("d/two")).unwrap();
                bytes[700] ^= 1;
                fs::write(a.join("d/two"), bytes).unwrap();
                let file = fs::File::options().write(true).open(a.join("d/two")).unwrap();
                file.set_times(fs::FileTimes::new().set_modified(time)).unwrap();
            }),
        ];
        for (expected, damage) in damages {
            fresh();
            damage(&a);
            assert_eq!(difference(&a, &b).unwrap().as_deref(), Some(expected));
        }
    }
}
