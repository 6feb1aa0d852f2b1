//! The store: what is on the disk is what the rows say, it is found out when it is not, and it stays within its bounds.

use knarr_e2e::api::Api;
use knarr_e2e::cli::Cli;
use knarr_e2e::command::eventually;
use knarr_e2e::engine::{Engine, Options};
use knarr_e2e::leaks::signal;
use knarr_e2e::pack::{Compression, Form, Image};
use knarr_e2e::registry::Registry;
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::workspace;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

fn du(path: &Path) -> u64 {
    let o = std::process::Command::new("du").args(["-s", "-B1"]).arg(path).output().unwrap();
    String::from_utf8(o.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// `system check` with these flags: exit code and report.
fn check(c: &Cli, flags: &[&str]) -> (i32, Value) {
    let o = c.run(&[&["system", "check", "--format", "json"], flags].concat());
    let report = serde_json::from_str(&o.stdout).unwrap_or_else(|e| panic!("{e}: {o:?}"));
    (o.code, report)
}

/// `subject outcome problem` of each finding.
fn findings(report: &Value) -> Vec<String> {
    let text = |f: &Value, key: &str| f[key].as_str().unwrap().to_owned();
    let list = report["Findings"].as_array().unwrap().iter();
    list.map(|f| format!("{} {} {}", text(f, "Subject"), text(f, "Outcome"), text(f, "Problem"))).collect()
}

fn layer_dir(e: &Engine, image: &str, number: usize) -> PathBuf {
    let id = e.docker().field(image, &format!("{{{{index .RootFS.Layers {number}}}}}"));
    e.data().join("layers").join(&id["sha256:".len()..])
}

fn blobs(e: &Engine) -> Vec<PathBuf> {
    let dir = e.data().join("content/blobs/sha256");
    let mut list: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect();
    list.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
    list
}

/// Flips a bit and leaves size and time as they were.
fn rot(path: &Path) {
    let time = path.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn a_whole_store_is_found_whole_and_the_second_look_reads_no_layer() {
    let e = Options::new().images(&["awkward.tar", "busybox-oci-zstd.tar", "busybox-oci-gzip.tar"]).start();
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "runs", "awkward", "sleep", "600"]);
    c.ok(&["volume", "create", "vv"]);
    let (code, report) = check(&c, &[]);
    assert_eq!((code, findings(&report)), (0, vec![]));
    assert_eq!(report["Damaged"], 0);
    assert!(report["LayersCompared"].as_u64().unwrap() >= 5, "{report}");
    assert_eq!(report["LayersCompared"], report["Layers"]);
    let (code, report) = check(&c, &[]);
    assert_eq!((code, &report["LayersCompared"]), (0, &0.into()), "nothing touched them: {report}");
    let (code, report) = check(&c, &["--deep"]);
    assert_eq!((code, &report["LayersCompared"]), (0, &report["Layers"]));
    let text = c.ok(&["system", "check"]);
    assert!(text.contains("Checked: ") && text.contains("1 containers, 1 volumes"), "{text}");
}

#[test]
fn damage_is_found_and_repaired() {
    let mut e = Options::new().images(&["awkward.tar"]).start();
    let c = e.knarr();
    check(&c, &[]);
    let base = layer_dir(&e, "awkward", 0);
    let top = layer_dir(&e, "awkward", 3);
    rot(&base.join("fs/bin/busybox"));
    std::fs::remove_file(top.join("fs/suid")).unwrap();
    let (code, report) = check(&c, &[]);
    assert_eq!(code, 1);
    let mut found = findings(&report);
    found.sort();
    assert_eq!(found, ["layer found /bin/[: content", "layer found /suid: missing"], "{report}");
    assert_eq!(report["Findings"][0]["UsedBy"][0], "awkward:latest");
    let o = c.fails(1, &["system", "check"]);
    assert!(o.stdout.contains("/suid: missing") && o.stderr.contains("2 damaged objects are left"), "{o:?}");
    let (code, report) = check(&c, &["--repair"]);
    let found = findings(&report);
    assert_eq!((code, found.len()), (0, 2), "{report}");
    assert!(found.iter().all(|f| f.starts_with("layer repaired")), "{found:?}");
    assert_eq!(check(&c, &["--deep"]).0, 0);
    assert_eq!(c.ok(&["run", "--rm", "awkward", "ls", "/suid"]), "/suid");
    // A layer that is gone altogether.
    std::fs::remove_dir_all(&top).unwrap();
    assert_eq!(findings(&check(&c, &[]).1), ["layer found missing"]);
    assert_eq!(check(&c, &["--repair"]).0, 0);
    // Running containers keep what they stand on.
    c.ok(&["run", "-d", "--name", "runs", "awkward", "sleep", "600"]);
    std::fs::write(layer_dir(&e, "awkward", 3).join("fs/more"), "x").unwrap();
    let (code, report) = check(&c, &["--repair"]);
    assert_eq!((code, findings(&report)), (1, vec!["layer left /more: does not belong there".to_owned()]));
    assert_eq!(c.ok(&["exec", "runs", "echo", "alive"]), "alive");
    c.ok(&["rm", "-f", "runs"]);
    assert_eq!(check(&c, &["--repair"]).0, 0);
    // What a blob says is needed for all this.
    let blob = blobs(&e).remove(0);
    rot(&blob);
    let (code, report) = check(&c, &["--repair"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(findings(&report), ["blob quarantined its content has another digest"]);
    assert!(e.data().join("quarantine").read_dir().unwrap().count() == 1);
    let (code, report) = check(&c, &[]);
    assert_eq!((code, findings(&report)), (1, vec!["blob found missing".to_owned()]));
    // The same image again brings it back.
    e.load(&workspace::image("awkward.tar"));
    assert_eq!(check(&c, &["--deep"]).0, 0);
    e.crash_and_restart();
    assert_eq!(check(&c, &["--deep"]).0, 0);
}

#[test]
fn blobs_come_again_from_the_registry() {
    let e = Options::new().host_network().start();
    let registry = Registry::start();
    let name = registry.reference("whole:1");
    let c = e.knarr();
    c.ok(&["tag", "busybox", &name]);
    c.ok(&["push", &name]);
    c.ok(&["rmi", &name, "busybox"]);
    c.ok(&["pull", "-q", &name]);
    // Layer, configuration and manifest.
    let all = blobs(&e);
    assert_eq!(all.len(), 3);
    for blob in &all {
        rot(blob);
    }
    let (code, report) = check(&c, &[]);
    assert_eq!(code, 1, "{report}");
    let (code, report) = check(&c, &["--repair"]);
    let blobs_repaired = findings(&report).iter().filter(|f| f.starts_with("blob repaired")).count();
    assert_eq!((code, blobs_repaired), (0, 3), "{report}");
    assert_eq!(check(&c, &["--deep"]).0, 0);
    assert_eq!(c.ok(&["run", "--rm", &name, "echo", "whole"]), "whole");
    // Without the registry an image without its configuration is none; the store is whole again.
    drop(registry);
    let config = e.data().join("content/blobs/sha256").join(&c.field(&name, "{{.Id}}")["sha256:".len()..]);
    rot(&config);
    let (code, report) = check(&c, &["--repair"]);
    assert_eq!(code, 0, "{report}");
    assert!(findings(&report).contains(&"image removed its configuration is lost".to_owned()), "{report}");
    assert_eq!(c.ok(&["images", "-aq"]), "");
    assert_eq!(check(&c, &[]).0, 0);
}

#[test]
fn what_nobody_owns_is_found_and_removed() {
    let e = Engine::start();
    let c = e.knarr();
    let data = e.data();
    let hex = "ab".repeat(32);
    std::fs::create_dir_all(data.join("layers").join(&hex).join("fs")).unwrap();
    std::fs::create_dir_all(data.join("volumes/nobodys/_data")).unwrap();
    std::fs::create_dir_all(data.join("containers").join(&hex)).unwrap();
    std::fs::write(data.join("containers").join(&hex).join("layers.json"), "[]").unwrap();
    std::fs::write(data.join("content/blobs/sha256").join(&hex), "x").unwrap();
    let (code, report) = check(&c, &[]);
    assert_eq!((code, findings(&report).len()), (0, 4), "space is lost, nothing is damaged: {report}");
    let (code, report) = check(&c, &["--repair"]);
    let found = findings(&report);
    assert_eq!((code, found.len()), (0, 4), "{report}");
    assert!(found.iter().all(|f| f.contains(" removed ")), "{found:?}");
    assert_eq!(findings(&check(&c, &[]).1), [""; 0]);
    for dir in ["layers", "volumes", "containers", "content/blobs/sha256"] {
        assert!(!data.join(dir).join(&hex).exists() && !data.join("volumes/nobodys").exists(), "{dir}");
    }
    // A volume whose directory went.
    c.ok(&["volume", "create", "vv"]);
    std::fs::remove_dir_all(data.join("volumes/vv")).unwrap();
    assert_eq!(findings(&check(&c, &[]).1), ["volume found its directory is missing"]);
    assert_eq!(check(&c, &["--repair"]).0, 0);
    assert_eq!(c.ok(&["run", "--rm", "-v", "vv:/v", "busybox", "ls", "/v"]), "");
}

fn total(api: &Api) -> u64 {
    let df = api.get("/v1.53/system/df?verbose=1").unwrap().expect(200).json();
    ["ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage", "EngineUsage"]
        .iter()
        .map(|kind| df[kind]["TotalSize"].as_u64().unwrap_or(0))
        .sum()
}

#[test]
fn system_df_is_du() {
    let e = Options::new().images(&["busybox.tar", "awkward.tar", "debian-bookworm-slim.tar"]).start();
    let c = e.docker();
    c.ok(&["run", "--name", "writes", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=9"]);
    c.ok(&["run", "--name", "says", "busybox", "sh", "-c", "seq 1 20000"]);
    let files = "for i in $(seq 1 300); do echo $i > /v/$i; done";
    c.ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", files]);
    c.ok(&["run", "-d", "--init", "--name", "runs", "busybox", "sh", "-c", "echo x > /x; sleep 600"]);
    let same = |what: &str| {
        // Databases grow, trash is deleted: both at rest are compared.
        eventually(what, LIMIT, || {
            let (shown, found) = (total(&e.api()), du(&e.data()));
            (shown.abs_diff(found) * 100 <= found).then_some(())
        });
    };
    same("system df is du of the data root within 1 %");
    let before = total(&e.api());
    // Removal is seen at once, and the space comes back.
    c.ok(&["rm", "-f", "writes", "says", "runs"]);
    c.ok(&["rmi", "debian:bookworm-slim"]);
    c.ok(&["volume", "rm", "vol"]);
    eventually("the space comes back", LIMIT, || (total(&e.api()) + (60 << 20) < before).then_some(()));
    let trash = e.data().join("trash");
    eventually("nothing is left to delete", LIMIT, || (trash.read_dir().unwrap().count() == 0).then_some(()));
    same("system df is du after removals");
    let table = e.knarr().ok(&["system", "df"]);
    assert!(table.contains("Images") && table.contains("Engine"), "{table}");
    assert!(!e.docker().ok(&["system", "df"]).contains("Engine"));
}

/// One archive with this many images of so many layers of their own each.
fn many(path: &Path, images: usize, layers: usize) {
    let all: Vec<Image> = (0..images)
        .map(|n| {
            let layer = |l| archive(&[Entry::file(&format!("{n}-{l}"), 0o644, b"x")]);
            Image::new(&format!("many:{n}"), (0..layers).map(layer).collect()).compression(Compression::None)
        })
        .collect();
    knarr_e2e::pack::write_many(path, &all);
}

#[test]
fn many_images_are_listed_and_an_engine_with_them_starts_at_once() {
    const IMAGES: usize = 150;
    let mut e = Options::new().images(&[]).start();
    let path = e.fresh("many");
    many(&path, IMAGES, 1);
    e.load(&path);
    let c = e.knarr();
    assert_eq!(c.ok(&["images", "-q"]).lines().count(), IMAGES);
    // Generous bounds: a build for tests on a busy machine. bench/run has the numbers that count.
    let begin = Instant::now();
    c.ok(&["images", "-q"]);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    e.kill9();
    let begin = Instant::now();
    e.launch();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // No list reads what an image's files say.
    let opened = e.knarr().ok(&["images", "--format", "{{.Tag}}"]);
    assert_eq!(opened.lines().count(), IMAGES);
    assert!(e.knarr().ok(&["image", "prune", "-af"]).contains("Total reclaimed space"));
    assert_eq!(e.knarr().ok(&["images", "-aq"]), "");
}

/// A policy that a running engine is given is in force from then on.
#[test]
fn a_clean_up_policy_can_be_reloaded() {
    let file = std::env::temp_dir().join(format!("knarr-e2e-clean-up-{}.json", std::process::id()));
    std::fs::write(&file, "{}").unwrap();
    let e = Options::new().images(&[]).args(&["--config-file", file.to_str().unwrap()]).start();
    let path = e.fresh("image");
    Image::new("goes:1", vec![archive(&[Entry::file("f", 0o644, b"f")])]).write(&path, Form::DockerSave);
    e.load(&path);
    std::fs::write(&file, r#"{"clean-up":{"unused-for":"1s","interval":"1s"}}"#).unwrap();
    signal(e.pid(), "HUP");
    eventually("an image that nobody uses goes", LIMIT, || {
        e.knarr().ok(&["images", "-q"]).is_empty().then_some(())
    });
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn clean_up_takes_the_least_recently_used_and_nothing_that_is_kept() {
    let e = Options::new()
        .images(&[])
        .arg("--clean-up=unused-for=1s")
        .arg("--clean-up=interval=1s")
        .arg("--clean-up=keep=reference=kept:*")
        .start();
    let load = |image: &Image| {
        let path = e.fresh("image");
        image.write(&path, Form::DockerSave);
        e.load(&path);
    };
    e.load(&workspace::image("busybox.tar"));
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
    c.ok(&["run", "--name", "stopped", "busybox", "true"]);
    let layer = |name: &str| vec![archive(&[Entry::file(name, 0o644, name.as_bytes())])];
    load(&Image::new("kept:1", layer("kept")));
    load(&Image::new("pinned:1", layer("pinned")).label("io.knarr.pin", "true"));
    load(&Image::new("goes:1", layer("goes")));
    eventually("an image that nobody uses goes", LIMIT, || {
        let list = c.ok(&["images", "--format", "{{.Repository}}"]);
        let mut list: Vec<_> = list.lines().collect();
        list.sort_unstable();
        (list == ["busybox", "kept", "pinned"]).then_some(())
    });
    let mut events = String::new();
    eventually("events tell of it", LIMIT, || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let until = (now + 1).to_string();
        let flags = ["--since", "1", "--until", &until, "--filter", "type=image", "--format", "{{.Action}}"];
        events = c.ok(&[&["events"][..], &flags].concat());
        ["untag", "delete", "prune"].iter().all(|a| events.lines().any(|line| line == *a)).then_some(())
    });
    // By hand, and only to see: the stopped container counts until it is removed.
    let policy = ["--policy", "high-watermark=1%", "--policy", "low-watermark=1%"];
    let dry = c.ok(&[&["system", "clean", "--dry-run", "--format", "json"][..], &policy].concat());
    let dry: Value = serde_json::from_str(&dry).unwrap();
    let names: Vec<_> =
        dry["Images"].as_array().unwrap().iter().map(|i| i["Name"].as_str().unwrap()).collect();
    assert_eq!((names, &dry["DryRun"]), (vec!["kept:1"], &true.into()), "{dry}");
    assert_eq!(c.ok(&["images", "-q"]).lines().count(), 3);
    c.fails(1, &["system", "clean", "--policy", "keep=label=x"]).says("there is no clean-up policy");
    c.fails(1, &["system", "clean", "--policy", "high-watermark=0%"]).says("expected 1% to 99%");
    let out = c.ok(&[&["system", "clean"][..], &policy].concat());
    assert!(out.contains("kept:1") && out.contains("Total reclaimed space: "), "{out}");
    assert_eq!(c.ok(&["images", "-q"]).lines().count(), 2);
}

/// A file system of this size for an engine's data, or none where the machine has no loop devices.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(e: &Engine, mebibytes: u64) -> Option<SmallDisk> {
        let file = e.dir.join("disk");
        std::fs::File::create(&file).unwrap().set_len(mebibytes << 20).unwrap();
        std::fs::create_dir_all(e.data()).unwrap();
        let ok = |program: &str, args: &[&str]| {
            std::process::Command::new(program).args(args).output().unwrap().status.success()
        };
        let (file, data) = (file.to_str().unwrap(), e.data());
        assert!(ok("mke2fs", &["-q", "-F", "-t", "ext4", "-m", "0", file]));
        if !ok("mount", &["-o", "loop", file, data.to_str().unwrap()]) {
            eprintln!("no loop devices here: a full ext4 is not tested");
            return None;
        }
        Some(SmallDisk(data))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(std::process::Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

#[test]
fn a_full_disk_takes_no_more_and_gives_back() {
    let mut e = Engine::prepare(Options::new().may_leak());
    let Some(_disk) = SmallDisk::new(&e, 48) else { return };
    e.launch();
    e.load(&workspace::image("busybox.tar"));
    let (c, k) = (e.docker(), e.knarr());
    c.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
    // Neither half of an image nor its space stays when there is no room.
    let debian = workspace::image("debian-bookworm-slim.tar");
    let free = || rustix::fs::statvfs(e.data()).unwrap().f_bavail;
    let before = free();
    let o = c.run(&["load", "-i", debian.to_str().unwrap()]);
    assert!(o.code == 1 && o.stderr.to_lowercase().contains("no space left on device"), "{o:?}");
    eventually("what a load left is gone", LIMIT, || (free() + 1024 > before).then_some(()));
    assert_eq!(c.ok(&["images", "-aq"]).lines().count(), 1);
    assert_eq!(check(&k, &[]).0, 0);
    // Full to the last block, and everything can still be removed.
    c.ok(&[
        "run",
        "--name",
        "fills",
        "busybox",
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=64k; dd if=/dev/zero of=/small bs=1k; true",
    ]);
    assert!(free() < 64, "{} blocks are free", free());
    c.ok(&["tag", "busybox", "second"]);
    c.ok(&["rmi", "second"]);
    c.ok(&["rm", "-f", "fills"]);
    eventually("the space is back", LIMIT, || (free() + 2048 > before).then_some(()));
    c.ok(&["rm", "-f", "runs"]);
    c.ok(&["rmi", "busybox"]);
    e.load(&workspace::image("busybox.tar"));
    assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "again"]), "again");
    assert_eq!(check(&k, &["--deep"]).0, 0);
    e.stop();
}
