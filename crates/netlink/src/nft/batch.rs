//! A transaction: tables, chains, sets, elements and rules that change together.
use super::set::{comment, elements};
use super::{Element, Expression, Family, SetSpec, message, nfgenmsg};
use crate::Request;
use crate::request::flag;
use crate::socket::CHANGE;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// `NFT_TABLE_F_OWNER`
const OWNED: u32 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
}

impl ChainKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    fn number(self) -> u32 {
        match self {
            Hook::Prerouting => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    Accept,
    Drop,
}

/// Where packets enter a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HookSpec {
    pub kind: ChainKind,
    pub hook: Hook,
    pub priority: i32,
    pub policy: Policy,
}

/// A chain; without a hook it is reached by jumps only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSpec {
    pub name: &'static str,
    pub hook: Option<HookSpec>,
}

/// Requests of one transaction on one table.
#[derive(Debug)]
pub struct Batch {
    family: Family,
    table: String,
    requests: Vec<Request>,
    sets: u32,
}

impl Batch {
    pub fn new(family: Family, table: impl Into<String>) -> Self {
        Self { family, table: table.into(), requests: Vec::new(), sets: 0 }
    }

    fn push(&mut self, what: &str, kind: u16, flags: u16, fill: impl FnOnce(Request) -> Request) {
        let operation = format!("{what} in table {} {}", self.family.as_str(), self.table);
        let request = Request::new(operation, kind, flags | CHANGE, &nfgenmsg(self.family.number(), 0));
        self.requests.push(fill(request));
    }

    fn table_request(&mut self, what: &str, kind: u16, flags: u16) {
        let table = self.table.clone();
        self.push(what, kind, flags, |r| r.text(TABLE_NAME, &table));
    }

    /// Empties the table: what follows is all that it has.
    pub fn replace_table(&mut self) {
        self.remove_table();
        self.table_request("create", message::NEW_TABLE, flag::CREATE);
    }

    /// Removes the table, whether it is there or not.
    pub fn remove_table(&mut self) {
        self.table_request("create", message::NEW_TABLE, flag::CREATE);
        self.delete_table();
    }

    /// A new table that nobody but this connection can change or flush; it goes when the connection is closed.
    pub fn add_owned_table(&mut self) {
        let table = self.table.clone();
        self.push("create", message::NEW_TABLE, flag::CREATE | flag::EXCL, |r| {
            r.text(TABLE_NAME, &table).be32(TABLE_FLAGS, OWNED)
        });
    }

    pub fn delete_table(&mut self) {
        self.table_request("delete", message::DEL_TABLE, 0);
    }

    pub fn add_chain(&mut self, chain: &ChainSpec) {
        let table = self.table.clone();
        self.push(&format!("create chain {}", chain.name), message::NEW_CHAIN, flag::CREATE, |r| {
            let r = r.text(CHAIN_TABLE, &table).text(CHAIN_NAME, chain.name);
            let Some(hook) = chain.hook else { return r };
            r.nest(CHAIN_HOOK, |r| {
                r.be32(HOOK_NUMBER, hook.hook.number()).be32(HOOK_PRIORITY, hook.priority.cast_unsigned())
            })
            .be32(CHAIN_POLICY, u32::from(hook.policy == Policy::Accept))
            .text(CHAIN_TYPE, hook.kind.as_str())
        });
    }

    pub fn add_rule(&mut self, chain: &'static str, expressions: &[Expression], note: &str) {
        let table = self.table.clone();
        self.push(
            &format!("add rule to chain {chain}"),
            message::NEW_RULE,
            flag::CREATE | flag::APPEND,
            |r| {
                let r = r
                    .text(RULE_TABLE, &table)
                    .text(RULE_CHAIN, chain)
                    .nest(RULE_EXPRESSIONS, |r| expressions.iter().fold(r, |r, e| e.put(r)));
                if note.is_empty() { r } else { r.bytes(RULE_USERDATA, &comment(note)) }
            },
        );
    }

    pub fn add_set(&mut self, set: &SetSpec) {
        self.sets += 1;
        self.requests.push(set.request(self.family, &self.table, self.sets));
    }

    pub fn add_elements(&mut self, set: &str, list: &[Element]) {
        self.requests.extend(elements(self.family, &self.table, set, list, true));
    }

    pub fn delete_elements(&mut self, set: &str, list: &[Element]) {
        self.requests.extend(elements(self.family, &self.table, set, list, false));
    }

    /// What follows is about the same table of another family.
    pub fn in_family(&mut self, family: Family) {
        self.family = family;
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn into_requests(self) -> Vec<Request> {
        let frame = |kind, what: &str| Request::new(what, kind, 0, &nfgenmsg(0, message::SUBSYSTEM_ID));
        let mut all = Vec::with_capacity(self.requests.len() + 2);
        let what = format!("change table {} {}", self.family.as_str(), self.table);
        all.push(frame(message::BATCH_BEGIN, &what));
        all.extend(self.requests);
        all.push(frame(message::BATCH_END, &what));
        all
    }
}
