//! Hostile images and bundles: busybox with one static program that does what attackers did, and a marker on the host that no
//! container may ever see.

use crate::pack::{Compression, Form, Image};
use crate::tarball::{Entry, archive};
use crate::{Cli, Engine, Output, images, workspace};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SOURCE: &str = include_str!("attack.c");
/// What the marker holds.
pub const SECRET: &str = "only the host has this";

/// The attacker's program, made with the machine's C compiler.
///
/// # Panics
/// Where there is none.
pub fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let dir = std::env::temp_dir().join(format!("knarr-e2e-attack-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory for the program");
        let (source, target) = (dir.join("attack.c"), dir.join("attack"));
        std::fs::write(&source, SOURCE).expect("source");
        // Position-dependent: its data lies where 32-bit system calls can point.
        let out =
            Command::new("cc").args(["-static", "-no-pie", "-O1", "-o"]).arg(&target).arg(&source).output();
        let out = out.expect("a C compiler (Debian's gcc and libc6-dev)");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let bytes = std::fs::read(&target).expect("program");
        std::fs::remove_dir_all(&dir).expect("directory removed");
        bytes
    })
}

/// An image on busybox, with `/attack` and these members.
pub fn image(name: &str, entries: &[Entry]) -> Image {
    let base = images::busybox_layer(&workspace::on_path("busybox").expect("busybox"));
    let mut upper = vec![Entry::file("attack", 0o755, program())];
    upper.extend_from_slice(entries);
    Image::new(name, vec![base, archive(&upper)]).compression(Compression::None)
}

/// Loads an image into an engine; what the loading says is the caller's to judge.
pub fn load(e: &Engine, image: &Image) -> Output {
    e.knarr().run_with_stdin(&["load", "-q"], &image.archive(Form::DockerSave))
}

/// An engine with the image `attack:1`, and a file of the host that leads nowhere inside.
///
/// # Panics
/// Where one of both cannot be made.
pub fn engine() -> (Engine, PathBuf) {
    let e = Engine::start();
    assert_eq!(load(&e, &image("attack:1", &[])).code, 0);
    let marker = e.fresh("marker");
    std::fs::write(&marker, SECRET).expect("marker");
    (e, marker)
}

/// The marker's path for a program that starts at some directory of the host and goes up first.
pub fn below_root(marker: &Path) -> String {
    marker.display().to_string().trim_start_matches('/').to_owned()
}

/// A bundle for the runtime's command line.
#[derive(Debug)]
pub struct Bundle {
    pub dir: PathBuf,
    pub config: Value,
}

impl Bundle {
    /// A root with busybox and the attacker's program below a directory.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn new(dir: &Path, args: &[&str]) -> Bundle {
        use std::os::unix::fs::PermissionsExt;
        let root = dir.join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            std::fs::create_dir_all(root.join(name)).expect("root file system");
        }
        let busybox = workspace::on_path("busybox").expect("busybox");
        std::fs::copy(&busybox, root.join("bin/busybox")).expect("busybox");
        for applet in ["sh", "cat", "ls", "true", "sleep", "id", "grep", "stat", "readlink"] {
            let link = root.join("bin").join(applet);
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink("busybox", link).expect("applet");
        }
        std::fs::write(root.join("attack"), program()).expect("program");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(root.join("attack"), mode).expect("mode");
        let namespaces: Vec<Value> =
            ["pid", "mount", "ipc", "uts", "network"].iter().map(|kind| json!({"type": kind})).collect();
        let config = json!({"ociVersion": "1.2.0", "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": args, "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
                "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}],
            "linux": {"namespaces": namespaces, "maskedPaths": ["/proc/timer_list", "/proc/keys"], "readonlyPaths": ["/proc/sys"]}});
        Bundle { dir: dir.to_owned(), config }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// The runtime under test, in the bundle's directory.
    ///
    /// # Panics
    /// Where the configuration cannot be written.
    pub fn runtime(&self, args: &[&str]) -> Output {
        std::fs::write(self.dir.join("config.json"), self.config.to_string()).expect("config.json");
        let state = self.dir.join("state").display().to_string();
        let bundle = self.dir.display().to_string();
        let mut all = vec!["runtime", "--root", &state];
        for arg in args {
            all.push(if *arg == "BUNDLE" { &bundle } else { arg });
        }
        Cli::new("knarr", workspace::knarr(), "unix:///nonexistent", &self.dir).run(&all)
    }

    /// `run` of a container with this name.
    pub fn run(&self, name: &str) -> Output {
        let o = self.runtime(&["run", "--bundle", "BUNDLE", name]);
        let _ = self.runtime(&["delete", "--force", name]);
        o
    }
}
