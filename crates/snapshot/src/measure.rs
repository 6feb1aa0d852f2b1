//! What a tree takes on the disk, and whether anything touched it: both from the facts of its inodes, without reading a file.
//!
//! Invariant: two equal seals of one directory mean that no file of it was written, replaced, renamed, linked, or changed in
//! owner, mode or attributes in between: the kernel sets an inode's change time at each of these, and nobody can set it back.
//! What a disk does to blocks behind the kernel's back only reading them shows.
use crate::error::Error;
use crate::layers::open_dir;
use crate::tree::os;
use crate::walk::MAX_DEPTH;
use knarr_linux::Errno;
use knarr_linux::path::Dir;
use knarr_oci::digest::{Digest, Hasher, sha256_of};
use rustix::fs::{FileType, Stat};
use std::collections::HashSet;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// For names of a directory.
const BUFFER: usize = 32 << 10;

/// Facts about a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measure {
    /// Bytes of all blocks, directories included, each file once: what `du` counts.
    pub disk: u64,
    /// Everything below the top.
    pub entries: u64,
    /// Over the facts of all inodes.
    pub seal: Digest,
}

/// Measures a tree, the directory itself included. Another file system mounted in it is not entered.
pub fn measure(path: &Path) -> Result<Measure, Error> {
    let mut measured = measure_all(&[path], 1);
    measured.pop().unwrap_or_else(|| unreachable!("one path, one result"))
}

/// Measures trees on so many threads, the caller's among them; in the order of the paths.
///
/// It is done for each layer of an image that is pulled again, so no path is made and nothing is sorted: the seal is a sum
/// over the inodes of a hash of each, its name and its directory. Trees differ much in size, so what is shared out is
/// directories: a thread that has nothing to do gets the next one that another comes to.
pub fn measure_all(paths: &[&Path], threads: usize) -> Vec<Result<Measure, Error>> {
    let trees: Vec<Tree> = paths.iter().map(|_| Tree::default()).collect();
    let work =
        Work { trees: &trees, queue: Mutex::default(), changed: Condvar::new(), idle: AtomicUsize::new(0) };
    for (number, path) in paths.iter().enumerate() {
        match top_of(path) {
            Ok((dir, stat)) => {
                let mut found = Found { disk: blocks(&stat), ..Found::default() };
                found.add(0, b"", &stat);
                trees[number].found.lock().unwrap_or_else(PoisonError::into_inner).merge(&found);
                let job = Job { tree: number, dir, device: stat.st_dev, inode: stat.st_ino, depth: 0 };
                work.locked().waiting.push(job);
            }
            Err(error) => trees[number].fail(error),
        }
    }
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            // Without it the others do all.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || work.run());
        }
        work.run();
    });
    trees.into_iter().map(Tree::measure).collect()
}

fn top_of(path: &Path) -> Result<(Dir, Stat), Error> {
    let dir = open_dir(path)?;
    let stat = dir.self_metadata().map_err(Error::errno("stat", path))?;
    Ok((dir, stat))
}

/// What is known of one tree.
#[derive(Default)]
struct Tree {
    found: Mutex<Found>,
    /// Files with several names.
    seen: Mutex<HashSet<u64>>,
    failed: Mutex<Option<Error>>,
}

impl Tree {
    fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    fn measure(self) -> Result<Measure, Error> {
        if let Some(error) = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let found = self.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut hasher = Hasher::sha256();
        hasher.update(&found.entries.to_le_bytes());
        found.sum.iter().for_each(|part| hasher.update(&part.to_le_bytes()));
        // The top is no entry below itself.
        Ok(Measure { disk: found.disk, entries: found.entries - 1, seal: hasher.finish() })
    }
}

/// What a thread found of a tree: sums, so that nobody's order counts.
#[derive(Default)]
struct Found {
    disk: u64,
    entries: u64,
    sum: [u64; 4],
}

impl Found {
    fn merge(&mut self, other: &Self) {
        self.disk = self.disk.saturating_add(other.disk);
        self.entries += other.entries;
        self.sum.iter_mut().zip(other.sum).for_each(|(sum, part)| *sum = sum.wrapping_add(part));
    }

    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "bits for a hash")]
    fn add(&mut self, parent: u64, name: &[u8], stat: &Stat) {
        self.entries += 1;
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        // As few as say all: with a name of the usual length they are two blocks of SHA-256.
        let facts: [u64; 10] = [
            parent,
            stat.st_ino,
            pair(stat.st_mode, stat.st_nlink as u32),
            pair(stat.st_uid, stat.st_gid),
            stat.st_rdev,
            stat.st_size as u64,
            stat.st_blocks as u64,
            stat.st_mtime as u64,
            stat.st_ctime as u64,
            pair(stat.st_mtime_nsec as u32, stat.st_ctime_nsec as u32),
        ];
        let mut bytes = [0; 10 * 8];
        for (place, fact) in bytes.chunks_exact_mut(8).zip(facts) {
            place.copy_from_slice(&fact.to_le_bytes());
        }
        let hash = sha256_of(&[&bytes, name]);
        for (part, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            *part = part.wrapping_add(bytes.try_into().map_or(0, u64::from_le_bytes));
        }
    }
}

/// A directory that somebody is to look at.
struct Job {
    tree: usize,
    dir: Dir,
    device: u64,
    inode: u64,
    depth: usize,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Job>,
    /// Threads that are at one.
    busy: usize,
}

struct Work<'a> {
    trees: &'a [Tree],
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Threads that wait for one; a hint, read without the lock.
    idle: AtomicUsize,
}

impl Work<'_> {
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at directories until there are none, and nobody who could find any.
    fn run(&self) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        while let Some(job) = self.next() {
            let (tree, mut found) = (&self.trees[job.tree], Found::default());
            if let Err(error) = self.below(&job, &mut found, &mut buffer) {
                tree.fail(error);
            }
            tree.found.lock().unwrap_or_else(PoisonError::into_inner).merge(&found);
            self.locked().busy -= 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut queue = self.locked();
        loop {
            if let Some(job) = queue.waiting.pop() {
                queue.busy += 1;
                return Some(job);
            }
            if queue.busy == 0 {
                return None;
            }
            self.idle.fetch_add(1, Ordering::Relaxed);
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn below(&self, job: &Job, found: &mut Found, buffer: &mut [MaybeUninit<u8>]) -> Result<(), Error> {
        let fail = |name: &[u8], action| {
            let name = crate::apply::text(name);
            move |errno| Error::Apply { name, action, errno }
        };
        if job.depth > MAX_DEPTH {
            return Err(crate::apply::problem(b"", "directories are nested too deep"));
        }
        let tree = &self.trees[job.tree];
        // The buffer is free for them when all names were read.
        let mut directories: Vec<Vec<u8>> = Vec::new();
        let mut failed = None;
        let scanned = job.dir.scan(buffer, |member| {
            if member.kind == FileType::Directory || member.kind == FileType::Unknown {
                directories.push(member.name().to_vec());
                return Ok(());
            }
            match member.metadata() {
                Ok(stat) => tree.add(found, job.inode, member.name(), &stat),
                // Gone meanwhile: the tree may be in use.
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    failed = Some(fail(member.name(), "stat")(errno));
                    return Err(errno);
                }
            }
            Ok(())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        scanned.map_err(fail(b"", "read directory"))?;
        for name in directories {
            let dir = match job.dir.open_dir(os(&name)) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => continue,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    match job.dir.metadata(os(&name)) {
                        Ok(stat) => tree.add(found, job.inode, &name, &stat),
                        Err(Errno::NOENT) => {}
                        Err(errno) => return Err(fail(&name, "stat")(errno)),
                    }
                    continue;
                }
                Err(errno) => return Err(fail(&name, "open")(errno)),
            };
            let stat = dir.self_metadata().map_err(fail(&name, "stat"))?;
            tree.add(found, job.inode, &name, &stat);
            if stat.st_dev != job.device {
                continue;
            }
            let child =
                Job { tree: job.tree, dir, device: job.device, inode: stat.st_ino, depth: job.depth + 1 };
            // One for each that waits, so that few directories are open at a time.
            let handed = (self.idle.load(Ordering::Relaxed) > 0).then(|| self.locked());
            match handed.filter(|queue| queue.waiting.is_empty()) {
                Some(mut queue) => {
                    queue.waiting.push(child);
                    self.changed.notify_one();
                }
                None => self.below(&child, found, buffer)?,
            }
        }
        Ok(())
    }
}

impl Tree {
    fn add(&self, found: &mut Found, parent: u64, name: &[u8], stat: &Stat) {
        let first = stat.st_nlink <= 1
            || FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            || self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(stat.st_ino);
        if first {
            found.disk = found.disk.saturating_add(blocks(stat));
        }
        found.add(parent, name, stat);
    }
}

/// Bytes that a tree or a file takes on the disk; 0 if it is not there.
pub fn disk_usage(path: &Path) -> Result<u64, Error> {
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(knarr_linux::Errno::NOENT) => return Ok(0),
        Err(errno) => return Err(Error::errno("stat", path)(errno)),
    };
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
        measure(path).map(|measure| measure.disk)
    } else {
        Ok(blocks(&stat))
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_seal_breaks_with_every_change() {
        let dir = tempfile::tempdir().unwrap();
        let (top, file) = (dir.path(), dir.path().join("a/file"));
        fs::create_dir(top.join("a")).unwrap();
        fs::write(&file, "content").unwrap();
        fs::hard_link(&file, top.join("link")).unwrap();
        let first = measure(top).unwrap();
        assert_eq!((first.entries, measure(top).unwrap()), (3, first.clone()));
        let mut seals = HashSet::from([first.seal.clone()]);
        let mut changed = |what: &str| {
            assert!(seals.insert(measure(top).unwrap().seal), "{what}");
        };
        let times = fs::FileTimes::new().set_modified(fs::metadata(&file).unwrap().modified().unwrap());
        // The same size and modification time.
        fs::write(&file, "CONTENT").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        changed("content");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        changed("mode");
        fs::remove_file(top.join("link")).unwrap();
        changed("link");
        fs::rename(&file, top.join("a/other")).unwrap();
        changed("name");
    }

    #[test]
    fn many_threads_find_what_one_finds() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..300 {
            let below = dir.path().join(format!("{}/{}/{}", n % 3, n % 20, n));
            fs::create_dir_all(&below).unwrap();
            fs::write(below.join("file"), n.to_string()).unwrap();
            fs::hard_link(below.join("file"), dir.path().join(format!("link{n}"))).unwrap();
            std::os::unix::fs::symlink("/", below.join("top")).unwrap();
        }
        let (one, gone) = (dir.path().join("1"), dir.path().join("gone"));
        let paths = [dir.path(), &one, &gone];
        for threads in [1, 2, 7] {
            let all = measure_all(&paths, threads);
            assert_eq!(all[0].as_ref().unwrap(), &measure(dir.path()).unwrap());
            assert_eq!(all[1].as_ref().unwrap(), &measure(&one).unwrap());
            assert!(all[2].as_ref().unwrap_err().to_string().contains("gone"));
        }
    }

    #[test]
    fn usage_is_that_of_du() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..40 {
            fs::write(dir.path().join(n.to_string()), vec![1; n * 1000]).unwrap();
        }
        fs::hard_link(dir.path().join("39"), dir.path().join("again")).unwrap();
        let du = std::process::Command::new("du").args(["-s", "-B1"]).arg(dir.path()).output().unwrap();
        let expected: u64 =
            String::from_utf8(du.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(disk_usage(dir.path()).unwrap(), expected);
        assert_eq!(disk_usage(&dir.path().join("nothing")).unwrap(), 0);
    }
}
