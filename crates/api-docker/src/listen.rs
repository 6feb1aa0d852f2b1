//! Listening sockets: unix, TCP, inherited.
use crate::config::{Listen, ServerConfig};
use rustix::fs::{Mode, chmod, chown};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// Longest `/etc/group` that is read.
const MAX_GROUP_FILE: u64 = 4 << 20;

/// The group that is used unless another one is named, if it exists.
const DEFAULT_GROUP: &str = "docker";

/// Why a socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} is not a socket: it is not removed")]
    NotASocket { path: PathBuf },
    #[error("another engine listens on {path}")]
    InUse { path: PathBuf },
    #[error("listening on {address}: {source}")]
    Listen { address: String, source: io::Error },
    #[error(
        "refusing to listen on tcp://{address} without mutual TLS: whoever reaches it is root on this machine. \
         Use --tlsverify, or a loopback address with --insecure-loopback-tcp"
    )]
    PlainTcp { address: SocketAddr },
    #[error("group {name} not found")]
    NoGroup { name: String },
    #[error("{host}: no address")]
    NoAddress { host: String },
}

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    Unix { listener: UnixListener, _file: Option<SocketFile> },
    Tcp { listener: TcpListener, tls: bool },
}

/// A socket in the file system that is removed at the end.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds everything, or nothing.
pub async fn bind(config: &mut ServerConfig) -> Result<Vec<Bound>, Error> {
    let mut bound = Vec::new();
    for listen in std::mem::take(&mut config.listeners) {
        match listen {
            Listen::Unix(path) => bound.push(unix(&path, &config.socket_group)?),
            Listen::Tcp { host, port } => bound.extend(tcp(&host, port, config).await?),
            Listen::Inherited(fd) => bound.push(inherited(fd, config)?),
        }
    }
    Ok(bound)
}

fn unix(path: &Path, group: &str) -> Result<Bound, Error> {
    let error = |source| Error::Listen { address: format!("unix://{}", path.display()), source };
    remove_stale(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|e| error(e.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|e| error(e.into()))?;
    net::bind(&socket, &address).map_err(|e| error(e.into()))?;
    let file = SocketFile(path.to_owned());
    // Nobody can connect before listen(2), so mode and group are right from the first moment.
    chmod(path, Mode::from_raw_mode(0o660)).map_err(|e| error(e.into()))?;
    if let Some(gid) = wanted_group(group)? {
        chown(path, None, Some(rustix::fs::Gid::from_raw(gid))).map_err(|e| error(e.into()))?;
    }
    net::listen(&socket, BACKLOG).map_err(|e| error(e.into()))?;
    let listener = UnixListener::from_std(socket.into()).map_err(error)?;
    Ok(Bound::Unix { listener, _file: Some(file) })
}

/// Removes the socket of an engine that is gone.
fn remove_stale(path: &Path) -> Result<(), Error> {
    let error = |source| Error::Listen { address: format!("unix://{}", path.display()), source };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(error(e)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(Error::InUse { path: path.into() }),
        Err(_) => std::fs::remove_file(path).map_err(error),
    }
}

/// The group of the socket; `None`: the engine's own. Who names a group that does not exist is told: otherwise nobody but
/// root could connect, or, after a later `groupadd`, others than meant.
fn wanted_group(name: &str) -> Result<Option<u32>, Error> {
    match group_id(name) {
        _ if name.is_empty() => Ok(None),
        Some(gid) => Ok(Some(gid)),
        // Docker's default, which many machines do not have.
        None if name == DEFAULT_GROUP => {
            tracing::warn!(group = name, "no such group: the socket is for root only");
            Ok(None)
        }
        None => Err(Error::NoGroup { name: name.to_owned() }),
    }
}

/// The number of a group in `/etc/group` (group(5)); a static program has no NSS.
fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let file = std::fs::File::open("/etc/group").ok()?;
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_GROUP_FILE), &mut text).ok()?;
    find_group(&text, name)
}

fn find_group(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

async fn tcp(host: &str, port: u16, config: &ServerConfig) -> Result<Vec<Bound>, Error> {
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        // One dual-stack socket.
        vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)]
    } else {
        let found = tokio::net::lookup_host((host, port)).await;
        found.map_err(|source| Error::Listen { address: format!("tcp://{host}:{port}"), source })?.collect()
    };
    if addresses.is_empty() {
        return Err(Error::NoAddress { host: host.to_owned() });
    }
    addresses.into_iter().map(|address| tcp_at(address, config)).collect()
}

/// Plain TCP, and TLS that lets anybody in, are for loopback and only when the administrator said so.
fn check_tcp(address: SocketAddr, config: &ServerConfig) -> Result<bool, Error> {
    let mutual = config.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    if mutual || (address.ip().to_canonical().is_loopback() && config.allow_plain_loopback) {
        Ok(config.tls.is_some())
    } else {
        Err(Error::PlainTcp { address })
    }
}

fn tcp_at(address: SocketAddr, config: &ServerConfig) -> Result<Bound, Error> {
    let tls = check_tcp(address, config)?;
    let error = |source| Error::Listen { address: format!("tcp://{address}"), source };
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    };
    let socket = socket.map_err(error)?;
    socket.set_reuseaddr(true).map_err(error)?;
    socket.bind(address).map_err(error)?;
    let listener = socket.listen(BACKLOG.unsigned_abs()).map_err(error)?;
    Ok(Bound::Tcp { listener, tls })
}

fn inherited(fd: OwnedFd, config: &ServerConfig) -> Result<Bound, Error> {
    let error = |source: io::Error| Error::Listen { address: "fd://".to_owned(), source };
    let family = net::sockopt::socket_domain(fd.as_fd()).map_err(|e| error(e.into()))?;
    if family == AddressFamily::UNIX {
        let listener = std::os::unix::net::UnixListener::from(fd);
        listener.set_nonblocking(true).map_err(error)?;
        let listener = UnixListener::from_std(listener).map_err(error)?;
        return Ok(Bound::Unix { listener, _file: None });
    }
    let listener = std::net::TcpListener::from(fd);
    listener.set_nonblocking(true).map_err(error)?;
    let tls = check_tcp(listener.local_addr().map_err(error)?, config)?;
    let listener = TcpListener::from_std(listener).map_err(error)?;
    Ok(Bound::Tcp { listener, tls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsConfig;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn groups() {
        let text = "root:x:0:\ndocker:x:998:a,b\nbad\n";
        assert_eq!((find_group(text, "docker"), find_group(text, "bad")), (Some(998), None));
        assert_eq!((wanted_group("").unwrap(), wanted_group("12").unwrap()), (None, Some(12)));
        assert_eq!(wanted_group("root").unwrap(), Some(0));
        let error = wanted_group("no-such-group").unwrap_err();
        assert_eq!(error.to_string(), "group no-such-group not found");
    }

    #[test]
    fn tcp_without_mutual_tls_is_for_loopback_by_explicit_flag() {
        let tls = |client_ca: Option<PathBuf>| TlsConfig { cert: "c".into(), key: "k".into(), client_ca };
        let allowed = |address: &str, tls: Option<TlsConfig>, flag: bool| {
            let config = ServerConfig { tls, allow_plain_loopback: flag, ..ServerConfig::default() };
            check_tcp(address.parse().unwrap(), &config).is_ok()
        };
        for loopback in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(allowed(loopback, None, true) && !allowed(loopback, None, false), "{loopback}");
        }
        for public in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(!allowed(public, None, true) && !allowed(public, Some(tls(None)), true), "{public}");
            assert!(allowed(public, Some(tls(Some("ca".into()))), false), "{public}");
        }
    }

    #[tokio::test]
    async fn unix_sockets_replace_stale_ones_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        let first = unix(&path, "").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(unix(&path, ""), Err(Error::InUse { .. })));
        let Bound::Unix { listener, _file: Some(file) } = first else { panic!() };
        std::mem::forget(file);
        drop(listener);
        let second = unix(&path, "").unwrap();
        drop(second);
        assert!(!path.exists());
        std::fs::write(&path, "data").unwrap();
        assert!(matches!(unix(&path, ""), Err(Error::NotASocket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }
}
