//! One line of `GET /events`.
use crate::Map;

api_struct! {
    pub struct Message {
        /// container, image, volume, network, daemon, builder, plugin.
        kind: String = "Type",
        /// `start`, `exec_start: sh -c true`, `health_status: healthy`, ...
        action: String = "Action",
        actor: Actor = "Actor",
        scope: String = "scope" omitempty,
        time: i64 = "time" omitempty,
        time_nano: i64 = "timeNano" omitempty,
    }

    pub struct Actor {
        id: String = "ID",
        attributes: Map<String> = "Attributes",
    }
}
