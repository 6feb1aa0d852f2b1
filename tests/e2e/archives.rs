//! Image archives between engines: what Knarr saves Docker, podman and skopeo read, and the other way round; ids and digests
//! stay the same on every way. Docker's daemons are the one on PATH and those that `KNARR_E2E_DOCKERDS` names.

use knarr_e2e::command::{self, Finished};
use knarr_e2e::pack::{Compression, Image, hex_digest};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::tree::listing;
use knarr_e2e::{Cli, Engine, Options, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn program(name: &str, args: &[&str], stdin: Option<&[u8]>) -> Finished {
    command::run(Command::new(name).args(args), stdin, LIMIT)
}

#[track_caller]
fn succeeds(done: &Finished, what: &str) -> String {
    let text = String::from_utf8_lossy(&done.stdout).trim_end().to_owned();
    assert_eq!(done.code, 0, "{what}: {text}{}", String::from_utf8_lossy(&done.stderr));
    text
}

/// podman's image store in a directory of its own.
struct Podman(PathBuf);

impl Podman {
    fn new(e: &Engine) -> Podman {
        Podman(e.fresh_dir("podman"))
    }
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let dir = |name: &str| self.0.join(name).display().to_string();
        let mut words =
            vec!["-m".to_owned(), "podman".to_owned(), "--storage-driver".to_owned(), "vfs".to_owned()];
        for (flag, name) in [("--root", "root"), ("--runroot", "run"), ("--tmpdir", "tmp")] {
            words.extend([flag.to_owned(), dir(name)]);
        }
        words.extend(args.iter().map(|a| (*a).to_owned()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        succeeds(&program("unshare", &words, None), &format!("podman {args:?}"))
    }
    /// Familiar name -> id, as Docker writes both.
    fn images(&self) -> BTreeMap<String, String> {
        let list: Value =
            serde_json::from_str(&self.ok(&["images", "--no-trunc", "--format", "json"])).unwrap();
        let mut found = BTreeMap::new();
        for image in list.as_array().unwrap() {
            for name in image["Names"].as_array().into_iter().flatten() {
                found.insert(
                    familiar(name.as_str().unwrap()),
                    format!("sha256:{}", image["Id"].as_str().unwrap()),
                );
            }
        }
        found
    }
}

fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

#[track_caller]
fn skopeo(args: &[&str]) -> String {
    let words = [&["--insecure-policy"], args].concat();
    succeeds(&program("skopeo", &words, None), &format!("skopeo {args:?}"))
}

fn images_of(c: &Cli) -> BTreeMap<String, String> {
    let text = c.ok(&["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    text.lines().filter_map(|l| l.split_once(' ')).map(|(n, id)| (n.to_owned(), id.to_owned())).collect()
}

/// Docker daemons of this machine.
fn daemons() -> Vec<PathBuf> {
    let more = std::env::var_os("KNARR_E2E_DOCKERDS");
    let more = more.iter().flat_map(std::env::split_paths).collect::<Vec<_>>();
    workspace::on_path("dockerd").into_iter().chain(more).collect()
}

/// Two images over the same two layers, with three names.
fn family() -> Vec<Image> {
    let base = knarr_e2e::images::busybox_layer(&workspace::on_path("busybox").unwrap());
    let shared = archive(&[
        Entry::dir("shared", 0o755),
        Entry::file("shared/text", 0o640, b"both have it").owner(1, 2),
    ]);
    let own = archive(&[
        Entry::file("own", 0o4755, b"one has it"),
        Entry::whiteout("shared/text"),
        Entry::symlink("link", "shared"),
    ]);
    vec![
        Image::new("family/one:1", vec![base.clone(), shared.clone()]).also("example.test:5000/one:other"),
        Image::new("family/two:latest", vec![base, shared, own])
            .config("Labels", serde_json::json!({"a": "b"})),
    ]
}

const NAMES: [&str; 3] = ["example.test:5000/one:other", "family/one:1", "family/two:latest"];

/// An engine that has the family, and what it says of it.
fn with_family() -> (Engine, BTreeMap<String, String>) {
    let e = Options::new().images(&[]).start();
    for image in family() {
        let tar = image.archive(knarr_e2e::pack::Form::DockerSave);
        drop(e.knarr().run_with_stdin(&["load", "-q"], &tar).code(0));
    }
    let images = images_of(&e.knarr());
    assert_eq!(images.keys().map(String::as_str).collect::<Vec<_>>(), NAMES);
    for image in family() {
        assert_eq!(images[image.names.first().unwrap()], image.id());
    }
    (e, images)
}

fn save(c: &Cli, e: &Engine, names: &[&str]) -> PathBuf {
    let path = e.fresh("saved.tar");
    c.ok(&[&["save", "-o", path.to_str().unwrap()], names].concat());
    path
}

#[test]
fn what_is_saved_is_one_archive_without_anything_twice() {
    let (e, _) = with_family();
    for c in e.clients() {
        let tar = std::fs::read(save(&c, &e, &NAMES)).unwrap();
        let members = listing(&tar);
        let blobs: Vec<&String> = members.keys().filter(|name| name.starts_with("blobs/sha256/")).collect();
        // Three layers, two configurations, two manifests: what both have is there once.
        assert_eq!(blobs.len(), 7, "{:?}", members.keys());
        for file in ["index.json", "manifest.json", "oci-layout", "repositories"] {
            assert!(members.contains_key(file), "{file}");
        }
        // The same images are the same bytes, to a file or a pipe.
        let piped = c.bytes(&[&["save"], &NAMES[..]].concat());
        assert_eq!(hex_digest(&piped), hex_digest(&tar));
    }
}

#[test]
fn docker_and_podman_load_what_knarr_saves() {
    let (e, images) = with_family();
    let path = save(&e.knarr(), &e, &NAMES);
    let file = path.to_str().unwrap();
    let podman = Podman::new(&e);
    podman.ok(&["load", "-q", "-i", file]);
    assert_eq!(podman.images(), images, "podman");
    // As a layout: podman reads that too, of one image.
    let one = save(&e.knarr(), &e, &["family/two"]);
    let layout = e.fresh("layout.tar");
    skopeo(&[
        "copy",
        "-q",
        &format!("oci-archive:{}:latest", one.display()),
        &format!("oci-archive:{}:two", layout.display()),
    ]);
    let fresh = Podman::new(&e);
    let id = fresh.ok(&["pull", "-q", &format!("oci-archive:{}", layout.display())]);
    assert_eq!(format!("sha256:{}", id.lines().last().unwrap()), images["family/two:latest"]);
    for dockerd in daemons() {
        let docker = Engine::peer(&dockerd);
        let c = docker.docker();
        let said = c.ok(&["load", "-i", file]);
        assert!(NAMES.iter().all(|name| said.contains(&format!("Loaded image: {name}"))), "{said}");
        assert_eq!(images_of(&c), images, "{}", dockerd.display());
        // And back again: the same ids, from the archive that Docker writes.
        let back = docker.fresh("back.tar");
        c.ok(&[&["save", "-o", back.to_str().unwrap()], &NAMES[..]].concat());
        let other = Options::new().images(&[]).start();
        other.load(&back);
        assert_eq!(images_of(&other.knarr()), images, "saved by {}", dockerd.display());
        assert_eq!(other.knarr().ok(&["run", "--rm", "family/one:1", "cat", "/shared/text"]), "both have it");
        // What Docker saved is saved here as if it had never been away.
        assert_eq!(
            hex_digest(&other.knarr().bytes(&[&["save"], &NAMES[..]].concat())),
            hex_digest(&std::fs::read(&path).unwrap())
        );
    }
}

#[test]
fn knarr_loads_what_podman_saves() {
    let (e, images) = with_family();
    let podman = Podman::new(&e);
    podman.ok(&["load", "-q", "-i", save(&e.knarr(), &e, &NAMES).to_str().unwrap()]);
    // Several images in one archive.
    let multi = e.fresh("podman-multi.tar");
    podman.ok(&[&["save", "-q", "-m", "-o", multi.to_str().unwrap()], &NAMES[..]].concat());
    let other = Options::new().images(&[]).start();
    other.load(&multi);
    let loaded: BTreeMap<String, String> =
        images_of(&other.knarr()).into_iter().map(|(name, id)| (familiar(&name), id)).collect();
    assert_eq!(loaded, images);
    for format in ["docker-archive", "oci-archive"] {
        for name in NAMES {
            let file = e.fresh("podman.tar");
            podman.ok(&["save", "-q", "--format", format, "-o", file.to_str().unwrap(), name]);
            let other = Options::new().images(&[]).start();
            let said = other.docker().ok(&["load", "-i", file.to_str().unwrap()]);
            assert!(said.contains(name) || said.contains("Loaded image ID"), "{format} {name}: {said}");
            // podman writes the configuration anew when it makes a layout of what came as Docker's form.
            let id = match format {
                "oci-archive" => id_in_layout(&std::fs::read(&file).unwrap()),
                _ => images[name].clone(),
            };
            assert_eq!(other.knarr().field(&id, "{{.Id}}"), id, "{format} {name}");
        }
    }
}

/// The digest of the configuration of a layout's only image.
fn id_in_layout(tar: &[u8]) -> String {
    let members: BTreeMap<_, _> = knarr_e2e::tarball::members(tar).into_iter().collect();
    let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest: Value = serde_json::from_slice(&members[&format!("blobs/{digest}")]).unwrap();
    manifest["config"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn skopeo_reads_and_writes_every_form() {
    let (e, images) = with_family();
    let path = save(&e.knarr(), &e, &NAMES);
    let ours = format!("docker-archive:{}", path.display());
    for name in NAMES {
        let source = format!("{ours}:{name}");
        let raw = skopeo(&["inspect", "--config", "--raw", &source]);
        assert_eq!(format!("sha256:{}", hex_digest(raw.as_bytes())), images[name], "{name}");
        // From the form that it has: skopeo writes configurations anew when it makes one form of the other.
        let layout = format!("oci-archive:{}:{}", path.display(), name.rsplit(':').next().unwrap());
        for (form, source) in [("docker-archive", &source), ("oci-archive", &layout)] {
            let file = e.fresh("skopeo.tar");
            skopeo(&["copy", "-q", source, &format!("{form}:{}:{name}", file.display())]);
            let other = Options::new().images(&[]).start();
            other.load(&file);
            assert_eq!(other.knarr().field(&images[name], "{{.Id}}"), images[name], "{form} {name}");
        }
        // A layout as a directory, packed by tar(1), with compressed layers: the manifest's digest stays.
        let dir = e.fresh("oci");
        let target = format!("oci:{}:{name}", dir.display());
        skopeo(&["copy", "-q", "--dest-compress", &layout, &target]);
        let tar = e.fresh("oci.tar");
        let words = ["-C", dir.to_str().unwrap(), "-cf", tar.to_str().unwrap(), "."];
        succeeds(&program("tar", &words, None), "tar");
        let other = Options::new().images(&[]).start();
        other.load(&tar);
        assert_eq!(images_of(&other.knarr())[name], images[name]);
        assert_eq!(other.knarr().ok(&["run", "--rm", name, "echo", "runs"]), "runs");
    }
    // The layout in our own archive is one for skopeo, too.
    let one = save(&e.knarr(), &e, &["family/two"]);
    let raw = skopeo(&["inspect", "--config", "--raw", &format!("oci-archive:{}", one.display())]);
    assert_eq!(format!("sha256:{}", hex_digest(raw.as_bytes())), images["family/two:latest"]);
}

/// As `compress` of the test's own and by the programs that people use.
fn compressed(bytes: &[u8], how: &str) -> Vec<u8> {
    match how {
        "gzip" => knarr_e2e::pack::compress(bytes, Compression::Gzip),
        "zstd" => knarr_e2e::pack::compress(bytes, Compression::Zstd),
        other => {
            let done = program(other, &["-c"], Some(bytes));
            assert_eq!(done.code, 0, "{other}");
            done.stdout
        }
    }
}

const COMPRESSIONS: [&str; 4] = ["gzip", "zstd", "bzip2", "xz"];

#[test]
fn every_compression_that_docker_takes() {
    let e = Options::new().images(&["busybox.tar"]).start();
    let c = e.docker();
    let image = &family()[0];
    let plain = image.archive(knarr_e2e::pack::Form::DockerSave);
    c.ok(&["create", "--name", "target", "busybox", "true"]);
    let tree = archive(&[Entry::file("in", 0o644, b"by archive")]);
    let layer = knarr_e2e::images::busybox_layer(&workspace::on_path("busybox").unwrap());
    for how in COMPRESSIONS {
        // load: from a file and a pipe
        let file = e.fresh("image.tar");
        std::fs::write(&file, compressed(&plain, how)).unwrap();
        c.ok(&["load", "-i", file.to_str().unwrap()]);
        assert_eq!(c.field("family/one:1", "{{.Id}}"), image.id(), "{how}");
        c.ok(&["rmi", "-f", "family/one:1", "example.test:5000/one:other"]);
        let o = e.knarr().run_with_stdin(&["load", "-q"], &compressed(&plain, how)).code(0);
        assert_eq!(
            o.lines(),
            ["Loaded image: family/one:1", "Loaded image: example.test:5000/one:other"],
            "{how}"
        );
        c.ok(&["rmi", "-f", "family/one:1", "example.test:5000/one:other"]);
        // import: the layer's id is the digest of the tar, however it came
        let o = c.run_with_stdin(&["import", "-", "imported:1"], &compressed(&layer, how)).code(0);
        assert!(o.stdout.starts_with("sha256:"), "{o:?}");
        let v = c.inspect("imported:1");
        assert_eq!(v["RootFS"]["Layers"][0], format!("sha256:{}", hex_digest(&layer)), "{how}");
        assert_eq!(c.ok(&["run", "--rm", "imported:1", "/bin/echo", "runs"]), "runs");
        // cp
        e.api()
            .send(
                "PUT",
                "/containers/target/archive?path=/tmp",
                &[("Content-Type", "application/x-tar")],
                &compressed(&tree, how),
            )
            .unwrap()
            .expect(200);
        assert!(
            String::from_utf8_lossy(&c.bytes(&["cp", "target:/tmp/in", "-"])).contains("by archive"),
            "{how}"
        );
        // Whatever it came as, it goes out as every reader knows it.
        let saved = save(&c, &e, &["imported:1"]);
        skopeo(&["inspect", &format!("docker-archive:{}", saved.display())]);
        c.ok(&["rmi", "imported:1"]);
    }
    c.ok(&["rm", "target"]);
}

/// A layer inside of an archive that is compressed as no registry knows it.
#[test]
fn layers_in_archives_may_be_bzip2_or_xz() {
    for how in COMPRESSIONS {
        let e = Options::new().images(&[]).start();
        let layer = knarr_e2e::images::busybox_layer(&workspace::on_path("busybox").unwrap());
        let image = Image::new("odd:1", vec![layer.clone()]);
        let plain = image.clone().compression(Compression::None).archive(knarr_e2e::pack::Form::DockerSave);
        // The same archive with the layer's member exchanged.
        let config = {
            let members = knarr_e2e::tarball::members(&plain);
            members.into_iter().find(|(name, _)| name.ends_with(".json") && name != "manifest.json").unwrap()
        };
        let manifest = serde_json::json!([{"Config": config.0, "RepoTags": ["odd:1"], "Layers": ["layer"]}]);
        let tar = archive(&[
            Entry::file(&config.0, 0o644, &config.1),
            Entry::file("layer", 0o644, &compressed(&layer, how)),
            Entry::file("manifest.json", 0o644, manifest.to_string().as_bytes()),
        ]);
        let o = e.knarr().run_with_stdin(&["load", "-q"], &tar).code(0);
        assert!(o.stdout.contains("odd:1"), "{how}: {o:?}");
        assert_eq!(e.knarr().field("odd:1", "{{.Id}}"), image.id(), "{how}");
        assert_eq!(e.knarr().ok(&["run", "--rm", "odd:1", "echo", "runs"]), "runs");
    }
}

#[test]
fn names_ids_and_platforms_of_save() {
    let (e, images) = with_family();
    for c in e.clients() {
        let id = &images["family/two:latest"];
        // By id or its beginning: without names.
        for text in [id.as_str(), &id[7..19], &id[7..11]] {
            let tar = c.bytes(&["save", text]);
            let manifest =
                knarr_e2e::tarball::members(&tar).into_iter().find(|(n, _)| n == "manifest.json").unwrap().1;
            let v: Value = serde_json::from_slice(&manifest).unwrap();
            assert!(v[0]["RepoTags"].is_null() && v.as_array().unwrap().len() == 1, "{text}: {v}");
            let other = Options::new().images(&[]).start();
            let o = other.docker().run_with_stdin(&["load"], &tar).code(0);
            assert!(o.stdout.contains(&format!("Loaded image ID: {id}")), "{o:?}");
        }
        // A repository without a tag is all of its tags.
        c.ok(&["tag", "family/one:1", "family/two:second"]);
        let tar = c.bytes(&["save", "family/two"]);
        let other = Options::new().images(&[]).start();
        drop(other.docker().run_with_stdin(&["load"], &tar).code(0));
        assert_eq!(
            images_of(&other.docker()).into_keys().collect::<Vec<_>>(),
            ["family/two:latest", "family/two:second"]
        );
        c.ok(&["rmi", "family/two:second"]);
        // A platform that it is not.
        let architecture = c.field("family/one:1", "{{.Architecture}}");
        let wrong = if architecture == "amd64" { "linux/arm64" } else { "linux/amd64" };
        let file = e.fresh("platform.tar");
        let file = file.to_str().unwrap();
        c.fails(1, &["save", "--platform", wrong, "-o", file, "family/one:1"])
            .says("does not match the specified platform");
        c.ok(&["save", "--platform", &format!("linux/{architecture}"), "-o", file, "family/one:1"]);
        let other = Options::new().images(&[]).start();
        other
            .docker()
            .fails(1, &["load", "--platform", wrong, "-i", file])
            .says(&format!("no image for {wrong}"));
        assert_eq!(other.docker().ok(&["images", "-q"]), "");
        other.docker().ok(&["load", "--platform", &format!("linux/{architecture}"), "-i", file]);
        c.fails(1, &["save", "family/one:1", "nosuch"]).says("No such image: nosuch");
    }
}

/// A root file system goes from engine to engine: the same tree, the same layer id.
#[test]
fn export_and_import_between_engines() {
    let (e, _) = with_family();
    let c = e.knarr();
    c.ok(&["create", "--name", "source", "family/two"]);
    let tar = c.bytes(&["export", "source"]);
    c.ok(&["rm", "source"]);
    let file = e.fresh("root.tar");
    std::fs::write(&file, &tar).unwrap();
    let file = file.to_str().unwrap();
    let layer = format!("sha256:{}", hex_digest(&tar));
    c.ok(&["import", "-c", "CMD [\"cat\",\"/own\"]", "-m", "a note", file, "there:1"]);
    assert_eq!(c.inspect("there:1")["RootFS"]["Layers"][0], layer);
    assert_eq!(c.ok(&["run", "--rm", "there:1"]), "one has it");
    let podman = Podman::new(&e);
    podman.ok(&["import", "-q", file, "there:1"]);
    assert!(podman.ok(&["inspect", "there:1"]).contains(&layer));
    for dockerd in daemons() {
        let docker = Engine::peer(&dockerd);
        let d = docker.docker();
        d.ok(&["import", file, "there:1"]);
        assert_eq!(d.inspect("there:1")["RootFS"]["Layers"][0], layer);
        let id = d.ok(&["create", "there:1", "true"]);
        let theirs = d.bytes(&["export", &id]);
        let o = c.run_with_stdin(&["import", "-", "back:1"], &theirs).code(0);
        assert!(o.stdout.starts_with("sha256:"));
        assert_eq!(c.ok(&["run", "--rm", "back:1", "cat", "/own"]), "one has it");
        assert_eq!(c.ok(&["run", "--rm", "back:1", "stat", "-c", "%a %u", "/own"]), "4755 0");
    }
}

/// tar(1) may write files with holes as maps: they come in as files with holes.
#[test]
fn sparse_members_are_whole_files() {
    let e = Engine::start();
    let c = e.docker();
    let dir = e.fresh_dir("sparse");
    let file = std::fs::File::create(dir.join("holes")).unwrap();
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 1 << 20).unwrap();
    file.set_len(3 << 20).unwrap();
    drop(file);
    let whole = hex_digest(&std::fs::read(dir.join("holes")).unwrap());
    c.ok(&["create", "--name", "target", "busybox", "sha256sum", "/tmp/holes"]);
    for format in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let words = [&["-C", dir.to_str().unwrap(), "-S", "-cf", "-"], format, &["holes"]].concat();
        let tar = program("tar", &words, None);
        assert_eq!(tar.code, 0);
        assert!(tar.stdout.len() < 1 << 20, "tar made it sparse");
        drop(c.run_with_stdin(&["cp", "-", "target:/tmp"], &tar.stdout).code(0));
        assert!(c.ok(&["start", "-a", "target"]).starts_with(&whole), "{format:?}");
        let o = c.run_with_stdin(&["import", "-", "sparse:1"], &tar.stdout).code(0);
        assert!(o.stdout.starts_with("sha256:"));
        let exported = {
            let id = c.ok(&["create", "sparse:1", "true"]);
            let tar = c.bytes(&["export", &id]);
            c.ok(&["rm", &id]);
            tar
        };
        let inside =
            knarr_e2e::tarball::members(&exported).into_iter().find(|(n, _)| n == "holes").unwrap().1;
        assert_eq!(hex_digest(&inside), whole, "{format:?}");
        c.ok(&["rmi", "sparse:1"]);
    }
    // An image archive of which tar made the layers sparse.
    let layout = e.fresh_dir("layout");
    let mut zeros = vec![0; 2 << 20];
    zeros[1 << 20] = 1;
    let layer = archive(&[Entry::file("zeros", 0o644, &zeros)]);
    let image = Image::new("zeros:1", vec![layer]).compression(Compression::None);
    for (name, bytes) in knarr_e2e::tarball::members(&image.archive(knarr_e2e::pack::Form::Both)) {
        let path = layout.join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_with_holes(&path, &bytes);
    }
    let words = ["-C", layout.to_str().unwrap(), "-S", "-cf", "-", "."];
    let tar = program("tar", &words, None).stdout;
    assert!(tar.len() < 1 << 20, "tar made it sparse");
    drop(c.run_with_stdin(&["load", "-q"], &tar).code(0));
    assert_eq!(c.field("zeros:1", "{{.Id}}"), image.id());
    c.ok(&["rm", "target"]);
}

fn write_with_holes(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path).unwrap();
    for (n, chunk) in bytes.chunks(4096).enumerate() {
        if chunk.iter().any(|b| *b != 0) {
            file.write_all_at(chunk, n as u64 * 4096).unwrap();
        }
    }
    file.set_len(bytes.len() as u64).unwrap();
}
