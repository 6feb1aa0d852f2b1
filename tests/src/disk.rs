//! File systems of other kinds for data roots: in a file, on a loop device, mounted while the value lives.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of the file; it is sparse.
const SIZE: u64 = 768 << 20;

#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

impl Disk {
    /// `btrfs`, `xfs`, or `overlay` for one as a container's own root is. None, and a word about it, where it cannot be made.
    pub fn new(kind: &str) -> Option<Disk> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("knarr-e2e-disk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(dir.join("mounted")).expect("a directory");
        let disk = Disk { dir };
        match disk.mount(kind) {
            Ok(()) => Some(disk),
            Err(why) => {
                eprintln!("SKIPPED: no {kind} on this machine, nothing was tested on it: {why}");
                None
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.join("mounted")
    }

    fn mount(&self, kind: &str) -> Result<(), String> {
        let text = |path: &Path| path.to_str().expect("UTF-8 path").to_owned();
        let target = text(&self.path());
        if kind == "overlay" {
            let options: Vec<String> = [("lowerdir", "low"), ("upperdir", "up"), ("workdir", "work")]
                .iter()
                .map(|(option, name)| {
                    let dir = self.dir.join(name);
                    std::fs::create_dir_all(&dir).expect("a directory");
                    format!("{option}={}", dir.display())
                })
                .collect();
            return run("mount", &["-t", "overlay", "overlay", "-o", &options.join(","), &target]);
        }
        let image = self.dir.join("image");
        std::fs::File::create(&image).and_then(|file| file.set_len(SIZE)).expect("a file");
        run(&format!("mkfs.{kind}"), &["-q", &text(&image)])?;
        run("mount", &["-o", "loop", &text(&image), &target])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run("umount", &["-l", self.path().to_str().expect("UTF-8 path")]));
        drop(std::fs::remove_dir_all(&self.dir));
    }
}
