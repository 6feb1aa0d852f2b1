//! A connection to nftables: commits batches, reads what tables and base chains there are.
use super::{Batch, Family, Policy, message, nfgenmsg};
use crate::attribute::{attributes, find, text, u32_be};
use crate::request::flag;
use crate::socket::{Header, Socket, acknowledgement};
use crate::{Request, Result};
use netlink_sys::protocols::NETLINK_NETFILTER;
use std::os::fd::OwnedFd;

const TYPE_ERROR: u16 = 2;
const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const HOOK_FORWARD: u32 = 2;

/// Bound to the network namespace of the thread that opened it.
pub struct Nftables {
    socket: Socket,
}

/// A base chain of the forward hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignChain {
    pub family: Family,
    pub table: String,
    pub name: String,
    pub policy: Policy,
}

impl Nftables {
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(NETLINK_NETFILTER)? })
    }

    /// Number of this connection in notifications.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// The socket. As long as it or a copy of it is open, what the connection owns stays.
    pub fn into_fd(self) -> Result<OwnedFd> {
        self.socket.into_fd()
    }

    /// Carries out the whole batch or nothing.
    pub fn commit(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut requests = batch.into_requests();
        let first = self.socket.number(&mut requests);
        let bytes: Vec<u8> = requests.iter().flat_map(|r| r.bytes.iter().copied()).collect();
        self.socket.reserve_send(bytes.len());
        let operation = requests[0].operation().to_owned();
        self.socket.send(&operation, &bytes)?;
        // The last request before the end of the batch is acknowledged after all others; an error about the batch
        // itself comes under the number of its first message.
        let last = requests.len() - 2;
        let (mut outcome, mut done) = (Ok(()), false);
        while !done {
            self.socket.receive(&operation, |header, payload| {
                let Header { kind, flags, sequence, .. } = header;
                let index = sequence.wrapping_sub(first) as usize;
                if kind != TYPE_ERROR || index >= requests.len() {
                    return;
                }
                if outcome.is_ok() {
                    outcome = acknowledgement(requests[index].operation(), flags, payload);
                }
                done |= index == last || (index == 0 && outcome.is_err());
            })?;
        }
        outcome
    }

    /// Whether the table exists.
    pub fn has_table(&mut self, family: Family, name: &str) -> Result<bool> {
        let fixed = nfgenmsg(family.number(), 0);
        let answers =
            self.socket.dump(&Request::new("list tables", message::GET_TABLE, flag::DUMP, &fixed))?;
        let rest = answers.iter().filter_map(|a| a.payload.get(4..));
        Ok(rest.filter_map(|r| find(r, TABLE_NAME)).any(|n| text(n) == name))
    }

    /// Names of all tables of a family.
    pub fn tables(&mut self, family: Family) -> Result<Vec<String>> {
        let fixed = nfgenmsg(family.number(), 0);
        let answers =
            self.socket.dump(&Request::new("list tables", message::GET_TABLE, flag::DUMP, &fixed))?;
        let rest = answers.iter().filter_map(|a| a.payload.get(4..));
        Ok(rest.filter_map(|r| find(r, TABLE_NAME)).map(text).collect())
    }

    /// All chains that packets to be forwarded pass through.
    pub fn forward_chains(&mut self) -> Result<Vec<ForeignChain>> {
        let answers = self.socket.dump(&Request::new(
            "list chains",
            message::GET_CHAIN,
            flag::DUMP,
            &nfgenmsg(0, 0),
        ))?;
        Ok(answers.iter().filter_map(|a| forward_chain(&a.payload)).collect())
    }
}

fn forward_chain(payload: &[u8]) -> Option<ForeignChain> {
    let (fixed, rest) = payload.split_first_chunk::<4>()?;
    let family = Family::from_number(fixed[0])?;
    let (mut table, mut name, mut forward, mut policy) =
        (String::new(), String::new(), false, Policy::Accept);
    for (kind, value) in attributes(rest) {
        match kind {
            CHAIN_TABLE => table = text(value),
            CHAIN_NAME => name = text(value),
            CHAIN_HOOK => forward = find(value, HOOK_NUMBER).and_then(u32_be) == Some(HOOK_FORWARD),
            CHAIN_POLICY if u32_be(value) == Some(0) => policy = Policy::Drop,
            _ => {}
        }
    }
    forward.then_some(ForeignChain { family, table, name, policy })
}
