//! File systems to run on, mounted where only the test's thread and what it starts see them.
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// The one of the temporary directory.
    Here,
    Tmpfs,
    Btrfs,
    Xfs,
    /// An overlay, as a container's own root is.
    Overlay,
}

pub struct Place {
    system: FileSystem,
    dir: tempfile::TempDir,
}

/// Bytes of a file system in a file.
const SIZE: u64 = 512 << 20;

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr).trim()))
}

impl Place {
    /// None, and a word about it, where it cannot be made.
    pub fn make(system: FileSystem) -> Option<Self> {
        let place = Self { system, dir: tempfile::tempdir().unwrap() };
        knarr_linux::namespace::unshare(knarr_linux::process::flags::NEWNS).unwrap();
        knarr_linux::mount::set_root_propagation(knarr_linux::mount::Propagation::Private, true).unwrap();
        std::fs::create_dir(place.path()).unwrap();
        match place.mount() {
            Ok(()) => Some(place),
            Err(why) => {
                eprintln!("SKIPPED: no {system:?} on this machine, nothing was tested on it: {why}");
                None
            }
        }
    }

    fn mount(&self) -> Result<(), String> {
        let target = self.path();
        let target = target.to_str().unwrap();
        let image = self.dir.path().join("image");
        let image = image.to_str().unwrap();
        let make = |program: &str| {
            std::fs::File::create(image).unwrap().set_len(SIZE).unwrap();
            run(program, &["-q", image])?;
            run("mount", &["-o", "loop", image, target])
        };
        match self.system {
            FileSystem::Here => Ok(()),
            FileSystem::Tmpfs => run("mount", &["-t", "tmpfs", "tmpfs", target]),
            FileSystem::Btrfs => make("mkfs.btrfs"),
            FileSystem::Xfs => make("mkfs.xfs"),
            FileSystem::Overlay => {
                let dirs = ["low", "up", "work"].map(|name| self.dir.path().join(name));
                dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
                let [low, up, work] = dirs.map(|dir| dir.to_str().unwrap().to_owned());
                let options = format!("lowerdir={low},upperdir={up},workdir={work}");
                run("mount", &["-t", "overlay", "overlay", "-o", &options, target])
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    /// Nobody else writes to it.
    pub fn is_own(&self) -> bool {
        !matches!(self.system, FileSystem::Here | FileSystem::Overlay)
    }

    /// Copies take no space.
    pub fn shares_blocks(&self) -> bool {
        matches!(self.system, FileSystem::Btrfs | FileSystem::Xfs)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.system != FileSystem::Here {
            drop(run("umount", &["-l", self.path().to_str().unwrap()]));
        }
    }
}

/// Bytes in use, when everything that was begun is on disk.
pub fn used(path: &Path) -> u64 {
    let dir = std::fs::File::open(path).unwrap();
    rustix::fs::syncfs(&dir).unwrap();
    let facts = rustix::fs::fstatvfs(&dir).unwrap();
    (facts.f_blocks - facts.f_bfree) * facts.f_frsize
}
