//! Death at every step: a process that is killed while it loads, imports or removes leaves images that are whole or not
//! there, and nothing that stays for ever. The test runs itself as the process that dies.
use knarr_image::{Images, ImportOptions};
use knarr_oci::reference::Reference;
use knarr_snapshot::{Entry, EntryKind, TarWriter};
use knarr_state::Store;
use std::path::{Path, PathBuf};
use std::process::Command;

fn open(root: &Path) -> Images {
    Images::open(root, Store::open(&root.join("state.redb")).unwrap()).unwrap()
}

fn tar(text: &str) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for n in 0..20 {
        let path = format!("dir{n}/file");
        let entry = Entry::new(EntryKind::File, path.into_bytes(), 0o644, text.len() as u64, 0);
        writer.entry(&entry, &mut text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn import(images: &Images, name: &str, text: &str) -> Result<(), knarr_image::Error> {
    let options = ImportOptions { name: Some(Reference::parse(name).unwrap()), ..ImportOptions::default() };
    images.import(&mut tar(text).as_slice(), &options, &|_| {}).map(drop)
}

/// Not a test by itself: what dies.
#[test]
fn victim() {
    let Some(root) = std::env::var_os("KNARR_CRASH_ROOT").map(PathBuf::from) else { return };
    let images = open(&root);
    match std::env::var("KNARR_CRASH_ACTION").unwrap().as_str() {
        "load" => {
            drop(images.load(&mut std::fs::File::open(root.join("archive.tar")).unwrap(), None, &|_| {}))
        }
        "import" => drop(import(&images, "second", "two")),
        "remove" => drop(images.remove("first", false, true, &|_| Vec::new())),
        other => panic!("{other}"),
    }
}

fn files(root: &Path, dir: &str) -> usize {
    std::fs::read_dir(root.join(dir)).map_or(0, Iterator::count)
}

#[test]
fn images_are_whole_or_absent_whenever_the_process_dies() {
    for (action, point) in [
        ("load", "load.read"),
        ("load", "unpack.staged"),
        ("load", "layers.marked"),
        ("load", "layers.renamed"),
        ("load", "load.unpacked"),
        ("import", "layers.marked"),
        ("import", "layers.renamed"),
        ("import", "import.unpacked"),
        ("remove", "remove.committed"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let first = {
            let images = open(root);
            import(&images, "first", "one").unwrap();
            let mut archive = Vec::new();
            images.save(&["first".to_owned()], &mut archive).unwrap();
            std::fs::write(root.join("archive.tar"), &archive).unwrap();
            if action == "load" {
                images.remove("first", false, true, &|_| Vec::new()).unwrap();
            }
            archive
        };
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env("KNARR_CRASH_ROOT", root)
            .env("KNARR_CRASH_ACTION", action)
            .env("KNARR_FAILPOINT", point)
            .status()
            .unwrap();
        assert!(!status.success(), "{action} did not die at {point}");
        let images = open(root);
        for listed in images.list().unwrap().iter() {
            let image = images.get(&listed.id).unwrap();
            for layer in image.layers() {
                assert!(images.layers().exists(layer), "{action} {point}: {layer} is missing");
            }
            let mut again = Vec::new();
            images.save(&[image.id.to_string()], &mut again).unwrap();
        }
        assert_eq!(images.resolve("first").is_ok(), action == "import", "{action} {point}");
        images.layers().trash().settle();
        for left in ["tmp", "trash", "content/ingest"] {
            assert_eq!(files(root, left), 0, "{action} {point}: {left}");
        }
        // what is not whole is gone, but for the base layer
        let (blobs, layers) = if action == "import" { (2, 2) } else { (0, 1) };
        assert!(
            files(root, "content/blobs/sha256") <= blobs && files(root, "layers") <= layers,
            "{action} {point}"
        );
        // and it can be done again
        images.load(&mut first.as_slice(), None, &|_| {}).unwrap();
        assert!(images.resolve("first").is_ok());
    }
}
