//! Layers unpacked on a real filesystem: what GNU tar makes of the same archives, whiteouts under a real overlay, and
//! archives that mean harm. Needs root.
mod tree;

use knarr_base::{ErrorKind, Kind};
use knarr_linux::path::Root;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use knarr_snapshot::apply::apply;
use knarr_snapshot::{Error, LayerMeta, Layers, Limits, Whiteouts, diff, view};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tree::{Block, archive, assert_same, gnu_tar, pax};

fn layers() -> (tempfile::TempDir, Layers) {
    let dir = tempfile::tempdir().unwrap();
    let layers = Layers::open(dir.path()).unwrap();
    (dir, layers)
}

fn unpack(layers: &Layers, bytes: &[u8]) -> Result<LayerMeta, Error> {
    let staged = layers.stage(bytes, None, Whiteouts::Overlay, Limits::default())?;
    Ok(layers.commit(vec![staged])?.remove(0))
}

fn shell(dir: &Path, script: &str) {
    let out = Command::new("bash").args(["-euc", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// A tree with something of everything.
fn make_tree(dir: &Path) {
    shell(
        dir,
        "mkdir -p a/deep/er bin empty; echo one > a/one; printf x > a/deep/er/x; ln -s ../one a/deep/link; ln -s /etc/passwd abs
         ln a/one bin/hard; ln -P abs bin/hardlink-to-link; mkfifo fifo; mknod null c 1 3; mknod loop b 7 0
         cp /bin/true bin/suid; chown 12:34 bin/suid; chmod 6755 bin/suid
         python3 -c 'import os; os.setxattr(\"a/one\", \"user.note\", b\"a b\"); os.setxattr(\"a\", \"user.dir\", b\"d\")
os.setxattr(\"bin/suid\", \"security.capability\", bytes.fromhex(\"0100000200200000000000000000000000000000\"))'
         chown 3000000:4000000 a/deep; chmod 1777 a/deep; chmod 2750 empty
         n=$(printf 'n%.0s' $(seq 90)); mkdir -p $n/$n; echo long > $n/$n/$n; ln -s $n/$n/$n longlink
         echo $'\\xff\\xfe' > $'odd\\nname\\xe9'; : > zero; dd if=/dev/urandom of=big bs=1000 count=700 status=none
         truncate -s 3M sparse; printf data | dd of=sparse bs=1 seek=1000000 conv=notrunc status=none; printf end >> sparse
         touch -d '1969-12-31 23:00:00.25 UTC' a/one; touch -d '2040-01-01 00:00:00.123456789 UTC' big; touch -h -d '2001-01-01' abs
         touch -d '2002-02-02 02:02:02.5' a a/deep empty bin .",
    );
}

#[test]
fn every_format_of_gnu_tar_unpacks_as_gnu_tar_does() {
    let (dir, layers) = layers();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_tree(&source);
    for (n, (options, compress)) in [
        ("--format=gnu", "cat"),
        ("--format=gnu -S", "gzip"),
        ("--format=pax --xattrs --xattrs-include=*", "cat"),
        ("--format=pax -S --xattrs --xattrs-include=*", "zstd -q"),
        ("--format=pax -S --sparse-version=0.0", "gzip -1"),
        ("--format=pax -S --sparse-version=0.1", "cat"),
        ("--format=gnu --blocking-factor=64", "gzip -9"),
    ]
    .iter()
    .enumerate()
    {
        let tar = dir.path().join("x.tar");
        shell(&source, &format!("tar -c {options} . | {compress} > {}", tar.display()));
        let theirs = dir.path().join(format!("gnu{n}"));
        assert!(gnu_tar(&tar, &theirs));
        let meta = unpack(&layers, &std::fs::read(&tar).unwrap()).unwrap();
        eprintln!("{options} {compress}: {} entries", meta.entries);
        assert_same(&layers.path(&meta.diff_id), &theirs);
        let plain = Command::new("sh")
            .arg("-c")
            .arg(format!(
                "{} < {}",
                match compress.split(' ').next() {
                    Some("gzip") => "gzip -dc",
                    Some("zstd") => "zstd -dcq",
                    _ => "cat",
                },
                tar.display()
            ))
            .output()
            .unwrap()
            .stdout;
        assert_eq!(meta.diff_id, Digest::sha256(&plain));
        assert_eq!(meta.stream_len, plain.len() as u64);
        layers.remove(&meta.diff_id).unwrap();
    }
}

#[test]
fn a_tree_comes_back_from_its_own_tar() {
    let (dir, layers) = layers();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    make_tree(&source);
    // what we write has whole seconds
    shell(&source, "find . -exec touch -h -d @1700000000 {} +");
    let top = Root::open(&source).unwrap().open_dir(".").unwrap();
    let bytes = diff(&top, Whiteouts::Literal, Vec::new()).unwrap();
    assert!(bytes == diff(&top, Whiteouts::Literal, Vec::new()).unwrap());
    let meta = unpack(&layers, &bytes).unwrap();
    let ours = layers.path(&meta.diff_id);
    shell(&ours, "touch -d @1700000000 .");
    assert_same(&ours, &source);
    let tar = dir.path().join("ours.tar");
    std::fs::write(&tar, &bytes).unwrap();
    let gnu = dir.path().join("gnu");
    assert!(gnu_tar(&tar, &gnu));
    assert_same(&gnu, &source);
    let python = Command::new("python3")
        .arg("-c")
        .arg("import tarfile,sys; print(len(tarfile.open(sys.argv[1]).getmembers()))")
        .arg(&tar)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&python.stdout).trim(), meta.entries.to_string());
}

fn file(name: &str, text: &str) -> Vec<u8> {
    Block { name: name.as_bytes(), data: text.as_bytes(), ..Block::default() }.bytes()
}
fn link(kind: u8, name: &str, target: &str) -> Vec<u8> {
    Block { name: name.as_bytes(), kind, link: target.as_bytes(), ..Block::default() }.bytes()
}
fn dir(name: &str) -> Vec<u8> {
    Block { name: name.as_bytes(), kind: b'5', mode: b"0000755", ..Block::default() }.bytes()
}

fn merged(layers: &Layers, bottom_first: &[Vec<u8>]) -> Vec<String> {
    let mut lower: Vec<PathBuf> = Vec::new();
    for bytes in bottom_first {
        let meta = unpack(layers, bytes).unwrap();
        lower.insert(0, layers.path(&meta.diff_id));
    }
    let fd = view::read_only(&lower).unwrap();
    // The descriptor is ours: `self` would be find, which may have another one of that number.
    let root = format!("/proc/{}/fd/{}/", std::process::id(), fd.as_raw_fd());
    let out = Command::new("find").arg(&root).args(["-mindepth", "1", "-printf", "%P\n"]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut names: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn whiteouts_hide_what_is_below_under_a_real_overlay() {
    let (_dir, layers) = layers();
    let base = archive(&[
        dir("d"),
        file("d/a", "1"),
        file("d/b", "2"),
        dir("e"),
        file("e/x", "3"),
        file("top", "4"),
        dir("f"),
        file("f/old", "5"),
    ]);
    let gone = archive(&[
        dir("d"),
        file("d/.wh.a", ""),
        file(".wh.top", ""),
        dir("e"),
        file("e/.wh..wh..opq", ""),
        file("e/new", "6"),
    ]);
    assert_eq!(merged(&layers, &[base.clone(), gone]), ["d", "d/b", "e", "e/new", "f", "f/old"]);
    // the marker of an opaque directory may come after what is in it, and the directory itself may be missing
    let late = archive(&[
        file("e/new", "6"),
        file("e/.wh..wh..opq", ""),
        file(".wh..wh.plnk", ""),
        file("./d/.wh.b", ""),
    ]);
    assert_eq!(merged(&layers, &[base.clone(), late]), ["d", "d/a", "e", "e/new", "f", "f/old", "top"]);
    // a whiteout beside the same name: the layer's own file stays, what is below goes, in either order
    let replaced = archive(&[
        file(".wh.f", ""),
        dir("f"),
        file("f/young", "7"),
        dir("d"),
        file("d/c", "8"),
        file(".wh.d", ""),
    ]);
    assert_eq!(merged(&layers, &[base.clone(), replaced]), ["d", "d/c", "e", "e/x", "f", "f/young", "top"]);
    // a file over a directory and a directory over a file
    let swapped = archive(&[file("d", "9"), dir("top"), file("top/in", "0")]);
    assert_eq!(merged(&layers, &[base, swapped]), ["d", "e", "e/x", "f", "f/old", "top", "top/in"]);
}

#[test]
fn upper_directories_become_layers_that_mean_the_same() {
    let (work, layers) = layers();
    let base = unpack(
        &layers,
        &archive(&[
            dir("d"),
            file("d/a", "1"),
            file("d/b", "2"),
            dir("e"),
            file("e/x", "3"),
            file("top", "4"),
        ]),
    )
    .unwrap();
    for sub in ["upper", "work"] {
        std::fs::create_dir(work.path().join(sub)).unwrap();
    }
    let lower = vec![layers.path(&base.diff_id)];
    let (upper, work_dir) = (work.path().join("upper"), work.path().join("work"));
    let mount =
        RootfsMount::Overlay { lower: lower.clone(), upper: upper.clone(), work: work_dir, volatile: false };
    let fd = view::writable(&mount).unwrap();
    let root = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd()));
    shell(
        &root,
        "cd ./; rm d/a; rm -r e; mkdir e; echo new > e/y; mv top moved; ln moved hard; chmod 700 d; touch -d @1 d/b",
    );
    let top = Root::open(&upper).unwrap().open_dir(".").unwrap();
    let bytes = diff(&top, Whiteouts::Overlay, Vec::new()).unwrap();
    let second = unpack(&layers, &bytes).unwrap();
    let again = view::read_only(&[layers.path(&second.diff_id), lower[0].clone()]).unwrap();
    let again = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), again.as_raw_fd()));
    shell(&root, "cd ./; find . -exec touch -h -d @5 {} +");
    let names = |root: &Path| {
        let script = "cd ./; find . -mindepth 1 -printf '%P %y %m %U %G %l %n\\n' | sort; find . -type f | sort | xargs cat";
        let out = Command::new("sh").arg("-c").arg(script).current_dir(root).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert_eq!(names(&root), names(&again));
}

fn refused(layers: &Layers, root: &Path, bytes: &[u8], reason: &str) {
    let error = unpack(layers, bytes).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}\nis not: {reason}");
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::TooLarge), "{error}");
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0, "something is left behind");
    assert_eq!(std::fs::read_dir(root.join("layers")).unwrap().count(), 0);
}

#[test]
fn archives_that_mean_harm_are_refused_and_leave_nothing() {
    let (dir_guard, layers) = layers();
    let root = dir_guard.path();
    let outside = root.join("outside");
    std::fs::create_dir(&outside).unwrap();
    let out = outside.to_str().unwrap();
    let through = "goes through a symbolic link";
    for (parts, reason) in [
        (vec![file("../x", "1")], "contains \"..\""),
        (vec![file("a/../../x", "1")], "contains \"..\""),
        (vec![link(b'2', "l", out), file("l/x", "1")], through),
        (vec![link(b'2', "l", "../../outside"), dir("l/x")], through),
        (vec![link(b'2', "l", out), file("l/.wh.x", "")], through),
        (vec![link(b'2', "l", out), file("l/.wh..wh..opq", "")], through),
        (vec![dir("d"), link(b'2', "d/l", out), link(b'1', "h", "d/l/x")], through),
        (vec![link(b'1', "h", "../../outside/secret")], "contains \"..\""),
        (vec![link(b'1', "h", "/etc/passwd")], "not in the archive before it"),
        (vec![dir("d"), link(b'1', "h", "d")], "hard link to a directory"),
        (vec![file("h", ""), link(b'1', "h", "h")], "hard link to itself"),
        (vec![file(".wh.a", ""), link(b'1', "h", "a")], "hard link to a whiteout"),
        (vec![file("f", "1"), file("f/x", "1")], "not a directory"),
        (vec![link(b'2', "l", "")], "without a target"),
        (vec![file(".wh.", "")], "whiteout without a name"),
        (vec![file(".wh...", "")], "whiteout without a name"),
        (vec![file(".wh..", "")], "whiteout without a name"),
        (vec![file(".wh.a/x", "")], "goes through a whiteout"),
        (vec![file(".wh..wh..opq/x", "")], "goes through a whiteout"),
        (vec![Block { name: b"v", kind: b'V', ..Block::default() }.bytes()], "unhandled entry type"),
        (vec![Block { name: b"./", kind: b'2', link: b"x", ..Block::default() }.bytes()], "root of a layer"),
        (vec![pax(&[("size", "-1")]), file("f", "1")], "malformed PAX size"),
        (vec![pax(&[("size", "99999999999999999999")]), file("f", "1")], "malformed PAX size"),
        (vec![pax(&[("size", "9000000000000000000")]), file("f", "1")], "limit"),
        (vec![pax(&[("path", "../x")]), file("f", "1")], "contains \"..\""),
        (
            vec![Block { kind: b'x', data: b"5 x\n", ..Block::default() }.bytes(), file("f", "")],
            "malformed PAX record",
        ),
        (
            vec![Block { kind: b'x', data: b"999 a=b\n", ..Block::default() }.bytes(), file("f", "")],
            "malformed PAX record",
        ),
        (
            vec![
                Block { kind: b'g', data: tree::record("path", "x").as_bytes(), ..Block::default() }.bytes(),
                file("f", ""),
            ],
            "global PAX header",
        ),
        (
            vec![pax(&[("path", "a")]), pax(&[("path", "b")]), file("f", "")],
            "two extension headers of one kind",
        ),
        (
            vec![
                pax(&[("path", "a")]),
                Block { kind: b'L', data: b"b\0", ..Block::default() }.bytes(),
                file("f", ""),
            ],
            "name from two extension headers",
        ),
        (vec![Block { kind: b'S', ..Block::default() }.bytes()], "sparse file of GNU tar in another format"),
        (vec![pax(&[("mtime", "1")])], "extension header without an entry"),
        (
            vec![file(&"n".repeat(99), "1"), pax(&[("path", &"x/y".repeat(3000))]), file("f", "")],
            "name is too long",
        ),
        (vec![pax(&[("path", "x/y/".repeat(500).trim_end_matches('/'))]), file("f", "")], "nested too deep"),
        (vec![Block { size: b"-0000000001", ..Block::default() }.bytes()], "size is not a number"),
        (
            vec![
                Block { size: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ..Block::default() }
                    .bytes(),
            ],
            "size is not a number",
        ),
        (vec![Block { kind: b'2', link: b"x", data: b"1", ..Block::default() }.bytes()], "has no data"),
        (vec![Block { kind: b'5', data: b"1", ..Block::default() }.bytes()], "has no data"),
        (vec![Block { kind: b'6', data: b"1", ..Block::default() }.bytes()], "has no data"),
        (vec![Block { kind: b'3', data: b"1", ..Block::default() }.bytes()], "has no data"),
        (vec![vec![1; 512]], "checksum"),
    ] {
        refused(&layers, root, &archive(&parts), reason);
    }
    let huge = vec![b'x'; (1 << 20) + 1];
    refused(
        &layers,
        root,
        &Block { kind: b'x', data: &huge, ..Block::default() }.bytes(),
        "extension header",
    );
    refused(&layers, root, b"\xfd7zXZ\0\0\0", "read archive");
    refused(&layers, root, b"BZh91AY&SY", "read archive");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "something got out");
    // a name that begins with a slash stays inside
    let meta = unpack(&layers, &archive(&[file("/abs/x", "1")])).unwrap();
    assert!(layers.path(&meta.diff_id).join("abs/x").exists());
}

#[test]
fn attributes_of_overlayfs_cannot_come_from_an_archive() {
    let (_dir, layers) = layers();
    let bytes = archive(&[
        pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ("SCHILY.xattr.user.ok", "1"),
        ]),
        dir("d"),
    ]);
    let meta = unpack(&layers, &bytes).unwrap();
    let listing = tree::listing(&layers.path(&meta.diff_id));
    assert!(
        listing.iter().any(|l| l.contains("user.ok")) && !listing.iter().any(|l| l.contains("overlay")),
        "{listing:?}"
    );
}

#[test]
fn missing_parents_are_made_whatever_the_umask() {
    let (_dir, layers) = layers();
    let meta = unpack(&layers, &archive(&[file("a/b/c", "1")])).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(layers.path(&meta.diff_id).join("a/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn streams_cut_anywhere_are_errors() {
    let (_dir, layers) = layers();
    let plain = archive(&[dir("d"), file("d/a", &"text".repeat(600)), link(b'2', "l", "d/a")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 3).unwrap();
    let digest = unpack(&layers, &gzip).unwrap().diff_id;
    assert_eq!(unpack(&layers, &zstd).unwrap().diff_id, digest);
    for whole in [&gzip, &zstd] {
        for cut in 1..whole.len() {
            let result = layers.stage(&whole[..cut], Some(&digest), Whiteouts::Overlay, Limits::default());
            assert!(result.is_err(), "cut at {cut} of {}", whole.len());
        }
    }
    // Plain: cut within the archive is an error; without its end it is another layer than was promised.
    for cut in (1..plain.len()).step_by(53) {
        let result = layers.stage(&plain[..cut], Some(&digest), Whiteouts::Overlay, Limits::default());
        assert!(result.is_err(), "cut at {cut}");
    }
    // Several gzip members are one stream.
    let (a, b) = plain.split_at(700);
    let mut members = Vec::new();
    for part in [a, b] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(part).unwrap();
        members.extend(gzip.finish().unwrap());
    }
    assert_eq!(unpack(&layers, &members).unwrap().diff_id, digest);
}

#[test]
fn bombs_are_bounded() {
    let (guard, layers) = layers();
    let limits = Limits { entries: 10, bytes: 1 << 20 };
    let stage =
        |bytes: &[u8]| layers.stage(bytes, None, Whiteouts::Overlay, limits).err().map(|e| e.to_string());
    let many: Vec<Vec<u8>> = (0..11).map(|n| file(&format!("f{n}"), "")).collect();
    assert!(stage(&archive(&many)).unwrap().contains("limit of 10 entries"));
    // a file larger than the limit, and an endless tail of zeros, both small when compressed
    let zeros = vec![0; 4 << 20];
    let bomb = zstd::encode_all(archive(&[Block { data: &zeros, ..Block::default() }.bytes()]).as_slice(), 3)
        .unwrap();
    assert!(stage(&bomb).unwrap().contains("limit of 1048576 bytes"));
    let mut tail = archive(&[file("f", "1")]);
    tail.extend_from_slice(&zeros);
    assert!(
        stage(&zstd::encode_all(tail.as_slice(), 3).unwrap()).unwrap().contains("limit of 1048576 bytes")
    );
    let sparse = archive(&[
        pax(&[("GNU.sparse.map", "0,1"), ("GNU.sparse.size", "9000000000"), ("GNU.sparse.name", "s")]),
        file("s", "1"),
    ]);
    assert!(stage(&sparse).unwrap().contains("limit"));
    // Attributes of directories wait in memory for the end, also of the same directory again and again.
    let value = "x".repeat(60_000);
    let records: Vec<(String, &str)> =
        (0..4).map(|n| (format!("SCHILY.xattr.user.{n}"), value.as_str())).collect();
    let records: Vec<(&str, &str)> = records.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    let heavy = [pax(&records), dir("d")].concat();
    let many: Vec<u8> = heavy.repeat(2400);
    let all = layers.stage(
        zstd::encode_all(many.as_slice(), 3).unwrap().as_slice(),
        None,
        Whiteouts::Overlay,
        Limits::default(),
    );
    assert!(all.err().unwrap().to_string().contains("facts of directories"));
    assert_eq!(std::fs::read_dir(guard.path().join("tmp")).unwrap().count(), 0);
}

/// Windows, dictionaries and streams that are cut or go on: the same in every compression.
#[test]
fn every_compression_is_bounded_and_checked() {
    let (_dir, layers) = layers();
    let plain = archive(&[dir("d"), file("d/a", &"text".repeat(600)), link(b'2', "l", "d/a")]);
    let digest = unpack(&layers, &plain).unwrap().diff_id;
    let by = |program: &str, bytes: &[u8]| {
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap().stdout
    };
    for program in ["bzip2", "xz"] {
        let whole = by(program, &plain);
        let stage = |bytes: &[u8]| {
            layers
                .stage(bytes, Some(&digest), Whiteouts::Overlay, Limits::default())
                .map(|s| s.meta.diff_id.clone())
        };
        for cut in 1..whole.len() {
            assert!(stage(&whole[..cut]).is_err(), "{program} cut at {cut} of {}", whole.len());
        }
        for at in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            assert!(stage(&damaged).is_err(), "{program} damaged at {at}");
        }
        let garbage = [whole.as_slice(), b"garbage"].concat();
        assert!(unpack(&layers, &garbage).is_err(), "{program} with garbage behind it");
        let (a, b) = plain.split_at(700);
        let members = [by(program, a), by(program, b)].concat();
        assert_eq!(unpack(&layers, &members).unwrap().diff_id, digest, "{program}: two streams are one");
    }
    // A zstd frame whose window is longer than what is kept.
    let mut long = zstd::Encoder::new(Vec::new(), 3).unwrap();
    long.long_distance_matching(true).unwrap();
    long.window_log(28).unwrap();
    long.write_all(&plain).unwrap();
    let long = long.finish().unwrap();
    assert!(unpack(&layers, &long).unwrap_err().to_string().contains("memory"));
}

#[test]
fn a_layer_is_what_it_was_promised_to_be() {
    let (_dir, layers) = layers();
    let bytes = archive(&[file("f", "1")]);
    let wrong = Digest::sha256(b"other");
    let result = layers.stage(bytes.as_slice(), Some(&wrong), Whiteouts::Overlay, Limits::default());
    assert!(matches!(result, Err(Error::DiffId { .. })));
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap().open_dir(".").unwrap();
    let applied = apply(bytes.as_slice(), root, Whiteouts::Literal, Limits::default()).unwrap();
    assert_eq!((applied.entries, applied.size), (1, 1));
    assert_eq!(applied.diff_id, Digest::sha256(&bytes));
}

/// This machine's own files: what people have in layers, with more kinds of names, owners and modes than a test would think of.
#[test]
fn a_real_tree_is_the_same_as_gnu_tar_makes_it() {
    let (dir, layers) = layers();
    let layer = dir.path().join("layer.tar.gz");
    let there = ["etc", "usr/share/zoneinfo"].into_iter().filter(|name| Path::new("/").join(name).exists());
    // What changes while it is read is a warning: the archive is whole all the same.
    let mut tar = Command::new("tar");
    tar.args(["-C", "/", "-czf"]).arg(&layer).args(["--no-recursion", "usr", "usr/share", "--recursion"]);
    tar.args(there).output().unwrap();
    let meta = unpack(&layers, &std::fs::read(&layer).unwrap()).unwrap();
    let theirs = dir.path().join("tar");
    assert!(gnu_tar(&layer, &theirs));
    assert_same(&layers.path(&meta.diff_id), &theirs);
    assert!(theirs.join("etc/passwd").exists());
}
