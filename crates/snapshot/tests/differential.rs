//! Headers as other readers read them: what we accept, Python's `tarfile` lists the same, and GNU tar unpacks the same.
//! A desync between readers would smuggle entries past one of them.
mod tree;

use knarr_linux::path::Root;
use knarr_snapshot::apply::apply;
use knarr_snapshot::{Archive, EntryKind, Limits, Whiteouts};
use std::io::Write;
use std::process::{Command, Stdio};
use tree::{Block, archive, pax};

/// Reads names of archives from its input and prints one line per archive: its members, or `error`.
const PYTHON: &str = r#"
import sys, tarfile
for name in sys.stdin.read().split():
    try:
        with tarfile.open(name, "r:", errorlevel=2, encoding="utf-8", errors="surrogateescape") as t:
            out = []
            for m in t.getmembers():
                kind = "f" if m.isreg() or m.issparse() else "d" if m.isdir() else "l" if m.issym() else "h" if m.islnk() else "c" if m.ischr() else "b" if m.isblk() else "p" if m.isfifo() else "?"
                size = m.size if kind == "f" else 0
                path = "/".join(p for p in m.name.split("/") if p not in ("", "."))
                link = m.linkname if kind in "lh" else ""
                out.append("%s:%s:%d:%d:%o:%s" % (path, kind, size, m.uid, m.mode & 0o7777, link))
            print("|".join(out))
    except Exception as e:
        print("error")
"#;

fn ours(bytes: &[u8]) -> Option<String> {
    let mut archive = Archive::new(bytes, Limits::default());
    let mut out = Vec::new();
    loop {
        match archive.next_entry() {
            Ok(None) => return Some(out.join("|")),
            Err(_) => return None,
            Ok(Some(e)) => {
                let kind = match e.kind {
                    EntryKind::File => 'f',
                    EntryKind::Directory => 'd',
                    EntryKind::Symlink => 'l',
                    EntryKind::HardLink => 'h',
                    EntryKind::CharDevice => 'c',
                    EntryKind::BlockDevice => 'b',
                    EntryKind::Fifo => 'p',
                };
                let path = String::from_utf8_lossy(&e.path).into_owned();
                let path: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
                let link = if "lh".contains(kind) {
                    String::from_utf8_lossy(&e.link).into_owned()
                } else {
                    String::new()
                };
                out.push(format!("{}:{kind}:{}:{}:{:o}:{link}", path.join("/"), e.size, e.uid, e.mode));
            }
        }
    }
}

/// Small and the same in every run.
struct Random(u64);
impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

fn one(random: &mut Random, n: usize) -> Vec<u8> {
    let data = vec![b'd'; random.pick(&[0, 1, 511, 512, 513, 2000])];
    let names: [&[u8]; 7] = [b"f", b"./g", b"dir/h", b"dir/", b"x/../y", b"/abs", b"n\xc3\xa9"];
    let long = format!("{}{n}", "deep/".repeat(30));
    let size = format!("{:011o}", data.len());
    let spaced = format!("{:>10o} ", data.len());
    let mut binary = [0u8; 12];
    binary[0] = 0x80;
    binary[4..].copy_from_slice(&(data.len() as u64).to_be_bytes());
    let sizes: [&[u8]; 5] = [size.as_bytes(), spaced.as_bytes(), &binary, b"00000000003", b""];
    let header = Block {
        name: random.pick(&names),
        kind: random.pick(b"000000125367\0S"),
        mode: random.pick(&[&b"0000644"[..], b"100755 ", b"0004755", b"   644 ", b"\x80\0\0\0\0\0\x01\xed"]),
        uid: random.pick(&[&b"0000000"[..], b"0000012", b"\x80\0\0\0\x01\0\0\0", b"       "]),
        size: random.pick(&sizes),
        mtime: random.pick(&[&b"00000000001"[..], b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"]),
        link: random.pick(&[&b""[..], b"f", b"dir/h"]),
        prefix: random.pick(&[&b""[..], b"", b"pre/fix"]),
        data: &data,
    };
    let mut out = Vec::new();
    let true_size = data.len().to_string();
    for _ in 0..random.below(3) {
        out.extend(match random.below(8) {
            0 => pax(&[("size", &true_size)]),
            1 => pax(&[("size", "1"), ("size", &true_size)]),
            2 => pax(&[("path", "renamed")]),
            3 => pax(&[("path", &long), ("mtime", "-1.5"), ("uid", "77")]),
            4 => Block {
                name: b"././@LongLink",
                kind: b'L',
                data: format!("{long}\0").as_bytes(),
                ..Block::default()
            }
            .bytes(),
            5 => Block { name: b"././@LongLink", kind: b'K', data: b"target\0", ..Block::default() }.bytes(),
            6 => Block { kind: b'g', data: tree::record("comment", "c").as_bytes(), ..Block::default() }
                .bytes(),
            _ => pax(&[("linkpath", "to"), ("path", "once"), ("path", "twice")]),
        });
    }
    out.extend(header.bytes());
    out
}

#[test]
fn what_we_accept_others_read_the_same() {
    const CASES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(20_240_229);
    let mut names = String::new();
    let mut archives = Vec::new();
    for case in 0..CASES {
        let parts: Vec<Vec<u8>> = (0..=random.below(3)).map(|n| one(&mut random, n)).collect();
        let bytes = archive(&parts);
        let path = dir.path().join(format!("{case}.tar"));
        std::fs::write(&path, &bytes).unwrap();
        names.push_str(&format!("{}\n", path.display()));
        archives.push(bytes);
    }
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .env("PYTHONIOENCODING", "utf-8:surrogateescape")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(names.as_bytes()).unwrap());
    let out = python.wait_with_output().unwrap();
    feed.join().unwrap();
    let theirs: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    assert_eq!(theirs.len(), CASES);
    let mut accepted = 0;
    let mut different = Vec::new();
    for (case, bytes) in archives.iter().enumerate() {
        let Some(mine) = ours(bytes) else { continue };
        accepted += 1;
        if mine != theirs[case] {
            different.push(format!("case {case}\n  ours   {mine}\n  theirs {}", theirs[case]));
        }
    }
    assert!(accepted > CASES / 4, "only {accepted} were accepted");
    let shown: Vec<_> = different.iter().take(8).collect();
    assert!(
        different.is_empty(),
        "{} of {accepted} differ:\n{}",
        different.len(),
        shown.iter().map(|s| s.as_str()).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn what_we_unpack_gnu_tar_unpacks_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(7);
    let mut compared = 0;
    for case in 0..150 {
        let parts: Vec<Vec<u8>> = (0..=random.below(2)).map(|n| one(&mut random, n)).collect();
        let bytes = archive(&parts);
        let (mine, theirs) = (dir.path().join(format!("m{case}")), dir.path().join(format!("t{case}")));
        std::fs::create_dir(&mine).unwrap();
        let root = Root::open(&mine).unwrap().open_dir(".").unwrap();
        if apply(bytes.as_slice(), root, Whiteouts::Literal, Limits::default()).is_err() {
            continue;
        }
        let tar = dir.path().join("x.tar");
        std::fs::write(&tar, &bytes).unwrap();
        if !tree::gnu_tar(&tar, &theirs) {
            continue;
        }
        // directories on the way have the time of unpacking
        let names = |root: &std::path::Path| {
            let script =
                "find . -mindepth 1 -printf '%P %y %m %U %s %l\\n' | sed '/ d /s/ [0-9]* *$//' | sort";
            let out = Command::new("sh").arg("-c").arg(script).current_dir(root).output().unwrap();
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        assert_eq!(names(&mine), names(&theirs), "case {case}");
        compared += 1;
    }
    assert!(compared > 40, "only {compared} were compared");
}
