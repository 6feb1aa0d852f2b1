//! Connections through `ssh`: a client on the other machine passes bytes between its standard streams and its engine.
//!
//! Standard: <https://docs.docker.com/engine/security/protect-access/#use-ssh-to-protect-the-docker-daemon-socket>. Names, keys and
//! jumps are ssh's own business (`~/.ssh/config`).
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

/// Seconds that ssh tries to connect.
const CONNECT_TIMEOUT_S: u64 = 30;

/// `ssh://[user@]host[:port][/path/of/the/socket]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    pub user: String,
    pub host: String,
    pub port: Option<u16>,
    /// The socket there; empty: the one that the client there uses.
    pub path: String,
}

impl Remote {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (authority, path) = match text.find('/') {
            Some(at) => (&text[..at], &text[at..]),
            None => (text, ""),
        };
        if authority.contains(['?', '#']) || path.contains(['?', '#']) {
            return Err("a query or a fragment has no meaning here");
        }
        let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err("a plain-text password is not supported");
        }
        let (host, port) = crate::endpoint::split_authority(place).ok_or("invalid address")?;
        let port = port.map(str::parse).transpose().map_err(|_| "invalid port")?;
        // ssh would take it for an option
        if host.is_empty() || host.starts_with('-') || user.starts_with('-') {
            return Err("no host specified");
        }
        let path = if path == "/" { "" } else { path };
        Ok(Self { user: user.to_owned(), host: host.to_owned(), port, path: path.to_owned() })
    }

    fn command(&self) -> Command {
        let mut ssh = Command::new("ssh");
        if !self.user.is_empty() {
            ssh.args(["-l", &self.user]);
        }
        if let Some(port) = self.port {
            ssh.args(["-p", &port.to_string()]);
        }
        ssh.args(["-o", &format!("ConnectTimeout={CONNECT_TIMEOUT_S}"), "-T", "--", &self.host]);
        let host = match self.path.as_str() {
            "" => String::new(),
            path => format!(" --host {}", quoted(&format!("unix://{path}"))),
        };
        // either client will do on the other side
        ssh.arg(format!(
            "if command -v docker >/dev/null; then exec docker{host} system dial-stdio; else exec knarr{host} system dial-stdio; fi"
        ));
        ssh
    }

    /// Starts ssh; its errors go to our standard error, where its questions belong.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let input: OwnedFd = theirs.try_clone()?.into();
        let output: OwnedFd = theirs.into();
        // it ends when the connection does; who it is does not matter
        drop(self.command().stdin(input).stdout(output).stderr(Stdio::inherit()).spawn()?);
        ours.set_nonblocking(true)?;
        Ok(ours)
    }
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_ssh() {
        let remote = Remote::parse("me@there:2222/run/x.sock").unwrap();
        assert_eq!((remote.user.as_str(), remote.host.as_str(), remote.port), ("me", "there", Some(2222)));
        let line = format!("{:?}", remote.command());
        assert!(
            line.contains("\"-l\" \"me\" \"-p\" \"2222\"") && line.contains("unix:///run/x.sock"),
            "{line}"
        );
        assert_eq!(Remote::parse("[::1]/").unwrap().host, "::1");
        for bad in ["", "me:secret@there", "-oProxyCommand=x", "-x@there", "there:port", "there?x"] {
            assert!(Remote::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(quoted("a'b"), "'a'\\''b'");
    }
}
