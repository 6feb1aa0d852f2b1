//! Indexes and manifests in registries: `manifest` beside Docker's own client, images of several platforms pushed as they came.

use crate::registries::{engine, publish, skopeo};
use knarr_e2e::registry::Registry;
use knarr_e2e::{Cli, Engine, workspace};

/// The digest that a registry has for a name.
fn digest_of(name: &str) -> String {
    let format = "{{.Digest}}";
    let target = format!("docker://{name}");
    let raw = skopeo(&[
        "inspect",
        "--tls-verify=false",
        "--no-tags",
        "--override-os=linux",
        "--format",
        format,
        &target,
    ]);
    raw.trim().to_owned()
}

/// A client with a configuration of its own: lists in the making are kept there.
fn apart(e: &Engine, cli: Cli) -> Cli {
    let dir = e.dir.join(format!("config-{}", cli.name));
    std::fs::create_dir_all(&dir).expect("configuration");
    cli.env("DOCKER_CONFIG", dir.to_str().expect("UTF-8 path"))
}

/// Each command with both clients: the same words, the same files, the same bytes in the registry.
#[test]
fn manifest_commands_are_dockers() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::start();
    publish(&r, "busybox-both.tar", "busybox:latest", "team/bb:v1");
    let from = format!("docker-archive:{}:busybox:latest", workspace::image("busybox-both.tar").display());
    let to = format!("docker://{}", r.reference("oci/bb:v1"));
    skopeo(&["copy", "-q", "--dest-tls-verify=false", "--format", "oci", &from, &to]);
    let e = engine();
    let [docker, knarr] = e.clients().map(|cli| apart(&e, cli));
    let (bb, oci, none) = (r.reference("team/bb:v1"), r.reference("oci/bb:v1"), r.reference("team/none:v1"));
    let (list, other) = (r.reference("team/list:v1"), r.reference("team/other"));
    let steps: &[&[&str]] = &[
        &["inspect", "--insecure", &bb],
        &["inspect", "--insecure", "-v", &bb],
        &["inspect", "--insecure", "--verbose", &oci],
        &["inspect", "--insecure", &none],
        &["inspect", "a//b"],
        &["create", "--insecure", &list, &bb, &oci],
        &["create", "--insecure", &list, &bb],
        &["inspect", &list],
        &[
            "annotate",
            &list,
            &oci,
            "--arch",
            "arm",
            "--variant",
            "v7",
            "--os-features",
            "a,b",
            "--os-version",
            "1.2",
        ],
        &["annotate", &list, &oci, "--arch", "nonsense"],
        &["annotate", &list, &none, "--arch", "arm"],
        &["inspect", &list],
        &["inspect", "-v", &list],
        &["inspect", &list, &bb],
        &["inspect", &list, &none],
        &["push", "--insecure", "--purge", &list],
        &["inspect", "--insecure", &list],
        &["inspect", "--insecure", "-v", &list],
        &["push", "--insecure", &list],
        &["rm", &list],
        &["create", "--insecure", &other, &list],
        // an image index, since the first is an OCI manifest
        &["create", "--insecure", &other, &oci],
        &["create", "--amend", "--insecure", &other, &oci, &bb],
        &["push", "--insecure", &other],
        &["rm", &other, &none],
        &["create", "--insecure", "other.test/a", &bb],
        &["inspect", "other.test/a"],
        &["push", "other.test/a"],
    ];
    for step in steps {
        let args = [&["manifest"], *step].concat();
        let (theirs, ours) = (docker.run(&args), knarr.run(&args));
        assert_eq!(ours.stdout, theirs.stdout, "{step:?}\n{}\n{}", ours.stderr, theirs.stderr);
        assert_eq!((ours.code, ours.stderr.trim()), (theirs.code, theirs.stderr.trim()), "{step:?}");
    }
    // A list that one client has begun the other goes on with.
    let list = r.reference("team/shared:v1");
    docker.ok(&["manifest", "create", "--insecure", &list, &bb]);
    let dirs = ["docker", "knarr"].map(|name| e.dir.join(format!("config-{name}/manifests")));
    let name = list.replace(':', "-").replace('/', "_");
    std::fs::create_dir_all(dirs[1].join(&name)).unwrap();
    for file in std::fs::read_dir(dirs[0].join(&name)).unwrap().flatten() {
        std::fs::copy(file.path(), dirs[1].join(&name).join(file.file_name())).unwrap();
    }
    let (theirs, ours) = (
        docker.ok(&["manifest", "push", "--insecure", &list]),
        knarr.ok(&["manifest", "push", "--insecure", &list]),
    );
    assert_eq!(ours, theirs);
}

/// An image of several platforms in a registry: the digest of its index.
fn publish_index(e: &Engine, r: &Registry, name: &str) -> String {
    let c = e.knarr();
    let (amd, arm, list) = (
        r.reference(&format!("{name}:amd")),
        r.reference(&format!("{name}:arm")),
        r.reference(&format!("{name}:v1")),
    );
    c.ok(&["tag", "busybox", &amd]);
    let tar = e.dir.join("tree.tar");
    let made = std::process::Command::new("tar")
        .args(["-cf", tar.to_str().unwrap(), "-C", "/etc", "hostname"])
        .status();
    assert!(made.expect("tar").success());
    c.ok(&["import", "--platform", "linux/arm64", tar.to_str().unwrap(), &arm]);
    for image in [&amd, &arm] {
        c.ok(&["push", "-q", image]);
    }
    c.ok(&["manifest", "create", "--insecure", &list, &amd, &arm]);
    c.ok(&["manifest", "push", "--insecure", "-p", &list]);
    c.ok(&["rmi", "-f", &amd, &arm, "busybox"]);
    digest_of(&list)
}

#[test]
fn an_index_goes_out_as_it_came() {
    if workspace::peer().is_some() {
        return;
    }
    let (r, elsewhere) = (Registry::start(), Registry::start());
    let e = engine();
    let index = publish_index(&e, &r, "team/multi");
    let source = r.reference("team/multi:v1");
    for c in e.clients() {
        c.ok(&["pull", "-q", &source]);
        // A new tag of the repository, and a new repository of the registry.
        for target in
            [r.reference(&format!("team/multi:{}", c.name)), r.reference(&format!("{}/copy:v1", c.name))]
        {
            c.ok(&["tag", &source, &target]);
            let o = c.ok(&["push", &target]);
            assert!(o.contains(&format!("digest: {index} size: ")) && !o.contains("Info"), "{o}");
            assert_eq!(digest_of(&target), index);
            let arm = format!("docker://{target}");
            let args =
                ["inspect", "--tls-verify=false", "--no-tags", "--override-arch=arm64", "--config", &arm];
            assert!(skopeo(&args).contains("arm64"), "the other platform is there");
            c.ok(&["rmi", &target]);
        }
        // Where the rest of it is nowhere, this platform's manifest goes, and that is told.
        let target = format!("{}/team/multi:{}", elsewhere.host(), c.name);
        c.ok(&["tag", &source, &target]);
        let o = c.ok(&["push", &target]);
        let own = digest_of(&target);
        // Docker's client colours the digests, also in a pipe.
        let plain = o.replace("\u{1b}[31m", "").replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
        let told = format!("single-platform image was pushed\n         {index} -> {own}");
        assert!(plain.contains(&told), "{plain:?}");
        assert!(o.contains(&format!("{}: digest: {own} size: ", c.name)) && own != index, "{o}");
        // And only this platform's, if it is asked for.
        let o = c.ok(&["push", "--platform", "linux/amd64", &r.reference("team/multi:v1")]);
        assert!(o.contains("Using --platform pushes only the specified platform manifest"), "{o}");
        assert!(o.contains(&format!("v1: digest: {own} size: ")), "{o}");
        c.fails(1, &["push", "--platform", "linux/s390x", &source])
            .says("was found but does not provide the specified platform (linux/s390x)");
        c.ok(&["rmi", "-f", &target, &source]);
        skopeo(&[
            "copy",
            "-q",
            "--all",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            &format!("docker://{}@{index}", r.reference("team/multi")),
            &format!("docker://{source}"),
        ]);
    }
}

#[test]
fn a_push_tells_what_it_does() {
    if workspace::peer().is_some() {
        return;
    }
    let e = engine();
    for c in e.clients() {
        // Another registry: what is in one of the engine's is mounted from there.
        let r = Registry::start();
        let name = r.reference(&format!("{}/app", c.name));
        c.ok(&["tag", "busybox", &format!("{name}:a")]);
        c.ok(&["tag", "busybox", &format!("{name}:b")]);
        let o = c.ok(&["push", &format!("{name}:a")]);
        assert!(o.starts_with(&format!("The push refers to repository [{name}]\n")), "{o}");
        assert!(
            o.contains(": Preparing\n") && o.contains(": Pushed\n") && o.contains("a: digest: sha256:"),
            "{o}"
        );
        let digest = digest_of(&format!("{name}:a"));
        let o = c.ok(&["push", "--all-tags", &name]);
        assert!(o.contains(": Layer already exists\n"), "{o}");
        for tag in ["a", "b"] {
            assert!(o.contains(&format!("{tag}: digest: {digest} size: ")), "{o}");
            assert_eq!(digest_of(&format!("{name}:{tag}")), digest);
        }
        assert_eq!(c.ok(&["push", "-q", &format!("{name}:b")]), format!("{name}:b"));
        c.fails(1, &["push", "-a", &format!("{name}:b")]).says("tag can't be used with --all-tags/-a");
        c.fails(1, &["push", "-a", &r.reference("no/such")])
            .says("An image does not exist locally with the tag");
        // The same image from an archive, whose layers are others, changes nothing of what it was pushed as.
        e.load(&workspace::image("busybox.tar"));
        assert!(c.ok(&["push", &format!("{name}:a")]).contains(&format!("a: digest: {digest} size: ")));
        // Another repository of the registry takes the layer from here.
        let other = r.reference(&format!("{}/other:x", c.name));
        c.ok(&["tag", "busybox", &other]);
        let o = c.ok(&["push", &other]);
        assert!(o.contains(&format!(": Mounted from {}/app\n", c.name)), "{o}");
    }
}
