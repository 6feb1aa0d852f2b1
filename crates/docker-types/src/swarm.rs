//! What `info` says about Swarm: this engine is never part of one.
use crate::List;

api_struct! {
    pub struct Info {
        node_id: String = "NodeID",
        node_addr: String = "NodeAddr",
        local_node_state: String = "LocalNodeState",
        control_available: bool = "ControlAvailable",
        error: String = "Error",
        remote_managers: List<Peer> = "RemoteManagers",
    }

    pub struct Peer {
        node_id: String = "NodeID",
        addr: String = "Addr",
    }
}

impl Info {
    /// An engine outside of any swarm.
    pub fn inactive() -> Self {
        Self { local_node_state: "inactive".to_owned(), ..Self::default() }
    }
}
