//! Pulls that are cut, killed, shared, wrong or damaged, seen from a proxy before a real registry (Debian's docker-registry).

use knarr_e2e::command::{eventually, wait_until};
use knarr_e2e::pack::{Compression, Image, digest};
use knarr_e2e::proxy::Proxy;
use knarr_e2e::publish::{Published, Repository, Words, noise};
use knarr_e2e::registry::Registry;
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::terminal::Terminal;
use knarr_e2e::{Engine, Options, images, workspace};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(30);
/// What a test may be off by: pieces in queues and sockets.
const SLACK: u64 = 4 * MIB;

macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

fn engine() -> Engine {
    Options::new().host_network().images(&[]).start()
}

fn busybox_program() -> PathBuf {
    workspace::on_path("busybox").expect("busybox")
}

/// Busybox below a layer of noise, `len` bytes.
fn large(len: u64, seed: u64) -> Image {
    let file = Entry::file("noise", 0o644, &noise(usize::try_from(len).unwrap(), seed));
    let layers = vec![images::busybox_layer(&busybox_program()), archive(&[file])];
    Image::new("large", layers)
}

struct Scene {
    /// Kept running.
    registry: Registry,
    proxy: Proxy,
    large: Published,
}

impl Scene {
    /// A registry with `team/large:1` in it, behind a proxy.
    fn new(len: u64) -> Scene {
        let registry = Registry::start();
        let proxy = Proxy::start(registry.port);
        let large = Repository::new(registry.port, "team/large").image(&large(len, 1), Words::Oci, None, "1");
        Scene { registry, proxy, large }
    }
    fn name(&self) -> String {
        self.proxy.reference("team/large:1")
    }
    fn blob(&self) -> &str {
        &self.large.layers[1]
    }
    fn size(&self) -> u64 {
        self.large.sizes[1]
    }
    fn sent(&self) -> u64 {
        self.proxy.sent_of(self.blob())
    }
    /// Waits until so much of the large blob has passed.
    fn wait_sent(&self, bytes: u64) {
        eventually("the blob is on its way", PATIENCE, || (self.sent() >= bytes).then_some(()));
    }
}

fn check(e: &Engine, scene: &Scene, len: u64) {
    let size =
        e.docker().ok(&["run", "--rm", "--network", "none", &scene.name(), "stat", "-c", "%s", "/noise"]);
    assert_eq!(size, len.to_string());
}

fn ended(child: &mut Child) -> i32 {
    wait_until(child, Instant::now() + PATIENCE).expect("the client ends")
}

fn files(e: &Engine, dir: &str) -> Vec<String> {
    let entries = std::fs::read_dir(e.data().join(dir)).into_iter().flatten().flatten();
    entries.map(|f| f.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    knarr_only!();
    let len = 32 * MIB;
    let (scene, mut e) = (Scene::new(len), engine());
    scene.proxy.rate(12 * MIB);
    let mut client = e.docker().spawn(&["pull", "-q", &scene.name()]);
    scene.wait_sent(14 * MIB);
    e.kill9();
    ended(&mut client);
    scene.proxy.forget();
    scene.proxy.rate(0);
    e.launch();
    assert_eq!(e.docker().ok(&["images", "-q"]), "", "nothing is listed before it is whole");
    e.docker().ok(&["pull", "-q", &scene.name()]);
    let again = scene.sent();
    assert!(
        again <= scene.size() - 14 * MIB + SLACK,
        "{again} of {} came again: {:?}",
        scene.size(),
        scene.proxy.seen()
    );
    check(&e, &scene, len);
    assert_eq!(files(&e, "content/ingest"), [""; 0]);
}

#[test]
fn a_cut_transfer_goes_on_by_itself() {
    knarr_only!();
    let len = 10 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    scene.proxy.cut(3, 3 * MIB);
    e.docker().ok(&["pull", "-q", &scene.name()]);
    assert!(scene.sent() <= scene.size() + SLACK, "{:?}", scene.proxy.seen());
    assert!(scene.proxy.seen_of(scene.blob()).iter().any(|seen| seen.from > 0));
    check(&e, &scene, len);
}

#[test]
fn a_cut_transfer_begins_again_where_ranges_are_unknown() {
    knarr_only!();
    let len = 10 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    scene.proxy.whole_only(true);
    // The small blobs are not cut: they are shorter.
    scene.proxy.cut(3, 3 * MIB);
    e.docker().ok(&["pull", "-q", &scene.name()]);
    assert!(scene.proxy.seen_of(scene.blob()).iter().all(|seen| seen.from == 0));
    check(&e, &scene, len);
}

#[test]
fn a_slow_layer_comes_in_several_ranges_at_once() {
    knarr_only!();
    let len = 28 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    scene.proxy.rate(4 * MIB);
    let c = e.docker();
    let begin = Instant::now();
    let mut client = c.spawn(&["pull", "-q", &scene.name()]);
    eventually("several ranges at once", PATIENCE, || {
        let open = scene.proxy.seen_of(scene.blob()).iter().filter(|seen| seen.open).count();
        (open > 1).then_some(())
    });
    assert_eq!(ended(&mut client), 0);
    let one_by_one = Duration::from_secs(scene.size() / (4 * MIB));
    assert!(begin.elapsed() < one_by_one, "{:?}, alone it takes {one_by_one:?}", begin.elapsed());
    assert!(scene.sent() <= scene.size() + SLACK, "{:?}", scene.proxy.seen());
    check(&e, &scene, len);
    // Where ranges are unknown the whole comes over one connection.
    c.ok(&["rmi", "-f", &scene.name()]);
    scene.proxy.forget();
    scene.proxy.whole_only(true);
    scene.proxy.rate(20 * MIB);
    c.ok(&["pull", "-q", &scene.name()]);
    let complete = scene.proxy.seen_of(scene.blob()).iter().filter(|seen| seen.sent >= scene.size()).count();
    assert_eq!(complete, 1, "{:?}", scene.proxy.seen());
    check(&e, &scene, len);
}

#[test]
fn pieces_that_were_ahead_are_kept() {
    knarr_only!();
    let len = 40 * MIB;
    let (scene, mut e) = (Scene::new(len), engine());
    scene.proxy.rate(3 * MIB);
    let mut client = e.docker().spawn(&["pull", "-q", &scene.name()]);
    eventually("pieces ahead are on the disk", PATIENCE, || {
        files(&e, "content/ingest").iter().any(|name| name.contains('.')).then_some(())
    });
    scene.wait_sent(12 * MIB);
    e.kill9();
    ended(&mut client);
    scene.proxy.forget();
    scene.proxy.rate(0);
    e.launch();
    e.docker().ok(&["pull", "-q", &scene.name()]);
    assert!(scene.sent() <= scene.size() - 12 * MIB + 2 * SLACK, "{:?}", scene.proxy.seen());
    check(&e, &scene, len);
    assert_eq!(files(&e, "content/ingest"), [""; 0]);
}

#[test]
fn wrong_bytes_are_refused_and_nothing_of_them_is_seen() {
    knarr_only!();
    let len = 6 * MIB;
    let (scene, mut e) = (Scene::new(len), engine());
    let before = files(&e, "layers").len();
    for wrong in [1, 3 * MIB, scene.size() - 1] {
        scene.proxy.wrong_at(wrong);
        for c in e.clients() {
            let o = c.run(&["pull", "-q", &scene.name()]);
            assert_ne!(o.code, 0);
            assert!(o.stderr.contains("verif"), "{}", o.stderr);
            assert_eq!(c.ok(&["images", "-aq"]), "");
        }
        assert!(!e.data().join(format!("content/blobs/sha256/{}", &scene.blob()[7..])).exists());
        // The layer below may be there: it was right.
        assert!(files(&e, "layers").len() <= before + 1);
    }
    // What an earlier attempt left on the disk is not believed either.
    scene.proxy.wrong_at(0);
    scene.proxy.forget();
    scene.proxy.rate(4 * MIB);
    let mut client = e.docker().spawn(&["pull", "-q", &scene.name()]);
    scene.wait_sent(2 * MIB);
    e.kill9();
    ended(&mut client);
    let ingest = e.data().join(format!("content/ingest/sha256-{}", &scene.blob()[7..]));
    let mut bytes = std::fs::read(&ingest).expect("what arrived");
    bytes[1000] ^= 1;
    std::fs::write(&ingest, &bytes).unwrap();
    scene.proxy.rate(0);
    e.launch();
    e.docker().ok(&["pull", "-q", &scene.name()]);
    check(&e, &scene, len);
}

#[test]
fn two_pulls_share_the_work() {
    knarr_only!();
    let len = 16 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    scene.proxy.rate(8 * MIB);
    let run = |c: knarr_e2e::Cli| {
        let name = scene.name();
        std::thread::spawn(move || c.run(&["pull", &name]))
    };
    let pulls: Vec<_> = e.clients().into_iter().chain(e.clients()).map(run).collect();
    for pull in pulls {
        let o = pull.join().unwrap().code(0);
        assert!(o.stdout.contains(&format!("{}: Pull complete", &scene.blob()[7..19])), "{}", o.stdout);
    }
    assert!(scene.sent() <= scene.size() + SLACK, "{:?}", scene.proxy.seen());
    check(&e, &scene, len);
}

#[test]
fn a_pull_ends_with_its_last_client() {
    knarr_only!();
    let len = 24 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    scene.proxy.rate(4 * MIB);
    let mut first = e.docker().spawn(&["pull", "-q", &scene.name()]);
    scene.wait_sent(2 * MIB);
    let mut second = e.knarr().spawn(&["pull", "-q", &scene.name()]);
    // The second one is known to be in it when the engine has asked for the manifest again.
    eventually("the second pull", PATIENCE, || (scene.sent() > 4 * MIB).then_some(()));
    drop(first.kill());
    drop(first.wait());
    let reached = scene.sent();
    scene.wait_sent(reached + 4 * MIB);
    drop(second.kill());
    drop(second.wait());
    eventually("nobody wants it: the transfer ends", PATIENCE, || {
        scene.proxy.seen_of(scene.blob()).iter().all(|seen| !seen.open).then_some(())
    });
    let stopped = scene.sent();
    assert!(stopped < scene.size(), "it was stopped before its end");
    scene.proxy.rate(0);
    scene.proxy.forget();
    e.docker().ok(&["pull", "-q", &scene.name()]);
    assert!(scene.sent() <= scene.size() - stopped + SLACK, "{stopped} were there: {:?}", scene.proxy.seen());
    check(&e, &scene, len);
}

#[test]
fn every_compression_and_both_families_of_documents() {
    knarr_only!();
    let (r, e) = (Registry::start(), engine());
    let busybox = images::busybox(&busybox_program());
    for (tag, words, compression) in [
        ("oci-gzip", Words::Oci, Compression::Gzip),
        ("oci-zstd", Words::Oci, Compression::Zstd),
        ("oci-plain", Words::Oci, Compression::None),
        ("docker-gzip", Words::Docker, Compression::Gzip),
        ("docker-plain", Words::Docker, Compression::None),
    ] {
        // Another file each time: what is here already would not come again.
        let mut image = busybox.clone().compression(compression);
        image.layers.push(archive(&[Entry::file("tag", 0o644, tag.as_bytes())]));
        Repository::new(r.port, "team/all").image(&image, words, None, tag);
        let name = r.reference(&format!("team/all:{tag}"));
        assert_eq!(
            e.docker().ok(&["run", "--rm", "--network", "none", "--quiet", &name, "cat", "/tag"]),
            tag
        );
    }
}

#[test]
fn platforms_and_their_variants() {
    knarr_only!();
    let (r, e) = (Registry::start(), engine());
    let repository = Repository::new(r.port, "team/multi");
    for words in [Words::Oci, Words::Docker] {
        let platforms =
            ["linux/amd64", "linux/amd64/v2", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/s390x"];
        let of = |platform: &str| {
            let layer = archive(&[Entry::file("platform", 0o644, platform.as_bytes())]);
            repository.image(
                &Image::new("multi", vec![layer]),
                words,
                Some(platform),
                &platform.replace('/', "-"),
            )
        };
        let all: Vec<(Published, &str)> = platforms.iter().map(|p| (of(p), *p)).collect();
        let entries: Vec<(&Published, &str)> = all.iter().map(|(image, p)| (image, *p)).collect();
        let index = repository.index(&entries, words, "all");
        let name = r.reference("team/multi:all");
        for c in e.clients() {
            for (asked, given) in [
                ("linux/amd64/v2", "linux/amd64/v2"),
                ("linux/arm/v7", "linux/arm/v7"),
                ("linux/arm", "linux/arm/v7"),
                ("linux/arm/v6", "linux/arm/v6"),
                ("linux/arm64/v8", "linux/arm64"),
                ("linux/amd64", "linux/amd64"),
            ] {
                let o = c.run(&["pull", "--platform", asked, &name]).code(0);
                assert!(o.stdout.contains(&format!("Digest: {index}")), "{}", o.stdout);
                let wanted = &all.iter().find(|(_, p)| *p == given).unwrap().0;
                assert_eq!(c.field(&name, "{{.Id}}"), wanted.id, "{asked}");
                assert!(given.starts_with(&c.field(&name, "{{.Os}}/{{.Architecture}}")), "{given}");
            }
            c.fails(1, &["pull", "--platform", "linux/riscv64", &name])
                .says("no matching manifest for linux/riscv64");
            // By digest: of the index, and of one of its images.
            let by_digest = format!("{}@{index}", r.reference("team/multi"));
            c.ok(&["pull", "-q", "--platform", "linux/s390x", &by_digest]);
            assert_eq!(c.field(&by_digest, "{{.Architecture}}"), "s390x");
            let one =
                format!("{}@{}", r.reference("team/multi"), all[3].0.descriptor["digest"].as_str().unwrap());
            assert_eq!(c.ok(&["pull", "-q", &one]), one);
            assert_eq!(c.field(&one, "{{.Id}}"), all[3].0.id);
            let o =
                c.run(&["pull", "--platform", "linux/amd64", &r.reference("team/multi:linux-s390x")]).code(0);
            assert!(o.stdout.contains("does not match the specified platform"), "{}", o.stdout);
            for id in c.ok(&["images", "-aq"]).lines() {
                drop(c.run(&["rmi", "-f", id]));
            }
        }
    }
}

#[test]
fn all_tags_of_a_repository() {
    knarr_only!();
    let (r, e) = (Registry::start(), engine());
    let repository = Repository::new(r.port, "team/tags");
    let tags = ["one", "two", "three"];
    for tag in tags {
        let layer = archive(&[Entry::file("tag", 0o644, tag.as_bytes())]);
        repository.image(&Image::new("tags", vec![layer]), Words::Oci, None, tag);
    }
    for c in e.clients() {
        let name = r.reference("team/tags");
        let o = c.run(&["pull", "-a", &name]).code(0);
        for tag in tags {
            assert!(o.stdout.contains(&format!("{tag}: Pulling from team/tags")), "{}", o.stdout);
            c.ok(&["image", "inspect", &format!("{name}:{tag}")]);
        }
        assert!(o.stdout.contains(&format!("Status: Downloaded newer image for {name}")), "{}", o.stdout);
        assert!(c.ok(&["pull", "-a", &name]).contains("Status: Image is up to date for"));
        c.fails(1, &["pull", "-a", &format!("{name}:one")]).says("tag can't be used with --all-tags/-a");
        c.fails(1, &["pull", "-a", &r.reference("no/such")]);
        for tag in tags {
            c.ok(&["rmi", &format!("{name}:{tag}")]);
        }
    }
}

#[test]
fn a_pull_mends_what_is_damaged() {
    knarr_only!();
    let len = 3 * MIB;
    let (scene, e) = (Scene::new(len), engine());
    let c = e.docker();
    c.ok(&["pull", "-q", &scene.name()]);
    let blob = e.data().join(format!("content/blobs/sha256/{}", &scene.blob()[7..]));
    let whole = std::fs::read(&blob).unwrap();
    let config = e.data().join(format!("content/blobs/sha256/{}", &scene.large.id[7..]));
    let manifest = scene.large.descriptor["digest"].as_str().unwrap();
    let manifest = e.data().join(format!("content/blobs/sha256/{}", &manifest[7..]));
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 4;
    let damages: [(&str, &dyn Fn()); 6] = [
        ("truncated", &|| std::fs::write(&blob, &whole[..whole.len() / 2]).unwrap()),
        ("missing", &|| std::fs::remove_file(&blob).unwrap()),
        ("changed", &|| std::fs::write(&blob, &changed).unwrap()),
        ("configuration changed", &|| std::fs::write(&config, b"{}").unwrap()),
        ("configuration missing", &|| std::fs::remove_file(&config).unwrap()),
        ("manifest missing", &|| std::fs::remove_file(&manifest).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        c.ok(&["pull", "-q", &scene.name()]);
        assert_eq!(digest(&std::fs::read(&blob).unwrap()), scene.blob(), "{what}");
        assert_eq!(digest(&std::fs::read(&config).unwrap()), scene.large.id, "{what}");
        assert!(manifest.exists(), "{what}");
        check(&e, &scene, len);
        // Now nothing is to do.
        scene.proxy.forget();
        c.ok(&["pull", "-q", &scene.name()]);
        assert!(scene.proxy.seen().is_empty(), "{what}: {:?}", scene.proxy.seen());
    }
}

#[test]
fn a_pull_mends_a_tree_that_is_damaged_inside() {
    knarr_only!();
    let len = MIB;
    let (scene, e) = (Scene::new(len), engine());
    let c = e.docker();
    c.ok(&["pull", "-q", &scene.name()]);
    let diff_id = c.field(&scene.name(), "{{index .RootFS.Layers 1}}");
    let tree = e.data().join("layers").join(&diff_id["sha256:".len()..]).join("fs");
    let (noise, more) = (tree.join("noise"), tree.join("more"));
    let whole = std::fs::read(&noise).unwrap();
    let is_whole = || std::fs::read(&noise).is_ok_and(|now| now == whole) && !more.exists();
    scene.proxy.forget();
    // Size and time stay as they were.
    let change = || {
        let time = noise.metadata().unwrap().modified().unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 4;
        std::fs::write(&noise, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&noise).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
    };
    // What was unpacked a moment ago is sealed in the next; the damage has to come after that.
    eventually("the damage is noticed", PATIENCE, || {
        change();
        c.ok(&["pull", "-q", &scene.name()]);
        is_whole().then_some(())
    });
    let damages: [(&str, &dyn Fn()); 3] = [
        ("changed", &change),
        ("missing", &|| std::fs::remove_file(&noise).unwrap()),
        ("more", &|| std::fs::write(&more, "x").unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        let said = c.ok(&["pull", &scene.name()]);
        assert!(is_whole(), "{what}: {said}");
        assert!(said.contains(": Repaired") && said.contains("Image is up to date"), "{what}: {said}");
        check(&e, &scene, len);
        let said = c.ok(&["pull", &scene.name()]);
        assert!(!said.contains("Repaired"), "{what}: {said}");
    }
    // Nobody pulls the files away from under a process.
    c.ok(&["run", "-d", "--name", "runs", "--network", "none", &scene.name(), "sleep", "600"]);
    std::fs::write(&more, "x").unwrap();
    let said = c.ok(&["pull", &scene.name()]);
    assert!(said.contains("/more: does not belong there") && said.contains("stop them"), "{said}");
    assert_eq!(c.ok(&["exec", "runs", "stat", "-c", "%s", "/noise"]), len.to_string());
    c.ok(&["rm", "-f", "runs"]);
    assert!(c.ok(&["pull", &scene.name()]).contains(": Repaired"));
    assert!(is_whole());
    assert!(
        scene.proxy.seen().is_empty(),
        "all of it from the blobs that are here: {:?}",
        scene.proxy.seen()
    );
}

#[test]
fn a_pull_on_a_full_disk_says_so_and_leaves_nothing() {
    knarr_only!();
    let scene = Scene::new(48 * MIB);
    let mut e = Engine::prepare(Options::new().host_network().images(&[]).may_leak());
    std::fs::create_dir_all(e.data()).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"])
        .arg(e.data())
        .output()
        .unwrap();
    assert!(mounted.status.success(), "{mounted:?}");
    e.launch();
    e.load(&workspace::image("busybox.tar"));
    let c = e.docker();
    let free = || rustix::fs::statvfs(e.data()).unwrap().f_bavail * 4096;
    let before = free();
    let nothing_left = |e: &Engine| {
        eventually("partial blobs are gone", PATIENCE, || {
            files(e, "content/ingest").is_empty().then_some(())
        });
        eventually("unfinished layers are gone", PATIENCE, || files(e, "tmp").is_empty().then_some(()));
        eventually("what is removed is gone", PATIENCE, || files(e, "trash").is_empty().then_some(()));
        // Threads that were at work let go of their files; the database does not shrink.
        eventually("the space is back", PATIENCE, || (free() + 4 * MIB > before).then_some(()));
    };
    let full = |o: knarr_e2e::Output| {
        assert!(o.code == 1 && o.stderr.to_lowercase().contains("no space left on device"), "{o:?}");
    };
    full(c.run(&["pull", &scene.name()]));
    nothing_left(&e);
    assert_eq!(c.ok(&["images", "-aq"]).lines().count(), 1);
    // To the last block.
    let filler = e.data().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    for size in [1 << 20, 4096] {
        while std::io::Write::write_all(&mut file, &vec![1; size]).is_ok() {}
    }
    full(c.run(&["pull", &scene.name()]));
    c.ok(&["rmi", "busybox"]);
    assert_eq!(c.ok(&["images", "-aq"]), "");
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    nothing_left(&e);
    let small =
        Repository::new(scene.registry.port, "team/small").image(&large(MIB, 2), Words::Oci, None, "1");
    c.ok(&["pull", "-q", &scene.proxy.reference("team/small:1")]);
    assert_eq!(c.ok(&["images", "-aq", "--no-trunc"]), small.id);
}

#[test]
fn a_terminal_sees_rate_and_time_left() {
    knarr_only!();
    let (scene, e) = (Scene::new(6 * MIB), engine());
    scene.proxy.rate(250_000);
    let t = Terminal::new(&e.knarr(), &e.fresh_dir("tmux"));
    t.line(&format!("$C pull {}", scene.name()));
    t.sees("Downloading");
    t.sees("B/s");
    t.sees("s left");
    t.sees("Total: ");
    scene.proxy.rate(0);
    t.sees("Status: Downloaded newer image for");
    t.prompt("host>");
    let screen = t.screen();
    assert_eq!(screen.matches("Pull complete").count(), 2, "one line for each layer: {screen}");
    assert_eq!(screen.matches("Total: 2/2 layers").count(), 1, "{screen}");
    assert!(!screen.contains("Downloading") && screen.contains("Digest: sha256:"), "{screen}");
    // Standard output of a run is the container's: the same on standard error.
    e.docker().ok(&["rmi", "-f", &scene.name()]);
    let out = e.fresh("out");
    t.line(&format!(
        "clear; $C run --rm --network none {} echo from-inside > {}",
        scene.name(),
        out.display()
    ));
    t.sees("Total: 2/2 layers");
    t.prompt("host>");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "from-inside\n");
}

#[test]
fn killed_at_each_step_of_a_pull() {
    knarr_only!();
    let Some(binary) = workspace::knarr_with_failpoints() else {
        eprintln!("no binary with failpoints (scripts/test builds one): nothing to do");
        return;
    };
    let len = 2 * MIB;
    let scene = Scene::new(len);
    let mut e = Options { binary: Some(binary), ..Options::new().host_network().images(&[]) }.start();
    for name in
        ["unpack.staged", "pull.verified", "layers.marked", "layers.renamed", "publish.layers", "pull.commit"]
    {
        e.kill9();
        e.set_env("KNARR_FAILPOINT", Some(&format!("{name}=kill")));
        e.launch();
        let mut client = e.docker().spawn(&["pull", "-q", &scene.name()]);
        e.wait_death(PATIENCE);
        ended(&mut client);
        e.set_env("KNARR_FAILPOINT", None);
        e.launch();
        let c = e.docker();
        if c.run(&["image", "inspect", &scene.name()]).code == 0 {
            check(&e, &scene, len);
        }
        c.ok(&["pull", "-q", &scene.name()]);
        check(&e, &scene, len);
        c.ok(&["rmi", "-f", &scene.name()]);
    }
    eventually("nothing is left", PATIENCE, || {
        (files(&e, "content/blobs/sha256").is_empty() && files(&e, "content/ingest").is_empty()).then_some(())
    });
}
