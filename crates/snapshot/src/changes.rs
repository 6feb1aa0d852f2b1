//! What a container changed: the list of `docker diff`.
//!
//! Invariant: the list is what comparing the whole tree before and after would give: a directory is listed when something
//! in it changed or its own mode or owner did; what was removed or came with its directory is listed by the rules that
//! Docker's clients know (a removed tree by its top alone, an added one entry by entry).
use crate::compare::{CAPABILITY, Found, Moment, compare, is_different};
use crate::error::Error;
use crate::layers::open_dir;
use crate::union::Union;
use crate::view;
use crate::walk::{Visit, walk};
use knarr_linux::Errno;
use knarr_linux::path::{Dir, Resolve, Root};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What happened to a path. The numbers are those of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

impl ChangeKind {
    /// The letter that `docker diff` prints.
    pub fn letter(self) -> char {
        match self {
            Self::Modified => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

/// One change; the path begins with a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub path: Vec<u8>,
    pub kind: ChangeKind,
}

/// Changes that an overlay's `upper` makes to `lower` (top first), sorted by path.
pub(crate) fn of_overlay(lower: &[PathBuf], upper: &Path) -> Result<Vec<Change>, Error> {
    let below = match lower {
        [one] => Root::open_beneath(one).map_err(Error::errno("open", one))?,
        many => Root::from_fd(view::read_only(many)?, Resolve::Beneath),
    };
    let mut list = BTreeMap::new();
    let top = open_dir(upper)?;
    walk(&top, &mut |visit| visit_one(&below, visit, &mut list))?;
    Ok(sorted(list))
}

/// Changes that a directory has against the layers that it was made from.
pub(crate) fn of_copy(union: &Union, top: &Dir, complete: Moment) -> Result<Vec<Change>, Error> {
    let mut list = BTreeMap::new();
    compare(union, top, complete, &mut |found| {
        let (path, kind) = match found {
            Found::Deleted(path) => (path, ChangeKind::Deleted),
            Found::Added(visit) => (visit.path, ChangeKind::Added),
            Found::Modified(visit) => (visit.path, ChangeKind::Modified),
            Found::Touched(_) | Found::Parent(_) => return Ok(()),
        };
        add(&mut list, components(path), kind);
        Ok(())
    })?;
    Ok(sorted(list))
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect()
}

fn sorted(list: List) -> Vec<Change> {
    let all = list.into_iter().map(|(components, kind)| {
        let mut path = Vec::new();
        for component in components {
            path.push(b'/');
            path.extend_from_slice(&component);
        }
        Change { path, kind }
    });
    all.collect()
}

type List = BTreeMap<Vec<Vec<u8>>, ChangeKind>;

fn visit_one(below: &Root, visit: &Visit<'_>, list: &mut List) -> Result<bool, Error> {
    let before = stat_below(below, visit.path).map_err(visit.fail("look up"))?;
    let path = components(visit.path);
    if visit.is_whiteout() {
        if before.is_some() {
            add(list, path, ChangeKind::Deleted);
        }
        return Ok(false);
    }
    match before {
        None => add(list, path, ChangeKind::Added),
        Some(before) => {
            if is_different(&before, visit.stat) || capability_changed(below, visit)? {
                add(list, path.clone(), ChangeKind::Modified);
            }
            let both = is_directory(&before) && visit.kind() == FileType::Directory;
            if both && visit.is_opaque()? {
                deleted_children(below, visit, &path, list)?;
            }
        }
    }
    Ok(true)
}

/// Adds a change, and its parent directories as modified unless they are new.
fn add(list: &mut List, path: Vec<Vec<u8>>, kind: ChangeKind) {
    for depth in 1..path.len() {
        list.entry(path[..depth].to_vec()).or_insert(ChangeKind::Modified);
    }
    list.insert(path, kind);
}

/// What an opaque directory hides and does not have itself.
fn deleted_children(below: &Root, visit: &Visit<'_>, path: &[Vec<u8>], list: &mut List) -> Result<(), Error> {
    let hidden = below.open_dir(OsStr::from_bytes(visit.path)).map_err(visit.fail("open"))?;
    let own: Dir = visit.dir.open_dir(OsStr::from_bytes(visit.name)).map_err(visit.fail("open"))?;
    for (name, _) in hidden.entries().map_err(visit.fail("read directory"))? {
        if matches!(own.metadata(&name), Err(Errno::NOENT)) {
            add(list, [path, &[name.as_bytes().to_vec()]].concat(), ChangeKind::Deleted);
        }
    }
    Ok(())
}

/// What the path is below; none if it is nothing there.
fn stat_below(below: &Root, path: &[u8]) -> Result<Option<Stat>, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    match below.open_with(OsStr::from_bytes(path), flags, rustix::fs::Mode::empty()) {
        Ok(fd) => rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH).map(|stat| {
            let whiteout =
                FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0;
            (!whiteout).then_some(stat)
        }),
        // A link as last component is opened itself; LOOP comes from one further up, where nothing of ours is below.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn capability_changed(below: &Root, visit: &Visit<'_>) -> Result<bool, Error> {
    if visit.kind() != FileType::RegularFile {
        return Ok(false);
    }
    let after = visit.xattr(CAPABILITY)?;
    let (dir, name) = below.parent(OsStr::from_bytes(visit.path)).map_err(visit.fail("look up"))?;
    let before = dir.xattr(&name, CAPABILITY).map_err(visit.fail("read attribute of"))?;
    Ok(before != after)
}
