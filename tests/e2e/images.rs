//! Images: every form of archive, the exact tree, naming, removal, history.

use knarr_e2e::tree::{differences, hard_links, listing};
use knarr_e2e::{Cli, Engine, Options, workspace};
use std::process::Command;

/// The tree of an image as the client exports it.
fn exported(c: &Cli, image: &str) -> Vec<u8> {
    let id = c.ok(&["create", image, "true"]);
    let tar = c.bytes(&["export", &id]);
    c.ok(&["rm", &id]);
    tar
}

/// Names that the engine itself puts into every container.
const ENGINES_OWN: &[&str] = &[
    ".dockerenv",
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/resolv.conf",
    "etc/mtab",
    "proc",
    "sys",
    "etc",
];

fn image_listing(tar: &[u8]) -> std::collections::BTreeMap<String, String> {
    let mut l = listing(tar);
    for name in ENGINES_OWN {
        l.remove(*name);
    }
    l
}

#[test]
fn load_reads_every_form() {
    let e = Options::new().images(&[]).start();
    let files = [
        "busybox.tar",
        "busybox-oci-gzip.tar",
        "busybox-oci-zstd.tar",
        "busybox-oci-plain.tar",
        "busybox-both.tar",
        "busybox-save-gzip.tar",
    ];
    for c in e.clients() {
        for f in files {
            if workspace::peer().is_some() && f.contains("oci") {
                continue; // Docker's overlay2 store reads no layout without manifest.json
            }
            let path = workspace::image(f);
            let o = c.ok(&["load", "-i", path.to_str().unwrap()]);
            assert!(o.contains("Loaded image: busybox:latest"), "{f}: {o}");
            assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", f]), f);
            c.ok(&["rmi", "busybox"]);
        }
        let bytes = std::fs::read(workspace::image("busybox.tar")).unwrap();
        assert!(
            c.run_with_stdin(&["load", "-q"], &bytes).code(0).stdout.contains("busybox:latest"),
            "from standard input"
        );
        c.ok(&["rmi", "busybox"]);
        let compressed = knarr_e2e::pack::compress(&bytes, knarr_e2e::pack::Compression::Gzip);
        assert!(
            c.run_with_stdin(&["load", "-q"], &compressed).code(0).stdout.contains("busybox:latest"),
            "the whole archive gzipped"
        );
        c.ok(&["rmi", "busybox"]);
        assert_eq!(c.ok(&["images", "-q"]), "");
    }
}

#[test]
fn the_id_is_the_configs_digest() {
    let e = Engine::start();
    let expected = knarr_e2e::images::busybox(&workspace::on_path("busybox").unwrap()).id();
    for c in e.clients() {
        assert_eq!(c.field("busybox", "{{.Id}}"), expected);
        assert_eq!(c.ok(&["images", "-q", "--no-trunc"]), expected);
    }
}

#[test]
fn the_same_image_in_two_forms_is_one() {
    let e = Engine::start();
    e.load(&workspace::image("busybox-both.tar"));
    assert_eq!(e.docker().ok(&["images", "-q"]).lines().count(), 1);
}

#[test]
fn awkward_files_are_exact() {
    for file in ["awkward.tar", "awkward-save.tar"] {
        let e = Options::new().images(&[file]).start();
        let tar = exported(&e.docker(), "awkward");
        let l = image_listing(&tar);
        let starts = |name: &str, want: &str| {
            let got = l
                .get(name)
                .unwrap_or_else(|| panic!("{name} is missing of {:?}", l.keys().collect::<Vec<_>>()));
            assert!(got.starts_with(want), "{name}: {got}, not {want}");
        };
        starts("w/stays", "0 0644 0:0");
        starts("o/shown", "0 0644 0:0");
        for gone in [
            "w/goes",
            "w/godir",
            "w/godir/inside",
            "o/hidden",
            "o/sub",
            "becomes-file/x",
            "becomes-link/x",
            "w/.wh.goes",
            "o/.wh..wh..opq",
        ] {
            assert!(!l.contains_key(gone), "{gone} is there");
        }
        starts("changes", "0 0600 33:33");
        starts("becomes-dir", "5 0711");
        starts("becomes-dir/y", "0 0644");
        starts("becomes-file", "0 0644");
        starts("becomes-link", "2 ");
        starts("mode", "5 0700 1000:1000 t1000000000");
        starts("suid", "0 4755");
        starts("sgid", "0 2755");
        starts("sticky", "5 1777");
        starts("odd/space and\ttab", "0 0644");
        starts("odd/new\nline", "0 0644");
        starts("odd/ünïcode", "0 0644");
        starts(&format!("odd/{}", "long-name-".repeat(12)), "0 0644");
        starts("odd/empty", "0 0000");
        starts("odd/old", "0 0644 0:0 t1 ");
        starts("odd/precise", "0 0644 0:0 t1234567890");
        starts("odd/rich", "0 0644 2000000:2000001");
        starts("fifo", "6 0640");
        starts("null", "3 0666 0:0");
        assert!(
            l["null"].contains("1:3") && l["loop"].starts_with("4 0660 0:6") && l["loop"].contains("7:0")
        );
        assert!(l["odd/up"].contains("../../../../etc/group") && l["odd/absolute"].contains("/etc/passwd"));
        starts("wh.not-a-whiteout", "0 0644");
        let links = hard_links(&tar);
        assert!(
            links.contains(&vec!["link/a".to_owned(), "link/b".to_owned(), "link/c".to_owned()]),
            "one inode, three names: {:?}",
            &links
        );
        starts("link/b", "0 0640 1:2");
        assert!(l["capable"].contains("security.capability=0100000200040000"), "{}", l["capable"]);

        // Inside a container the filesystem says the same, user xattrs included.
        let see = |script: &str| e.docker().ok(&["run", "--rm", "awkward", "sh", "-c", script]);
        assert_eq!(
            see("stat -c '%h %a' /link/c; stat -c %Y /odd/precise; cat /changes; ls /o /w | tr '\\n' ' '"),
            "3 640\n1234567890\nsecond version/o: shown  /w: stays "
        );
    }
}

#[test]
fn user_xattrs_come_back_from_save() {
    let e = Options::new().images(&["awkward.tar"]).start();
    let saved = e.fresh("saved.tar");
    e.docker().ok(&["save", "-o", saved.to_str().unwrap(), "awkward"]);
    let outer = std::fs::read(&saved).unwrap();
    let text = String::from_utf8_lossy(&outer);
    assert!(text.contains("manifest.json"));
    e.docker().ok(&["rmi", "-f", "awkward"]);
    e.load(&saved);
    let l = image_listing(&exported(&e.docker(), "awkward"));
    assert!(l["capable"].contains("security.capability="));
}

#[test]
fn debian_unpacks_to_the_same_tree_as_elsewhere() {
    let e = Options::new().images(&["debian-bookworm-slim.tar"]).start();
    let root = workspace::cache().join("debian-bookworm");
    let reference = knarr_e2e::tarball::archive(&knarr_e2e::pack::tree(&root));
    for c in e.clients() {
        let tar = exported(&c, "debian:bookworm-slim");
        let d = differences(&image_listing(&reference), &image_listing(&tar));
        assert!(
            d.is_empty(),
            "{} differences to the packed tree:\n{}",
            d.len(),
            d[..d.len().min(20)].join("\n")
        );
        let mut expected = hard_links(&reference);
        expected.retain(|g| g.len() > 1);
        assert_eq!(hard_links(&tar), expected);
        assert_eq!(
            c.ok(&[
                "run",
                "--rm",
                "debian:bookworm-slim",
                "bash",
                "-c",
                ". /etc/os-release; echo $VERSION_ID"
            ]),
            "12"
        );
        let out = c.ok(&["run", "--rm", "debian:bookworm-slim", "sh", "-c", "dpkg -l | grep -c ^ii"]);
        assert!(out.parse::<u32>().unwrap() > 70, "{out}");
    }
}

/// Without what two engines cannot have in common: the time of directories that no layer lists (when they were unpacked),
/// and attributes of users, which Docker's export leaves out.
fn comparable(tar: &[u8]) -> std::collections::BTreeMap<String, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let recent =
        |word: &str| word.strip_prefix('t').and_then(|t| t.parse().ok()).is_some_and(|t: u64| t + 3600 > now);
    let word = |word: &str| match word {
        word if recent(word) => "tnow".to_owned(),
        word if word.contains('=') => {
            word.split(',').filter(|x| !x.starts_with("user.")).collect::<Vec<_>>().join(",")
        }
        word => word.to_owned(),
    };
    image_listing(tar)
        .into_iter()
        .map(|(name, line)| {
            (name, line.split(' ').map(word).collect::<Vec<_>>().join(" ").trim_end().to_owned())
        })
        .collect()
}

#[test]
fn debian_is_the_same_as_dockers() {
    // Debian's own dockerd, where it is installed: `apt install docker.io`.
    let Some(dockerd) = workspace::on_path("dockerd") else {
        eprintln!("dockerd is not installed: compared with the packed tree only");
        return;
    };
    if workspace::peer().is_some() {
        return;
    }
    let e = Options::new().images(&["debian-bookworm-slim.tar", "awkward.tar"]).start();
    let peer = knarr_e2e::engine::Engine::peer(&dockerd);
    peer.load(&workspace::image("debian-bookworm-slim.tar"));
    peer.load(&workspace::image("awkward.tar"));
    for image in ["debian:bookworm-slim", "awkward"] {
        let ours = exported(&e.docker(), image);
        let theirs = exported(&peer.docker(), image);
        let d = differences(&comparable(&theirs), &comparable(&ours));
        assert!(
            d.is_empty(),
            "{image}: {} differences to Docker's tree:\n{}",
            d.len(),
            d[..d.len().min(20)].join("\n")
        );
    }
}

#[test]
fn save_and_load_round_trip() {
    let e = Engine::start();
    for c in e.clients() {
        let before = image_listing(&exported(&c, "busybox"));
        let id = c.field("busybox", "{{.Id}}");
        c.ok(&["tag", "busybox", "two:x"]);
        let f = e.fresh("save.tar");
        c.ok(&["save", "-o", f.to_str().unwrap(), "busybox", "two:x"]);
        let tar = std::fs::read(&f).unwrap();
        assert!(
            listing(&tar).keys().any(|k| k == "manifest.json")
                && listing(&tar).keys().any(|k| k == "index.json")
        );
        c.ok(&["rmi", "busybox", "two:x"]);
        let o = c.ok(&["load", "-i", f.to_str().unwrap()]);
        assert!(o.contains("busybox:latest") && o.contains("two:x"), "{o}");
        assert_eq!(c.field("two:x", "{{.Id}}"), id);
        assert_eq!(differences(&before, &image_listing(&exported(&c, "busybox"))), Vec::<String>::new());
        let out = Command::new("skopeo")
            .args(["inspect", "--config"])
            .arg(format!("docker-archive:{}:busybox:latest", f.display()))
            .output()
            .unwrap();
        assert!(out.status.success(), "skopeo reads it: {}", String::from_utf8_lossy(&out.stderr));
        let piped = c.bytes(&["save", "busybox"]);
        assert!(listing(&piped).contains_key("manifest.json"), "to standard output");
        c.fails(1, &["save", "-o", f.to_str().unwrap(), "nosuch"]).says("No such image: nosuch");
        c.ok(&["rmi", "two:x"]);
    }
}

#[test]
fn import_makes_one_layer() {
    let e = Engine::start();
    for c in e.clients() {
        let tar = exported(&c, "busybox");
        let f = e.fresh("import.tar");
        std::fs::write(&f, &tar).unwrap();
        let id = c.ok(&["import", "-c", "CMD echo imported", "-m", "note", f.to_str().unwrap(), "imp:1"]);
        assert!(id.lines().last().unwrap().starts_with("sha256:"), "{id}");
        assert_eq!(c.ok(&["run", "--rm", "imp:1"]), "imported");
        let o = c.run_with_stdin(&["import", "-", "imp:2"], &tar).code(0);
        assert!(o.stdout.contains("sha256:"));
        assert_eq!(c.inspect("imp:2")["RootFS"]["Layers"].as_array().unwrap().len(), 1);
        c.ok(&["rmi", "imp:1", "imp:2"]);
    }
}

#[test]
fn tags_and_removal() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["tag", "busybox", "example.test:5000/team/app:v1"]);
        c.ok(&["tag", "busybox", "app"]);
        let listed = c.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let mut l: Vec<_> = listed.lines().collect();
        l.sort_unstable();
        assert_eq!(l, ["app:latest", "busybox:latest", "example.test:5000/team/app:v1"]);
        assert_eq!(c.ok(&["images", "app", "-q"]).len(), 12);
        assert_eq!(c.ok(&["rmi", "app"]), "Untagged: app:latest");
        assert_eq!(
            c.ok(&["rmi", "example.test:5000/team/app:v1"]),
            "Untagged: example.test:5000/team/app:v1"
        );
        c.ok(&["create", "--name", "user", "busybox"]);
        c.fails(1, &["rmi", "busybox"])
            .says("unable to remove repository reference \"busybox\" (must force) - container");
        let id = c.field("busybox", "{{.Id}}");
        c.ok(&["rm", "user"]);
        c.ok(&["tag", "busybox", "second"]);
        c.fails(1, &["rmi", &id]).says("image is referenced in multiple repositories");
        let o = c.ok(&["rmi", "-f", &id]);
        assert!(
            o.contains("Untagged: busybox:latest")
                && o.contains("Untagged: second:latest")
                && o.contains(&format!("Deleted: {id}")),
            "{o}"
        );
        c.fails(1, &["rmi", "busybox"]).says("No such image: busybox:latest");
        c.fails(1, &["tag", "nosuch", "x:y"]).says("No such image: nosuch:latest");
        e.load(&workspace::image("busybox.tar"));
        c.fails(1, &["tag", "busybox", "UPPER"]).says("must be lowercase");
    }
}

#[test]
fn an_image_in_use_keeps_its_layers() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "user", "busybox", "sleep", "600"]);
        c.ok(&["rmi", "-f", "busybox"]);
        assert_eq!(c.ok(&["exec", "user", "echo", "alive"]), "alive");
        c.ok(&["restart", "-t", "0", "user"]);
        assert_eq!(c.ok(&["exec", "user", "echo", "again"]), "again");
        c.ok(&["rm", "-f", "user"]);
        e.load(&workspace::image("busybox.tar"));
    }
}

#[test]
fn history_and_inspect() {
    let e = Options::new().images(&["awkward.tar"]).start();
    for c in e.clients() {
        let h = c.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "awkward"]);
        assert_eq!(h.lines().collect::<Vec<_>>(), ["layer 4", "layer 3", "layer 2", "layer 1"]);
        assert!(c.ok(&["history", "awkward"]).starts_with("IMAGE "));
        let v = c.inspect("awkward");
        assert_eq!(v["Os"], "linux");
        assert_eq!(v["RootFS"]["Type"], "layers");
        assert_eq!(v["RootFS"]["Layers"].as_array().unwrap().len(), 4);
        assert_eq!(v["Config"]["Cmd"][0], "sh");
        assert_eq!(v["RepoTags"][0], "awkward:latest");
        assert!(v["Size"].as_i64().unwrap() > 1_000_000);
        c.fails(1, &["image", "inspect", "nosuch"]).says("No such image: nosuch");
        c.fails(1, &["history", "nosuch"]).says("No such image: nosuch");
    }
}

#[test]
fn layers_are_stored_once() {
    let e = Engine::start();
    if workspace::peer().is_some() {
        return;
    }
    let count = || std::fs::read_dir(e.data().join("layers")).unwrap().count();
    let before = count();
    e.load(&workspace::image("awkward.tar"));
    assert_eq!(count(), before + 3, "busybox's layer is shared with the image made on it");
    e.docker().ok(&["rmi", "awkward"]);
    e.docker().ok(&["run", "--rm", "busybox", "true"]);
    let left = knarr_e2e::leaks::settle(|| {
        let l: Vec<_> = std::fs::read_dir(e.data().join("layers"))
            .unwrap()
            .flatten()
            .map(|d| d.path().display().to_string())
            .collect();
        if l.len() > before { l } else { vec![] }
    });
    assert!(left.is_empty(), "layers of no image are removed: {left:?}");
}

#[test]
fn image_prune_takes_the_dangling() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "--name", "cc", "busybox", "touch", "/x"]);
        let id = c.ok(&["commit", "cc"]);
        c.ok(&["rm", "cc"]);
        assert!(c.ok(&["images", "-f", "dangling=true", "-q", "--no-trunc"]).contains(&id));
        assert!(c.ok(&["image", "prune", "-f"]).contains(&id));
        assert_eq!(c.ok(&["images", "-f", "dangling=true", "-q"]), "");
        assert_eq!(c.ok(&["images", "-q"]).lines().count(), 1);
    }
}
