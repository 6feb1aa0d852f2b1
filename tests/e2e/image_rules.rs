//! Lists, filters and the rules of removal, as Docker has them. Most of it also passes against Docker's own daemon
//! (`KNARR_E2E_PEER`).

use knarr_e2e::engine::{Engine, Options};
use knarr_e2e::pack::{Form, Image};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::workspace;
use serde_json::{Value, json};

/// Small images of one base: what each adds is a file of its own.
fn image(name: &str, files: &[&str]) -> Image {
    let layers = files.iter().map(|f| archive(&[Entry::file(f, 0o644, f.as_bytes())])).collect();
    Image::new(name, layers)
}

fn load(e: &Engine, image: &Image) -> String {
    let path = e.fresh("image");
    image.write(&path, Form::DockerSave);
    e.load(&path);
    image.id()
}

/// Filters as part of a query.
fn encoded(filters: &str) -> String {
    filters.replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
}

/// `docker images` with these arguments: names, sorted.
fn listed(c: &knarr_e2e::cli::Cli, args: &[&str]) -> Vec<String> {
    let all = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], args].concat();
    let mut list: Vec<String> = c.ok(&all).lines().map(str::to_owned).collect();
    list.sort();
    list
}

#[test]
fn filters_and_order() {
    let e = Options::new().images(&[]).start();
    let old = image("team/old:1", &["a"]).created("2020-01-01T00:00:00Z").label("stage", "test");
    let middle = image("team/middle:1", &["a", "b"]).created("2021-01-01T00:00:00Z").label("stage", "prod");
    let new = image("new:1", &["a", "c"]).created("2022-01-01T00:00:00.5Z").label("only", "");
    let new = new.also("new:2").also("example.test:5000/new:3");
    for image in [&middle, &new, &old] {
        load(&e, image);
    }
    for c in e.clients() {
        let ids = c.ok(&["images", "-q", "--no-trunc"]);
        let mut ids: Vec<_> = ids.lines().collect();
        ids.dedup();
        assert_eq!(ids, [new.id(), middle.id(), old.id()], "the newest is first");
        let f = |filter: &str| listed(&c, &["-f", filter]);
        assert_eq!(f("label=stage"), ["team/middle:1", "team/old:1"]);
        assert_eq!(f("label=stage=prod"), ["team/middle:1"]);
        assert_eq!(f("before=new:1"), ["team/middle:1", "team/old:1"]);
        assert_eq!(f("since=team/old:1"), ["example.test:5000/new:3", "new:1", "new:2", "team/middle:1"]);
        assert_eq!(listed(&c, &["-f", "since=team/old:1", "-f", "before=new:2"]), ["team/middle:1"]);
        assert_eq!(f("until=2020-06-01"), ["team/old:1"]);
        assert_eq!(f("reference=team/*"), ["team/middle:1", "team/old:1"]);
        assert_eq!(f("reference=new"), ["new:1", "new:2"]);
        assert_eq!(f("reference=new:[12]"), ["new:1", "new:2"]);
        assert_eq!(f("reference=*/*:3"), ["example.test:5000/new:3"]);
        assert_eq!(listed(&c, &["-f", "reference=*:1", "-f", "reference=*:3"]), ["new:1"]);
        assert_eq!(listed(&c, &["team/old"]), ["team/old:1"]);
        assert_eq!(f("dangling=true"), [""; 0]);
        assert_eq!(f("dangling=false").len(), 5);
        c.fails(1, &["images", "-f", "dangling=maybe"]).says("invalid filter 'dangling=[maybe]'");
        c.fails(1, &["images", "-f", "nosuch=1"]).says("invalid filter 'nosuch'");
        c.fails(1, &["images", "-f", "before=nosuch"]).says("No such image: nosuch:latest");
    }
    let a = e.api();
    let get = |filters: &str| a.get(&format!("/v1.40/images/json?filters={}", encoded(filters))).unwrap();
    assert_eq!(get(r#"{"dangling":["maybe"]}"#).expect(400).message(), "invalid filter 'dangling=[maybe]'");
    get(r#"{"before":["nosuch"]}"#).expect(404);
}

#[test]
fn fields_of_every_version() {
    let e = Engine::start();
    e.docker().ok(&["create", "--name", "user", "busybox"]);
    let a = e.api();
    let list = |version: &str, query: &str| -> Value {
        a.get(&format!("/v{version}/images/json{query}")).unwrap().expect(200).json()[0].clone()
    };
    let new = list("1.51", "?shared-size=1");
    assert_eq!(new["SharedSize"], 0, "{new}");
    assert_eq!(new["RepoTags"], json!(["busybox:latest"]));
    assert_eq!((&new["RepoDigests"], &new["ParentId"]), (&json!([]), &json!("")));
    let old = list("1.40", "");
    assert_eq!((&old["SharedSize"], &old["Containers"]), (&json!(-1), &json!(-1)));
    assert_eq!(old["VirtualSize"], old["Size"]);
    assert!(list("1.44", "")["VirtualSize"].is_null());
    let inspected = a.get("/v1.51/images/busybox/json").unwrap().expect(200).json();
    assert_eq!(inspected["Id"], new["Id"]);
    assert_eq!(inspected["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert!(inspected["Metadata"]["LastTagTime"].as_str().is_some());
    if workspace::peer().is_none() {
        // Docker has it with its containerd store only; ours is one manifest.
        let manifest = &list("1.51", "?manifests=1")["Manifests"][0];
        assert_eq!((&manifest["Kind"], &manifest["Available"]), (&json!("image"), &json!(true)));
        assert_eq!(manifest["ImageData"]["Containers"].as_array().unwrap().len(), 1, "{manifest}");
        assert_eq!(manifest["ImageData"]["Size"]["Unpacked"], new["Size"]);
        assert!(list("1.46", "?manifests=1")["Manifests"].is_null());
        let tree = e.docker().ok(&["images", "--tree"]);
        assert!(tree.contains("busybox:latest") && tree.contains("linux/"), "{tree}");
    }
}

#[test]
fn removal_by_name_digest_and_id() {
    let e = Options::new().images(&[]).start();
    for c in e.clients() {
        let id = load(&e, &image("one:1", &["a", "b"]));
        let hex = id.strip_prefix("sha256:").unwrap().to_owned();
        c.ok(&["tag", "one:1", "one:2"]);
        // With several tags of one repository an id is not enough, unless it is forced.
        c.fails(1, &["rmi", &hex[..12]]).says(&format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            &hex[..12]
        ));
        assert_eq!(c.ok(&["rmi", "one:2"]), "Untagged: one:2");
        // With one tag the beginning of the id is.
        let out = c.ok(&["rmi", &hex[..7]]);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines[0], "Untagged: one:1");
        assert_eq!(lines[1], format!("Deleted: {id}"));
        assert_eq!(lines.len(), 4, "two layers went as well: {out}");
        c.fails(1, &["rmi", &hex[..7]]).says(&format!("No such image: {}", &hex[..7]));
        // What is shared stays.
        load(&e, &image("one:1", &["a", "b"]));
        load(&e, &image("two:1", &["a", "c"]));
        let out = c.ok(&["rmi", "one:1"]);
        assert_eq!(
            out.lines().filter(|l| l.starts_with("Deleted: ")).count(),
            2,
            "image and one layer: {out}"
        );
        let out = c.ok(&["rmi", "two:1"]);
        assert_eq!(out.lines().filter(|l| l.starts_with("Deleted: ")).count(), 3, "{out}");
        // One that fails does not keep the others.
        load(&e, &image("one:1", &["a", "b"]));
        let o = c.fails(1, &["rmi", "nosuch:1", "one:1"]);
        assert!(
            o.stdout.contains("Untagged: one:1") && o.stderr.contains("No such image: nosuch:1"),
            "{o:?}"
        );
    }
}

#[test]
fn refusals_while_containers_use_it() {
    let e = Options::new().images(&["busybox.tar"]).start();
    let id = e.docker().field("busybox", "{{.Id}}");
    let short = &id["sha256:".len()..][..12];
    for c in e.clients() {
        let stopped = c.ok(&["create", "--name", "stopped", "busybox", "sleep", "600"]);
        c.fails(1, &["rmi", "busybox"]).says(&format!(
            "conflict: unable to remove repository reference \"busybox\" (must force) - container {} is using its referenced image {short}",
            &stopped[..12]
        ));
        c.fails(1, &["rmi", short]).says(&format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {}",
            &stopped[..12]
        ));
        // A second name may go.
        c.ok(&["tag", "busybox", "second"]);
        assert_eq!(c.ok(&["rmi", "second"]), "Untagged: second:latest");
        c.ok(&["start", "stopped"]);
        c.fails(1, &["rmi", short]).says(&format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {}",
            &stopped[..12]
        ));
        c.fails(1, &["rmi", "-f", short]).says("cannot be forced");
        // By name and with force the name goes, the image stays as long as the container.
        let out = c.ok(&["rmi", "-f", "busybox"]);
        assert_eq!(out.lines().collect::<Vec<_>>(), ["Untagged: busybox:latest"]);
        assert_eq!(c.ok(&["ps", "--format", "{{.Image}}"]), short);
        assert_eq!(c.ok(&["images", "-f", "dangling=true", "-q"]), short);
        c.ok(&["image", "prune", "-af"]);
        assert_eq!(c.ok(&["images", "-aq"]), short, "prune takes nothing that is in use");
        c.ok(&["rm", "-f", "stopped"]);
        assert!(c.ok(&["image", "prune", "-f"]).contains(&format!("deleted: {id}")));
        e.load(&workspace::image("busybox.tar"));
    }
}

#[test]
fn parents_and_children() {
    let e = Options::new().images(&["busybox.tar"]).start();
    let commit = |c: &knarr_e2e::cli::Cli, from: &str, name: &str, file: &str| {
        c.ok(&["run", "--name", "work", from, "touch", file]);
        let mut words = vec!["commit", "-m", "a message", "-a", "somebody", "-c", "LABEL made=yes", "work"];
        words.extend((!name.is_empty()).then_some(name));
        let id = c.ok(&words);
        c.ok(&["rm", "work"]);
        id
    };
    for c in e.clients() {
        let middle = commit(&c, "busybox", "middle", "/m");
        let child = commit(&c, "middle", "child", "/c");
        let short = &middle["sha256:".len()..][..12];
        assert_eq!(c.field("child", "{{.Parent}}"), middle);
        assert_eq!(
            c.field("child", "{{.Author}}/{{.Comment}}/{{.Config.Labels.made}}"),
            "somebody/a message/yes"
        );
        let history = c.ok(&["history", "--no-trunc", "--format", "{{.ID}} {{.Comment}}", "child"]);
        let lines: Vec<_> = history.lines().collect();
        assert_eq!(lines[0], format!("{child} a message"));
        assert_eq!(lines[1], format!("{middle} a message"));
        // By id it is kept by what was made from it; its name may go.
        c.fails(1, &["rmi", short]).says(&format!(
            "conflict: unable to delete {short} (cannot be forced) - image has dependent child images"
        ));
        assert_eq!(c.ok(&["rmi", "middle"]), "Untagged: middle:latest");
        let all = c.ok(&["images", "-q"]);
        assert!(!all.contains(short), "without a name it is intermediate: {all}");
        assert!(c.ok(&["images", "-aq"]).contains(short));
        // With the child its parents go that have no name.
        let out = c.ok(&["rmi", "child"]);
        assert!(
            out.contains(&format!("Deleted: {child}")) && out.contains(&format!("Deleted: {middle}")),
            "{out}"
        );
        assert_eq!(listed(&c, &[]), ["busybox:latest"]);
        // Unless told not to.
        let middle = commit(&c, "busybox", "", "/m");
        let child = commit(&c, &middle, "child", "/c");
        let out = c.ok(&["rmi", "--no-prune", "child"]);
        assert!(
            out.contains(&format!("Deleted: {child}")) && !out.contains(&format!("Deleted: {middle}")),
            "{out}"
        );
        c.ok(&["rmi", &middle]);
    }
}

#[test]
fn prune_takes_what_its_filters_say() {
    let e = Options::new().images(&[]).start();
    for c in e.clients() {
        load(&e, &image("old:1", &["a"]).created("2020-01-01T00:00:00Z").label("keep", "no"));
        load(&e, &image("kept:1", &["b"]).created("2020-01-01T00:00:00Z").label("keep", "yes"));
        load(&e, &image("new:1", &["c"]).created("2035-01-01T00:00:00Z"));
        assert!(c.ok(&["image", "prune", "-f"]).contains("Total reclaimed space: 0B"));
        let out = c.ok(&["image", "prune", "-af", "--filter", "until=24h", "--filter", "label!=keep=yes"]);
        assert!(
            out.contains("untagged: old:1") && !out.contains("kept:1") && !out.contains("new:1"),
            "{out}"
        );
        let out = c.ok(&["image", "prune", "-af", "--filter", "label=keep"]);
        assert!(out.contains("untagged: kept:1") && !out.contains("new:1"), "{out}");
        c.fails(1, &["image", "prune", "-f", "--filter", "nosuch=1"]).says("invalid filter");
        let out = c.ok(&["image", "prune", "-af"]);
        assert!(out.contains("untagged: new:1"), "{out}");
        assert_eq!(listed(&c, &[]), [""; 0]);
    }
}

#[test]
fn reclaimed_space_is_what_was_there() {
    if workspace::peer().is_some() {
        return;
    }
    let e = Options::new().images(&[]).start();
    // What does not compress, so that files and blob are of one size.
    let mut state = 1u64;
    let mut noise = |len: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    };
    let (shared, own) = (noise(4 << 20), noise(2 << 20));
    let layer = |name: &str, data: &[u8]| archive(&[Entry::file(name, 0o644, data)]);
    let one = Image::new("one:1", vec![layer("shared", &shared), layer("own", &own)]);
    let two = Image::new("two:1", vec![layer("shared", &shared)]);
    load(&e, &one);
    load(&e, &two);
    let c = e.docker();
    let prune = |filter: &str| -> u64 {
        let path = format!("/v1.51/images/prune?filters={}", encoded(filter));
        e.api().post(&path, "").expect(200).json()["SpaceReclaimed"].as_u64().unwrap()
    };
    c.ok(&["create", "--name", "user", "two:1", "x"]);
    let freed = prune(r#"{"dangling":["false"]}"#);
    // The layer's files and its blob.
    assert!((4 << 20..(4 << 20) + (200 << 10)).contains(&freed), "{freed}");
    assert_eq!(listed(&c, &[]), ["two:1"]);
    c.ok(&["rm", "user"]);
    let freed = prune(r#"{"dangling":["false"]}"#);
    assert!((8 << 20..(8 << 20) + (200 << 10)).contains(&freed), "{freed}");
}
