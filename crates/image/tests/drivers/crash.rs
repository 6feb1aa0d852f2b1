//! Death in the middle: a container is there or not, and nothing that was begun stays. The test runs itself as what dies.
use crate::contract::{Subject, container, load, look, open};
use crate::sample;
use knarr_snapshot::driver::Kind;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Not a test by itself: what dies.
#[test]
fn victim() {
    let Some(root) = std::env::var_os("KNARR_DRIVER_ROOT").map(PathBuf::from) else { return };
    let kind = Kind::parse(&std::env::var("KNARR_DRIVER").unwrap()).unwrap();
    let images = open(&root, Some(kind)).unwrap();
    let image = images.resolve("sample").unwrap().id;
    let dir = root.join("containers/dies");
    fs::create_dir_all(&dir).unwrap();
    drop(images.prepare(&image, &dir));
}

pub fn whole_or_absent(subject: &Subject<'_>) {
    let points: &[&str] = match subject.kind {
        Kind::Overlay => return,
        Kind::Btrfs => &["driver.chain", "driver.made"],
        Kind::Copy => &["driver.made"],
    };
    let image = load(&subject.open(), "sample", &sample::layers());
    let expected = {
        let dir = tempfile::tempdir().unwrap();
        let images = open(dir.path(), Some(Kind::Overlay)).unwrap();
        let image = load(&images, "sample", &sample::layers());
        look(&container(dir.path(), &images, &image, "one"))
    };
    for point in points {
        let died = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--nocapture"])
            .env("KNARR_DRIVER_ROOT", &subject.root)
            .env("KNARR_DRIVER", subject.kind.name())
            .env("KNARR_FAILPOINT", format!("{point}=kill"))
            .output()
            .unwrap();
        assert!(!died.status.success(), "{point}: {}", String::from_utf8_lossy(&died.stderr));
        let images = subject.open();
        // As an engine's sweep does with what no row names.
        assert!(images.layers().trash().take(&subject.root.join("containers/dies")).unwrap());
        images.layers().trash().settle();
        for dir in ["tmp", "trash", "containers"] {
            assert_eq!(fs::read_dir(subject.root.join(dir)).unwrap().count(), 0, "{point}: {dir}");
        }
        let name = format!("after {point}");
        assert_eq!(look(&container(&subject.root, &images, &image, &name)), expected, "{point}");
        assert!(images.layers().trash().take(&subject.root.join("containers").join(name)).unwrap());
        images.layers().trash().settle();
    }
}
