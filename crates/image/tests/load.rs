//! Loading real archives. `KNARR_TEST_IMAGES` names a directory of image archives; skipped with a message without.
use knarr_image::{Images, Progress};
use knarr_oci::rootfs::RootfsMount;
use knarr_state::Store;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

fn archives() -> Option<PathBuf> {
    let dir = std::env::var_os("KNARR_TEST_IMAGES").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("skipped: KNARR_TEST_IMAGES is not set");
    }
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
    let Some(archives) = archives() else { return };
    let (dir, images) = open();
    assert_eq!(
        load(&images, &archives.join("busybox.tar")),
        ["Loaded image: busybox:latest\n", "Loaded image: busybox:stable\n"]
    );
    assert_eq!(load(&images, &archives.join("alpine.tar")), ["Loaded image: alpine:latest\n"]);
    assert_eq!(load(&images, &archives.join("hello-world-arm64.tar")), ["Loaded image: hello-world:arm64\n"]);
    let busybox = images.resolve("busybox").unwrap();
    assert_eq!(busybox.repo_tags, ["busybox:latest", "busybox:stable"]);
    assert_eq!(images.resolve(busybox.id.short()).unwrap().id, busybox.id);
    assert_eq!(images.resolve(&format!("sha256:{}", busybox.id)).unwrap().id, busybox.id);
    assert_eq!(images.resolve("nosuch").unwrap_err().to_string(), "No such image: nosuch:latest");
    assert_eq!(images.list().unwrap().len(), 3);
    assert_eq!(images.resolve("alpine").unwrap().config.platform().architecture, "amd64");
    let container = dir.path().join("containers/c");
    std::fs::create_dir_all(&container).unwrap();
    let RootfsMount::Overlay { lower, upper, work } = images.prepare(&busybox.id, &container).unwrap() else {
        panic!("not an overlay")
    };
    assert!(lower.len() == 1 && lower[0].join("bin/busybox").exists() && upper.is_dir() && work.is_dir());
    // a second load finds everything there
    load(&images, &archives.join("busybox.tar"));
    assert_eq!(images.list().unwrap().len(), 3);
    images.collect().unwrap();
    assert_eq!(images.resolve("busybox").unwrap().id, busybox.id);
}
