//! Where things are: the built binary, Docker's client, the cache of test images.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The workspace's top directory.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the test crate lies below the workspace")
}

/// `.cache`: what `scripts/test` fetched and made.
pub fn cache() -> PathBuf {
    std::env::var_os("KNARR_E2E_CACHE").map_or_else(|| top().join(".cache"), PathBuf::from)
}

/// The knarr binary under test: `$KNARR_BIN`, or the newest one built in this workspace.
pub fn knarr() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        if let Some(p) = std::env::var_os("KNARR_BIN") {
            return PathBuf::from(p);
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from);
        let mut found = Vec::new();
        let mut dirs = vec![target.clone()];
        dirs.extend(std::fs::read_dir(&target).into_iter().flatten().flatten().map(|e| e.path()));
        for d in dirs {
            for profile in ["release", "debug"] {
                let p = d.join(profile).join("knarr");
                if let Ok(m) = p.metadata() {
                    found.push((m.modified().expect("modification time"), p));
                }
            }
        }
        found.sort();
        found.pop().expect("no knarr binary: build it first (cargo build --release), or set KNARR_BIN").1
    })
}

/// A binary built with the feature `failpoints` (`$KNARR_FAILPOINT_BIN`, or the one under test if it is), where there is one.
pub fn knarr_with_failpoints() -> Option<PathBuf> {
    let bin = std::env::var_os("KNARR_FAILPOINT_BIN").map_or_else(|| knarr().to_owned(), PathBuf::from);
    let bytes = std::fs::read(&bin).ok()?;
    bytes.windows(15).any(|w| w == b"KNARR_FAILPOINT").then_some(bin)
}

/// The names of all failpoints, from the sources.
pub fn failpoints() -> Vec<String> {
    let script = r#"grep -rhoE 'failpoint!\("[a-z0-9_.-]+"' crates/*/src --exclude=failpoint.rs | cut -d'"' -f2 | sort -u"#;
    let out =
        std::process::Command::new("sh").args(["-c", script]).current_dir(top()).output().expect("grep");
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

/// Docker's own client, version 28 or later: `$KNARR_E2E_DOCKER`, `docker` on PATH, or the one in the cache.
pub fn docker() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        if let Some(p) = std::env::var_os("KNARR_E2E_DOCKER") {
            return PathBuf::from(p);
        }
        let cached = cache().join("docker-cli/usr/bin/docker");
        let candidates = [on_path("docker"), Some(cached)];
        candidates
            .into_iter()
            .flatten()
            .find(|p| docker_major(p).is_some_and(|v| v >= 28))
            .expect("no Docker client >= 28: scripts/test fetches one")
    })
}

/// Docker Compose, version 2: the one in the cache.
pub fn compose() -> PathBuf {
    let cached = cache().join("docker-compose/usr/libexec/docker/cli-plugins/docker-compose");
    assert!(cached.is_file(), "no {}: scripts/test fetches it", cached.display());
    cached
}

/// The first program of that name on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|d| d.join(name)).find(|p| p.is_file())
}

fn docker_major(bin: &Path) -> Option<u32> {
    let out = std::process::Command::new(bin).arg("--version").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?; // Docker version 28.2.2, build e6534b4
    text.split_whitespace().nth(2)?.split('.').next()?.parse().ok()
}

/// A test image made by `make-test-images`, by file name.
pub fn image(file: &str) -> PathBuf {
    let p = cache().join("images").join(file);
    assert!(p.exists(), "{} is missing: scripts/test makes it", p.display());
    p
}

/// Another engine to run the same tests against, for checking the tests themselves (`KNARR_E2E_PEER=/usr/sbin/dockerd`).
pub fn peer() -> Option<PathBuf> {
    std::env::var_os("KNARR_E2E_PEER").map(PathBuf::from)
}
