//! Where the files of a `cp` go, and the tar between the two sides.
//!
//! Standard: the table in <https://docs.docker.com/reference/cli/docker/container/cp/>.
//! Invariant: nothing of an archive is written outside the destination: the archive comes from a container, so every
//! path goes through `knarr_linux::path` (no `..`, no link followed out of the directory).
use crate::failure::{Failure, Outcome, os_text};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use knarr_linux::path::Root;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc::{Receiver, Sender, channel};

const QUEUE_CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 128 * 1024;

/// The other end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub path: String,
    pub exists: bool,
    pub is_dir: bool,
}

impl Destination {
    pub fn of_local(path: &str) -> Self {
        let meta = std::fs::metadata(path);
        Self { path: path.to_owned(), exists: meta.is_ok(), is_dir: meta.is_ok_and(|m| m.is_dir()) }
    }
}

/// Which directory receives what, under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub directory: String,
    /// Name of the copied file or directory; empty: its contents go straight into the directory.
    pub top: String,
    /// First component of the names in the archive that `top` stands for.
    pub source_name: String,
}

/// The last component; `.` for the contents of a directory.
pub fn base_name(path: &str) -> String {
    if path.ends_with("/.") || path == "." {
        return ".".to_owned();
    }
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None => "/".to_owned(),
        Some(name) => name.to_owned(),
    }
}

fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    }
}

/// Docker's table of source and destination. `name` is the copy's own name when a link was followed.
pub fn plan(source: &str, is_dir: bool, name: Option<&str>, to: &Destination) -> Outcome<Plan> {
    let source_name = base_name(source);
    let contents = source_name == ".";
    let ends_as_dir = to.path.ends_with('/') || to.path.ends_with("/.");
    if to.exists && to.is_dir {
        let top = if contents || source_name == "/" { "" } else { name.unwrap_or(&source_name) };
        return Ok(Plan { directory: to.path.clone(), top: top.to_owned(), source_name });
    }
    if to.exists && is_dir {
        return Err(Failure::new("cannot copy directory"));
    }
    if to.exists && ends_as_dir {
        return Err(Failure::new("not a directory"));
    }
    if !to.exists && !is_dir && ends_as_dir {
        return Err(Failure::new("no such directory"));
    }
    let path = to.path.trim_end_matches("/.");
    Ok(Plan { directory: parent(path), top: base_name(path), source_name })
}

/// Bytes of chunks as they arrive.
struct ChunkReader {
    receiver: Receiver<Bytes>,
    current: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buf.len());
        buf[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}

/// Unpacks an archive as the plan says. Blocking.
pub fn extract(receiver: Receiver<Bytes>, plan: &Plan) -> Outcome {
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("{}: {e}", plan.directory));
    let root = Root::open_beneath(Path::new(&plan.directory)).map_err(|e| failed(&e))?;
    let mut archive = tar::Archive::new(ChunkReader { receiver, current: Bytes::new() });
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|e| failed(&os_text(&e)))?;
        let name = entry.path().map_err(|e| failed(&os_text(&e)))?.into_owned();
        let Some(target) = target(&name, plan) else { continue };
        unpack(&root, &mut entry, &target, plan)
            .map_err(|e| Failure::new(format!("{}/{}: {}", plan.directory, target.display(), os_text(&e))))?;
        if entry.header().entry_type().is_dir() {
            let mtime = entry.header().mtime().unwrap_or(0);
            directories.push((target, entry.header().mode().unwrap_or(0o755), mtime));
        }
    }
    // a directory gets its mode and time when nothing more is written into it
    for (path, mode, mtime) in directories.into_iter().rev() {
        finish_directory(&root, &path, mode, mtime).map_err(|e| failed(&os_text(&e)))?;
    }
    Ok(())
}

/// The path of an entry below the destination; None for the destination itself.
fn target(name: &Path, plan: &Plan) -> Option<PathBuf> {
    let mut parts = name.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    let mut target = PathBuf::new();
    if !plan.top.is_empty() {
        target.push(&plan.top);
    }
    let rest: Vec<_> = parts.by_ref().collect();
    let named = rest.first().is_some_and(|first| plan.source_name == first.to_string_lossy());
    target.extend(rest.iter().skip(usize::from(named)));
    (!target.as_os_str().is_empty()).then_some(target)
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn unpack<R: Read>(root: &Root, entry: &mut tar::Entry<'_, R>, path: &Path, plan: &Plan) -> io::Result<()> {
    use tar::EntryType;
    let mode = entry.header().mode().unwrap_or(0o644) & 0o7777;
    let (dir, name) = root.make_parent(path, 0o755).map_err(other)?;
    let existing = dir.metadata(&name).ok();
    let is_dir = existing.as_ref().is_some_and(|s| s.st_mode & 0o170_000 == 0o040_000);
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        return match existing {
            Some(_) if is_dir => Ok(()),
            Some(_) => Err(other("cannot overwrite non-directory with directory")),
            None => dir.mkdir(&name, mode | 0o700).map_err(other),
        };
    }
    if is_dir {
        return Err(other("cannot overwrite directory with non-directory"));
    }
    if existing.is_some() {
        dir.unlink(&name).map_err(other)?;
    }
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let mut file = std::fs::File::from(dir.create_new(&name, 0o600).map_err(other)?);
            io::copy(entry, &mut file)?;
            set_times(&file, entry.header().mtime().unwrap_or(0))?;
            dir.chmod(&name, mode).map_err(other)
        }
        EntryType::Symlink => {
            let to = entry.link_name()?.ok_or_else(|| other("symbolic link without a target"))?;
            dir.symlink(to.as_os_str(), &name).map_err(other)
        }
        EntryType::Link => {
            let to = entry.link_name()?.ok_or_else(|| other("hard link without a target"))?;
            let existing = target(&to, plan).ok_or_else(|| other("hard link to nothing"))?;
            root.link(existing, path).map_err(other)
        }
        // devices, pipes and sockets of a container are not made on this machine
        _ => Ok(()),
    }
}

fn set_times(file: &std::fs::File, seconds: u64) -> io::Result<()> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    file.set_times(std::fs::FileTimes::new().set_modified(time).set_accessed(time))
}

fn finish_directory(root: &Root, path: &Path, mode: u32, mtime: u64) -> io::Result<()> {
    let (dir, name) = root.parent(path).map_err(other)?;
    dir.chmod(&name, mode & 0o7777).map_err(other)?;
    let opened = dir.open_dir(&name).map_err(other)?;
    set_times(&std::fs::File::from(opened.into_fd()), mtime)
}

/// A writer whose chunks are the body of a request.
struct ChunkWriter {
    sender: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
    size: Arc<AtomicI64>,
}

impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(data);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.size.fetch_add(i64::try_from(chunk.len()).unwrap_or(0), Ordering::Relaxed);
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A local file or directory as a tar, under the name `top` (empty: its contents).
pub fn pack(
    source: PathBuf,
    top: String,
    size: Arc<AtomicI64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = channel(QUEUE_CHUNKS);
    std::thread::spawn(move || {
        let errors = sender.clone();
        let mut builder = tar::Builder::new(ChunkWriter { sender, buffer: Vec::new(), size });
        builder.follow_symlinks(false);
        let top = if top.is_empty() { ".".into() } else { PathBuf::from(top) };
        let written = append(&mut builder, &source, &top).and_then(|()| builder.into_inner()?.flush());
        if let Err(error) = written {
            let _ = errors.blocking_send(Err(error));
        }
    });
    stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })
}

fn append<W: Write>(builder: &mut tar::Builder<W>, source: &Path, name: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(source)?;
    if meta.file_type().is_socket() {
        return Ok(());
    }
    if !meta.is_dir() {
        return builder.append_path_with_name(source, name);
    }
    builder.append_dir(name, source)?;
    let mut entries = std::fs::read_dir(source)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        append(builder, &entry.path(), &name.join(entry.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, exists: bool, is_dir: bool) -> Destination {
        Destination { path: path.into(), exists, is_dir }
    }

    #[test]
    fn dockers_table_of_source_and_destination() {
        let p = |source: &str, is_dir, to: Destination| {
            plan(source, is_dir, None, &to).map(|p| (p.directory, p.top)).map_err(|f| f.message)
        };
        let ok = |dir: &str, top: &str| Ok((dir.to_owned(), top.to_owned()));
        assert_eq!(p("/a/f", false, at("/d", true, true)), ok("/d", "f"));
        assert_eq!(p("/a/f", false, at("/d/g", true, false)), ok("/d", "g"));
        assert_eq!(p("/a/f", false, at("/d/new", false, false)), ok("/d", "new"));
        assert_eq!(p("/a/f", false, at("/d/new/", false, false)), Err("no such directory".into()));
        assert_eq!(p("/a", true, at("/d", true, true)), ok("/d", "a"));
        assert_eq!(p("/a/.", true, at("/d", true, true)), ok("/d", ""));
        assert_eq!(p("/a", true, at("/d/new", false, false)), ok("/d", "new"));
        assert_eq!(p("/a/.", true, at("/d/new/", false, false)), ok("/d", "new"));
        assert_eq!(p("/a", true, at("/d/file", true, false)), Err("cannot copy directory".into()));
    }

    fn run(entries: &[(&str, tar::EntryType, &str)], plan: &Plan) -> Outcome {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let link = kind.is_symlink() || kind.is_hard_link();
            header.set_size(if link { 0 } else { content.len() as u64 });
            if link {
                header.set_link_name_literal(content).unwrap();
            }
            // names as a hostile archive would have them
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, if link { &b""[..] } else { content.as_bytes() }).unwrap();
        }
        let bytes = Bytes::from(builder.into_inner().unwrap());
        let (sender, receiver) = channel(1);
        let feeder = std::thread::spawn(move || drop(sender.blocking_send(bytes)));
        let outcome = extract(receiver, plan);
        feeder.join().unwrap();
        outcome
    }

    #[test]
    fn archives_stay_inside_the_destination() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::create_dir(&outside).unwrap();
        let plan =
            Plan { directory: inside.display().to_string(), top: "copy".into(), source_name: "src".into() };
        run(&[("src/", Directory, ""), ("src/f", Regular, "hello"), ("src/d/g", Regular, "g")], &plan)
            .unwrap();
        assert_eq!(std::fs::read_to_string(inside.join("copy/f")).unwrap(), "hello");
        assert_eq!(std::fs::read_to_string(inside.join("copy/d/g")).unwrap(), "g");
        // `..` is dropped, a link out of the directory is not followed
        let _ = run(&[("src/../../out/evil", Regular, "x")], &plan);
        let link = outside.display().to_string();
        let through = run(&[("src/l", Symlink, &link), ("src/l/evil", Regular, "x")], &plan);
        assert!(through.is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}
