//! Links, addresses, routes and nftables straight over netlink
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html)): no `ip`, `nft` or `iptables` program.
//!
//! Sync. Invariant: one request is one `sendmsg`; every request is acknowledged, and a refusal becomes an `Error` that
//! names the operation, the object and the kernel's own words.
pub mod error;

pub use error::{Error, Result};
