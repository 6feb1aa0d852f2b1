//! Handing the descriptor of a notifying filter to the agent that listens.
//!
//! Standard: runtime-spec config-linux.md, "The Container Process State": one message per connection, the descriptor with its
//! first bytes.
use crate::{Error, Result};
use knarr_linux::{Errno, fdpass};
use knarr_oci::runtime::{Seccomp, SeccompAction, State, VERSION};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::Serialize;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// Who is told of calls that the filter does not decide.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    path: String,
    metadata: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// `None` if the profile notifies nobody.
pub(crate) fn of_profile(profile: &Seccomp) -> Result<Option<Listener>> {
    let invalid = |what: &str| Err(Error::Invalid { what: what.to_owned() });
    let path = profile.listener_path.clone().filter(|path| !path.is_empty());
    if path.is_none() && profile.listener_metadata.as_ref().is_some_and(|text| !text.is_empty()) {
        return invalid("seccomp listenerMetadata without listenerPath");
    }
    if !notifies(profile) {
        return Ok(None);
    }
    match path {
        Some(path) => Ok(Some(Listener { path, metadata: profile.listener_metadata.clone() })),
        None => invalid("seccomp action SCMP_ACT_NOTIFY without listenerPath"),
    }
}

pub(super) fn notifies(profile: &Seccomp) -> bool {
    profile.syscalls.iter().any(|call| call.action == SeccompAction::Notify)
}

impl Listener {
    /// `pid` is the process with the filter, which may be another than the container's first.
    pub(crate) fn hand_over(&self, filter: OwnedFd, pid: i32, state: &State) -> Result<()> {
        let metadata = self.metadata.as_deref();
        let message = Message { oci_version: VERSION, fds: ["seccompFd"], pid, metadata, state };
        let text = serde_json::to_vec(&message).map_err(|e| Error::Invalid { what: e.to_string() })?;
        self.send(&text, &filter).map_err(|errno| Error::Step {
            stage: "failed to connect with seccomp agent".to_owned(),
            path: Some(self.path.clone().into()),
            errno: errno.raw_os_error(),
        })
    }

    fn send(&self, text: &[u8], filter: &OwnedFd) -> std::result::Result<(), Errno> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(self.path.as_str())?)?;
        let sent = fdpass::send(&socket, text, &[filter.as_fd()])?;
        let rest = text.get(sent..).unwrap_or_default();
        let written = std::fs::File::from(socket).write_all(rest);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
