//! A container's network namespace
//! ([network_namespaces(7)](https://man7.org/linux/man-pages/man7/network_namespaces.7.html)): a descriptor, never a name.
use crate::error::Result;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A network namespace, held by its descriptor. It ends with the last descriptor and process in it.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

/// Counters of one interface, from the container's point of view.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

impl Namespace {
    /// A new one with loopback only and without IPv6: network mode `none`.
    pub fn create() -> Result<Self> {
        Err(crate::Error::Unsupported("network namespaces".into()))
    }

    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Counters of its interfaces but loopback, for `stats`.
    pub fn statistics(_netns: BorrowedFd<'_>) -> Result<Vec<InterfaceStats>> {
        Err(crate::Error::Unsupported("network statistics".into()))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
