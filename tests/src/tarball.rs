//! Writing tar archives byte by byte (POSIX pax interchange format, IEEE Std 1003.1), so that tests can also write
//! what no honest program would: absolute names, `..`, links out of the tree, lying sizes.

/// One archive member.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub link: Vec<u8>,
    pub device: (u32, u32),
    pub data: Vec<u8>,
    /// PAX records, e.g. `SCHILY.xattr.user.x`.
    pub pax: Vec<(String, Vec<u8>)>,
    /// A size to claim instead of the true one.
    pub claimed_size: Option<u64>,
}

/// 2026-01-01T00:00:00Z: the time of everything made here.
pub const EPOCH: u64 = 1_767_225_600;

impl Entry {
    fn new(name: &str, kind: u8, mode: u32) -> Entry {
        Entry {
            name: name.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: EPOCH,
            link: vec![],
            device: (0, 0),
            data: vec![],
            pax: vec![],
            claimed_size: None,
        }
    }
    pub fn file(name: &str, mode: u32, data: &[u8]) -> Entry {
        Entry { data: data.to_vec(), ..Entry::new(name, b'0', mode) }
    }
    pub fn dir(name: &str, mode: u32) -> Entry {
        Entry::new(&format!("{}/", name.trim_end_matches('/')), b'5', mode)
    }
    pub fn symlink(name: &str, target: &str) -> Entry {
        Entry { link: target.into(), ..Entry::new(name, b'2', 0o777) }
    }
    pub fn hardlink(name: &str, target: &str) -> Entry {
        Entry { link: target.into(), ..Entry::new(name, b'1', 0o644) }
    }
    pub fn char_device(name: &str, mode: u32, major: u32, minor: u32) -> Entry {
        Entry { device: (major, minor), ..Entry::new(name, b'3', mode) }
    }
    pub fn block_device(name: &str, mode: u32, major: u32, minor: u32) -> Entry {
        Entry { device: (major, minor), ..Entry::new(name, b'4', mode) }
    }
    pub fn fifo(name: &str, mode: u32) -> Entry {
        Entry::new(name, b'6', mode)
    }
    /// "Delete what the layers below have under this name" (OCI image-spec, layer.md).
    pub fn whiteout(name: &str) -> Entry {
        let (dir, base) = name.rsplit_once('/').map_or(("", name), |(d, b)| (d, b));
        Entry::file(&format!("{dir}{}.wh.{base}", if dir.is_empty() { "" } else { "/" }), 0o644, b"")
    }
    /// "Hide everything that the layers below have in this directory".
    pub fn opaque(dir: &str) -> Entry {
        Entry::file(&format!("{dir}/.wh..wh..opq"), 0o644, b"")
    }
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }
    #[must_use]
    pub fn mtime(mut self, t: u64) -> Entry {
        self.mtime = t;
        self
    }
    #[must_use]
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Entry {
        self.pax.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
        self
    }
    #[must_use]
    pub fn pax(mut self, key: &str, value: &[u8]) -> Entry {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }
    #[must_use]
    pub fn claim_size(mut self, n: u64) -> Entry {
        self.claimed_size = Some(n);
        self
    }
}

/// An archive of these members, with its two closing blocks.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for e in entries {
        append(&mut out, e);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn append(out: &mut Vec<u8>, e: &Entry) {
    let mut pax: Vec<(String, Vec<u8>)> = e.pax.clone();
    if e.name.len() > 100 {
        pax.push(("path".into(), e.name.clone()));
    }
    if e.link.len() > 100 {
        pax.push(("linkpath".into(), e.link.clone()));
    }
    if !pax.is_empty() {
        let body: Vec<u8> = pax.iter().flat_map(|(k, v)| pax_record(k, v)).collect();
        let x = Entry { data: body, ..Entry::new("PaxHeaders/x", b'x', 0o644) };
        header(out, &x);
        padded(out, &x.data);
    }
    header(out, e);
    padded(out, &e.data);
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut n = rest + 1;
    while n.to_string().len() + rest != n {
        n = n.to_string().len() + rest;
    }
    let mut v = format!("{n} {key}=").into_bytes();
    v.extend_from_slice(value);
    v.push(b'\n');
    v
}

fn header(out: &mut Vec<u8>, e: &Entry) {
    let mut h = [0u8; 512];
    let put = |h: &mut [u8; 512], at: usize, width: usize, v: &[u8]| {
        let n = v.len().min(width);
        h[at..at + n].copy_from_slice(&v[..n]);
    };
    let octal = |n: u64, width: usize| format!("{n:0w$o}\0", w = width - 1).into_bytes();
    put(&mut h, 0, 100, &e.name);
    put(&mut h, 100, 8, &octal(u64::from(e.mode), 8));
    put(&mut h, 108, 8, &octal(e.uid, 8));
    put(&mut h, 116, 8, &octal(e.gid, 8));
    put(&mut h, 124, 12, &octal(e.claimed_size.unwrap_or(e.data.len() as u64), 12));
    put(&mut h, 136, 12, &octal(e.mtime, 12));
    put(&mut h, 148, 8, b"        ");
    h[156] = e.kind;
    put(&mut h, 157, 100, &e.link);
    put(&mut h, 257, 8, b"ustar\x0000");
    put(&mut h, 329, 8, &octal(u64::from(e.device.0), 8));
    put(&mut h, 337, 8, &octal(u64::from(e.device.1), 8));
    let sum: u64 = h.iter().map(|b| u64::from(*b)).sum();
    put(&mut h, 148, 8, format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&h);
}

fn padded(out: &mut Vec<u8>, data: &[u8]) {
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
}

/// Names and contents of the regular files of an archive with short names, as the programs of these tests write them.
///
/// # Panics
/// Where the archive is cut.
pub fn members(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).trim().to_owned()
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let header = &tar[at..at + 512];
        let size = usize::from_str_radix(&text(&header[124..136]), 8).expect("a size");
        let data = &tar[at + 512..at + 512 + size];
        if matches!(header[156], b'0' | 0) {
            found.push((text(&header[..100]).trim_start_matches("./").to_owned(), data.to_vec()));
        }
        at += 512 + size.next_multiple_of(512);
    }
    found
}
