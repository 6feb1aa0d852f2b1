//! Links, addresses, routes and nftables straight over netlink
//! ([netlink(7)](https://man7.org/linux/man-pages/man7/netlink.7.html)): no `ip`, `nft` or `iptables` program.
//!
//! Sync. A `Request` is pure data made by constructors in `link`, `address`, `route` and `nft`; a connection carries
//! several of them in one `sendmsg`.
//! Invariant: every request is acknowledged, and a refusal becomes an `Error` that names the operation, the object and
//! the kernel's own words.
pub mod address;
mod attribute;
pub mod conntrack;
pub mod error;
pub mod link;
pub mod neighbour;
pub mod nft;
mod request;
pub mod route;
mod rtnetlink;
mod socket;

pub use error::{Error, Result};
pub use request::Request;
pub use rtnetlink::Rtnetlink;
