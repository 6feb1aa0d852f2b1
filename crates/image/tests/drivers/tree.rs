//! A tree as text: one line for each object, with all that a container sees of it.
use knarr_linux::path::Dir;
use rustix::fs::FileType;
use std::collections::HashMap;
use std::fmt::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

pub fn text(top: &Dir) -> String {
    let mut lines = Lines::default();
    lines.directory(top, "");
    lines.text
}

#[derive(Default)]
struct Lines {
    text: String,
    first: HashMap<(u64, u64), String>,
}

impl Lines {
    fn directory(&mut self, dir: &Dir, path: &str) {
        let mut entries = dir.entries().unwrap();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, _) in entries {
            let path = format!("{path}/{}", name.to_string_lossy());
            let stat = dir.metadata(&name).unwrap();
            let kind = FileType::from_raw_mode(stat.st_mode);
            write!(self.text, "{path} {:o} {}:{}", stat.st_mode, stat.st_uid, stat.st_gid).unwrap();
            // Directories that no archive names have the time at which they were unpacked.
            match stat.st_mtime > crate::sample::TIME + 100_000 {
                true => write!(self.text, " @now").unwrap(),
                false => write!(self.text, " @{}.{:09}", stat.st_mtime, stat.st_mtime_nsec).unwrap(),
            }
            let mut names = dir.xattrs(&name).unwrap();
            names.sort();
            for attribute in names.iter().filter(|name| !name.starts_with(b"trusted.overlay.")) {
                let value = dir.xattr(&name, std::ffi::OsStr::from_bytes(attribute)).unwrap();
                write!(self.text, " {}={value:02x?}", String::from_utf8_lossy(attribute)).unwrap();
            }
            match kind {
                FileType::RegularFile => self.file(dir, &name, &path, &stat),
                FileType::Symlink => write!(self.text, " -> {:?}", dir.read_link(&name).unwrap()).unwrap(),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    write!(self.text, " device {:x}", stat.st_rdev).unwrap();
                }
                _ => {}
            }
            self.text.push('\n');
            if kind == FileType::Directory {
                self.directory(&dir.open_dir(&name).unwrap(), &path);
            }
        }
    }

    fn file(&mut self, dir: &Dir, name: &std::ffi::OsStr, path: &str, stat: &rustix::fs::Stat) {
        if stat.st_nlink > 1 {
            let first = self.first.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_owned());
            write!(self.text, " is {first}").unwrap();
        }
        let bytes = std::fs::read(format!("/proc/self/fd/{}/{}", raw(dir), name.to_string_lossy())).unwrap();
        write!(self.text, " {} bytes {}", bytes.len(), knarr_oci::digest::Digest::sha256(&bytes).short())
            .unwrap();
    }
}

fn raw(dir: &Dir) -> i32 {
    std::os::fd::AsFd::as_fd(dir).as_raw_fd()
}
