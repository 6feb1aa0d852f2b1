//! How containers are shown: rows to Docker's JSON. Reads only.
mod filter;
mod inspect;
mod network;
mod status_text;
mod summary;

pub(crate) use filter::Matcher;
pub(crate) use inspect::{inspect, sizes};
pub(crate) use network::{links, networks, port_map, ports};
pub(crate) use summary::summary;
