//! A directory of the host that attacks aim at: nothing in it may be seen, made, changed or removed.

use crate::attack::SECRET;
use crate::{Engine, pack};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files with every fact that an attack could change.
#[derive(Debug)]
pub struct Trap {
    pub dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Trap {
    /// `marker` (which holds the secret), `passwd`, and a directory `etc` with one file.
    ///
    /// # Panics
    /// Where it cannot be made.
    pub fn new(e: &Engine) -> Trap {
        let dir = e.fresh_dir("trap");
        std::fs::create_dir(dir.join("etc")).expect("directory");
        for name in ["marker", "passwd", "etc/shadow"] {
            std::fs::write(dir.join(name), SECRET).expect("file");
            std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o640)).expect("mode");
        }
        let mut before = BTreeMap::new();
        facts(&dir, &mut before);
        Trap { dir, before }
    }

    /// The directory as an absolute path.
    pub fn absolute(&self) -> String {
        self.dir.display().to_string()
    }

    /// The directory from anywhere below: up first, further than any root is deep.
    pub fn from_below(&self) -> String {
        format!("{}{}", "../".repeat(30), self.absolute().trim_start_matches('/'))
    }

    /// Ways to it as a link's target.
    pub fn ways(&self) -> [String; 3] {
        [self.absolute(), self.from_below(), format!("/proc/1/root{}", self.absolute())]
    }

    /// # Panics
    /// Where anything is not as it was.
    #[track_caller]
    pub fn untouched(&self, attack: &str) {
        let mut now = BTreeMap::new();
        facts(&self.dir, &mut now);
        assert_eq!(now, self.before, "{attack}: the host was touched");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&self.absolute()), "{attack}: a mount came to the host");
    }
}

fn facts(path: &Path, out: &mut BTreeMap<PathBuf, String>) {
    let m = path.symlink_metadata().expect("metadata");
    let content = if m.is_file() { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    let text = format!(
        "{:o} {}:{} links {} changed {}.{} {:?} {content}",
        m.mode(),
        m.uid(),
        m.gid(),
        m.nlink(),
        m.ctime(),
        m.ctime_nsec(),
        pack::xattrs(path)
    );
    out.insert(path.to_owned(), text);
    if m.is_dir() {
        for entry in std::fs::read_dir(path).expect("directory").flatten() {
            facts(&entry.path(), out);
        }
    }
}
