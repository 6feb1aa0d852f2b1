//! The path layer against hostile trees.
use knarr_linux::Errno;
use knarr_linux::path::Root;
use rustix::fs::{FileType, RenameFlags};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn links_and_dots_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("root");
    fs::create_dir_all(base.join("etc")).unwrap();
    fs::write(base.join("etc/passwd"), "inside").unwrap();
    fs::write(dir.path().join("secret"), "outside").unwrap();
    symlink("/etc/passwd", base.join("absolute")).unwrap();
    symlink("../../../../etc/passwd", base.join("up")).unwrap();
    symlink("../secret", base.join("out")).unwrap();
    let root = Root::open(&base).unwrap();
    for path in ["absolute", "/absolute", "up", "../../etc/passwd", "etc/../../etc/passwd"] {
        let file = fs::File::from(root.open_file(path).unwrap());
        assert_eq!(std::io::read_to_string(file).unwrap(), "inside", "{path}");
    }
    assert_eq!(root.open_file("out").unwrap_err(), Errno::NOENT);
    let strict = Root::open_beneath(&base).unwrap();
    assert_eq!(strict.open_file("absolute").unwrap_err(), Errno::LOOP);
    assert_eq!(strict.open_file("../secret").unwrap_err(), Errno::XDEV);
    assert!(strict.open_file("etc/passwd").is_ok());
}

#[test]
fn magic_links_are_refused() {
    let root = Root::open(Path::new("/")).unwrap();
    assert_eq!(root.open_path("/proc/self/root/etc").unwrap_err(), Errno::LOOP);
    assert_eq!(root.open_path("/proc/self/fd/0").unwrap_err(), Errno::LOOP);
}

#[test]
fn directories_are_made_through_dangling_links() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("root");
    fs::create_dir(&base).unwrap();
    symlink("/run/../real", base.join("var")).unwrap();
    symlink("../../../escape", base.join("up")).unwrap();
    let root = Root::open(&base).unwrap();
    root.mkdir_all("var/lib/x", 0o755).unwrap();
    assert!(base.join("real/lib/x").is_dir());
    root.mkdir_all("/up/deep", 0o755).unwrap();
    assert!(base.join("escape/deep").is_dir());
    assert!(!dir.path().join("escape").exists());
    symlink("loop", base.join("loop")).unwrap();
    assert_eq!(root.mkdir_all("loop/x", 0o755).unwrap_err(), Errno::LOOP);
    fs::write(base.join("file"), "").unwrap();
    assert_eq!(root.mkdir_all("file/x", 0o755).unwrap_err(), Errno::NOTDIR);
    let strict = Root::open_beneath(&base).unwrap();
    assert_eq!(strict.mkdir_all("var/lib/y", 0o755).unwrap_err(), Errno::LOOP);
    assert_eq!(strict.mkdir_all("a/../../b", 0o755).unwrap_err(), Errno::XDEV);
}

#[test]
fn files_are_made_through_dangling_links() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("root");
    fs::create_dir_all(base.join("etc")).unwrap();
    symlink("../run/resolve/stub.conf", base.join("etc/resolv.conf")).unwrap();
    symlink("/../../../../outside", base.join("etc/out")).unwrap();
    let root = Root::open(&base).unwrap();
    root.ensure_file("/etc/resolv.conf", 0o644).unwrap();
    assert!(base.join("run/resolve/stub.conf").is_file());
    root.ensure_file("/etc/out", 0o644).unwrap();
    assert!(base.join("outside").is_file() && !dir.path().join("outside").exists());
    assert!(root.ensure_file("/etc", 0o644).is_ok(), "what is there is taken as it is");
    let strict = Root::open_beneath(&base).unwrap();
    assert_eq!(strict.ensure_file("etc/resolv.conf", 0o644).unwrap_err(), Errno::LOOP);
    assert!(strict.ensure_file("new/file", 0o644).is_ok());
}

#[test]
fn names_are_single_components() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let top = root.open_dir("/").unwrap();
    for bad in ["", ".", "..", "a/b", "/a"] {
        assert_eq!(top.mkdir(bad, 0o755).unwrap_err(), Errno::INVAL, "{bad:?}");
    }
    assert_eq!(root.symlink("x", "/").unwrap_err(), Errno::INVAL);
}

#[test]
fn objects_of_every_kind() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let (top, name) = root.make_parent("a/b/file", 0o755).unwrap();
    let mut file = fs::File::from(top.create_new(&name, 0o600).unwrap());
    file.write_all(b"text").unwrap();
    assert_eq!(root.create_new("a/b/file", 0o600).unwrap_err(), Errno::EXIST);
    top.chmod(&name, 0o4755).unwrap();
    top.chown(&name, 12, 34).unwrap();
    assert_eq!(top.metadata(&name).unwrap().st_uid, 12);
    root.link("a/b/file", "a/hard").unwrap();
    assert_eq!(root.metadata("a/hard").unwrap().st_nlink, 2);
    root.symlink("b/file", "a/soft").unwrap();
    assert_eq!(root.read_link("a/soft").unwrap(), "b/file");
    assert_eq!(root.open_dir("a").unwrap().chmod("soft", 0o600).unwrap_err(), Errno::OPNOTSUPP);
    assert_eq!(root.create("a/soft", 0o600).unwrap_err(), Errno::LOOP);
    top.mknod("null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3)).unwrap();
    assert_eq!(fs::metadata(dir.path().join("a/b/null")).unwrap().rdev(), rustix::fs::makedev(1, 3));
    let a = root.open_dir("a").unwrap();
    a.set_xattr("soft", "trusted.knarr", b"value").unwrap();
    assert_eq!(a.xattr("soft", "trusted.knarr").unwrap().unwrap(), b"value");
    assert_eq!(a.xattr("hard", "trusted.knarr").unwrap(), None);
    assert_eq!(a.xattrs("soft").unwrap(), [b"trusted.knarr".to_vec()]);
    a.remove_xattr("soft", "trusted.knarr").unwrap();
    assert!(a.xattrs("soft").unwrap().is_empty());
    root.remove_tree("a").unwrap();
    root.remove_tree("a").unwrap();
    assert!(!dir.path().join("a").exists());
}

#[test]
fn removal_of_a_deep_tree_and_of_links_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("keep"), "").unwrap();
    let base = dir.path().join("root");
    fs::create_dir(&base).unwrap();
    let root = Root::open(&base).unwrap();
    let mut here = root.mkdir_all("tree", 0o755).unwrap();
    for _ in 0..1500 {
        here.mkdir("d", 0o755).unwrap();
        here.symlink("../../../../../../outside", "link").unwrap();
        here = here.open_dir("d").unwrap();
    }
    symlink(&outside, base.join("tree/out")).unwrap();
    root.remove_tree("tree").unwrap();
    assert!(outside.join("keep").exists());
    assert_eq!(fs::read_dir(&base).unwrap().count(), 0);
}

/// CVE-2021-30465, CVE-2024-45310: a component flips between a directory and a link to the outside while paths are made.
#[test]
fn exchange_of_directory_and_link_never_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let base = dir.path().join("root");
    fs::create_dir_all(base.join("a")).unwrap();
    symlink(&outside, base.join("b")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let top = Root::open(&base).unwrap().open_dir("/").unwrap();
            while !stop.load(Ordering::Relaxed) {
                top.rename_with("a", &top, "b", RenameFlags::EXCHANGE).unwrap();
            }
        });
        let root = Root::open(&base).unwrap();
        for n in 0..800 {
            let _ = root.mkdir_all(format!("a/x{n}/y"), 0o755);
            let _ = root.create(format!("a/f{n}"), 0o600);
            let _ = root.remove_tree(format!("a/x{n}"));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}
