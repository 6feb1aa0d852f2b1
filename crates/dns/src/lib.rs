//! The name server inside of containers' networks, at 127.0.0.11: Docker's embedded DNS.
//!
//! Standard: RFC 1035, RFC 6891, RFC 7766; [what Docker answers](https://docs.docker.com/engine/network/#dns-services).
//! `decide`, `health`, `limits` and `message` are pure; `sockets` opens and `server` serves them; `upstream` asks others.
//!
//! Invariants: a container hears of names of its own networks only; what a container of a closed network asks never leaves
//! this machine; what one container sends or leaves half done is at nobody else's cost.
mod decide;
mod health;
mod limits;
pub mod message;
mod resolvers;
mod server;
mod sockets;
mod upstream;

pub use server::{Client, Server};
pub use sockets::{Error, Sockets};
