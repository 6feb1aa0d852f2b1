//! What an engine may leave behind, and the broom that sweeps it after a failed test.

use crate::engine::Engine;
use crate::lab::Netns;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Everything of containers that still exists though no container does.
pub fn of_containers(e: &Engine) -> Vec<String> {
    let mut found = Vec::new();
    for dir in [e.data().join("containers"), e.run_dir().join("containers"), e.data().join("trash")] {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            found.push(format!("directory {}", entry.path().display()));
        }
    }
    for c in cgroups(&e.cgroup_parent()) {
        for sub in std::fs::read_dir(&c).into_iter().flatten().flatten().filter(|s| s.path().is_dir()) {
            found.push(format!("cgroup {}", sub.path().display()));
        }
    }
    for m in mounts(&e.dir) {
        found.push(format!("mount {}", m.display()));
    }
    if let Some(n) = &e.net {
        for l in n.ok("ip -o link").lines().filter(|l| l.contains("veth") || l.contains(": kv")) {
            found.push(format!("link {l}"));
        }
        let rules = n.sh("nft list ruleset");
        if rules.code == 0 {
            let text = String::from_utf8_lossy(&rules.stdout).into_owned();
            let elements = text.lines().filter(|l| l.contains(&e.subnet_prefix()) && l.contains("elements"));
            found.extend(
                elements.filter(|l| l.contains("dnat") || l.contains(" : ")).map(|l| format!("nftables {l}")),
            );
        }
    }
    found
}

/// The cgroups of that name, one per hierarchy.
pub fn cgroups(parent: &str) -> Vec<PathBuf> {
    let name = parent.trim_start_matches('/');
    let mut v: Vec<PathBuf> = vec![Path::new(CGROUPS).join(name)];
    v.extend(std::fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|e| e.path().join(name)));
    v.retain(|p| p.is_dir());
    v
}

/// Mount points below a directory.
pub fn mounts(below: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from);
    points.filter(|p| p.starts_with(below)).collect()
}

/// Processes in a network namespace, its holder apart: "pid name".
pub fn processes_in(n: &Netns) -> Vec<String> {
    let identity = n.identity();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|s| s.parse::<u32>().ok()) else { continue };
        let Ok(ns) = std::fs::read_link(entry.path().join("ns/net")) else { continue };
        if ns.to_string_lossy() == identity && pid != n.pid() {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("{pid} {}", name.trim()));
        }
    }
    found
}

/// Ask until the answer is empty, for a little while.
pub fn settle(f: impl Fn() -> Vec<String>) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let v = f();
        if v.is_empty() || Instant::now() > end {
            return v;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kill what still runs in a network namespace that is ours.
pub fn kill_all_in(n: &Netns) {
    for p in processes_in(n) {
        if let Some(pid) = p.split(' ').next().and_then(|p| p.parse().ok()) {
            signal(pid, "KILL");
        }
    }
}

/// Send a signal to one process.
pub fn signal(pid: u32, name: &str) {
    drop(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).output());
}

/// Remove what is left of an engine: processes in its cgroups, cgroups, mounts, files.
pub fn sweep(dir: &Path, cgroup_parent: &str) {
    for c in cgroups(cgroup_parent) {
        for _ in 0..20 {
            for pid in cgroup_processes(&c) {
                signal(pid, "KILL");
            }
            remove_cgroup(&c);
            if !c.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    for m in mounts(dir).into_iter().rev() {
        drop(Command::new("umount").arg("-l").arg(&m).output());
    }
    drop(Command::new("rm").arg("-rf").arg(dir).output());
}

fn cgroup_processes(dir: &Path) -> Vec<u32> {
    let mut v = Vec::new();
    for file in ["cgroup.procs", "cgroup.threads"] {
        if let Ok(text) = std::fs::read_to_string(dir.join(file)) {
            v.extend(text.lines().filter_map(|l| l.parse::<u32>().ok()));
            break;
        }
    }
    for sub in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        v.extend(cgroup_processes(&sub.path()));
    }
    v
}

fn remove_cgroup(dir: &Path) {
    drop(std::fs::write(dir.join("freezer.state"), "THAWED"));
    for sub in std::fs::read_dir(dir).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        remove_cgroup(&sub.path());
    }
    drop(std::fs::remove_dir(dir));
}

/// The text of a caught panic.
pub fn panic_text(e: &(dyn std::any::Any + Send)) -> String {
    e.downcast_ref::<String>()
        .cloned()
        .or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default()
}
