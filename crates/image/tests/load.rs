//! Loading real archives: those that `scripts/prepare-tests` makes.
use knarr_image::{Images, Progress};
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Store;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

fn archives() -> PathBuf {
    let dir = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cache/images"));
    assert!(dir.join("busybox.tar").exists(), "no test images: run scripts/prepare-tests");
    dir
}

fn open() -> (tempfile::TempDir, Images) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state.redb")).unwrap();
    let images = Images::open(dir.path(), store).unwrap();
    (dir, images)
}

fn load(images: &Images, path: &std::path::Path) -> Vec<String> {
    let lines = Mutex::new(Vec::new());
    let report = |p: Progress| {
        if let Progress::Stream(line) = p {
            lines.lock().unwrap().push(line);
        }
    };
    images.load(&mut File::open(path).unwrap(), None, &report).unwrap();
    lines.into_inner().unwrap()
}

#[test]
fn images_load_and_resolve() {
    let archives = archives();
    let (dir, images) = open();
    assert_eq!(load(&images, &archives.join("busybox.tar")), ["Loaded image: busybox:latest\n"]);
    let debian = load(&images, &archives.join("debian-bookworm-slim.tar"));
    assert_eq!(debian, ["Loaded image: debian:bookworm-slim\n"]);
    let busybox = images.resolve("busybox").unwrap();
    assert_eq!(busybox.repo_tags, ["busybox:latest"]);
    assert_eq!(images.resolve(busybox.id.short()).unwrap().id, busybox.id);
    assert_eq!(images.resolve(&format!("sha256:{}", busybox.id)).unwrap().id, busybox.id);
    assert_eq!(images.resolve("nosuch").unwrap_err().to_string(), "No such image: nosuch:latest");
    assert_eq!(images.list().unwrap().len(), 2);
    assert_eq!(images.resolve("debian:bookworm-slim").unwrap().config.platform().architecture, "amd64");
    let container = dir.path().join("containers/c");
    std::fs::create_dir_all(&container).unwrap();
    let RootfsMount::Overlay { lower, upper, work, .. } = images.prepare(&busybox.id, &container).unwrap()
    else {
        panic!("not an overlay")
    };
    assert!(lower.len() == 2 && lower[1].join("bin/busybox").exists() && upper.is_dir() && work.is_dir());
    // a second load finds everything there
    load(&images, &archives.join("busybox.tar"));
    assert_eq!(images.list().unwrap().len(), 2);
    images.collect().unwrap();
    assert_eq!(images.resolve("busybox").unwrap().id, busybox.id);
}

fn skopeo(arguments: &[&str]) -> Option<String> {
    let out = std::process::Command::new("skopeo").args(arguments).output().ok()?;
    assert!(out.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn skopeo_reads_ours_and_we_read_skopeos() {
    let archives = archives();
    let (dir, images) = open();
    load(&images, &archives.join("busybox.tar"));
    let id = images.resolve("busybox").unwrap().id;
    let saved = dir.path().join("saved.tar");
    images.save(&["busybox:latest".to_owned()], &mut File::create(&saved).unwrap()).unwrap();
    let from = |kind: &str, tag: &str| format!("{kind}:{}:{tag}", saved.display());
    if skopeo(&["--version"]).is_none() {
        eprintln!("skipped: no skopeo");
        return;
    }
    for (kind, tag) in [("docker-archive", "busybox:latest"), ("oci-archive", "latest")] {
        let config = skopeo(&["inspect", "--config", "--raw", &from(kind, tag)]).unwrap();
        assert_eq!(knarr_oci::digest::Digest::sha256(config.as_bytes()).hex(), id.as_str(), "{kind}");
    }
    for (kind, target) in [("oci-archive", "copy:name"), ("docker-archive", "copy:darch")] {
        let path = dir.path().join(format!("{kind}.tar"));
        let to = format!("{kind}:{}:{target}", path.display());
        skopeo(&["copy", "-q", &from("docker-archive", "busybox:latest"), &to]).unwrap();
        let (_other, elsewhere) = open();
        assert_eq!(load(&elsewhere, &path), [format!("Loaded image: {target}\n")], "{kind}");
        let image = elsewhere.resolve(target).unwrap();
        assert_eq!(image.config.diff_ids(), images.get(&id).unwrap().config.diff_ids());
        // the same archive compressed as a whole
        for (tool, suffix) in [("gzip", "gz"), ("zstd", "zst")] {
            let packed = path.with_extension(suffix);
            let script = format!("{tool} -qc {} > {}", path.display(), packed.display());
            assert!(std::process::Command::new("sh").arg("-c").arg(script).status().unwrap().success());
            assert_eq!(load(&elsewhere, &packed), [format!("Loaded image: {target}\n")]);
        }
    }
}

#[test]
fn archives_that_are_no_images_are_refused_and_leave_nothing() {
    let (dir, images) = open();
    let archives = archives();
    let whole = std::fs::read(archives.join("busybox.tar")).unwrap();
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let text = |bytes: &[u8]| images.load(&mut &bytes[..], None, &|_| {}).unwrap_err().to_string();
    assert!(text(b"").contains("neither manifest.json nor index.json"), "{}", text(b""));
    assert!(text(b"not a tar at all").contains("unexpected end of archive"));
    for cut in [100, 700, 5000, 600_000, whole.len() / 2] {
        let message = text(&whole[..cut]);
        assert!(message.contains("unexpected end") || message.contains("is missing"), "{cut}: {message}");
    }
    for at in [2000, 400_000] {
        let message = text(&damaged(at));
        assert!(message.contains("verification failed") || message.contains("checksum"), "{at}: {message}");
    }
    assert!(images.list().unwrap().is_empty());
    images.layers().trash().settle();
    for sub in ["content/blobs/sha256", "content/ingest", "tmp", "trash"] {
        assert_eq!(std::fs::read_dir(dir.path().join(sub)).unwrap().count(), 0, "{sub}");
    }
}

/// Large tars are unpacked while the archive is read, before it is known what they are.
#[test]
fn a_tar_that_is_nobody_s_layer_leaves_nothing() {
    let archives = archives();
    let work = tempfile::tempdir().unwrap();
    let packed = work.path().join("more.tar");
    let script = format!(
        "mkdir x && tar xf {0}/busybox.tar -C x && cp {0}/debian-bookworm-slim.tar x/a-stranger.tar && tar cf more.tar -C x .",
        archives.display()
    );
    let made = std::process::Command::new("sh").arg("-ec").arg(script).current_dir(&work).status().unwrap();
    assert!(made.success());
    let (plain, (dir, images)) = (open(), open());
    load(&plain.1, &archives.join("busybox.tar"));
    load(&images, &packed);
    images.collect().unwrap();
    images.layers().trash().settle();
    for sub in ["content/blobs/sha256", "content/ingest", "layers", "tmp", "trash"] {
        let names = |root: &std::path::Path| {
            let mut names: Vec<_> =
                std::fs::read_dir(root.join(sub)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(dir.path()), names(plain.0.path()), "{sub}");
    }
}
