//! How long a container of one short program takes: create, start, wait, delete. As root:
//! `cargo run --release -p knarr-runtime --example start -- BUNDLE [COUNT] [no-seccomp] [no-cgroup] [no-cache]`
//! where BUNDLE holds `config.json`, and `lower`, `upper`, `work` for an overlay.
use knarr_cgroup::Cgroup;
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::Spec;
use knarr_runtime::{CgroupOptions, CreateOptions, Stdio};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|a| a == word);
    let bundle = PathBuf::from(arguments.first().ok_or("which bundle?")?);
    let count: u32 = arguments.get(1).and_then(|c| c.parse().ok()).unwrap_or(200);
    let mut spec: Spec = serde_json::from_slice(&std::fs::read(bundle.join("config.json"))?)?;
    if has("no-seccomp")
        && let Some(linux) = &mut spec.linux
    {
        linux.seccomp = None;
    }
    let cache = tempfile::tempdir()?;
    let rootfs = RootfsMount::Overlay {
        lower: vec![bundle.join("lower")],
        upper: bundle.join("upper"),
        work: bundle.join("work"),
        volatile: false,
    };
    let null = |write: bool| -> std::io::Result<OwnedFd> {
        Ok(std::fs::OpenOptions::new().read(!write).write(write).open("/dev/null")?.into())
    };
    let mut total = [Duration::ZERO; 4];
    for number in 0..count {
        let path = format!("/knarr-bench/{}-{number}", std::process::id());
        let id = path.rsplit('/').next().unwrap_or_default();
        let begin = Instant::now();
        let mut created = knarr_runtime::create(CreateOptions {
            rootfs: Some(&rootfs),
            stdio: Stdio::Pipes { stdin: None, stdout: null(true)?, stderr: null(true)? },
            cgroup: if has("no-cgroup") { CgroupOptions::Inherit } else { CgroupOptions::Path(&path) },
            seccomp_cache: if has("no-cache") { None } else { Some(cache.path()) },
            ..CreateOptions::new(id, &spec, &bundle)
        })?;
        let made = Instant::now();
        created.start()?;
        let started = Instant::now();
        knarr_linux::process::wait(created.pidfd.as_fd(), true)?;
        let ended = Instant::now();
        if !has("no-cgroup") {
            Cgroup::new(&path)?.destroy()?;
        }
        let times = [made - begin, started - made, ended - started, ended.elapsed()];
        for (sum, time) in total.iter_mut().zip(times) {
            *sum += time;
        }
    }
    // Other measurements may be running.
    let _ = Cgroup::new("/knarr-bench").and_then(|group| group.remove_if_empty());
    let all: Duration = total.iter().sum();
    println!("total {:?}", all / count);
    for (name, time) in ["create", "start", "wait", "delete"].iter().zip(total) {
        println!("  {name} {:?}", time / count);
    }
    Ok(())
}
