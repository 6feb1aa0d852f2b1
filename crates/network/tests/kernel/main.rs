//! Networks against the real kernel. Each test plays in network namespaces of its own, so the machine's network stays
//! as it is. Needs root; skipped otherwise.
mod bridge;
mod cost;
mod forwarding;
mod gateways;
mod ipv6;
mod links;
mod neighbours;
mod oracle;
mod parents;
mod ports;
mod recovery;
mod relays;
mod scale;
mod side_by_side;
mod sources;
mod user_defined;
mod world;
