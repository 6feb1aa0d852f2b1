//! Events: numbered rows, written in the transaction of the change that they report.
use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Events are kept up to this number; the oldest go first.
pub const MAX_EVENTS: u64 = 10_000;

/// Minor events are kept up to this number, beside the others.
pub const MAX_MINOR_EVENTS: u64 = 1000;

pub(crate) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// Of the same numbering.
pub(crate) const MINOR_EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("minor_events");

/// One event, as Docker's `events` shows it; its number is the row's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Object type: `container`, `image`, `network`, `volume`, `daemon`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened: `create`, `start`, `die`, ...
    pub action: String,
    /// The object's id or name.
    pub id: String,
    /// Attributes: labels, name, image, exit code, ...
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// When, in nanoseconds since the Unix epoch.
    pub time_nanos: i64,
    /// One of many that come all the time, such as those of health checks: they do not displace the others.
    #[serde(skip)]
    pub minor: bool,
}

impl Event {
    /// An event that happens now, without attributes.
    pub fn now(kind: &str, action: &str, id: &str) -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: BTreeMap::new(),
            time_nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            minor: false,
        }
    }

    /// The same event with one more attribute.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }
}
