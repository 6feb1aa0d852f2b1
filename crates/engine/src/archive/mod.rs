//! `docker cp`: trees in and out of containers as tar streams.
//!
//! Invariants: every path inside is resolved by the kernel from a descriptor of the container's root, so a link or a
//! rename inside never leads outside (CVE-2018-15664, CVE-2019-14271: nothing is executed, no name service is asked);
//! what is opened is looked at again before it is read.
mod assemble;
mod get;
mod put;
mod tree;

pub(crate) use get::{pack, stat};
pub(crate) use put::{Options, extract};
pub(crate) use tree::{Access, Tree};
