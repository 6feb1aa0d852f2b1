//! `sd_notify`: tells systemd that the engine serves or stops.
//!
//! Protocol: <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>. Without `NOTIFY_SOCKET` it does nothing.
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
};

/// Sends one state, such as `READY=1`.
pub fn send(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send_to(path.as_encoded_bytes(), state) {
        tracing::warn!(%error, socket = ?path, "cannot notify the service manager");
    }
}

fn send_to(path: &[u8], state: &str) -> io::Result<()> {
    // A leading `@` is systemd's notation for an abstract name; the socket is systemd's, Knarr itself owns none.
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::new(
            std::str::from_utf8(path).map_err(io::Error::other)?,
        ))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives_at_the_named_socket() {
        let dir = std::env::temp_dir().join(format!("knarr-notify-{}", std::process::id()));
        let receiver = UnixDatagram::bind(&dir).unwrap();
        send_to(dir.as_os_str().as_encoded_bytes(), "READY=1").unwrap();
        let mut buffer = [0; 16];
        let n = receiver.recv(&mut buffer).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(&buffer[..n], b"READY=1");
    }
}
