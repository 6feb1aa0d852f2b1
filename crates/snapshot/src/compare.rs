//! A container's own directory against the layers that it was made from.
//!
//! Nobody writes down what a container does to a plain directory. So names are compared, and facts (mode, owner, device, size,
//! time, capabilities); what was written to and looks the same is told by its change time, which nobody can set: it is not
//! before the moment at which the directory was complete. Invariant: a parent is visited before what is in it.
use crate::error::Error;
use crate::tree::{Path, os};
use crate::union::{Node, Place, Union};
use crate::walk::{MAX_DEPTH, Visit};
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use rustix::fs::{FileType, Stat};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

/// What makes a program more than its mode says.
pub(crate) const CAPABILITY: &str = "security.capability";

/// Seconds and nanoseconds.
pub(crate) type Moment = (i64, i64);

/// One difference.
pub(crate) enum Found<'a> {
    /// A path that is not there any more.
    Deleted(&'a [u8]),
    Added(&'a Visit<'a>),
    Modified(&'a Visit<'a>),
    /// Written to; it looks as it did.
    Touched(&'a Visit<'a>),
    /// A directory that something changed in.
    Parent(&'a Visit<'a>),
}

type Report<'a> = &'a mut dyn FnMut(Found<'_>) -> Result<(), Error>;

/// Tells all differences, sorted by path.
pub(crate) fn compare(union: &Union, top: &Dir, complete: Moment, report: Report<'_>) -> Result<(), Error> {
    let device = top.self_metadata().map_err(Error::errno("stat", "/"))?.st_dev;
    Comparison { union, complete, device, report }.directory(
        top,
        Some(&union.top()?),
        &Path::default(),
        None,
        0,
    )
}

struct Comparison<'a> {
    union: &'a Union,
    complete: Moment,
    device: u64,
    report: Report<'a>,
}

/// A directory on the way that may have to be told when something in it is.
struct Frame<'a> {
    visit: &'a Visit<'a>,
    up: Option<&'a Frame<'a>>,
    told: Cell<bool>,
}

impl Comparison<'_> {
    fn directory(
        &mut self,
        dir: &Dir,
        place: Option<&Place>,
        path: &Path,
        frame: Option<&Frame<'_>>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(crate::apply::problem(&path.joined(), "directories are nested too deep"));
        }
        let mut names: BTreeMap<Vec<u8>, Option<Node>> = match place {
            Some(place) => {
                self.union.children(place)?.into_iter().filter(|(_, node)| node.is_some()).collect()
            }
            None => BTreeMap::new(),
        };
        let shown = || crate::apply::text(&path.joined());
        let entries = dir.entries();
        let entries =
            entries.map_err(|errno| Error::Apply { name: shown(), action: "read directory", errno })?;
        for (name, _) in entries {
            names.entry(name.as_bytes().to_vec()).or_insert(None);
        }
        for (name, before) in names {
            let child = path.child(&name);
            let joined = child.joined();
            let stat = match dir.metadata(os(&name)) {
                Ok(stat) => Some(stat),
                // Gone meanwhile, or not there: the tree may be in use.
                Err(Errno::NOENT) => None,
                Err(errno) => {
                    return Err(Error::Apply { name: crate::apply::text(&joined), action: "stat", errno });
                }
            };
            match (before, stat) {
                (None, None) => {}
                (Some(_), None) => {
                    self.parents(frame)?;
                    (self.report)(Found::Deleted(&joined))?;
                }
                (before, Some(stat)) => {
                    let visit = Visit { dir, name: &name, path: &joined, stat: &stat };
                    self.object(&visit, before, place, &child, frame, depth)?;
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        visit: &Visit<'_>,
        before: Option<Node>,
        place: Option<&Place>,
        path: &Path,
        up: Option<&Frame<'_>>,
        depth: usize,
    ) -> Result<(), Error> {
        let found = match &before {
            None => Some(Found::Added(visit)),
            Some(node) => self.difference(node, visit, path)?,
        };
        let told = found.is_some();
        if let Some(found) = found {
            self.parents(up)?;
            (self.report)(found)?;
        }
        if visit.kind() != FileType::Directory || visit.stat.st_dev != self.device {
            return Ok(());
        }
        let child = match visit.dir.open_dir(os(visit.name)) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(visit.fail("open")(errno)),
        };
        let below = match (&before, place) {
            (Some(node), Some(place)) if node.is_directory() => Some(node.place(place, visit.name)),
            _ => None,
        };
        let frame = Frame { visit, up, told: Cell::new(told) };
        self.directory(&child, below.as_ref(), path, Some(&frame), depth + 1)
    }

    /// Tells the directories above, each once.
    fn parents(&mut self, frame: Option<&Frame<'_>>) -> Result<(), Error> {
        let Some(frame) = frame.filter(|frame| !frame.told.get()) else { return Ok(()) };
        self.parents(frame.up)?;
        frame.told.set(true);
        (self.report)(Found::Parent(frame.visit))
    }

    fn difference<'v>(
        &self,
        before: &Node,
        visit: &'v Visit<'v>,
        path: &Path,
    ) -> Result<Option<Found<'v>>, Error> {
        let is_touched = (visit.stat.st_ctime, visit.stat.st_ctime_nsec as i64) >= self.complete;
        if is_different(&before.stat, visit.stat) {
            return Ok(Some(Found::Modified(visit)));
        }
        // Whatever changes a file changes this time, too.
        if !is_touched {
            return Ok(None);
        }
        if self.capability_differs(before, visit, path)? {
            return Ok(Some(Found::Modified(visit)));
        }
        Ok(Some(Found::Touched(visit)))
    }

    fn capability_differs(&self, before: &Node, visit: &Visit<'_>, path: &Path) -> Result<bool, Error> {
        if visit.kind() != FileType::RegularFile {
            return Ok(false);
        }
        let parent = path.split().map_or_else(Path::default, |(parent, _)| parent);
        let dir = self.union.directory(before.layer, &parent)?;
        let old = Visit { dir: &dir, name: visit.name, path: visit.path, stat: &before.stat };
        Ok(old.xattr(CAPABILITY)? != visit.xattr(CAPABILITY)?)
    }
}

/// Size and time of directories do not count.
pub(crate) fn is_different(before: &Stat, after: &Stat) -> bool {
    let is_directory = |s: &Stat| FileType::from_raw_mode(s.st_mode) == FileType::Directory;
    let facts = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    let content = |s: &Stat| (s.st_mtime, s.st_mtime_nsec, s.st_size);
    facts(before) != facts(after) || !is_directory(before) && content(before) != content(after)
}
