//! The program as a whole: one static file, applets, help, the engine that starts on demand.

use knarr_e2e::command::{eventually, run};
use knarr_e2e::{leaks, workspace};
use std::process::Command;
use std::time::Duration;

#[test]
fn it_is_one_static_file() {
    let bytes = std::fs::read(workspace::knarr()).unwrap();
    let text = Command::new("sh")
        .arg("-c")
        .arg("LC_ALL=C ldd \"$0\" 2>&1; true")
        .arg(workspace::knarr())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("not a dynamic executable") || text.contains("statically linked"), "{text}");
    assert_eq!(&bytes[..4], b"\x7fELF");
}

#[test]
fn version_and_help() {
    let k = |args: &[&str]| run(Command::new(workspace::knarr()).args(args), None, Duration::from_secs(10));
    let v = k(&["--version"]);
    assert_eq!(v.code, 0);
    assert!(String::from_utf8_lossy(&v.stdout).to_lowercase().contains("knarr"));
    for args in [&["--help"][..], &["run", "--help"], &["daemon", "--help"]] {
        let o = k(args);
        assert_eq!(o.code, 0, "{args:?}: {}", String::from_utf8_lossy(&o.stderr));
        assert!(String::from_utf8_lossy(&o.stdout).contains("Usage"), "{args:?}");
    }
    let help = String::from_utf8_lossy(&k(&["daemon", "--help"]).stdout).into_owned();
    for flag in [
        "--data-root",
        "--exec-root",
        "--pidfile",
        "--config-file",
        "--bip",
        "--log-level",
        "--registry-mirror",
        "--insecure-registry",
        "--tlsverify",
        "--host",
    ] {
        assert!(help.contains(flag), "{flag} in\n{help}");
    }
}

#[test]
fn hello_world_starts_an_engine_that_ends_by_itself() {
    if workspace::peer().is_some() {
        return;
    }
    // The machine's mounts, /run and /var/lib are private to this test, so a running engine of the user's is not met.
    let script = r#"
        mount --make-rprivate / && mount -t tmpfs t /run && mount -t tmpfs t /var/lib && ip link set lo up
        export HOME=/run/home; mkdir -p $HOME
        "$0" run hello-world; echo "code $?"
        "$0" ps -a --format '{{.Image}} {{.State}}'; "$0" images --format '{{.Repository}}'
        "$0" rm -f $("$0" ps -aq) >/dev/null
        for i in $(seq 600); do ls /proc/[0-9]*/exe -l 2>/dev/null | grep -q -E 'knarr|memfd' || { echo ended; exit 0; }; sleep 0.1; done
        echo "still there:"; ps ax"#;
    let mut c = Command::new("unshare");
    c.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script])
        .arg(workspace::knarr());
    c.env_remove("DOCKER_HOST").env_remove("KNARR_HOST").env("KNARR_IDLE_TIMEOUT", "2");
    let f = run(&mut c, None, Duration::from_secs(100));
    let out = String::from_utf8_lossy(&f.stdout).into_owned();
    let err = String::from_utf8_lossy(&f.stderr).into_owned();
    assert!(out.contains("Hello from"), "{out}\n{err}");
    assert!(out.contains("code 0"), "{out}\n{err}");
    assert!(out.contains("hello-world exited"), "the next command finds the same engine: {out}\n{err}");
    assert!(out.contains("ended"), "{out}\n{err}");
}

#[test]
fn an_ordinary_user_is_told_in_one_line() {
    if workspace::peer().is_some() {
        return;
    }
    // A copy that nobody may be kept from reading.
    let dir = std::env::temp_dir().join(format!("knarr-e2e-user-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let copy = dir.join("knarr");
    std::fs::copy(workspace::knarr(), &copy).unwrap();
    let mut c = Command::new("setpriv");
    c.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy).args([
        "run",
        "--rm",
        "hello-world",
    ]);
    c.env_remove("DOCKER_HOST").env_remove("KNARR_HOST").env("HOME", "/nonexistent");
    let f = run(&mut c, None, Duration::from_secs(20));
    let err = String::from_utf8_lossy(&f.stderr).into_owned();
    assert_ne!(f.code, 0);
    assert!(err.to_lowercase().contains("root") && err.trim().lines().count() <= 2, "{err}");
    drop(std::fs::remove_dir_all(&dir));
}

#[test]
fn the_runtime_speaks_the_oci_command_line() {
    if workspace::peer().is_some() {
        return;
    }
    let dir = std::env::temp_dir().join(format!("knarr-e2e-oci-{}", std::process::id()));
    let rootfs = dir.join("rootfs");
    std::fs::create_dir_all(rootfs.join("bin")).unwrap();
    std::fs::copy(workspace::on_path("busybox").unwrap(), rootfs.join("bin/busybox")).unwrap();
    for d in ["proc", "dev", "sys", "tmp"] {
        std::fs::create_dir_all(rootfs.join(d)).unwrap();
    }
    let config = r#"{"ociVersion":"1.2.0","root":{"path":"rootfs"},"process":{"user":{"uid":0,"gid":0},"cwd":"/","args":["/bin/busybox","sleep","100"],"env":["PATH=/bin"]},
        "mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
        "linux":{"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"network"}]}}"#;
    std::fs::write(dir.join("config.json"), config).unwrap();
    let root = dir.join("state").display().to_string();
    let rt = |args: &[&str]| {
        let mut c = Command::new(workspace::knarr());
        c.arg("runtime").args(["--root", &root]).args(args);
        run(&mut c, None, Duration::from_secs(20))
    };
    let bundle = dir.display().to_string();
    let id = format!("oci-{}", std::process::id());
    let f = rt(&["create", "--bundle", &bundle, &id]);
    assert_eq!(f.code, 0, "{}", String::from_utf8_lossy(&f.stderr));
    let status =
        || -> serde_json::Value { serde_json::from_slice(&rt(&["state", &id]).stdout).unwrap_or_default() };
    assert_eq!(status()["status"], "created");
    assert_eq!(rt(&["start", &id]).code, 0);
    assert_eq!(status()["status"], "running");
    assert_ne!(rt(&["delete", &id]).code, 0, "a running one is not deleted");
    assert_eq!(rt(&["kill", &id, "KILL"]).code, 0);
    eventually("stopped", Duration::from_secs(5), || (status()["status"] == "stopped").then_some(()));
    assert_eq!(rt(&["delete", &id]).code, 0);
    assert_ne!(rt(&["state", &id]).code, 0);
    leaks::sweep(&dir, &format!("/{id}"));
}
