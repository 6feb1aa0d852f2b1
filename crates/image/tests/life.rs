//! The life of images without any archive from elsewhere: import, tag, commit, save, load, remove, prune.
use knarr_base::{ContainerId, ErrorKind, Kind};
use knarr_image::{CommitOptions, ImageFilter, ImageUse, Images, ImportOptions, Progress, Removed};
use knarr_oci::reference::Reference;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::{Entry, EntryKind, TarWriter, view};
use knarr_state::Store;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

fn open() -> (tempfile::TempDir, Images) {
    let dir = tempfile::tempdir().unwrap();
    let images = reopen(dir.path());
    (dir, images)
}

fn reopen(root: &Path) -> Images {
    Images::open(root, Store::open(&root.join("state.redb")).unwrap()).unwrap()
}

fn quiet(_: Progress) {}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (path, text) in files {
        let entry =
            Entry::new(EntryKind::File, path.as_bytes().to_vec(), 0o644, text.len() as u64, 1_700_000_000);
        writer.entry(&entry, &mut text.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

fn import(images: &Images, name: &str, files: &[(&str, &str)]) -> knarr_base::ImageId {
    let options = ImportOptions {
        name: Some(Reference::parse(name).unwrap()),
        message: "test".to_owned(),
        changes: vec!["CMD [\"/x\"]".to_owned(), "LABEL tier=base".to_owned()],
        ..ImportOptions::default()
    };
    images.import(&mut tar(files).as_slice(), &options, &quiet).unwrap()
}

fn container(root: &Path, images: &Images, id: &knarr_base::ImageId, name: &str) -> RootfsMount {
    let dir = root.join("containers").join(name);
    std::fs::create_dir_all(&dir).unwrap();
    images.prepare(id, &dir).unwrap()
}

fn commit(
    images: &Images,
    parent: &knarr_base::ImageId,
    rootfs: &RootfsMount,
    name: &str,
) -> knarr_base::ImageId {
    let options = CommitOptions {
        parent: Some(parent),
        rootfs,
        config: images.get(parent).unwrap().config.config.clone(),
        changes: &["ENV A=b".to_owned()],
        author: "me".to_owned(),
        message: "changed".to_owned(),
        created_by: "sh".to_owned(),
        name: Some(Reference::parse(name).unwrap()),
    };
    images.commit(&options).unwrap()
}

#[test]
fn import_commit_save_load() {
    let (dir, images) = open();
    let base = import(&images, "base", &[("etc/a", "1"), ("etc/b", "2"), ("opt/c", "3")]);
    assert_eq!(images.resolve("base").unwrap().config.config.cmd.as_deref(), Some(&["/x".to_owned()][..]));
    let mount = container(dir.path(), &images, &base, "c1");
    {
        let fd = view::writable(&mount).unwrap();
        let root = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        assert_eq!(std::fs::read_to_string(root.join("etc/a")).unwrap(), "1");
        assert!(root.join(".dockerenv").exists());
        std::fs::remove_file(root.join("etc/a")).unwrap();
        std::fs::write(root.join("etc/new"), "4").unwrap();
        std::fs::remove_dir_all(root.join("opt")).unwrap();
        std::fs::create_dir(root.join("opt")).unwrap();
        std::fs::write(root.join("opt/d"), "5").unwrap();
    }
    let changes = knarr_snapshot::own::changes(&mount).unwrap();
    let shown: Vec<String> =
        changes.iter().map(|c| format!("{} {}", c.kind.letter(), String::from_utf8_lossy(&c.path))).collect();
    assert_eq!(shown, ["C /etc", "D /etc/a", "A /etc/new", "C /opt", "D /opt/c", "A /opt/d"]);

    let child = commit(&images, &base, &mount, "child:v1");
    let image = images.resolve("child:v1").unwrap();
    assert_eq!(image.parent.as_ref(), Some(&base));
    assert_eq!(image.config.config.env, ["A=b"]);
    assert_eq!(image.config.history.len(), 2);
    let again = container(dir.path(), &images, &child, "c2");
    let fd = view::whole(&again).unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    assert!(!root.join("etc/a").exists() && !root.join("opt/c").exists());
    assert_eq!(std::fs::read_to_string(root.join("opt/d")).unwrap(), "5");
    assert_eq!(std::fs::read_to_string(root.join("etc/b")).unwrap(), "2");

    let mut archive = Vec::new();
    images.save(&["child:v1".to_owned(), "base".to_owned()], &mut archive).unwrap();
    let mut same = Vec::new();
    images.save(&["child:v1".to_owned(), "base".to_owned()], &mut same).unwrap();
    assert!(archive == same, "save is deterministic");
    let (_other, elsewhere) = open();
    elsewhere.load(&mut archive.as_slice(), None, &quiet).unwrap();
    assert_eq!(elsewhere.resolve("child:v1").unwrap().id, child);
    assert_eq!(elsewhere.resolve("base").unwrap().id, base);
    let mut third = Vec::new();
    elsewhere.save(&["child:v1".to_owned(), "base".to_owned()], &mut third).unwrap();
    assert!(archive == third, "save, load, save gives the same bytes");
}

#[test]
fn an_unchanged_container_commits_to_no_layer() {
    let (dir, images) = open();
    let base = import(&images, "base", &[("a", "1")]);
    let mount = container(dir.path(), &images, &base, "c");
    let same = commit(&images, &base, &mount, "same");
    let image = images.get(&same).unwrap();
    assert_eq!(image.layers().count(), 1);
    assert!(image.config.history.last().unwrap().empty_layer);
    let history = images.history("same").unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!((history[0].size, history[1].size), (0, 1));
    assert_eq!(history[0].tags, ["same:latest"]);
    assert_eq!(history[1].id, format!("sha256:{base}"));
}

#[test]
fn names_come_and_go_by_dockers_rules() {
    let (dir, images) = open();
    let id = import(&images, "one", &[("a", "1")]);
    let none = |_: &knarr_base::ImageId| Vec::new();
    images.tag("one", "two:x").unwrap();
    assert_eq!(images.resolve("nosuch").unwrap_err().to_string(), "No such image: nosuch:latest");
    assert_eq!(
        images.resolve("UPPER").unwrap_err().to_string(),
        "invalid reference format: repository name (library/UPPER) must be lowercase"
    );
    assert_eq!(images.tag("one", "Two").unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = images.remove(id.short(), false, true, &none).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            id.short()
        )
    );
    assert_eq!(
        images.remove("one", false, true, &none).unwrap(),
        [Removed::Untagged("one:latest".to_owned())]
    );
    let user = ContainerId::parse(&"c".repeat(64)).unwrap();
    let stopped = |_: &knarr_base::ImageId| vec![ImageUse { container: user.clone(), running: false }];
    let error = images.remove("two:x", false, true, &stopped).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"two:x\" (must force) - container cccccccccccc is using \
             its referenced image {}",
            id.short()
        )
    );
    let running = |_: &knarr_base::ImageId| vec![ImageUse { container: user.clone(), running: true }];
    let error = images.remove(id.as_str(), true, true, &running).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("(cannot be forced) - image is being used by running container cccccccccccc")
    );
    let diff_id = images.get(&id).unwrap().layers().next().unwrap().clone();
    let removed = images.remove("two:x", false, true, &none).unwrap();
    assert_eq!(
        removed,
        [
            Removed::Untagged("two:x".to_owned()),
            Removed::Deleted(format!("sha256:{id}")),
            Removed::Deleted(diff_id.to_string())
        ]
    );
    assert!(images.resolve("two:x").is_err() && !images.layers().exists(&diff_id));
    assert!(images.content().list().unwrap().is_empty());
    images.layers().trash().settle();
    assert_eq!(std::fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
}

#[test]
fn a_container_keeps_its_layers_when_the_image_goes() {
    let (dir, images) = open();
    let id = import(&images, "one", &[("a", "1")]);
    let diff_id = images.get(&id).unwrap().layers().next().unwrap().clone();
    container(dir.path(), &images, &id, "c");
    images.remove("one", true, true, &|_| Vec::new()).unwrap();
    assert!(images.layers().exists(&diff_id));
    drop(images);
    let images = reopen(dir.path());
    assert!(images.layers().exists(&diff_id));
    std::fs::remove_dir_all(dir.path().join("containers/c")).unwrap();
    images.collect().unwrap();
    assert!(!images.layers().exists(&diff_id));
}

#[test]
fn parents_stay_and_go_with_their_children() {
    let (dir, images) = open();
    let base = import(&images, "base", &[("a", "1")]);
    let mount = container(dir.path(), &images, &base, "c");
    std::fs::write(dir.path().join("containers/c/upper/b"), "2").unwrap();
    let child = commit(&images, &base, &mount, "child");
    let none = |_: &knarr_base::ImageId| Vec::new();
    let error = images.remove(base.as_str(), true, true, &none).unwrap_err();
    assert!(error.to_string().ends_with("(cannot be forced) - image has dependent child images"), "{error}");
    assert_eq!(images.resolve("base").unwrap().id, base, "a refusal leaves the name");
    // By its only name it loses that.
    let removed = images.remove("base", false, true, &none).unwrap();
    assert_eq!(removed, [Removed::Untagged("base:latest".to_owned())]);
    assert_eq!(images.get(&base).unwrap().id, base);
    // Without a name it is an intermediate image, which a plain list does not show.
    let other = import(&images, "base", &[("z", "9")]);
    assert_eq!(images.list_filtered(&ImageFilter::default()).unwrap().len(), 2);
    assert_eq!(images.list_filtered(&ImageFilter { all: true, ..ImageFilter::default() }).unwrap().len(), 3);
    assert_eq!(images.prune(false, &|_| false, &none).unwrap().0, []);
    images.remove(other.as_str(), false, true, &none).unwrap();
    let removed = images.remove("child", false, true, &none).unwrap();
    let deleted = removed.iter().filter(|r| matches!(r, Removed::Deleted(_))).count();
    assert_eq!(deleted, 4, "two images and two layers: {removed:?}");
    assert!(images.get(&child).is_err() && images.get(&base).is_err());
}

#[test]
fn filters_and_prune() {
    let (_dir, images) = open();
    let one = import(&images, "team/one:1", &[("a", "1")]);
    let two = import(&images, "two", &[("a", "2")]);
    let none = |_: &knarr_base::ImageId| Vec::new();
    import(&images, "two", &[("a", "3")]); // takes the name away
    let filter = |f: ImageFilter| -> Vec<knarr_base::ImageId> {
        images.list_filtered(&f).unwrap().into_iter().map(|image| image.id.clone()).collect()
    };
    assert_eq!(
        filter(ImageFilter { dangling: Some(true), ..ImageFilter::default() }),
        std::slice::from_ref(&two)
    );
    assert_eq!(
        filter(ImageFilter { references: vec!["team/*".to_owned()], ..ImageFilter::default() }),
        std::slice::from_ref(&one)
    );
    assert_eq!(
        filter(ImageFilter { labels: vec!["tier=base".to_owned()], ..ImageFilter::default() }).len(),
        3
    );
    assert_eq!(
        filter(ImageFilter { since: Some("team/one:1".to_owned()), ..ImageFilter::default() }).len(),
        2
    );
    assert_eq!(filter(ImageFilter { before: Some("two".to_owned()), ..ImageFilter::default() }).len(), 2);
    let usage = images.usage(&std::collections::HashSet::new()).unwrap();
    assert!(usage.total > usage.reclaimable && usage.reclaimable > 0, "{usage:?}");
    let held = images.usage(&[one.clone(), two.clone()].into()).unwrap();
    assert_eq!((held.total, usage.images.len()), (usage.total, 3));
    assert!(held.reclaimable < usage.reclaimable, "{held:?}");
    let (removed, freed) = images.prune(false, &|_| false, &none).unwrap();
    assert_eq!(removed[0], Removed::Deleted(format!("sha256:{two}")));
    assert!(freed > 0);
    let (removed, _) = images.prune(true, &|image| image.id == one, &none).unwrap();
    assert_eq!(removed[0], Removed::Untagged("two:latest".to_owned()));
    assert_eq!(images.list().unwrap().len(), 1);
}

/// A container's list of layers that a loss of power took is unknown, not empty; its record brings it back.
#[test]
fn a_lost_hold_keeps_the_layers() {
    let (dir, images) = open();
    let id = import(&images, "one:x", &[("file", "text")]);
    let diff_id = images.get(&id).unwrap().layers().next().unwrap().clone();
    let mount = container(dir.path(), &images, &id, "c1");
    let container_dir = &dir.path().join("containers/c1");
    for lost in [None, Some("")] {
        match lost {
            None => std::fs::remove_file(container_dir.join("layers.json")).unwrap(),
            Some(text) => std::fs::write(container_dir.join("layers.json"), text).unwrap(),
        }
        if images.resolve("one:x").is_ok() {
            images.remove("one:x", true, true, &|_| Vec::new()).unwrap();
        }
        images.collect().unwrap();
        assert!(images.layers().exists(&diff_id), "{lost:?}");
        assert!(images.repair_hold(container_dir, &[&mount]).unwrap());
        assert!(!images.repair_hold(container_dir, &[&mount]).unwrap());
        images.collect().unwrap();
        assert!(images.layers().exists(&diff_id), "{lost:?}");
    }
    std::fs::remove_dir_all(container_dir).unwrap();
    images.collect().unwrap();
    assert!(!images.layers().exists(&diff_id));
}

/// Directories of a container that a loss of power took before they reached the disk are made again, and are as they were.
#[test]
fn lost_directories_of_a_container_are_made_again() {
    use std::os::unix::fs::MetadataExt;
    let (dir, images) = open();
    let id = import(&images, "one:x", &[("file", "text")]);
    let mount = container(dir.path(), &images, &id, "c1");
    let RootfsMount::Overlay { upper, .. } = &mount else { panic!("{mount:?}") };
    let facts = || std::fs::metadata(upper).map(|m| (m.mode(), m.uid(), m.gid())).unwrap();
    let before = facts();
    assert!(!images.repair_root(&mount).unwrap());
    std::fs::remove_dir_all(dir.path().join("containers/c1")).unwrap();
    assert!(images.repair_root(&mount).unwrap());
    assert_eq!(facts(), before);
    let fd = view::writable(&mount).unwrap();
    assert!(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())).join("file").exists());
}
