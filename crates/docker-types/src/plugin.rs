//! Managed plugins: Knarr has none, so only the list of kinds in `info` is here.
use crate::List;

api_struct! {
    pub struct PluginsInfo {
        volume: List<String> = "Volume",
        network: List<String> = "Network",
        authorization: List<String> = "Authorization",
        log: List<String> = "Log",
    }
}
