//! The engine's own log when it goes to a file: it has a largest size, and one file before it is kept.
//!
//! An engine that was started on demand writes to `<exec-root>/engine.log`, on a tmpfs: without a limit it would use up memory.
//! Invariant: what is written elsewhere (a terminal, a pipe, the journal) is not touched.
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the log below the exec root.
pub const NAME: &str = "engine.log";
/// Size from which on the file is moved aside.
const MAX_BYTES: u64 = 4 << 20;

/// Standard error, kept below a size if it is this engine's log file.
#[derive(Clone)]
pub struct Log {
    path: Arc<PathBuf>,
    /// One line at a time.
    file: Arc<Mutex<Option<File>>>,
}

impl Log {
    pub fn to_standard_error(exec_root: &Path) -> Self {
        let path = exec_root.join(NAME);
        let file = own_log(&path).filter(|file| is_at(file, &path));
        Self { path: Arc::new(path), file: Arc::new(Mutex::new(file)) }
    }
}

fn own_log(path: &Path) -> Option<File> {
    let file = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
    (file.metadata().ok()?.is_file() && path.exists()).then_some(file)
}

fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => same(&ours, &there),
        _ => false,
    }
}

/// Copies a log that is full to `<path>.1` and goes on at its beginning: others hold it open for appending, too.
pub fn rotate(file: &File, path: &Path, max_bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() < max_bytes || !is_at(file, path) {
        return Ok(());
    }
    let mut before = path.as_os_str().to_owned();
    before.push(".1");
    // A link there would lead elsewhere.
    match std::fs::remove_file(&before) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let copied = File::options()
        .write(true)
        .create_new(true)
        .open(&before)
        .and_then(|mut to| io::copy(&mut File::open(path)?, &mut to));
    // Better a lost log than one without an end.
    file.set_len(0)?;
    copied.map(drop)
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match &*file {
            Some(file) => {
                let _ = rotate(file, &self.path, MAX_BYTES);
                (&mut &*file).write(bytes)
            }
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_moved_aside_and_never_grows_on() {
        let dir = std::env::temp_dir().join(format!("knarr-log-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join(NAME);
        let file = File::options().create(true).append(true).read(true).open(&path).unwrap();
        let log =
            Log { path: Arc::new(path.clone()), file: Arc::new(Mutex::new(Some(file.try_clone().unwrap()))) };
        let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |m| m.len());
        let line = [b'x'; 64 << 10];
        for _ in 0..200 {
            log.clone().write_all(&line).unwrap();
            assert!(size(NAME) <= MAX_BYTES + line.len() as u64);
        }
        assert_eq!(size("engine.log.1"), MAX_BYTES);
        // A file of that name that is not what is written to stays as it is.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [b'y'; 10]).unwrap();
        rotate(&file, &path, 1).unwrap();
        assert_eq!(size(NAME), 10);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
