//! Bundles of an ordinary user, through the command line: `setpriv` stands for logging in.
use crate::bundle::Bundle;
use knarr_oci::runtime::{IdMapping, Mount, Namespace, NamespaceType, Spec};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const TESTS: &[(&str, fn())] = &[
    ("rootless::runs", runs),
    ("rootless::life", life),
    ("rootless::limits_need_a_group", limits_need_a_group),
    ("rootless::more_ids_need_help", more_ids_need_help),
];

const USER: u32 = 1000;

struct Home {
    bundle: Bundle,
    program: PathBuf,
}

/// A bundle that belongs to the user, with all that it needs.
fn home(args: &[&str], change: impl FnOnce(&mut Spec)) -> Home {
    let mut bundle = Bundle::new(args);
    let dir = bundle.dir.path().to_owned();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.join("program");
    fs::copy("/proc/self/exe", &program).unwrap();
    let linux = bundle.linux();
    linux.namespaces.push(Namespace::new(NamespaceType::User));
    linux.namespaces.retain(|n| n.kind != NamespaceType::Network);
    linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: USER, size: 1 }];
    linux.gid_mappings.clone_from(&linux.uid_mappings);
    linux.resources = None;
    linux.sysctl.clear();
    bundle.process().user.additional_gids.clear();
    let mounts = &mut bundle.spec.mounts;
    mounts.retain(|m| m.kind.as_deref() != Some("cgroup"));
    mounts.iter_mut().for_each(|m| m.options.retain(|o| o != "gid=5"));
    change(&mut bundle.spec);
    fs::write(dir.join("config.json"), serde_json::to_vec(&bundle.spec).unwrap()).unwrap();
    fs::create_dir(dir.join("state")).unwrap();
    own(&dir);
    Home { bundle, program }
}

fn own(path: &Path) {
    chown(path, Some(USER), Some(USER)).unwrap();
    if path.symlink_metadata().unwrap().is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| {
            let path = entry.unwrap().path();
            if !path.is_symlink() && !path.ends_with("busybox") {
                own(&path);
            }
        });
    }
}

impl Home {
    fn call(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }
    fn command(&self, args: &[&str]) -> Command {
        let dir = self.bundle.dir.path();
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "1000", "--regid", "1000", "--clear-groups"])
            .arg(&self.program)
            .args(["runtime", "--root"])
            .arg(dir.join("state"))
            .args(args)
            .current_dir(dir);
        command
    }
    fn text(&self, args: &[&str]) -> String {
        let output = self.call(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.command(&["delete", "--force", &self.bundle.id]).stderr(Stdio::null()).status();
    }
}

fn runs() {
    let script = "id -u; cat /proc/self/uid_map; touch /made; hostname; ls -d /sys/class; echo x > /dev/null; \
        grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; cat /proc/1/comm";
    let home = home(&["sh", "-c", script], |spec| {
        spec.process.as_mut().unwrap().oom_score_adj = Some(100);
    });
    let text = home.text(&["run", &home.bundle.id]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let host = &home.bundle.id[home.bundle.id.len() - 8..];
    assert_eq!(words[..6], ["0", "0", "1000", "1", host, "/sys/class"], "{text}");
    assert!(text.contains("CapEff:\t00000000a80425fb") && text.contains("Seccomp:\t2"), "{text}");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(home.bundle.lower().join("made")).unwrap().uid(), USER);
}

fn life() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content\n").unwrap();
    fs::set_permissions(source.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = home(&["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.05; done"], |spec| {
        let path = source.path().to_str().unwrap();
        spec.mounts.push(Mount::new("/data", "bind", path, &["rbind", "ro", "nodev"]));
    });
    let id = home.bundle.id.clone();
    // Its streams stay with the container.
    let status = home.command(&["create", &id]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success());
    assert!(home.text(&["state", &id]).contains("created"));
    home.text(&["start", &id]);
    assert_eq!(home.text(&["exec", &id, "cat", "/data/file"]), "content\n");
    let names = home.text(&["exec", &id, "sh", "-c", "ps | wc -l; id -u; readlink /proc/self/ns/user"]);
    assert!(names.contains("\n0\nuser:"), "{names}");
    home.text(&["kill", &id, "KILL"]);
    for _ in 0..100 {
        if home.text(&["state", &id]).contains("stopped") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    home.text(&["delete", &id]);
}

/// What nobody delegated cannot be limited.
fn limits_need_a_group() {
    let home = home(&["true"], |spec| {
        let text = r#"{"pids": {"limit": 100}}"#;
        spec.linux.as_mut().unwrap().resources = Some(serde_json::from_str(text).unwrap());
    });
    let output = home.call(&["run", &home.bundle.id]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("cgroup"), "{output:?}");
}

fn more_ids_need_help() {
    let home = home(&["true"], |spec| {
        let linux = spec.linux.as_mut().unwrap();
        let more = IdMapping { container_id: 1, host_id: 100_000, size: 65_535 };
        linux.uid_mappings.push(more);
        linux.gid_mappings.push(more);
    });
    let output = home.call(&["run", &home.bundle.id]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // Where the programs are installed the user has no ranges all the same.
    assert!(!output.status.success() && text.contains("map"), "{text}");
}
