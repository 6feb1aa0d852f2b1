//! Races: one container exchanges a directory and a link in a shared volume as fast as the kernel can, while others start with
//! mounts below. Whether one starts or fails does not matter; the host must not be touched and not be seen.
//! CVE-2019-19921, CVE-2021-30465, CVE-2023-27561, CVE-2023-28642, CVE-2024-45310, CVE-2025-31133, CVE-2025-52565,
//! CVE-2025-52881.

use super::run;
use knarr_e2e::attack::{self, Bundle, SECRET};
use knarr_e2e::command::eventually;
use knarr_e2e::{Cli, Engine};
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Starts per race. The exchange happens some hundred thousand times a second.
const ROUNDS: usize = 25;

struct Race {
    e: Engine,
    c: Cli,
    marker: PathBuf,
    /// A directory of the host that nothing may be made in.
    trap: PathBuf,
    /// The shared volume.
    volume: PathBuf,
}

impl Race {
    fn new() -> Race {
        let (e, marker) = attack::engine();
        let (c, trap, volume) = (e.knarr(), e.fresh_dir("trap"), e.fresh_dir("volume"));
        std::fs::write(trap.join("marker"), SECRET).unwrap();
        Race { e, c, marker, trap, volume }
    }

    /// A container that exchanges `a` and `b` of the volume until it is removed.
    fn flip(&self, a: &str, b: &str) {
        let volume = format!("{}:/v", self.volume.display());
        let (a, b) = (format!("/v/{a}"), format!("/v/{b}"));
        self.c.ok(&["run", "-d", "--name", "flip", "-v", &volume, "attack:1", "/attack", "swap", &a, &b]);
        eventually("the exchanger", Duration::from_secs(20), || {
            self.c.ok(&["logs", "flip"]).contains("READY").then_some(())
        });
    }

    /// Ways from a container to the trap, as a link's target.
    fn ways(&self) -> [String; 3] {
        let trap = self.trap.display().to_string();
        let up = format!("{}{}", "../".repeat(20), trap.trim_start_matches('/'));
        [trap, up, "/".to_owned()]
    }

    #[track_caller]
    fn untouched(&self) {
        let left: Vec<_> = std::fs::read_dir(&self.trap).unwrap().flatten().map(|f| f.file_name()).collect();
        assert_eq!(left, ["marker"], "what was made on the host");
        for file in [&self.marker, &self.trap.join("marker")] {
            assert_eq!(std::fs::read_to_string(file).unwrap(), SECRET);
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let trap = self.trap.display().to_string();
        assert!(!mounts.contains(&trap), "a mount came to the host");
    }

    fn done(self) {
        self.c.ok(&["rm", "-f", "flip"]);
        self.untouched();
        drop(self.e);
    }
}

/// CVE-2021-30465 and CVE-2024-45310: mounts, and what is made for them, below a directory that becomes a link.
#[test]
fn mount_targets_that_become_links() {
    for way in 0..3 {
        let r = Race::new();
        std::fs::create_dir(r.volume.join("a")).unwrap();
        symlink(&r.ways()[way], r.volume.join("b")).unwrap();
        let volume = format!("{}:/v", r.volume.display());
        let file = r.e.fresh("file");
        std::fs::write(&file, "a file").unwrap();
        let bind = format!("{}:/v/a/made/file", file.display());
        r.flip("a", "b");
        let look = format!(
            "cat /v/a/marker /v/b/marker {} /v/a/{} 2>/dev/null; ls /v/a/made/dir 2>/dev/null; true",
            r.marker.display(),
            attack::below_root(&r.marker)
        );
        let cases: [&[&str]; 4] = [
            &["--tmpfs", "/v/a/made/tmpfs"],
            &["-v", "named:/v/a/made/dir"],
            &["-v", &bind],
            &["-w", "/v/a/made/wd"],
        ];
        for round in 0..ROUNDS {
            let mut options = vec!["-v", &volume];
            options.extend(cases[round % cases.len()]);
            let o = run(&r.c, &options, "attack:1", &["sh", "-c", &look]);
            assert!(!o.stdout.contains(SECRET), "{o:?}");
        }
        r.done();
    }
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881: mounts and settings that should go to procfs, while a path
/// of the volume leads there and away.
#[test]
fn settings_and_masks_land_on_the_real_procfs() {
    let r = Race::new();
    for target in ["/proc", "/proc/self"] {
        // The exchange may have left either name for either.
        for name in ["a", "b"] {
            let path = r.volume.join(name);
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
        std::fs::create_dir_all(r.volume.join("a/sys/kernel")).unwrap();
        symlink(target, r.volume.join("b")).unwrap();
        r.flip("a", "b");
        let volume = format!("{}:/v", r.volume.display());
        // The container's own tree is the judge: what is at /proc, and does the setting hold?
        let script = "stat -f -c %T /proc /proc/sys /proc/self/attr; cat /proc/sys/kernel/shm_rmid_forced; \
            (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITTEN; (echo h > /proc/sysrq-trigger) 2>/dev/null && echo WRITTEN; true";
        for round in 0..ROUNDS {
            let place = ["/v/a/sys", "/v/a/attr", "/v/a/sys/kernel", "/v/a"][round % 4];
            let o = run(
                &r.c,
                &["-v", &volume, "--tmpfs", place, "--sysctl", "kernel.shm_rmid_forced=1"],
                "attack:1",
                &["sh", "-c", script],
            );
            if o.code == 0 {
                assert_eq!(o.lines(), ["proc", "proc", "proc", "1"], "{place}: {o:?}");
            }
        }
        r.c.ok(&["rm", "-f", "flip"]);
    }
    r.flip("a", "b");
    r.done();
}

/// CVE-2025-31133 and CVE-2025-52565: the null device, the console and the terminal in a `/dev` that others change.
#[test]
fn devices_that_become_links() {
    let r = Race::new();
    let before = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let volume = format!("{}:/dev", r.volume.display());
    let script = "for f in /proc/timer_list /proc/keys /proc/kcore; do [ -e $f ] && stat -L -c '%t:%T' $f; done; \
        (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo WRITTEN; \
        grep -E ' /proc/(sysrq-trigger|sys) ' /proc/self/mountinfo | grep -v ' ro,'; true";
    for (name, target, options) in [
        ("null", "/proc/sys/kernel/core_pattern", &["-v", &volume][..]),
        ("null", "/proc/sysrq-trigger", &["-v", &volume]),
        ("console", "/proc/sysrq-trigger", &["-t", "-v", &volume]),
        ("console", "/proc/sys/kernel/core_pattern", &["-t", "-v", &volume]),
        ("ptmx", "/proc/sys/kernel/core_pattern", &["-t", "-v", &volume]),
    ] {
        for file in [name, "other"] {
            let _ = std::fs::remove_file(r.volume.join(file));
        }
        std::fs::write(r.volume.join(name), "").unwrap();
        symlink(target, r.volume.join("other")).unwrap();
        r.flip(name, "other");
        for _ in 0..ROUNDS / 2 {
            let o = run(&r.c, options, "attack:1", &["sh", "-c", script]);
            let lines: Vec<_> = o.stdout.lines().map(|l| l.trim_end_matches('\r')).collect();
            assert!(o.code != 0 || lines.iter().all(|l| *l == "1:3"), "{name} -> {target}: {o:?}");
        }
        r.c.ok(&["rm", "-f", "flip"]);
    }
    assert_eq!(std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
    r.flip("other", "null");
    r.done();
}

/// A process of the host stands for the other container: the runtime's command line has no volumes of its own.
fn flipper(volume: &Path, a: &str, b: &str) -> Child {
    let program = volume.parent().unwrap().join("flipper");
    std::fs::write(&program, attack::program()).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut c = Command::new(&program);
    c.arg("swap").arg(volume.join(a)).arg(volume.join(b)).stdout(Stdio::null());
    c.spawn().expect("exchanger")
}

/// The same by the runtime's command line, with the volume as a bind mount and mounts below it.
#[test]
fn mount_targets_that_become_links_by_the_runtime() {
    let r = Race::new();
    std::fs::create_dir(r.volume.join("a")).unwrap();
    let base =
        Bundle::new(&r.e.fresh_dir("bundle"), &["sh", "-c", "cat /v/a/marker /v/b/marker 2>/dev/null; true"]);
    for target in r.ways() {
        let _ = std::fs::remove_file(r.volume.join("b"));
        symlink(&target, r.volume.join("b")).unwrap();
        let mut child = flipper(&r.volume, "a", "b");
        for round in 0..ROUNDS {
            let mut bundle = Bundle { dir: base.dir.clone(), config: base.config.clone() };
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts
                .push(json!({"destination": "/v", "type": "bind", "source": r.volume, "options": ["rbind"]}));
            mounts.push(match round % 3 {
                0 => json!({"destination": "/v/a/made/tmpfs", "type": "tmpfs", "source": "tmpfs"}),
                1 => json!({"destination": "/v/a/made/dir", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}),
                _ => json!({"destination": "/v/a/made/file", "type": "bind", "source": "/etc/hostname", "options": ["bind"]}),
            });
            let o = bundle.run("race");
            assert!(!o.stdout.contains(SECRET), "{o:?}");
        }
        let _ = child.kill();
        let _ = child.wait();
        // The exchange may have left either name for either.
        if r.volume.join("a").is_symlink() {
            std::fs::remove_file(r.volume.join("a")).unwrap();
            std::fs::rename(r.volume.join("b"), r.volume.join("a")).unwrap();
        }
        r.untouched();
    }
}
