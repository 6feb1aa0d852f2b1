//! What tests share: listings of trees, made by other programs, and raw tar blocks.
#![allow(dead_code, reason = "each test uses a part")]
use std::path::Path;
use std::process::Command;

/// Prints all extended attributes of a tree.
const XATTRS: &str = "import os
for top, dirs, files in os.walk(b'.'):
    for name in sorted(dirs + files):
        path = os.path.join(top, name)
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            print(path, key, os.getxattr(path, key, follow_symlinks=False))";

/// Every fact about every file, by another program.
pub fn listing(root: &Path) -> Vec<String> {
    let script = "find . -mindepth 1 -printf '%P %y %m %U %G %T@ %l %n %s\\n' | sed '/ d /s/ [0-9]*$//' | sort; \
                  find . -type f -print0 | sort -z | xargs -0 -r sha256sum; \
                  find . \\( -type b -o -type c \\) -print0 | sort -z | xargs -0 -r stat -c '%n %t %T'; \
                  python3 -c \"$XATTRS\" | sort";
    let out =
        Command::new("sh").arg("-c").arg(script).env("XATTRS", XATTRS).current_dir(root).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

pub fn assert_same(ours: &Path, theirs: &Path) {
    let (ours, theirs) = (listing(ours), listing(theirs));
    let only_ours: Vec<_> = ours.iter().filter(|line| !theirs.contains(line)).take(5).collect();
    let only_theirs: Vec<_> = theirs.iter().filter(|line| !ours.contains(line)).take(5).collect();
    assert!(only_ours.is_empty() && only_theirs.is_empty(), "ours: {only_ours:#?}\ntheirs: {only_theirs:#?}");
}

/// Unpacks with GNU tar.
pub fn gnu_tar(archive: &Path, to: &Path) -> bool {
    std::fs::create_dir_all(to).unwrap();
    let out = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "-xpf"])
        .arg(archive)
        .arg("-C")
        .arg(to)
        .output()
        .unwrap();
    out.status.success()
}

/// One header block with its data, all fields given as text.
pub struct Block<'a> {
    pub name: &'a [u8],
    pub kind: u8,
    pub mode: &'a [u8],
    pub uid: &'a [u8],
    pub size: &'a [u8],
    pub mtime: &'a [u8],
    pub link: &'a [u8],
    pub prefix: &'a [u8],
    pub data: &'a [u8],
}

impl Default for Block<'_> {
    fn default() -> Self {
        Block {
            name: b"f",
            kind: b'0',
            mode: b"0000644",
            uid: b"0000000",
            size: b"",
            mtime: b"00000000001",
            link: b"",
            prefix: b"",
            data: b"",
        }
    }
}

impl Block<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = [0u8; 512];
        let mut put = |at: usize, value: &[u8]| header[at..at + value.len()].copy_from_slice(value);
        let size = format!("{:011o}", self.data.len()).into_bytes();
        put(0, self.name);
        put(100, self.mode);
        put(108, self.uid);
        put(116, b"0000000");
        put(124, if self.size.is_empty() { &size } else { self.size });
        put(136, self.mtime);
        put(156, &[self.kind]);
        put(157, self.link);
        put(257, b"ustar\x0000");
        put(345, self.prefix);
        seal(&mut header);
        let mut out = header.to_vec();
        out.extend_from_slice(self.data);
        out.resize(out.len().next_multiple_of(512), 0);
        out
    }
}

pub fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// A PAX record.
pub fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    format!("{len} {key}={value}\n")
}

pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
    Block { name: b"pax", kind: b'x', data: text.as_bytes(), ..Block::default() }.bytes()
}

/// Blocks with the end of the archive.
pub fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut all = parts.concat();
    all.extend_from_slice(&[0; 1024]);
    all
}
