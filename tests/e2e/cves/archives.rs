//! Archives and images that mean harm: layers, `load`, `import`. Nothing outside is touched, nothing is held in memory that is
//! as large as an archive claims, and no field of an image is taken for an order.
//! CVE-2014-9356, CVE-2014-9357, CVE-2017-14992, CVE-2021-20291, CVE-2021-32760, CVE-2022-23648, CVE-2023-25153, CVE-2024-3727,
//! CVE-2025-47290, CVE-2025-62518, CVE-2026-53488, CVE-2026-55686, CVE-2026-57231, CVE-2026-111361, RUSTSEC-2026-0112, -0113.

use super::refused_or;
use knarr_e2e::attack::{self, SECRET};
use knarr_e2e::pack::{Compression, Form, Image, compress, digest};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::trap::Trap;
use knarr_e2e::{Cli, Engine, Options, Output, workspace};
use serde_json::{Value, json};
use std::io::Write;
use std::time::{Duration, Instant};

fn base() -> Vec<u8> {
    knarr_e2e::images::busybox_layer(&workspace::on_path("busybox").unwrap())
}

/// Loads layers on busybox as `hostile:1`, and uses what came of it.
fn try_layers(c: &Cli, layers: &[Vec<Entry>]) -> Output {
    let all = std::iter::once(base()).chain(layers.iter().map(|l| archive(l))).collect();
    let image = Image::new("hostile:1", all).compression(Compression::None);
    let o = c.run_with_stdin(&["load", "-q"], &image.archive(Form::DockerSave));
    if o.code == 0 {
        let look = "cat /etc/* /l/* /marker /h /etc/shadow 2>/dev/null; chmod 777 /l /h 2>/dev/null; echo x >/l/made 2>/dev/null; true";
        let seen = c.run(&["run", "--rm", "hostile:1", "sh", "-c", look]);
        assert!(!seen.stdout.contains(SECRET), "{seen:?}");
        drop(c.run(&["rmi", "-f", "hostile:1"]).code(0));
    }
    o
}

/// Entries that lead out of the directory that they are unpacked into, by every way to `t`.
fn escapes(t: &Trap) -> Vec<(String, Vec<Vec<Entry>>)> {
    let mut cases: Vec<(String, Vec<Vec<Entry>>)> = Vec::new();
    let file = |name: &str| Entry::file(name, 0o4777, b"escaped");
    for way in t.ways() {
        let mut add = |what: &str, layers: Vec<Vec<Entry>>| cases.push((format!("{what} by {way}"), layers));
        let link = |name: &str| Entry::symlink(name, &way);
        add("a name", vec![vec![file(&format!("{way}/made"))]]);
        add("a link in the same layer", vec![vec![link("l"), file("l/made"), file("l/marker")]]);
        add("a link in the layer below", vec![vec![link("l")], vec![file("l/made"), file("l/marker")]]);
        add("a directory over a link", vec![vec![link("l"), Entry::dir("l", 0o777), file("l/made")]]);
        add("a directory over a link below", vec![vec![link("l")], vec![Entry::dir("l", 0o777).owner(7, 7)]]);
        add("a link to a link", vec![vec![link("a"), Entry::symlink("l", "a"), file("l/made")]]);
        add("a file over a link", vec![vec![Entry::symlink("h", &format!("{way}/marker")), file("h")]]);
        add(
            "a file over a link below",
            vec![vec![Entry::symlink("h", &format!("{way}/marker"))], vec![file("h")]],
        );
        // The same name as file, link and file again; and a directory that becomes a link after something is in it.
        add(
            "file, link, file",
            vec![vec![file("h"), Entry::symlink("h", &format!("{way}/marker")), file("h")]],
        );
        add(
            "directory, link, file",
            vec![vec![Entry::dir("l", 0o755), file("l/x"), link("l"), file("l/marker")]],
        );
        add(
            "attributes of a link",
            vec![vec![link("l").xattr("user.escaped", b"1").xattr("security.capability", b"1")]],
        );
        add(
            "attributes through a link",
            vec![vec![link("l"), Entry::dir("l", 0o777).xattr("user.escaped", b"1").owner(9, 9)]],
        );
        add("a hard link", vec![vec![Entry::hardlink("h", &format!("{way}/marker")), file("h")]]);
        add("a hard link through a link", vec![vec![link("l"), Entry::hardlink("h", "l/marker"), file("h")]]);
        add("a hard link in a layer above", vec![vec![link("l")], vec![Entry::hardlink("h", "l/marker")]]);
        add(
            "a hard link to a link",
            vec![vec![Entry::symlink("s", &format!("{way}/marker")), Entry::hardlink("h", "s"), file("h")]],
        );
        add("a whiteout", vec![vec![file(&format!("{way}/.wh.marker"))]]);
        add("a whiteout through a link", vec![vec![link("l"), file("l/.wh.marker")]]);
        add("a whiteout through a link below", vec![vec![link("l")], vec![file("l/.wh.marker")]]);
        add("an opaque mark through a link", vec![vec![link("l"), file("l/.wh..wh..opq")]]);
        add("an opaque mark through a link below", vec![vec![link("l")], vec![file("l/.wh..wh..opq")]]);
        add(
            "a fifo, a device through a link",
            vec![vec![link("l"), Entry::fifo("l/made", 0o666), Entry::char_device("l/made2", 0o666, 1, 3)]],
        );
        add("names in PAX records", vec![vec![file("a").pax("path", format!("{way}/made").as_bytes())]]);
        add(
            "links in PAX records",
            vec![vec![
                Entry::hardlink("h", "a").pax("linkpath", format!("{way}/marker").as_bytes()),
                file("h"),
            ]],
        );
        add(
            "names of sparse files",
            vec![vec![
                file("a")
                    .pax("GNU.sparse.name", format!("{way}/made").as_bytes())
                    .pax("GNU.sparse.map", b"0,7")
                    .pax("GNU.sparse.size", b"7"),
            ]],
        );
    }
    for name in [
        ".wh..",
        ".wh...",
        ".wh.",
        ".wh./",
        "d/.wh..",
        "d/.wh...",
        ".wh..wh..opq",
        ".wh..wh.plnk",
        ".wh..wh..opq/made",
        ".wh.a/made",
    ] {
        cases.push((format!("whiteout {name}"), vec![vec![Entry::dir("d", 0o755), file(name)]]));
    }
    cases
}

/// CVE-2014-9356, CVE-2014-9357, CVE-2021-32760, CVE-2025-47290 and their like: layers.
#[test]
fn layers_lead_nowhere() {
    let e = Options::new().images(&[]).start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    for (what, layers) in escapes(&t) {
        try_layers(&c, &layers);
        t.untouched(&what);
    }
    assert_eq!(c.ok(&["images", "-aq"]), "");
    assert!(e.api().get("/_ping").is_ok_and(|r| r.status == 200));
}

/// The same entries by `import`, which makes a layer of a strange tree.
#[test]
fn imports_lead_nowhere() {
    let e = Options::new().images(&[]).start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    for (what, layers) in escapes(&t) {
        let o = c.run_with_stdin(&["import", "-", "hostile:1"], &archive(&layers.concat()));
        t.untouched(&what);
        if o.code == 0 {
            let id = c.ok(&["create", "hostile:1", "x"]);
            let out = c.bytes(&["export", &id]);
            assert!(!String::from_utf8_lossy(&out).contains(SECRET), "{what}");
            t.untouched(&what);
            c.ok(&["rm", &id]);
            c.ok(&["rmi", "hostile:1"]);
        }
    }
}

/// CVE-2025-62518, RUSTSEC-2026-0112, RUSTSEC-2026-0113: what is data for one reader is an entry for another.
#[test]
fn no_entry_hides_in_the_data_of_another() {
    let e = Options::new().images(&[]).start();
    let c = e.knarr();
    let smuggled = archive(&[Entry::file("smuggled", 0o755, b"x")]);
    let inner = &smuggled[..1024];
    let sized = |claim: u64, pax: &str| {
        Entry::file("data", 0o644, inner).claim_size(claim).pax("size", pax.as_bytes())
    };
    let cases = vec![
        ("the header says nothing, PAX the truth", sized(0, "1024"), true),
        ("the header says less, PAX the truth", sized(512, "1024"), true),
        ("PAX twice, the truth last", sized(0, "0").pax("size", b"1024"), true),
        ("PAX in a form of its own", sized(0, "+1024"), false),
        ("PAX with a space", sized(0, " 1024"), false),
        ("PAX in hexadecimal", sized(0, "0x400"), false),
        ("PAX beyond 64 bits", sized(1024, "18446744073709552640"), false),
        ("a directory with data", Entry { kind: b'5', ..Entry::file("d", 0o755, inner) }, false),
        (
            "a link with data",
            Entry { kind: b'2', link: b"x".to_vec(), ..Entry::file("l", 0o755, inner) },
            false,
        ),
        ("an unknown kind with data", Entry { kind: b'Z', ..Entry::file("z", 0o755, inner) }, false),
    ];
    for (what, entry, right) in cases {
        let tar = archive(&[entry, Entry::file("after", 0o644, b"after")]);
        let o = c.run_with_stdin(&["import", "-", "desync:1"], &tar);
        assert!(o.code == 0 || !right, "{what}: {o:?}");
        if o.code != 0 {
            continue;
        }
        let id = c.ok(&["create", "desync:1", "x"]);
        let names = knarr_e2e::tree::listing(&c.bytes(&["export", &id]));
        // An honest reader lists the same.
        let file = e.fresh("desync.tar");
        std::fs::write(&file, &tar).unwrap();
        let theirs = std::process::Command::new("tar").arg("-tf").arg(&file).output().unwrap();
        let theirs = String::from_utf8_lossy(&theirs.stdout).into_owned();
        for name in ["smuggled", "after", "data"] {
            assert_eq!(
                names.contains_key(name),
                theirs.lines().any(|l| l == name),
                "{what}: {name} of {names:?}"
            );
        }
        c.ok(&["rm", &id]);
        c.ok(&["rmi", "desync:1"]);
    }
}

/// Devices, set-user-id programs and overlayfs's own attributes are the container's business alone.
#[test]
fn attributes_of_layers_change_no_view() {
    let e = Options::new().images(&[]).start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    let target = t.absolute();
    for prefix in ["trusted.overlay.", "user.overlay.", "trusted.overlay.overlay."] {
        for (name, value) in [
            ("redirect", target.as_bytes()),
            ("metacopy", b""),
            ("opaque", b"y"),
            ("opaque", b"x"),
            ("origin", b"\0\xfb"),
            ("whiteout", b"y"),
            ("impure", b"y"),
            ("protattr", b"i"),
        ] {
            let key = format!("{prefix}{name}");
            let image = Image::new(
                "hostile:1",
                vec![
                    base(),
                    archive(&[
                        Entry::dir("d", 0o755),
                        Entry::file("d/below", 0o644, b"below"),
                        Entry::file("f", 0o644, b"below"),
                    ]),
                    archive(&[
                        Entry::dir("d", 0o755).xattr(&key, value),
                        Entry::file("f", 0o644, b"above").xattr(&key, value),
                        Entry::file("d/above", 0o644, b"above").xattr(&key, value),
                    ]),
                ],
            );
            drop(c.run_with_stdin(&["load", "-q"], &image.archive(Form::Both)).code(0));
            let seen = c.ok(&["run", "--rm", "hostile:1", "sh", "-c", "cat /d/below /d/above /f; ls /d"]);
            assert_eq!(seen, "belowaboveaboveabove\nbelow", "{key}");
            c.ok(&["rmi", "-f", "hostile:1"]);
        }
    }
    t.untouched("attributes of overlayfs");
    // A device in a layer can be there, but opens for nobody without the right to it; a node 0:0 hides, as a whiteout does.
    let disk = std::fs::read_to_string("/proc/partitions").unwrap();
    let numbers: Option<(u32, u32)> = disk.lines().skip(2).find_map(|l| {
        let mut words = l.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    let (major, minor) = numbers.unwrap_or((8, 0));
    let image = Image::new(
        "hostile:1",
        vec![
            base(),
            archive(&[
                Entry::block_device("disk", 0o666, major, minor),
                Entry::char_device("mem", 0o666, 1, 1),
                Entry::char_device("etc/group", 0o666, 0, 0),
            ]),
        ],
    );
    drop(c.run_with_stdin(&["load", "-q"], &image.archive(Form::DockerSave)).code(0));
    let seen = c.ok(&[
        "run",
        "--rm",
        "hostile:1",
        "sh",
        "-c",
        "for f in /disk /mem; do head -c 1 $f >/dev/null 2>&1 && echo READ; done; ls /etc",
    ]);
    assert!(!seen.contains("READ") && !seen.contains("group") && seen.contains("passwd"), "{seen}");
    // Set-user-id programs of images lie where only root of the host comes.
    let suid = Image::new("suid:1", vec![base(), archive(&[Entry::file("suid", 0o4755, b"#!/bin/sh\n")])]);
    drop(c.run_with_stdin(&["load", "-q"], &suid.archive(Form::DockerSave)).code(0));
    let find = format!("find {} -name suid", e.data().display());
    let nobody = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &find])
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&nobody.stdout).contains("suid"), "{nobody:?}");
}

/// Memory of the engine at its highest, in KiB.
fn peak(e: &Engine) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", e.pid())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sends an archive whose next member claims `size` bytes of spaces, as far as the engine takes them.
fn endless(c: &Cli, before: &[Entry], name: &str, size: u64) -> (Output, u64) {
    let mut head = archive(before);
    head.truncate(head.len() - 1024);
    let member = archive(&[Entry::file(name, 0o644, b"").claim_size(size)]);
    head.extend_from_slice(&member[..512]);
    let mut child = c.spawn(&["load", "-q"]);
    let mut pipe = child.stdin.take().unwrap();
    let sent = std::thread::spawn(move || {
        let spaces = vec![b' '; 1 << 20];
        let mut sent = 0;
        if pipe.write_all(&head).is_ok() {
            while sent < size && pipe.write_all(&spaces).is_ok() {
                sent += 1 << 20;
            }
        }
        sent
    });
    let out = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let o = Output {
        command: "load".to_owned(),
        code: out.status.code().unwrap_or(-1),
        stdout: text(&out.stdout),
        stderr: text(&out.stderr),
    };
    (o, sent.join().unwrap())
}

/// CVE-2023-25153: a document of an archive that has no end.
#[test]
fn documents_of_archives_are_bounded() {
    let e = Options::new().images(&[]).start();
    let c = e.knarr();
    for name in ["manifest.json", "index.json", "oci-layout", "repositories", "./manifest.json"] {
        let (o, sent) = endless(&c, &[], name, 8 << 30);
        assert_ne!(o.code, 0, "{name}");
        assert!(o.stderr.contains("larger than"), "{name}: {o:?}");
        assert!(sent < 256 << 20, "{name}: {sent} bytes were read");
    }
    // Many documents that are small each.
    let small = vec![b' '; 200 << 10];
    let many: Vec<Entry> = (0..400).map(|n| Entry::file(&format!("{n}.json"), 0o644, &small)).collect();
    assert!(c.run_with_stdin(&["load"], &archive(&many)).code(1).stderr.contains("too many small members"));
    // Large ones in places where documents are expected.
    let big = vec![b' '; 20 << 20];
    for (config, layers) in [("big", "[]"), ("c.json", "[\"big\"]")] {
        let manifest = format!(r#"[{{"Config":"{config}","RepoTags":["x:1"],"Layers":{layers}}}]"#);
        let tar = archive(&[
            Entry::file("big", 0o644, &big),
            Entry::file("c.json", 0o644, b"{}"),
            Entry::file("manifest.json", 0o644, manifest.as_bytes()),
        ]);
        assert_ne!(c.run_with_stdin(&["load"], &tar).code, 0);
    }
    let names: Vec<String> = (0..5000).map(|n| format!(r#"{{"Config":"{n}","Layers":[]}}"#)).collect();
    let manifest = format!("[{}]", names.join(","));
    assert!(
        c.run_with_stdin(&["load"], &archive(&[Entry::file("manifest.json", 0o644, manifest.as_bytes())]))
            .code(1)
            .stderr
            .contains("more than")
    );
    assert_eq!(c.ok(&["images", "-aq"]), "");
    let left: Vec<_> = std::fs::read_dir(e.data().join("content/ingest")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(peak(&e) < 300 << 10, "{} KiB", peak(&e));
}

/// CVE-2017-14992 and every stream that is small until it is inflated: bounded memory, and an end.
#[test]
fn bombs_end_and_take_no_memory() {
    let e = Options::new().images(&[]).start();
    let c = e.knarr();
    let zeros = vec![0; 192 << 20];
    let mut tail = archive(&[Entry::file("f", 0o644, b"x")]);
    tail.extend_from_slice(&zeros);
    let pax = |n: usize| Entry::file("f", 0o644, b"").pax("comment", &vec![b'x'; n]);
    let deep = "d/".repeat(1500);
    let link_farm: Vec<Entry> = (0..2_000).map(|n| Entry::symlink(&format!("l{n}"), "x")).collect();
    let directories: Vec<Entry> = (0..2_000).map(|n| Entry::dir(&format!("d{n}"), 0o755)).collect();
    let cases: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("zeros after the end", tail, None),
        ("a file of zeros", archive(&[Entry::file("f", 0o644, &zeros)]), None),
        ("a huge PAX header", archive(&[pax(2 << 20)]), Some("extension header")),
        (
            "many PAX headers",
            {
                let mut all = Vec::new();
                for _ in 0..20_000 {
                    let one = archive(&[pax(10)]);
                    all.extend_from_slice(&one[..1024]);
                }
                all
            },
            Some("extension header"),
        ),
        ("a deep name", archive(&[Entry::file(&format!("{deep}f"), 0o644, b"x")]), Some("too deep")),
        ("a long name", archive(&[Entry::file(&"n/m".repeat(100_000), 0o644, b"x")]), Some("too long")),
        ("many links", archive(&link_farm), None),
        ("many directories", archive(&directories), None),
        (
            "a hole of 8 EiB",
            archive(&[Entry::file("f", 0o644, b"x")
                .pax("GNU.sparse.map", b"0,1")
                .pax("GNU.sparse.size", b"9000000000000000000")
                .pax("GNU.sparse.name", b"f")]),
            Some("limit"),
        ),
        (
            "a hole of 2 TiB",
            archive(&[Entry::file("f", 0o644, b"x")
                .pax("GNU.sparse.map", b"0,1")
                .pax("GNU.sparse.size", b"2199023255552")
                .pax("GNU.sparse.name", b"f")]),
            Some("limit"),
        ),
        (
            "a map that repeats",
            archive(&[Entry::file("f", 0o644, b"xx")
                .pax("GNU.sparse.map", b"0,1,0,1")
                .pax("GNU.sparse.size", b"9")
                .pax("GNU.sparse.name", b"f")]),
            Some("not in order"),
        ),
    ];
    for (what, tar, refused) in cases {
        for how in [Compression::Gzip, Compression::Zstd] {
            let start = Instant::now();
            let o = c.run_with_stdin(&["import", "-", "bomb:1"], &compress(&tar, how));
            match refused {
                Some(reason) => assert!(o.code != 0 && o.stderr.contains(reason), "{what}: {o:?}"),
                None => assert_eq!(o.code, 0, "{what}: {o:?}"),
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            drop(c.run(&["rmi", "bomb:1"]));
        }
    }
    // Streams that want more memory than anything honest does: a window of 2 GiB, a dictionary of 1.5 GiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8][..], &[0x01, 0, 0]].concat();
    assert_ne!(c.run_with_stdin(&["import", "-", "bomb:1"], &window).code, 0);
    let mut xz = std::process::Command::new("xz");
    xz.args(["-c", "--check=crc32", "--lzma2=preset=0,dict=4MiB"]);
    let mut stream = knarr_e2e::command::run(
        &mut xz,
        Some(&archive(&[Entry::file("f", 0o644, b"x")])),
        Duration::from_secs(60),
    )
    .stdout;
    // Block header: its size, flags, filter id, length of properties, the dictionary's size; a CRC at its end.
    let header = 12..12 + (usize::from(stream[12]) + 1) * 4;
    let at = header.start + stream[header.clone()].windows(2).position(|w| w == [0x21, 1]).unwrap() + 2;
    stream[at] = 39; // 3 GiB
    let crc = crc32(&stream[header.start..header.end - 4]);
    stream[header.end - 4..header.end].copy_from_slice(&crc.to_le_bytes());
    let o = c.run_with_stdin(&["import", "-", "bomb:1"], &stream);
    assert!(o.code != 0 && o.stderr.contains("memory"), "{o:?}");
    assert_eq!(c.ok(&["images", "-aq"]), "");
    assert!(peak(&e) < 150 << 10, "{} KiB", peak(&e));
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// CVE-2024-3727, CVE-2026-111361: digests, names and paths that are something else.
#[test]
fn documents_that_point_elsewhere() {
    let e = Options::new().images(&[]).start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    std::fs::write(t.dir.parent().unwrap().join("outside.json"), "{}").unwrap();
    let layer = archive(&[Entry::file("f", 0o644, b"x")]);
    let load = |entries: &[Entry]| c.run_with_stdin(&["load"], &archive(entries));
    let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}}).to_string();
    let hex = |bytes: &[u8]| knarr_e2e::pack::hex_digest(bytes);
    let blob = |bytes: &[u8]| Entry::file(&format!("blobs/sha256/{}", hex(bytes)), 0o644, bytes);
    let descriptor =
        |bytes: &[u8], kind: &str| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let layout = |manifest: &str, entry: Option<Value>| {
        let top = entry.unwrap_or_else(|| descriptor(manifest.as_bytes(), MANIFEST));
        let index = json!({"schemaVersion": 2, "manifests": [top]}).to_string();
        load(&[
            blob(layer.as_slice()),
            blob(config.as_bytes()),
            blob(manifest.as_bytes()),
            Entry::file("index.json", 0o644, index.as_bytes()),
            Entry::file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#),
        ])
    };
    let good = json!({"schemaVersion": 2, "config": descriptor(config.as_bytes(), CONFIG), "layers": [descriptor(&layer, LAYER)]});
    assert_eq!(layout(&good.to_string(), None).code, 0, "the honest one");
    let id = digest(config.as_bytes());
    c.ok(&["rmi", &id]);
    // Digests that are paths, have another algorithm, case, length, or belong to something else.
    let path = t.from_below();
    for bad in [
        format!("sha256:{path}/marker"),
        "sha256:../../../outside.json".to_owned(),
        format!("../{path}:{}", hex(b"x")),
        format!("SHA256:{}", hex(&layer)),
        format!("sha256:{}", hex(&layer).to_uppercase()),
        format!("sha256:{}", &hex(&layer)[1..]),
        format!("sha256:{}0", hex(&layer)),
        format!("md5:{}", hex(&layer)),
        format!("sha256:{}", hex(b"other")),
        hex(&layer),
        String::new(),
    ] {
        for place in ["config", "layers"] {
            let mut manifest = good.clone();
            match place {
                "config" => manifest["config"]["digest"] = json!(bad),
                _ => manifest["layers"][0]["digest"] = json!(bad),
            }
            assert_ne!(layout(&manifest.to_string(), None).code, 0, "{place} {bad}");
        }
        let mut entry = descriptor(good.to_string().as_bytes(), MANIFEST);
        entry["digest"] = json!(bad);
        assert_ne!(layout(&good.to_string(), Some(entry)).code, 0, "index {bad}");
        t.untouched(&bad);
    }
    // Two lists of layers, in either order and letter case; content given beside the digest; places to fetch it from.
    let lying = descriptor(b"other", LAYER).to_string();
    let honest = descriptor(&layer, LAYER).to_string();
    let of = |fields: &str| {
        format!(r#"{{"schemaVersion":2,"config":{},{fields}}}"#, descriptor(config.as_bytes(), CONFIG))
    };
    for fields in [
        format!(r#""layers":[{honest}],"layers":[{lying}]"#),
        format!(r#""layers":[{lying}],"layers":[{honest}]"#),
        format!(r#""layers":[{honest}],"Layers":[{lying}]"#),
        format!(r#""layers":[{honest}],"manifests":[]"#),
        format!(r#""layers":[{honest}],"config":{lying}"#),
    ] {
        assert_ne!(layout(&of(&fields), None).code, 0, "{fields}");
    }
    let mut data = descriptor(b"other", LAYER);
    data["data"] = json!("b3RoZXI=");
    data["urls"] = json!(["http://127.0.0.1:1/layer"]);
    assert_ne!(
        layout(&of(&format!(r#""layers":[{data}]"#)), None).code,
        0,
        "content that is not in the archive"
    );
    let mut size = descriptor(good.to_string().as_bytes(), MANIFEST);
    size["size"] = json!(7);
    assert_ne!(layout(&good.to_string(), Some(size)).code, 0, "another size");
    // docker-archive: paths and links that lead out.
    let out = format!("{}/outside.json", t.dir.parent().unwrap().display());
    for (config_path, layer_path) in [
        (out.as_str(), "layer"),
        ("../outside.json", "layer"),
        ("c.json", out.as_str()),
        ("c.json", "../../../../../../etc/passwd"),
        ("link", "layer"),
        ("c.json", "link2"),
    ] {
        let manifest =
            json!([{"Config": config_path, "RepoTags": ["x:1"], "Layers": [layer_path]}]).to_string();
        let o = load(&[
            Entry::file("c.json", 0o644, config.as_bytes()),
            Entry::symlink("link", &out),
            Entry::hardlink("link2", &out),
            Entry::file("layer", 0o644, &layer),
            Entry::file("manifest.json", 0o644, manifest.as_bytes()),
        ]);
        assert_ne!(o.code, 0, "{config_path} {layer_path}");
    }
    // Names that are no names.
    for name in [
        "../x:1",
        "--privileged",
        "UPPER:1",
        "x:1;reboot",
        &format!("{}/x:1", t.absolute()),
        "x@sha256:00",
        "",
    ] {
        let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": ["layer"]}]).to_string();
        let o = load(&[
            Entry::file("c.json", 0o644, config.as_bytes()),
            Entry::file("layer", 0o644, &layer),
            Entry::file("manifest.json", 0o644, manifest.as_bytes()),
        ]);
        assert_ne!(o.code, 0, "{name}");
    }
    assert_eq!(c.ok(&["images", "-aq"]), "");
    t.untouched("documents");
}

/// CVE-2021-20291: a stream that is cut, at many places, in every compression: an error, at once.
#[test]
fn cut_streams_end() {
    let e = Options::new().images(&[]).start();
    let c = e.knarr();
    let tar = archive(&[Entry::file("f", 0o644, &attack::program()[..40_000])]);
    for how in ["gzip", "zstd", "bzip2", "xz"] {
        let whole = match how {
            "gzip" => compress(&tar, Compression::Gzip),
            "zstd" => compress(&tar, Compression::Zstd),
            other => {
                knarr_e2e::command::run(
                    std::process::Command::new(other).arg("-c"),
                    Some(&tar),
                    Duration::from_secs(60),
                )
                .stdout
            }
        };
        for cut in [1, 3, 6, 7, 12, 19, whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            let start = Instant::now();
            let o = c.run_with_stdin(&["import", "-", "cut:1"], &whole[..cut]);
            assert_ne!(o.code, 0, "{how} cut at {cut} of {}", whole.len());
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        let mut garbage = whole.clone();
        garbage.extend_from_slice(b"and something else behind it");
        assert_ne!(
            c.run_with_stdin(&["import", "-", "cut:1"], &garbage).code,
            0,
            "{how} with garbage behind it"
        );
    }
    assert_eq!(c.ok(&["images", "-aq"]), "");
}

/// CVE-2026-53488, CVE-2026-57231, CVE-2026-121885: whatever stands in an image's configuration is data.
#[test]
fn an_images_configuration_gives_no_orders() {
    let mut options = Options::new().images(&[]);
    for (name, value) in [("AWS_SECRET", SECRET), ("SECRET_FILE", SECRET)] {
        options = options.env(name, value);
    }
    let e = options.start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    let bind = format!("{}:/host", t.absolute());
    let labels = [
        ("io.knarr.privileged", "true"),
        ("knarr.privileged", "true"),
        ("knarr.bind", &bind),
        ("com.docker.privileged", "true"),
        ("containerd.io/runtime", "/bin/sh"),
        ("io.containerd.runc.v2.log_uri", "binary:///bin/touch"),
        ("log_uri", "binary:///bin/touch"),
        ("io.kubernetes.cri.untrusted-workload", "true"),
        ("run.oci.keep_original_groups", "1"),
        ("run.oci.hooks.stderr", "/dev/stderr"),
        ("io.podman.annotations.privileged", "TRUE"),
        ("io.podman.annotations.volumes-from", "x"),
        ("io.containers.autoupdate", "registry"),
        ("PODMAN_SYSTEMD_UNIT", "ssh.service"),
        ("RUN", "docker run --privileged"),
        ("org.systemd.property.ExecStart", "'x'"),
        ("cdi.k8s.io/x", "vendor.com/device=all"),
        ("com.docker.compose.project", "x"),
        ("desktop.docker.io/binds/0/Source", &bind),
        ("org.criu.config", "/etc/criu.conf"),
        ("module.wasm.image/variant", "compat"),
        ("devices.nri.io/container.x", "- path: /dev/sda"),
    ];
    let labels: Value =
        labels.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect::<serde_json::Map<_, _>>().into();
    let mut image = attack::image(
        "hostile:1",
        &[Entry::symlink("to-host", &t.absolute()), Entry::symlink("up", &t.from_below())],
    );
    for (key, value) in [
        ("Labels", labels),
        (
            "Env",
            json!([
                "PATH=/bin",
                "HOME",
                "AWS_SECRET",
                "SECRET_FILE",
                "=x",
                "",
                "LD_PRELOAD=/evil.so",
                "KNARR_FAILPOINT=start.spawned",
                "DOCKER_HOST=unix:///nosuch",
                "NOTIFY_SOCKET=/run/x",
                "LISTEN_FDS=9"
            ]),
        ),
        ("Hostname", json!("../../etc")),
        ("Domainname", json!("evil")),
        ("MacAddress", json!("02:00:00:00:00:01")),
        ("NetworkDisabled", json!(true)),
        ("OnBuild", json!(["RUN touch /owned"])),
        ("StopSignal", json!("SIGQUIT")),
        ("StopTimeout", json!(100_000)),
        ("Tty", json!(true)),
        ("OpenStdin", json!(true)),
        ("AttachStdin", json!(true)),
        ("Image", json!("sha256:0000")),
        ("HostConfig", json!({"Privileged": true, "Binds": [bind]})),
        ("Privileged", json!(true)),
        ("Volumes", json!({"/data": {}})),
        ("ExposedPorts", json!({"80/tcp": {}})),
        ("Cmd", json!(["sh"])),
    ] {
        image = image.config(key, value);
    }
    drop(attack::load(&e, &image).code(0));
    let script = "env; cat /proc/self/status; cat /proc/mounts; ls -l /dev; cat /proc/net/dev; hostname";
    let o = c.run(&["run", "--rm", "--name", "victim", "hostile:1", "sh", "-c", script]).code(0);
    assert!(!o.stdout.contains(SECRET) && !o.stdout.contains("AWS_SECRET"), "{o:?}");
    assert!(!o.stdout.contains(&t.absolute()) && !o.stdout.contains("evil\n"), "{o:?}");
    assert!(o.stdout.contains("CapEff:\t00000000a80425fb"), "Docker's default capabilities: {o:?}");
    assert!(o.stdout.contains("eth0"), "the network is there");
    c.ok(&["create", "--name", "looked-at", "hostile:1"]);
    let v = c.inspect("looked-at");
    let host = &v["HostConfig"];
    assert_eq!(
        (&host["Privileged"], &host["Binds"], &host["PublishAllPorts"]),
        (&json!(false), &Value::Null, &json!(false)),
        "{host}"
    );
    assert!(
        host["Devices"].as_array().is_none_or(Vec::is_empty)
            && host["Annotations"].as_object().is_none_or(serde_json::Map::is_empty),
        "{host}"
    );
    assert_eq!((&v["Config"]["Tty"], &v["Config"]["OpenStdin"]), (&json!(false), &json!(false)));
    assert_eq!(v["Config"]["Hostname"].as_str().unwrap().len(), 12, "{v}");
    assert_eq!(host["LogConfig"]["Type"], "local");
    c.ok(&["rm", "-v", "looked-at"]);
    t.untouched("an image's configuration");
}

/// CVE-2022-23648 (volumes that an image names), CVE-2026-55686 (its working directory): through links and upwards.
#[test]
fn volumes_and_working_directories_of_images_stay_inside() {
    let e = Options::new().images(&[]).start();
    let (c, t) = (e.knarr(), Trap::new(&e));
    let way = t.absolute();
    let inside: Vec<String> = vec![
        format!("/{}", t.from_below()),
        "/up".to_owned(),
        "/abs".to_owned(),
        "/abs/made".to_owned(),
        "/up/etc".to_owned(),
        "/chain/made/deep".to_owned(),
        "/abs/../../..".to_owned(),
        "up/made".to_owned(),
    ];
    let links =
        [Entry::symlink("abs", &way), Entry::symlink("up", &t.from_below()), Entry::symlink("chain", "up")];
    for path in &inside {
        for (key, value) in [("Volumes", json!({path.clone(): {}})), ("WorkingDir", json!(path))] {
            drop(attack::load(&e, &attack::image("hostile:1", &links).config(key, value)).code(0));
            let look = "pwd; ls -la . /abs/ /up/ 2>&1; cat ./marker /abs/marker /up/marker ./shadow 2>/dev/null; echo x >./made-in 2>/dev/null; true";
            for user in ["0", "1000"] {
                let o = c.run(&["run", "--rm", "-u", user, "hostile:1", "sh", "-c", look]);
                refused_or(&o, |o| !o.stdout.contains(SECRET));
                assert!(!o.stdout.contains(SECRET), "{key} {path}: {o:?}");
                t.untouched(&format!("{key} {path}"));
            }
            // What the container's tree shows when it does not run.
            let made = c.run(&["create", "--name", "still", "hostile:1", "true"]);
            if made.code == 0 {
                let o = c.run(&["cp", &format!("still:{path}"), "-"]);
                assert!(!o.stdout.contains(SECRET), "{key} {path}: {o:?}");
                c.ok(&["rm", "-v", "still"]);
            }
            t.untouched(&format!("cp after {key} {path}"));
            c.ok(&["rmi", "-f", "hostile:1"]);
        }
    }
}
