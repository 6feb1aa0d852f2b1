//! The files of one log, and which one follows which while they are rotated.
//!
//! Invariant: a file is known by device and inode, never by its name alone: names move while we look.
use crate::error::{Error, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Most files of one log that are looked for.
const MAX_FILES: u32 = 1000;
/// Attempts to see all files without a rotation in between.
const ATTEMPTS: u32 = 8;

/// Most bytes that a compressed file is unpacked to.
const EXPANDED_MAX: u64 = 8 << 30;

/// One open file.
#[derive(Debug)]
pub struct LogFile {
    pub file: File,
    pub identity: Identity,
    /// It is compressed, and lies there.
    compressed: Option<PathBuf>,
}

/// Device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// A compressed file says which one it was: a reader that follows has to find it again.
    fn of_compressed(file: &File) -> Option<Self> {
        let decoder = flate2::read::GzDecoder::new(file);
        let comment = std::str::from_utf8(decoder.header()?.comment()?).ok()?;
        let (device, inode) = comment.split_once(':')?;
        Some(Self(device.parse().ok()?, inode.parse().ok()?))
    }
}

impl LogFile {
    /// `None`: there is no such file.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        match File::options().read(true).custom_flags(flags).open(path) {
            Ok(file) => {
                let metadata = file.metadata().map_err(Error::file("read size of", path))?;
                Ok(Some(Self { identity: Identity(metadata.dev(), metadata.ino()), file, compressed: None }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::file("open", path)(error)),
        }
    }

    /// `<path>`, or `<path>.gz`.
    fn open_either(path: &Path) -> Result<Option<Self>> {
        if let Some(file) = Self::open(path)? {
            return Ok(Some(file));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".gz");
        let compressed = PathBuf::from(name);
        let Some(file) = Self::open(&compressed)? else { return Ok(None) };
        let identity = Identity::of_compressed(&file.file).unwrap_or(file.identity);
        Ok(Some(Self { compressed: Some(compressed), identity, ..file }))
    }

    /// Unpacks a compressed file into one without a name, beside it.
    pub fn expand(&mut self) -> io::Result<()> {
        let Some(path) = self.compressed.take() else { return Ok(()) };
        let dir = path.parent().unwrap_or(Path::new("/"));
        let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let mut to = File::from(rustix::fs::open(dir, flags, mode)?);
        io::Seek::rewind(&mut self.file)?;
        let from = flate2::read::MultiGzDecoder::new(&self.file);
        io::copy(&mut io::Read::take(from, EXPANDED_MAX), &mut to)?;
        self.file = to;
        Ok(())
    }

    pub fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// All files, oldest first; none if nothing was ever logged.
pub fn open_all(path: &Path) -> Result<Vec<LogFile>> {
    let mut files = Vec::new();
    for _ in 0..ATTEMPTS {
        files.clear();
        files.extend(LogFile::open(path)?);
        for number in 1..MAX_FILES {
            match LogFile::open_either(&numbered(path, number))? {
                Some(file) => files.push(file),
                None => break,
            }
        }
        // Had a rotation happened meanwhile, the newest would be another one now, and one file could be missing.
        if identity(path) == files.first().map(|newest| newest.identity) {
            break;
        }
    }
    files.reverse();
    files.dedup_by_key(|file| file.identity);
    Ok(files)
}

/// The file that was written after `current`; `None`: `current` is still the newest. If it is gone altogether, the oldest
/// file that is left.
pub fn next_after(path: &Path, current: Identity) -> Result<Option<LogFile>> {
    let mut files = open_all(path)?;
    match files.iter().position(|file| file.identity == current) {
        Some(at) if at + 1 == files.len() => Ok(None),
        Some(at) => expanded(path, files.swap_remove(at + 1)).map(Some),
        None if files.is_empty() => Ok(None),
        None => expanded(path, files.swap_remove(0)).map(Some),
    }
}

fn expanded(path: &Path, mut file: LogFile) -> Result<LogFile> {
    file.expand().map_err(Error::file("unpack", path))?;
    Ok(file)
}

/// Which file has this name now.
pub fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some(Identity(metadata.dev(), metadata.ino()))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
