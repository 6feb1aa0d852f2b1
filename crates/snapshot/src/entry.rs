//! One member of a tar archive, put together from its header and the extension headers before it.
use crate::{number, sparse};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One member of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub kind: EntryKind,
    /// The name as it stands in the archive.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits with set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub mtime: (i64, u32),
    pub atime: Option<(i64, u32)>,
    /// Size of the file in the end.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<sparse::Map>,
}

/// What extension headers say about the entry that follows them.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    atime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse_path: Option<Vec<u8>>,
    sparse_major: Option<u64>,
    sparse_minor: Option<u64>,
    pub(crate) sparse_version: Option<(u64, u64)>,
    pub(crate) sparse_size: Option<u64>,
    pub(crate) sparse_map: Option<sparse::Map>,
    sparse_offset: Option<u64>,
    seen: bool,
    kinds: Vec<u8>,
}

/// Largest value of an extended attribute: `XATTR_SIZE_MAX` of the kernel (xattr(7)).
const MAX_XATTR_LEN: usize = 64 << 10;
/// Largest names and values of one entry together. File systems hold less.
const MAX_XATTRS_LEN: usize = 256 << 10;
/// Most attributes of one entry.
const MAX_XATTRS: usize = 256;
/// Largest device numbers: mknod(2) would take others for something else.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;
const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

impl Extensions {
    pub(crate) fn is_empty(&self) -> bool {
        !self.seen
    }

    /// Takes in one extension header: PAX local or global, GNU long name or long link.
    ///
    /// Two of a kind, or a name from both PAX and GNU, is where readers differ: refused.
    pub(crate) fn add(&mut self, kind: u8, data: &[u8]) -> Result<(), &'static str> {
        if kind != b'g' && self.kinds.contains(&kind) {
            return Err("two extension headers of one kind");
        }
        self.kinds.push(kind);
        match kind {
            b'L' => self.long_path = Some(until_nul(data).to_vec()),
            b'K' => self.long_link = Some(until_nul(data).to_vec()),
            b'g' => return check_global(data),
            _ => {
                for record in records(data) {
                    let (key, value) = record?;
                    self.record(key, value)?;
                }
                self.sparse_version = self.sparse_major.zip(self.sparse_minor);
            }
        }
        let names = self.path.is_some() || self.sparse_path.is_some();
        if self.long_path.is_some() && names || self.long_link.is_some() && self.link.is_some() {
            return Err("name from two extension headers");
        }
        self.seen = true;
        Ok(())
    }

    /// A later record replaces an earlier one.
    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let text = || (!value.is_empty()).then(|| value.to_vec());
        // By POSIX an empty value takes an earlier one back; readers do not agree, and no writer does it.
        let count = |reason| number::parse_decimal(value).map(Some).ok_or(reason);
        let id = |reason| count(reason)?.map(|n| u32::try_from(n).map_err(|_| reason)).transpose();
        let time = |reason| number::parse_time(value).map(Some).ok_or(reason);
        match key {
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.is_empty() => {
                return Err("empty name in PAX record");
            }
            b"path" => self.path = text(),
            b"linkpath" => self.link = text(),
            b"size" => self.size = count("malformed PAX size")?,
            b"uid" => self.uid = id("malformed PAX uid")?,
            b"gid" => self.gid = id("malformed PAX gid")?,
            b"mtime" => self.mtime = time("malformed PAX mtime")?,
            b"atime" => self.atime = time("malformed PAX atime")?,
            b"GNU.sparse.name" => self.sparse_path = text(),
            b"GNU.sparse.major" => self.sparse_major = count("malformed sparse version")?,
            b"GNU.sparse.minor" => self.sparse_minor = count("malformed sparse version")?,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                self.sparse_size = count("malformed sparse size")?;
            }
            b"GNU.sparse.map" => self.sparse_map = Some(sparse::parse_list(value)?),
            b"GNU.sparse.offset" => self.sparse_offset = count("malformed sparse map")?,
            b"GNU.sparse.numbytes" => {
                let (offset, len) = self
                    .sparse_offset
                    .take()
                    .zip(count("malformed sparse map")?)
                    .ok_or("malformed sparse map")?;
                sparse::push(self.sparse_map.get_or_insert_default(), offset, len)?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    if name.is_empty() || name.contains(&0) {
                        return Err("malformed name of an extended attribute");
                    }
                    self.attribute(name, value)?;
                }
            }
        }
        Ok(())
    }
    fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static str> {
        if value.len() > MAX_XATTR_LEN {
            return Err("value of an extended attribute is too long");
        }
        self.xattrs.retain(|(existing, _)| existing != name);
        let total: usize = self.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.xattrs.len() >= MAX_XATTRS || total + name.len() + value.len() > MAX_XATTRS_LEN {
            return Err("too many extended attributes");
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// Records `<length> <key>=<value>\n`.
fn records(mut data: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), &'static str>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let Some((key, value, rest)) = split_record(data) else {
            data = &[];
            return Some(Err("malformed PAX record"));
        };
        data = rest;
        Some(Ok((key, value)))
    })
}

fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(12).position(|b| *b == b' ')?;
    let len = usize::try_from(number::parse_decimal(&data[..space])?).ok()?;
    let record = data.get(space + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let is_name = matches!(key, b"path" | b"linkpath" | b"GNU.sparse.name");
    if key.is_empty() || key.contains(&0) || is_name && value.contains(&0) {
        return None;
    }
    Some((key, value, &data[len..]))
}

/// Global headers carry comments in practice. What would change every entry is not something readers agree on: GNU tar and
/// Python apply it, libarchive and Go do not.
fn check_global(data: &[u8]) -> Result<(), &'static str> {
    const CHANGING: [&[u8]; 9] =
        [b"path", b"linkpath", b"size", b"uid", b"gid", b"uname", b"gname", b"mtime", b"atime"];
    const CHANGING_FAMILIES: [&[u8]; 4] = [b"GNU.sparse.", XATTR_PREFIX, b"SCHILY.acl.", b"LIBARCHIVE."];
    for record in records(data) {
        let (key, _) = record?;
        if CHANGING.contains(&key) || CHANGING_FAMILIES.iter().any(|family| key.starts_with(family)) {
            return Err("global PAX header changes names, sizes or attributes");
        }
    }
    Ok(())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len())]
}

impl Entry {
    /// An entry of root's, changed at `time` (seconds since the epoch).
    pub fn new(kind: EntryKind, path: Vec<u8>, mode: u32, size: u64, time: i64) -> Self {
        Self {
            kind,
            path,
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            mtime: (time, 0),
            atime: None,
            size,
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// The archive holds pieces of the file only.
    pub fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    pub(crate) fn from_header(block: &[u8; 512], extensions: &Extensions) -> Result<Self, &'static str> {
        let header = tar::Header::from_byte_slice(block);
        let old = header.as_old();
        let path = extensions.long_path.clone().or_else(|| extensions.sparse_path.clone());
        let path = path.or_else(|| extensions.path.clone()).unwrap_or_else(|| header_path(header));
        let link = extensions.long_link.clone().or_else(|| extensions.link.clone());
        let link = link.unwrap_or_else(|| until_nul(&old.linkname).to_vec());
        let flag = old.linkflag[0];
        if flag == b'\0' && header_path(header).ends_with(b"/") != path.ends_with(b"/") {
            return Err("directory by one name and file by another");
        }
        // For GNU tar and libarchive it is a directory, for Go and Python a file.
        if matches!(flag, b'0' | b'7' | b'S') && path.ends_with(b"/") {
            return Err("file with the name of a directory");
        }
        if flag == b'S' && header.as_gnu().is_none() {
            return Err("sparse file of GNU tar in another format");
        }
        let kind = kind(flag, &path)?;
        if matches!(kind, EntryKind::HardLink | EntryKind::Symlink) && link.is_empty() {
            return Err("link without a target");
        }
        let id = |field: &[u8]| number::parse(field).and_then(|n| u32::try_from(n).ok());
        let device = match (header.as_ustar(), header.as_gnu()) {
            (Some(h), _) => (id(&h.dev_major), id(&h.dev_minor)),
            (_, Some(h)) => (id(&h.dev_major), id(&h.dev_minor)),
            _ => (Some(0), Some(0)),
        };
        let is_device = matches!(kind, EntryKind::CharDevice | EntryKind::BlockDevice);
        let device = match device {
            (Some(major), Some(minor)) if is_device && (major > MAX_MAJOR || minor > MAX_MINOR) => {
                return Err("device number that the kernel does not have");
            }
            (Some(major), Some(minor)) => (major, minor),
            _ if is_device => return Err("device number is not a number"),
            _ => (0, 0),
        };
        // As with sizes, the header's is read even if another one counts.
        let either = |other: Option<u32>, field: &[u8]| {
            id(field).map(|own| other.unwrap_or(own)).filter(|id| *id != u32::MAX)
        };
        let (uid, gid) = (either(extensions.uid, &old.uid), either(extensions.gid, &old.gid));
        let mtime = match extensions.mtime {
            Some(time) => time,
            None => (number::parse(&old.mtime).ok_or("mtime is not a number")?, 0),
        };
        let mode = number::parse(&old.mode).ok_or("mode is not a number")?;
        Ok(Self {
            kind,
            path,
            link,
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: uid.ok_or("uid is not a number")?,
            gid: gid.ok_or("gid is not a number")?,
            mtime,
            atime: extensions.atime,
            size: 0,
            device,
            xattrs: extensions.xattrs.clone(),
            sparse: None,
        })
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<EntryKind, &'static str> {
    Ok(match flag {
        b'\0' if path.ends_with(b"/") => EntryKind::Directory,
        b'0' | b'\0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return Err("unhandled entry type"),
    })
}

/// Name of the header itself; with POSIX ustar, of whatever version, the prefix stands before it.
fn header_path(header: &tar::Header) -> Vec<u8> {
    const PREFIX: std::ops::Range<usize> = 345..500;
    let name = until_nul(&header.as_old().name);
    let prefix = match header.as_bytes()[257..].starts_with(b"ustar\0") {
        true => until_nul(&header.as_bytes()[PREFIX]),
        false => &[],
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pax(name: &str, value: &[u8]) -> Vec<u8> {
        let body = [format!("SCHILY.xattr.{name}=").as_bytes(), value, b"\n"].concat();
        // The length counts its own digits.
        let mut length = body.len() + 2;
        while length != body.len() + 1 + length.to_string().len() {
            length = body.len() + 1 + length.to_string().len();
        }
        [format!("{length} ").as_bytes(), &body].concat()
    }

    #[test]
    fn attributes_of_an_entry_are_bounded() {
        let add = |records: &[Vec<u8>]| {
            let mut extensions = Extensions::default();
            extensions.add(b'x', &records.concat()).map(|()| extensions.xattrs)
        };
        let full = vec![7; MAX_XATTR_LEN];
        assert_eq!(add(&[pax("user.a", &full)]).unwrap()[0].1.len(), MAX_XATTR_LEN);
        assert!(add(&[pax("user.a", &vec![7; MAX_XATTR_LEN + 1])]).is_err());
        let many = |count: usize, value: &[u8]| -> Vec<Vec<u8>> {
            (0..count).map(|n| pax(&format!("user.{n}"), value)).collect()
        };
        assert!(add(&many(3, &full)).is_ok() && add(&many(4, &full)).is_err());
        assert!(add(&many(MAX_XATTRS, b"v")).is_ok() && add(&many(MAX_XATTRS + 1, b"v")).is_err());
        // The same one again replaces the one before, and counts once.
        assert_eq!(add(&vec![pax("user.a", &full); 8]).unwrap().len(), 1);
    }
}
