//! The contract: each point on its own data root.
use crate::place::{Place, used};
use crate::sample;
use crate::tree;
use knarr_base::ImageId;
use knarr_image::{CommitOptions, Images, Progress};
use knarr_linux::path::{Dir, Resolve, Root};
use knarr_oci::digest::Digest;
use knarr_oci::reference::Reference;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::driver::Kind;
use knarr_snapshot::{own, view};
use knarr_state::Store;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Contract = fn(&Subject<'_>);

pub const ALL: [(&str, Contract); 7] = [
    ("looks", looks_as_the_reference),
    ("changes", changes_are_those_of_the_reference),
    ("isolation", nothing_reaches_the_layers),
    ("removal", what_is_removed_is_free_again),
    ("collection", containers_outlive_their_image),
    ("other driver", containers_go_on_under_another_driver),
    ("many layers", images_of_many_layers),
];

/// How long something may take that the file system does behind our back.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Subject<'a> {
    pub place: &'a Place,
    pub kind: Kind,
    pub root: PathBuf,
}

impl<'a> Subject<'a> {
    pub fn new(place: &'a Place, kind: Kind, name: &str) -> Self {
        Self { place, kind, root: place.path().join(name) }
    }
    pub fn open(&self) -> Images {
        open(&self.root, Some(self.kind)).unwrap()
    }
}

pub fn open(root: &Path, kind: Option<Kind>) -> Result<Images, knarr_image::Error> {
    fs::create_dir_all(root).unwrap();
    Images::open_with(root, Store::open(&root.join("state.redb")).unwrap(), kind).inspect(Images::tidy)
}

pub fn load(images: &Images, name: &str, layers: &[Vec<u8>]) -> ImageId {
    let archive = sample::archive(name, layers);
    images.load(&mut archive.as_slice(), None, &|_: Progress| {}).unwrap().remove(0)
}

pub fn container(root: &Path, images: &Images, image: &ImageId, name: &str) -> RootfsMount {
    let dir = root.join("containers").join(name);
    fs::create_dir_all(&dir).unwrap();
    images.prepare(image, &dir).unwrap()
}

fn remove(root: &Path, images: &Images, name: &str) {
    assert!(images.layers().trash().take(&root.join("containers").join(name)).unwrap());
    images.layers().trash().settle();
    let left = fs::read_dir(root.join("trash")).unwrap().count();
    assert_eq!(left, 0, "left in the trash");
}

pub fn look(rootfs: &RootfsMount) -> String {
    let top = Root::from_fd(view::whole(rootfs).unwrap(), Resolve::Beneath).open_dir(".").unwrap();
    tree::text(&top)
}

fn change(rootfs: &RootfsMount) {
    let fd = view::writable(rootfs).unwrap();
    sample::change(Path::new(&format!("/proc/self/fd/{}/", fd.as_raw_fd())));
}

fn commit(images: &Images, parent: &ImageId, rootfs: &RootfsMount) -> Result<ImageId, knarr_image::Error> {
    images.commit(&CommitOptions {
        parent: Some(parent),
        rootfs,
        config: images.get(parent).unwrap().config.config.clone(),
        changes: &[],
        author: String::new(),
        message: String::new(),
        created_by: String::new(),
        name: Some(Reference::parse("committed").unwrap()),
    })
}

/// Everything that there is to say of a container that was changed.
struct Answers {
    before: String,
    after: String,
    changes: Vec<String>,
    layer: Vec<u8>,
    size: u64,
    diff_id: Digest,
    committed: String,
}

fn answers(root: &Path, images: &Images) -> Answers {
    let image = load(images, "sample", &sample::layers());
    let rootfs = container(root, images, &image, "one");
    let before = look(&rootfs);
    assert_eq!(own::changes(&rootfs).unwrap(), [], "nothing was done yet");
    assert!(own::layer(&rootfs, Vec::new()).unwrap() == [0; 1024], "nothing was done yet");
    change(&rootfs);
    let shown =
        |c: &knarr_snapshot::Change| format!("{} {}", c.kind.letter(), String::from_utf8_lossy(&c.path));
    let child = commit(images, &image, &rootfs).unwrap();
    let answers = Answers {
        before,
        after: look(&rootfs),
        changes: own::changes(&rootfs).unwrap().iter().map(shown).collect(),
        layer: own::layer(&rootfs, Vec::new()).unwrap(),
        size: own::size(&rootfs).unwrap(),
        diff_id: images.get(&child).unwrap().layers().last().unwrap().clone(),
        committed: look(&container(root, images, &child, "two")),
    };
    // The image of a container looks as the container.
    same_lines(&answers.committed, &answers.after);
    answers
}

/// The same with the reference.
fn reference() -> (tempfile::TempDir, Answers) {
    let dir = tempfile::tempdir().unwrap();
    let images = open(dir.path(), Some(Kind::Overlay)).unwrap();
    let answers = answers(dir.path(), &images);
    (dir, answers)
}

fn same_lines(mine: &str, theirs: &str) {
    let theirs: Vec<&str> = theirs.lines().collect();
    let mine: Vec<&str> = mine.lines().collect();
    let missing: Vec<_> = theirs.iter().filter(|line| !mine.contains(line)).collect();
    let more: Vec<_> = mine.iter().filter(|line| !theirs.contains(line)).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nmore: {more:#?}");
    assert_eq!(mine, theirs);
}

fn looks_as_the_reference(subject: &Subject<'_>) {
    let (_dir, expected) = reference();
    let images = subject.open();
    assert_eq!(images.driver().kind(), subject.kind);
    let image = load(&images, "sample", &sample::layers());
    let rootfs = container(&subject.root, &images, &image, "one");
    assert_eq!(Kind::of(&rootfs), subject.kind);
    let text = look(&rootfs);
    same_lines(&text, &expected.before);
    // What the reference itself has to get right.
    for line in ["/bin/su 104755 0:0", "/tmp 41777 ", "/var/owned 100640 1000:100000", "/var/deep 42755 5:0"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(
        text.contains("is /var/deep/same") && text.contains("security.capability=") && !text.contains("gone")
    );
    // A second one, from what the first one left.
    assert_eq!(look(&container(&subject.root, &images, &image, "two")), text);
}

fn changes_are_those_of_the_reference(subject: &Subject<'_>) {
    let (_dir, expected) = reference();
    let images = subject.open();
    let found = answers(&subject.root, &images);
    same_lines(&found.after, &expected.after);
    assert_eq!(found.changes, expected.changes);
    assert_eq!(found.size, expected.size);
    assert!(found.layer == expected.layer, "{}", first_difference(&found.layer, &expected.layer));
    assert_eq!(found.diff_id, expected.diff_id);
}

fn first_difference(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len())) / 512 * 512;
    let header = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 512)]).into_owned();
    format!("layers differ at {at}: {:?} {:?}", header(a), header(b))
}

fn nothing_reaches_the_layers(subject: &Subject<'_>) {
    let images = subject.open();
    let image = load(&images, "sample", &sample::layers());
    let first = container(&subject.root, &images, &image, "one");
    let untouched = container(&subject.root, &images, &image, "two");
    let layers = || tree::text(&Root::open(&subject.root.join("layers")).unwrap().open_dir(".").unwrap());
    let (before, other) = (layers(), look(&untouched));
    change(&first);
    let fd = view::writable(&first).unwrap();
    let top = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::write(format!("{top}/var/linked"), "written through a link").unwrap();
    let large = fs::File::options().write(true).open(format!("{top}/var/large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"written in the middle", 1 << 20).unwrap();
    drop((large, fd));
    assert_eq!(layers(), before);
    assert_eq!(look(&untouched), other);
    assert_eq!(look(&container(&subject.root, &images, &image, "three")), other);
}

fn what_is_removed_is_free_again(subject: &Subject<'_>) {
    const SIZE: u64 = 24 << 20;
    let images = subject.open();
    let image = load(&images, "sample", &sample::layers());
    container(&subject.root, &images, &image, "first");
    let before = used(&subject.root);
    let rootfs = container(&subject.root, &images, &image, "one");
    if subject.place.is_own() && subject.place.shares_blocks() {
        let cost = used(&subject.root).saturating_sub(before);
        assert!(cost < 2 << 20, "a container costs {cost} bytes");
    }
    let fd = view::writable(&rootfs).unwrap();
    fs::write(format!("/proc/self/fd/{}/large", fd.as_raw_fd()), vec![7; SIZE as usize]).unwrap();
    if subject.kind == Kind::Btrfs {
        // As a privileged container can.
        let top = Root::from_fd(fd.try_clone().unwrap(), Resolve::Beneath).open_dir(".").unwrap();
        knarr_linux::btrfs::create(&top, "inner").unwrap();
        knarr_linux::btrfs::create(&top.open_dir("inner").unwrap(), "innermost").unwrap();
        fs::write(format!("/proc/self/fd/{}/inner/innermost/file", fd.as_raw_fd()), "text").unwrap();
        assert!(own::layer(&rootfs, Vec::new()).is_ok());
    }
    drop(fd);
    if subject.place.is_own() {
        // Marks of layers that were not on the disk yet go meanwhile.
        assert!(used(&subject.root) + (1 << 20) >= before + SIZE);
    }
    let started = Instant::now();
    remove(&subject.root, &images, "one");
    while subject.place.is_own() && used(&subject.root) > before + SIZE / 4 {
        assert!(started.elapsed() < PATIENCE, "space did not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn containers_outlive_their_image(subject: &Subject<'_>) {
    let images = subject.open();
    let image = load(&images, "sample", &sample::layers());
    let rootfs = container(&subject.root, &images, &image, "one");
    change(&rootfs);
    let (seen, changes) = (look(&rootfs), own::changes(&rootfs).unwrap());
    images.remove("sample", true, true, &|_| Vec::new()).unwrap();
    images.collect().unwrap();
    drop(images);
    let images = subject.open();
    assert_eq!(look(&rootfs), seen);
    assert_eq!(own::changes(&rootfs).unwrap(), changes);
    remove(&subject.root, &images, "one");
    images.collect().unwrap();
    images.layers().trash().settle();
    assert_eq!(images.layers().list().unwrap().len(), 1, "the base layer alone stays");
    let kept = fs::read_dir(subject.root.join("btrfs")).map_or(0, Iterator::count);
    assert_eq!(kept, 0, "trees of images that are gone");
    assert_eq!(fs::read_dir(subject.root.join("tmp")).unwrap().count(), 0);
}

fn containers_go_on_under_another_driver(subject: &Subject<'_>) {
    let other = if subject.kind == Kind::Copy { Kind::Overlay } else { Kind::Copy };
    let images = subject.open();
    let image = load(&images, "sample", &sample::layers());
    let mine = container(&subject.root, &images, &image, "mine");
    change(&mine);
    let (seen, layer) = (look(&mine), own::layer(&mine, Vec::new()).unwrap());
    drop(images);
    // Where overlays cannot be, there is no other.
    let Ok(images) = open(&subject.root, Some(other)) else {
        assert!(subject.kind == Kind::Copy);
        return;
    };
    let theirs = container(&subject.root, &images, &image, "theirs");
    assert_eq!(Kind::of(&theirs), other);
    change(&theirs);
    same_lines(&look(&theirs), &seen);
    assert_eq!(look(&mine), seen);
    assert!(own::layer(&mine, Vec::new()).unwrap() == layer);
    let other_layer = own::layer(&theirs, Vec::new()).unwrap();
    assert!(other_layer == layer, "{}", first_difference(&other_layer, &layer));
    commit(&images, &image, &mine).unwrap();
    remove(&subject.root, &images, "mine");
    remove(&subject.root, &images, "theirs");
    images.layers().trash().settle();
    assert!(!subject.root.join("btrfs").exists() || other == Kind::Btrfs);
}

fn images_of_many_layers(subject: &Subject<'_>) {
    let layer = |number: usize| {
        let mut layer = sample::Layer::new();
        layer.file(&format!("files/{number}"), &number.to_string());
        layer.file("files/last", &number.to_string());
        if number > 0 {
            layer.file(&format!("files/.wh.{}", number - 1), "");
        }
        layer.finish()
    };
    let images = subject.open();
    // The bound is overlayfs's.
    let bound = (subject.kind == Kind::Overlay).then_some(knarr_oci::image::MAX_LAYERS);
    for count in [Some(200), bound].into_iter().flatten() {
        let layers: Vec<Vec<u8>> = (0..count).map(layer).collect();
        let image = load(&images, "many", &layers);
        let rootfs = container(&subject.root, &images, &image, &format!("many{count}"));
        let read = |rootfs: &RootfsMount| {
            let top: Dir =
                Root::from_fd(view::whole(rootfs).unwrap(), Resolve::Beneath).open_dir("files").unwrap();
            let mut names: Vec<_> = top.entries().unwrap().into_iter().map(|(name, _)| name).collect();
            names.sort();
            let last = fs::read_to_string(format!("/proc/self/fd/{}/last", top.as_fd().as_raw_fd())).unwrap();
            (names, last)
        };
        let last = (count - 1).to_string();
        assert_eq!(read(&rootfs), (vec![last.as_str().into(), "last".into()], last.clone()));
        let fd = view::writable(&rootfs).unwrap();
        fs::write(format!("/proc/self/fd/{}/files/last", fd.as_raw_fd()), "changed").unwrap();
        drop(fd);
        let committed = commit(&images, &image, &rootfs);
        if count == knarr_oci::image::MAX_LAYERS {
            let text = committed.unwrap_err().to_string();
            assert!(text.contains(&(count + 1).to_string()) && text.contains(&count.to_string()), "{text}");
            continue;
        }
        let child = container(&subject.root, &images, &committed.unwrap(), "child");
        assert_eq!(read(&child).1, "changed");
    }
}
