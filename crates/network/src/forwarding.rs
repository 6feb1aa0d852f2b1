//! Who turned forwarding on; the row in the store.
//!
//! Forwarding is a switch of the whole machine. If it was the engine that threw it, then only bridges shall gain by it, until
//! the machine starts anew: so the engine has to remember, across its own restarts.
use knarr_state::Record;
use serde::{Deserialize, Serialize};

/// The one key of the table.
pub(crate) const KEY: &str = "forwarding";

/// In which run of the machine the engine turned forwarding on, and for which families.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TurnedOn {
    pub boot: String,
    pub ipv4: bool,
    pub ipv6: bool,
    /// Other programs' bridges that were there then.
    #[serde(default)]
    pub bridges: Vec<String>,
}

impl Record for TurnedOn {
    const TABLE: &'static str = "network_switches";
}

impl TurnedOn {
    /// Of this run of the machine; what an earlier one left is of no more use.
    pub fn current(stored: Option<Self>) -> Self {
        let boot = boot_id();
        stored.filter(|row| row.boot == boot).unwrap_or(Self { boot, ..Self::default() })
    }

    pub fn family(&mut self, ipv4: bool) -> &mut bool {
        if ipv4 { &mut self.ipv4 } else { &mut self.ipv6 }
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
