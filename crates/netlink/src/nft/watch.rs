//! Who changes which table: the kernel's notifications about nftables.
use super::Family;
use crate::attribute::{find, text};
use crate::socket::Socket;
use crate::{Error, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// `NFNLGRP_NFTABLES`
const GROUP: u32 = 7;
const SUBSYSTEM: u16 = 10;
/// Attribute of every object but the ruleset's generation.
const TABLE: u16 = 1;
const NEW_GENERATION: u16 = 15;
/// A table with thousands of elements that is replaced is as many notifications at once. Used only while they wait.
const RECEIVE_BUFFER_BYTES: usize = 16 << 20;

/// A change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub family: Family,
    pub table: String,
    /// Port of the netlink socket that it came through: compare with `Nftables::port`.
    pub port: u32,
}

/// What came since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    Some(Vec<Change>),
    /// More than the socket's buffer holds: anything may have changed.
    Lost,
}

/// A subscription. Its descriptor becomes readable when something changed.
pub struct Watch {
    socket: Socket,
}

impl Watch {
    pub fn open() -> Result<Self> {
        let socket = Socket::open(NETLINK_NETFILTER)?;
        socket.reserve_receive(RECEIVE_BUFFER_BYTES);
        socket.subscribe(GROUP)?;
        Ok(Self { socket })
    }

    /// Waits for a datagram of changes.
    pub fn changes(&mut self) -> Result<Changes> {
        let mut changes: Vec<Change> = Vec::new();
        let received = self.socket.receive("watch nftables", |header, payload| {
            let change = parse(header.kind, header.port, payload);
            changes.extend(change.filter(|c| !changes.contains(c)));
        });
        match received {
            Ok(()) => Ok(Changes::Some(changes)),
            Err(Error::Socket { source, .. })
                if source.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) =>
            {
                Ok(Changes::Lost)
            }
            Err(e) => Err(e),
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn parse(kind: u16, port: u32, payload: &[u8]) -> Option<Change> {
    let (fixed, rest) = payload.split_first_chunk::<4>()?;
    if kind >> 8 != SUBSYSTEM || kind & 0xff == NEW_GENERATION {
        return None;
    }
    Some(Change { family: Family::from_number(fixed[0])?, table: find(rest, TABLE).map(text)?, port })
}
