//! Headers as other readers read them: GNU tar, bsdtar (libarchive) and Python's `tarfile` list thousands of generated archives.
//! What we accept they read the same. Where they do not agree with each other we refuse, or read as GNU tar does and it stands in
//! [`TOLERATED`]. A desync between readers would smuggle entries past one of them (CVE-2025-62518).
mod tree;

use knarr_linux::path::Root;
use knarr_snapshot::apply::apply;
use knarr_snapshot::{Archive, EntryKind, Limits, Whiteouts};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tree::{Block, archive, pax, record, seal};

/// Archives that are compared. Each costs two processes.
const CASES: usize = 1200;

/// Reads names of archives from its input and prints one line per archive: its members, or `error`.
const PYTHON: &str = r#"
import sys, tarfile, math
for name in sys.stdin.read().split():
    try:
        with tarfile.open(name, "r:", errorlevel=2, encoding="utf-8", errors="surrogateescape") as t:
            out = []
            for m in t.getmembers():
                kind = "f" if m.isreg() or m.issparse() else "d" if m.isdir() else "l" if m.issym() else "h" if m.islnk() else "c" if m.ischr() else "b" if m.isblk() else "p" if m.isfifo() else "?"
                size = m.size if kind == "f" else 0
                path = "/".join(p for p in m.name.split("/") if p not in ("", "."))
                link = m.linkname if kind in "lh" else ""
                out.append("%s:%s:%d:%d:%o:%s@%d" % (path, kind, size, m.uid, m.mode & 0o7777, link, math.floor(m.mtime)))
            print("|".join(out))
    except Exception as e:
        print("error")
"#;

/// One member as every reader shows it: `path:kind:size:uid:mode:link`.
fn line(path: &[u8], kind: char, size: u64, uid: i64, mode: u32, link: &[u8]) -> String {
    let path = String::from_utf8_lossy(path).into_owned();
    let path: Vec<&str> = path.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let link = if "lh".contains(kind) { String::from_utf8_lossy(link).into_owned() } else { String::new() };
    let size = if kind == 'f' { size } else { 0 };
    format!("{}:{kind}:{size}:{uid}:{mode:o}:{link}", path.join("/"))
}

/// Our reading, each line with `@mtime` behind it.
fn ours(bytes: &[u8]) -> Result<String, String> {
    let mut archive = Archive::new(bytes, Limits::default());
    let mut out = Vec::new();
    loop {
        match archive.next_entry() {
            Ok(None) => return Ok(out.join("|")),
            Err(e) => return Err(e.to_string()),
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
                let shown = line(&e.path, kind, e.size, i64::from(e.uid), e.mode, &e.link);
                out.push(format!("{shown}@{}", e.mtime.0));
            }
        }
    }
}

fn without_times(lines: &str) -> String {
    lines.split('|').map(|l| l.rsplit_once('@').map_or(l, |(l, _)| l)).collect::<Vec<_>>().join("|")
}

/// `-rwsr-xr-x` as kind and mode.
fn mode(text: &str) -> (char, u32) {
    let mut letters = text.chars();
    let kind = match letters.next() {
        // 'C' is a contiguous file, which nobody tells apart any more.
        Some('-' | 'C') => 'f',
        Some(other) => other,
        None => '?',
    };
    let mut bits = 0;
    for (n, letter) in letters.take(9).enumerate() {
        let bit = 1 << (8 - n);
        let special = [0o4000, 0o2000, 0o1000][n / 3];
        match letter {
            '-' => {}
            's' | 't' => bits |= bit | special,
            'S' | 'T' => bits |= special,
            _ => bits |= bit,
        }
    }
    (kind, bits)
}

/// The name, and where it leads.
fn name_and_link(text: &str, kind: char) -> (&str, &str, char) {
    if let Some((name, target)) = text.split_once(" link to ") {
        return (name, target, 'h');
    }
    match text.split_once(" -> ") {
        Some((name, target)) if kind == 'l' => (name, target, 'l'),
        _ => (text, "", kind),
    }
}

/// `-rw-r--r-- 0/0 5 1970-01-01 00:00 name`
fn gnu_line(text: &str) -> Option<String> {
    let (head, rest) = text.split_once(' ')?;
    let (owner, rest) = rest.trim_start().split_once(' ')?;
    let (size, rest) = rest.trim_start().split_once(' ')?;
    let (_, rest) = rest.split_once(' ')?;
    let (_, name) = rest.split_once(' ')?;
    let (kind, bits) = mode(head);
    let (name, link, kind) = name_and_link(name, kind);
    let uid = owner.split('/').next()?.parse().ok()?;
    Some(line(name.as_bytes(), kind, size.parse().unwrap_or(0), uid, bits, link.as_bytes()))
}

/// `-rw-r--r--  0 0      0           5 Jan  1  1970 name`
fn bsd_line(text: &str) -> Option<String> {
    let mut rest = text;
    let mut words = Vec::new();
    for _ in 0..8 {
        let (word, after) = rest.trim_start().split_once(' ')?;
        words.push(word);
        rest = after;
    }
    let (kind, bits) = mode(words[0]);
    let (name, link, kind) = name_and_link(rest, kind);
    let device = words[4].contains(',');
    let size = if device { 0 } else { words[4].parse().ok()? };
    Some(line(name.as_bytes(), kind, size, words[2].parse().ok()?, bits, link.as_bytes()))
}

/// What a program lists of each archive of a directory; none where it complains.
fn listed(dir: &Path, command: &str, parse: fn(&str) -> Option<String>) -> Vec<Option<String>> {
    let script = format!(
        "n=0; while [ $n -lt {CASES} ]; do {command} $n.tar 2>/dev/null; echo \"== $?\"; n=$((n+1)); done"
    );
    let out = Command::new("sh")
        .args(["-c", &script])
        .env("TZ", "UTC")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut all = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for l in text.lines() {
        match l.strip_prefix("== ") {
            Some(code) => {
                all.push((code == "0").then(|| lines.join("|")));
                lines.clear();
            }
            None => lines.push(parse(l).unwrap_or_else(|| format!("? {l}"))),
        }
    }
    all
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

/// Base-256 of a number in a field of this many bytes.
fn binary(value: i64, len: usize) -> Vec<u8> {
    let mut field = vec![if value < 0 { 0xff } else { 0 }; len];
    let bytes = value.to_be_bytes();
    let take = bytes.len().min(len);
    field[len - take..].copy_from_slice(&bytes[bytes.len() - take..]);
    field[0] |= 0x80;
    field
}

fn one(random: &mut Random, n: usize) -> Vec<u8> {
    let data = vec![b'd'; random.pick(&[0, 0, 1, 511, 512, 513, 2000])];
    let names: [&[u8]; 10] = [
        b"f",
        b"./g",
        b"dir/h",
        b"dir/",
        b"x/../y",
        b"/abs",
        b"n\xc3\xa9",
        b"a//b",
        b"nul\0rest",
        &[b'n'; 100],
    ];
    let long = format!("{}{n}", "deep/".repeat(30));
    let len = data.len();
    let other = random.pick(&[0, 1, 512, 1024]);
    let sizes: [Vec<u8>; 11] = [
        format!("{len:011o}").into_bytes(),
        format!("{len:011o}\0").into_bytes(),
        format!("{len:>10o} ").into_bytes(),
        format!("{len:>11o} ").into_bytes(),
        format!("{len:012o}").into_bytes(),
        binary(len as i64, 12),
        format!("{other:011o}").into_bytes(),
        b"00000000009".to_vec(),
        b"-0000000001".to_vec(),
        binary(-1, 12),
        b"".to_vec(),
    ];
    // Most are honest, so that whole archives are read to their end.
    let size = if random.below(4) > 0 { &sizes[random.below(6)] } else { &sizes[random.below(11)] };
    let kind = if random.below(3) > 0 { b'0' } else { random.pick(b"00000012345670\0SADMNVXg") };
    let data: &[u8] =
        if matches!(kind, b'0' | b'7' | b'\0' | b'S') || random.below(4) == 0 { &data } else { &[] };
    let size: &[u8] = if data.is_empty() && len > 0 { b"00000000000" } else { size };
    let uid_binary = binary(i64::from(random.pick(&[7, 3_000_000, -1])), 8);
    let uids: [&[u8]; 6] =
        [b"0000000", b"0000012", &uid_binary, b"       ", b"\0\0\0\0\0\0\0\0", b"00000012"];
    let header = Block {
        name: random.pick(&names),
        kind,
        mode: random.pick(&[
            &b"0000644"[..],
            b"100755 ",
            b"0004755",
            b"   644 ",
            b"\x80\0\0\0\0\0\x01\xed",
            b"0000644\0",
        ]),
        uid: random.pick(&uids),
        size,
        mtime: random.pick(&[
            &b"00000000001"[..],
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe",
            b"77777777777",
            b"         12 ",
        ]),
        link: random.pick(&[&b""[..], b"f", b"dir/h"]),
        prefix: random.pick(&[&b""[..], b"", b"", b"pre/fix"]),
        data,
    };
    let mut out = Vec::new();
    let true_size = data.len().to_string();
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2]) {
        out.extend(match random.below(16) {
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
            6 => Block { kind: b'g', data: record("comment", "c").as_bytes(), ..Block::default() }.bytes(),
            7 => {
                let key = random.pick(&[
                    ("uid", "9"),
                    ("mtime", "5"),
                    ("path", "all"),
                    ("size", "0"),
                    ("gid", "8"),
                ]);
                Block { kind: b'g', data: record(key.0, key.1).as_bytes(), ..Block::default() }.bytes()
            }
            8 => pax(&[("size", random.pick(&["0", "1", "512", "1024", "-1", "+1", "1.0", " 1", "0x10"]))]),
            9 => pax(&[("mtime", random.pick(&["3.25", "-7", "0", "1e3", "", "12."])), ("ctime", "1")]),
            10 => pax(&[("uid", random.pick(&["5", "-1", "4294967296", "2147483648", ""]))]),
            11 => pax(&[("path", random.pick(&["", "a\0b", "p/", "/p", "./p"]))]),
            12 => pax(&[("SCHILY.xattr.user.x", "v\0w=\n"), ("comment", "x")]),
            13 => Block { name: b"x", kind: b'x', data: b"11 path=abc", ..Block::default() }.bytes(),
            14 => Block { name: b"x", kind: b'x', data: b"12 path=abc\n\0\0\0", ..Block::default() }.bytes(),
            _ => pax(&[("linkpath", "to"), ("path", "once"), ("path", "twice")]),
        });
    }
    let mut blocks = header.bytes();
    let mut head: [u8; 512] = blocks[..512].try_into().unwrap();
    match random.below(12) {
        // GNU's magic, none, another
        0 => head[257..265].copy_from_slice(b"ustar  \0"),
        1 => head[257..265].fill(0),
        2 => head[257..265].copy_from_slice(b"ustar\0  "),
        _ => {}
    }
    seal(&mut head);
    match random.below(24) {
        // Sums: wrong, over signed bytes, in other forms
        0 => head[150] ^= 1,
        1 => {
            head[148..156].fill(b' ');
            let sum: i32 = head.iter().map(|b| i32::from(b.cast_signed())).sum();
            head[148..156].copy_from_slice(format!("{:06o}\0 ", sum.max(0)).as_bytes());
        }
        2 => {
            let text = head[148..154].to_vec();
            head[148..156].copy_from_slice(&[b"0".as_slice(), &text, b"\0"].concat());
        }
        3 => head[148..156].fill(0),
        _ => {}
    }
    blocks[..512].copy_from_slice(&head);
    out.extend(blocks);
    out
}

/// A file with holes, in each of GNU's four forms, sometimes with a map that lies.
fn sparse(random: &mut Random) -> Vec<u8> {
    let (mut at, len) = (random.pick(&[0u64, 512, 1000]), random.pick(&[1u64, 512, 700]));
    let size = random.pick(&[at + len, at + len + 5000, at + len + 1]);
    if random.below(6) == 0 {
        at = random.pick(&[size, size * 2, u64::MAX - 1]);
    }
    let data = vec![b's'; usize::try_from(len).unwrap()];
    let (at_text, len_text, size_text) = (at.to_string(), len.to_string(), size.to_string());
    match random.below(4) {
        0 => {
            let header = Block { name: b"sparse", kind: b'S', data: &data, ..Block::default() };
            let mut blocks = header.bytes();
            let mut head: [u8; 512] = blocks[..512].try_into().unwrap();
            head[257..265].copy_from_slice(b"ustar  \0");
            let number = |value: u64| format!("{:011o}\0", value & 0o77_777_777_777);
            for (field, value) in [(386, at), (398, len), (483, size)] {
                head[field..field + 12].copy_from_slice(number(value).as_bytes());
            }
            let more = random.below(2) == 0;
            head[482] = u8::from(more);
            seal(&mut head);
            blocks[..512].copy_from_slice(&head);
            if more {
                let mut next = vec![0; 512];
                if random.below(2) == 0 {
                    // A list that is full goes on in the next block: pieces without length before the one.
                    for n in 0..3 {
                        let field = 386 + n * 24;
                        head.copy_within(field..field + 24, field + 24);
                        head[field..field + 24]
                            .copy_from_slice(&[number(0).as_bytes(), number(0).as_bytes()].concat());
                    }
                    seal(&mut head);
                    blocks[..512].copy_from_slice(&head);
                    next[..24].copy_from_slice(&[number(size).as_bytes(), number(0).as_bytes()].concat());
                }
                blocks.splice(512..512, next);
            }
            blocks
        }
        1 => [
            pax(&[
                ("GNU.sparse.size", &size_text),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.offset", &at_text),
                ("GNU.sparse.numbytes", &len_text),
            ]),
            Block { name: b"sparse", data: &data, ..Block::default() }.bytes(),
        ]
        .concat(),
        2 => [
            pax(&[
                ("GNU.sparse.size", &size_text),
                ("GNU.sparse.numblocks", "1"),
                ("GNU.sparse.map", &format!("{at},{len}")),
                ("GNU.sparse.name", "sparse"),
            ]),
            Block { name: b"./GNUSparseFile.1/sparse", data: &data, ..Block::default() }.bytes(),
        ]
        .concat(),
        _ => {
            let mut map = format!("1\n{at}\n{len}\n").into_bytes();
            map.resize(512, 0);
            let data = [map, data].concat();
            [
                pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "sparse"),
                    ("GNU.sparse.realsize", &size_text),
                ]),
                Block { name: b"./GNUSparseFile.1/sparse", data: &data, ..Block::default() }.bytes(),
            ]
            .concat()
        }
    }
}

fn generated(random: &mut Random) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for n in 0..=random.below(3) {
        parts.push(if random.below(6) == 0 { sparse(random) } else { one(random, n) });
        if random.below(30) == 0 {
            parts.push(vec![0; 512]); // the end, or only half of it
        }
    }
    let mut bytes = archive(&parts);
    match random.below(20) {
        0 => bytes.truncate(bytes.len() - 512),
        1 => bytes.truncate(bytes.len() - 1024),
        2 => bytes.extend_from_slice(b"something behind the end"),
        _ => {}
    }
    bytes
}

#[test]
fn what_we_accept_others_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(20_240_229);
    let mut names = String::new();
    let mut archives = Vec::new();
    for case in 0..CASES {
        let bytes = generated(&mut random);
        let path = dir.path().join(format!("{case}.tar"));
        std::fs::write(&path, &bytes).unwrap();
        names.push_str(&format!("{}\n", path.display()));
        archives.push(bytes);
    }
    let (gnu, (bsd, python)) = std::thread::scope(|scope| {
        let gnu = scope
            .spawn(|| listed(dir.path(), "tar -P --numeric-owner --quoting-style=literal -tvf", gnu_line));
        let bsd = scope.spawn(|| listed(dir.path(), "bsdtar --numeric-owner -tvf", bsd_line));
        let python = python(&names);
        (gnu.join().unwrap(), (bsd.join().unwrap(), python))
    });
    assert_eq!((gnu.len(), bsd.len(), python.len()), (CASES, CASES, CASES));
    let (mut accepted, mut agreed, mut refused_alone) = (0, 0, 0);
    let mut different = Vec::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for (case, bytes) in archives.iter().enumerate() {
        let theirs = [gnu[case].clone(), bsd[case].clone(), python[case].as_deref().map(without_times)];
        let unanimous = theirs.iter().all(|t| t.is_some() && *t == theirs[0]);
        agreed += usize::from(unanimous);
        let mine = match ours(bytes) {
            Ok(mine) => mine,
            Err(reason) => {
                refused_alone += usize::from(unanimous);
                let reason = reason.split_once(": ").map_or(reason.clone(), |(_, r)| r.to_owned());
                *refusals
                    .entry(format!("{reason}{}", if unanimous { " (alone)" } else { "" }))
                    .or_default() += 1;
                continue;
            }
        };
        accepted += 1;
        let plain = without_times(&mine);
        let times = python[case].as_deref().is_none_or(|t| without_times(t) != plain || t == mine);
        let same = |t: &Option<String>| t.as_deref() == Some(plain.as_str());
        let fine = if unanimous { same(&theirs[0]) } else { same(&theirs[0]) && tolerated(&plain, &theirs) };
        if !fine || !times {
            let [gnu, bsd, _] = &theirs;
            let show = |t: &Option<String>| t.clone().unwrap_or_else(|| "error".to_owned());
            different.push(format!(
                "case {case}\n  ours   {mine}\n  gnu    {}\n  bsd    {}\n  python {}",
                show(gnu),
                show(bsd),
                show(&python[case])
            ));
        }
    }
    eprintln!(
        "{CASES} archives: {accepted} accepted, {agreed} read alike by all others, {refused_alone} of these refused: {refusals:#?}"
    );
    let shown: Vec<&str> = different.iter().take(SHOWN).map(String::as_str).collect();
    assert!(different.is_empty(), "{} of {accepted} differ:\n{}", different.len(), shown.join("\n"));
    assert!(accepted > CASES / 4, "only {accepted} were accepted");
    assert!(refused_alone * 5 < agreed, "{refused_alone} of {agreed} that all others read are refused");
}

/// Cases that are shown when readers differ.
const SHOWN: usize = 12;

/// Differences between the others in which we follow GNU tar.
fn tolerated(ours: &str, theirs: &[Option<String>; 3]) -> bool {
    let [gnu, bsd, python] = theirs;
    TOLERATED.iter().any(|(_, fits)| fits(ours, gnu.as_deref(), bsd.as_deref(), python.as_deref()))
}

type Fits = fn(&str, Option<&str>, Option<&str>, Option<&str>) -> bool;
const TOLERATED: &[(&str, Fits)] = &[
    (
        "Python takes the field of the prefix for one in every format, not in ustar alone",
        |ours, _, bsd, python| {
            bsd == Some(ours)
                && python.is_some_and(|p| p.replace("pre/fix/", "") == ours.replace("pre/fix/", ""))
        },
    ),
    (
        "libarchive does not show where a hard link leads if a PAX record says it alone",
        |ours, _, bsd, python| {
            python == Some(ours) && bsd.is_some_and(|b| b.replace(":?:", ":h:") == ours.replace(":to", ":"))
        },
    ),
    ("one of the others complains, the rest agree", |ours, _, bsd, python| {
        bsd.is_none_or(|b| b == ours) && python.is_none_or(|p| p == ours)
    }),
];

fn python(names: &str) -> Vec<Option<String>> {
    let mut python = Command::new("python3")
        .args(["-c", PYTHON])
        .env("PYTHONIOENCODING", "utf-8:surrogateescape")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let names = names.to_owned();
    let feed = std::thread::spawn(move || stdin.write_all(names.as_bytes()).unwrap());
    let out = python.wait_with_output().unwrap();
    feed.join().unwrap();
    let lines = String::from_utf8_lossy(&out.stdout).into_owned();
    lines.lines().map(|l| (l != "error").then(|| l.to_owned())).collect()
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
