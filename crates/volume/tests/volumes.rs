//! Volumes on a real file system.
use knarr_base::{ErrorKind, Kind};
use knarr_linux::path::Root;
use knarr_state::{Record, Store};
use knarr_volume::{CopyUp, CreateVolume, Volumes};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

fn open(dir: &Path) -> Volumes {
    Volumes::open(dir, Store::open(&dir.join("state.redb")).unwrap()).unwrap()
}

fn named(name: &str) -> CreateVolume {
    CreateVolume { name: name.to_owned(), ..CreateVolume::default() }
}

#[test]
fn create_list_remove() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = open(dir.path());
    let a = volumes.create(&named("data")).unwrap();
    assert_eq!(volumes.create(&named("data")).unwrap(), a, "creating twice is the same volume");
    let anonymous = volumes.create(&named("")).unwrap();
    assert!(anonymous.anonymous && anonymous.name.len() == 64);
    assert!(volumes.mountpoint("data").is_dir());
    assert_eq!(volumes.list().unwrap().len(), 2);
    let busy = volumes.remove("data", &|_| vec!["abc".to_owned()]).unwrap_err();
    assert_eq!(busy.to_string(), "remove data: volume is in use - [abc]");
    assert_eq!(busy.kind(), ErrorKind::Conflict);
    volumes.remove("data", &|_| Vec::new()).unwrap();
    assert!(!volumes.mountpoint("data").exists());
    let gone = volumes.remove("data", &|_| Vec::new()).unwrap_err();
    assert_eq!(gone.to_string(), "get data: no such volume");
}

#[test]
fn names_that_are_no_names() {
    let dir = tempfile::tempdir().unwrap();
    let volumes = open(dir.path());
    for bad in ["a", "../x", "a/b", ".x", "-x", "a b", "\u{e9}\u{e9}"] {
        let error = volumes.create(&named(bad)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}: {error}");
    }
}

#[test]
fn directories_without_a_row_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::create_dir_all(dir.path().join("volumes/lost/_data")).unwrap();
    let volumes = open(dir.path());
    assert!(!volumes.mountpoint("lost").exists());
}

#[test]
fn copy_up_is_exact_and_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let from = image.join("srv/data");
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::write(from.join("file"), "content").unwrap();
    fs::set_permissions(from.join("file"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(from.join("file"), from.join("sub/hard")).unwrap();
    symlink("/etc/passwd", from.join("link")).unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o1777)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(from.join("file"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(from.join("file"), fs::Permissions::from_mode(0o4750)).unwrap();
    }
    symlink("srv", image.join("alias")).unwrap();
    let volumes = open(dir.path());
    volumes.create(&named("vol")).unwrap();
    let root = Root::open(&image).unwrap();
    volumes.copy_up(&volumes.get("vol").unwrap(), &root, Path::new("/alias/data"), CopyUp::AtOnce).unwrap();
    let to = volumes.mountpoint("vol");
    let (old, new) = (fs::metadata(from.join("file")).unwrap(), fs::metadata(to.join("file")).unwrap());
    assert_eq!(
        (old.mode(), old.uid(), old.gid(), old.mtime_nsec()),
        (new.mode(), new.uid(), new.gid(), new.mtime_nsec())
    );
    assert_eq!(new.ino(), fs::metadata(to.join("sub/hard")).unwrap().ino());
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, 0o1777);
    fs::write(from.join("later"), "").unwrap();
    volumes.copy_up(&volumes.get("vol").unwrap(), &root, Path::new("/srv/data"), CopyUp::AtOnce).unwrap();
    assert!(!to.join("later").exists(), "a volume that has content is left alone");
    volumes.create(&named("none")).unwrap();
    volumes.copy_up(&volumes.get("none").unwrap(), &root, Path::new("/missing"), CopyUp::AtOnce).unwrap();
}

/// What a volume's row is not.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nonsense {
    nonsense: u32,
}

impl Record for Nonsense {
    const TABLE: &'static str = "volumes";
}

#[test]
fn a_damaged_record_does_not_take_the_data_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("state.redb")).unwrap();
    let volumes = Volumes::open(dir.path(), store.clone()).unwrap();
    volumes.create(&named("data")).unwrap();
    fs::write(volumes.mountpoint("data").join("file"), "precious").unwrap();
    fs::create_dir_all(dir.path().join("volumes/nobody/_data")).unwrap();
    store.write(|tx| tx.put("data", &Nonsense { nonsense: 1 })).unwrap();
    // Twice: the row is in the table once, and in the quarantine from then on.
    for _ in 0..2 {
        let volumes = Volumes::open(dir.path(), store.clone()).unwrap();
        assert!(volumes.list().unwrap().is_empty());
        assert_eq!(fs::read_to_string(volumes.mountpoint("data").join("file")).unwrap(), "precious");
        assert!(!dir.path().join("volumes/nobody").exists(), "what nobody ever owned goes");
    }
    volumes.create(&named("data")).unwrap();
    assert_eq!(fs::read_to_string(volumes.mountpoint("data").join("file")).unwrap(), "precious");
}

/// A copy that fails half-way leaves the volume empty: the next container fills it.
#[test]
fn a_copy_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    // Deeper than is copied.
    let mut deep = image.join("srv/deep");
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(image.join("small")).unwrap();
    fs::write(image.join("small/file"), "x").unwrap();
    let volumes = open(dir.path());
    let root = Root::open(&image).unwrap();
    volumes.create(&named("vol")).unwrap();
    volumes.copy_up(&volumes.get("vol").unwrap(), &root, Path::new("/srv"), CopyUp::AtOnce).unwrap_err();
    let around = |name: &str| fs::read_dir(dir.path().join("volumes").join(name)).unwrap().count();
    assert_eq!(fs::read_dir(volumes.mountpoint("vol")).unwrap().count(), 0);
    assert_eq!(around("vol"), 1, "nothing is left beside the volume's directory");
    // What an engine that was killed in between left is swept.
    fs::create_dir(dir.path().join("volumes/vol/copying-x")).unwrap();
    drop(volumes);
    let volumes = open(dir.path());
    assert_eq!(around("vol"), 1);
    let held = fs::metadata(volumes.mountpoint("vol")).unwrap().ino();
    volumes.copy_up(&volumes.get("vol").unwrap(), &root, Path::new("/small"), CopyUp::InPlace).unwrap();
    assert_eq!(
        fs::metadata(volumes.mountpoint("vol")).unwrap().ino(),
        held,
        "whoever has it mounted sees it"
    );
    assert_eq!(fs::read_to_string(volumes.mountpoint("vol").join("file")).unwrap(), "x");
}
