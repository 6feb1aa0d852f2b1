//! Options of the local driver (`-o type=`, `device=`, `o=`, `size=`): what they mean. Pure.
//!
//! Standard: Docker's local driver, whose options are those of mount(8).
use crate::Result;
use crate::error::Error;
use knarr_base::units;
use rustix::mount::{MountFlags, MountPropagationFlags};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the options ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `None`: a directory.
    pub mount: Option<Asked>,
    /// Bytes; 0: no limit.
    pub size: u64,
}

/// Something to mount, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub kind: String,
    pub device: String,
    pub options: String,
}

/// Options that need others, in Docker's order of complaints.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];

impl Options {
    /// Refuses what the driver does not know, with Docker's texts.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(unknown) =
            options.keys().find(|key| !["type", "o", "device", "size"].contains(&key.as_str()))
        {
            return Err(format!("invalid option: {unknown:?}"));
        }
        let text = |key: &str| options.get(key).cloned().unwrap_or_default();
        if text("type") == "cifs" && Share::parse(&text("device")).is_some_and(|share| share.port.is_some()) {
            return Err("port not allowed in CIFS device URL, include 'port' in 'o='".to_owned());
        }
        let size = match options.get("size") {
            None => 0,
            Some(text) => units::size(text, units::Base::Binary)?,
        };
        for (option, needed) in NEEDS {
            let missing = needed.iter().find(|needed| !options.contains_key(**needed));
            if let (true, Some(missing)) = (options.contains_key(option), missing) {
                return Err(format!("missing required option: {missing:?}"));
            }
        }
        let asked = Asked { kind: text("type"), device: text("device"), options: text("o") };
        let mount = (!asked.kind.is_empty() || !asked.device.is_empty()).then_some(asked);
        Ok(Self { mount, size })
    }
}

/// `//host[:port]/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share<'a> {
    /// With a scheme, if there is one.
    before: &'a str,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
}

impl<'a> Share<'a> {
    fn parse(device: &'a str) -> Option<Self> {
        let at = device.find("//")? + 2;
        let (before, rest) = device.split_at(at);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            // An IPv6 address has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Some(Self { before, host, port: port.filter(|port| !port.is_empty()), path })
    }
}

/// What mount(2) is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub kind: String,
    pub device: String,
    pub flags: MountFlags,
    pub propagation: Option<MountPropagationFlags>,
    pub data: String,
}

impl Asked {
    /// The name that has to be looked up before the kernel can be asked: it knows addresses only.
    pub fn host(&self) -> Option<&str> {
        if !matches!(self.kind.as_str(), "nfs" | "cifs") {
            return None;
        }
        match self.address() {
            Some(name) => return name.parse::<std::net::Ipv4Addr>().is_err().then_some(name),
            None if self.kind != "cifs" => return None,
            None => {}
        }
        let host = Share::parse(&self.device)?.host;
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        (!host.is_empty() && !is_address).then_some(host)
    }

    fn address(&self) -> Option<&str> {
        self.options
            .split(',')
            .find_map(|option| option.strip_prefix("addr="))
            .filter(|name| !name.is_empty())
    }

    /// With the address of [`Asked::host`], if there was one.
    pub fn mount(&self, address: Option<IpAddr>) -> Mount {
        let (mut device, mut options) = (self.device.clone(), self.options.clone());
        if let (Some(host), Some(address)) = (self.host(), address) {
            match self.address() {
                Some(name) => {
                    options = options.replacen(&format!("addr={name}"), &format!("addr={address}"), 1);
                }
                None => {
                    if let Some(Share { before, path, .. }) =
                        Share::parse(&self.device).filter(|s| s.host == host)
                    {
                        device = format!("{before}{address}{path}");
                    }
                }
            }
        }
        let mut mount = Mount {
            kind: self.kind.clone(),
            device,
            flags: MountFlags::empty(),
            propagation: None,
            data: String::new(),
        };
        let mut data = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            if !mount.flag(option) {
                data.push(option);
            }
        }
        mount.data = data.join(",");
        mount
    }
}

impl Mount {
    /// Whether the option is a flag of every mount; then it is noted. The last of two opposites counts.
    fn flag(&mut self, option: &str) -> bool {
        let all = |flag: MountPropagationFlags| flag | MountPropagationFlags::REC;
        let propagation = match option {
            "private" => Some(MountPropagationFlags::PRIVATE),
            "rprivate" => Some(all(MountPropagationFlags::PRIVATE)),
            "shared" => Some(MountPropagationFlags::SHARED),
            "rshared" => Some(all(MountPropagationFlags::SHARED)),
            "slave" => Some(MountPropagationFlags::DOWNSTREAM),
            "rslave" => Some(all(MountPropagationFlags::DOWNSTREAM)),
            "unbindable" => Some(MountPropagationFlags::UNBINDABLE),
            "runbindable" => Some(all(MountPropagationFlags::UNBINDABLE)),
            _ => None,
        };
        if propagation.is_some() {
            self.propagation = propagation;
            return true;
        }
        let (flag, on) = match option {
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            "mand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
            "nomand" => (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "diratime" => (MountFlags::NODIRATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "nostrictatime" => (MountFlags::STRICTATIME, false),
            "bind" => (MountFlags::BIND, true),
            "rbind" => (MountFlags::BIND | MountFlags::REC, true),
            "defaults" => (MountFlags::empty(), true),
            _ => return false,
        };
        self.flags.set(flag, on);
        true
    }

    /// As an error names it: without a password.
    pub fn shown_data(&self) -> String {
        let hide = |option: &str| match option.strip_prefix("password=") {
            Some(_) => "password=********".to_owned(),
            None => option.to_owned(),
        };
        self.data.split(',').map(hide).collect::<Vec<_>>().join(",")
    }
}

/// The options of a row, which were checked when it was made.
pub(crate) fn of(name: &str, options: &BTreeMap<String, String>) -> Result<Options> {
    Options::parse(options).map_err(|why| Error::InvalidOption { name: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn asked(kind: &str, device: &str, options: &str) -> Asked {
        Asked { kind: kind.into(), device: device.into(), options: options.into() }
    }

    #[test]
    fn what_is_refused() {
        let text = |pairs: &[(&str, &str)]| Options::parse(&map(pairs)).unwrap_err();
        assert_eq!(text(&[("foo", "bar")]), "invalid option: \"foo\"");
        assert_eq!(text(&[("device", "/x")]), "missing required option: \"type\"");
        assert_eq!(text(&[("type", "tmpfs")]), "missing required option: \"device\"");
        assert_eq!(text(&[("o", "ro"), ("type", "nfs")]), "missing required option: \"device\"");
        assert_eq!(text(&[("size", "12x")]), "invalid suffix: 'x'");
        assert_eq!(
            text(&[("type", "cifs"), ("device", "//host:1234/share"), ("o", "")]),
            "port not allowed in CIFS device URL, include 'port' in 'o='"
        );
        assert_eq!(Options::parse(&map(&[("size", "1.5k")])).unwrap().size, 1536);
        assert_eq!(Options::parse(&map(&[])).unwrap(), Options::default());
    }

    #[test]
    fn names_of_servers_are_looked_up() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let nfs = asked("nfs", ":/export", "addr=files.example,rw,vers=4");
        assert_eq!(nfs.host(), Some("files.example"));
        let mount = nfs.mount(Some(ip));
        assert_eq!((mount.device.as_str(), mount.data.as_str()), (":/export", "addr=192.0.2.7,vers=4"));
        assert_eq!(asked("nfs", ":/export", "addr=192.0.2.1").host(), None);
        assert_eq!(asked("nfs", "files.example:/export", "ro").host(), None, "the kernel's own business");
        let cifs = asked("cifs", "//files.example/share/dir", "username=u,password=p");
        assert_eq!(cifs.host(), Some("files.example"));
        assert_eq!(cifs.mount(Some(ip)).device, "//192.0.2.7/share/dir");
        assert_eq!(cifs.mount(Some(ip)).shown_data(), "username=u,password=********");
        assert_eq!(asked("cifs", "//192.0.2.1/share", "").host(), None);
        assert_eq!(asked("tmpfs", "tmpfs", "addr=x").host(), None);
    }

    #[test]
    fn flags_and_data() {
        let mount = asked("tmpfs", "tmpfs", "size=1m,ro,nosuid,rw,uid=1000").mount(None);
        assert_eq!(mount.flags, MountFlags::NOSUID);
        assert_eq!(mount.data, "size=1m,uid=1000");
        let mount = asked("none", "/srv", "rbind,rslave").mount(None);
        assert_eq!(mount.flags, MountFlags::BIND | MountFlags::REC);
        assert_eq!(mount.propagation, Some(MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC));
    }
}
