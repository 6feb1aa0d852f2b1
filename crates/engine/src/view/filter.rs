//! `ps --filter`.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::machine::Phase;
use crate::registry::Snapshot;
use knarr_docker_types::Filters;
use regex_automata::Input;
use regex_automata::dfa::{Automaton, StartKind, dense};

pub(crate) const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// What the filter `health` may ask for.
const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];

/// Ports of a filter: `80`, `80/udp`, `8000-8080/tcp`.
#[derive(Debug, PartialEq, Eq)]
struct PortRange {
    from: u16,
    to: u16,
    protocol: String,
}

impl PortRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then(|| Self { from, to, protocol: protocol.to_ascii_lowercase() })
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        port != 0 && (self.from..=self.to).contains(&port) && self.protocol == protocol
    }
}

fn ports(filters: &Filters, name: &str) -> Result<Vec<PortRange>> {
    let parse = |text: &str| {
        PortRange::parse(text).ok_or_else(|| {
            Error::Invalid(format!(
                "error while looking up for {name} {text}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })
    };
    filters.get(name).map(parse).collect()
}

/// Whether the container passes all filters; values of one filter are alternatives.
pub(crate) fn matches(engine: &Inner, snapshot: &Snapshot, filters: &Filters) -> Result<bool> {
    let container = &snapshot.container;
    let any =
        |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
    for wanted in filters.get("status") {
        if !Phase::ALL.iter().any(|phase| phase.as_str() == wanted) {
            return Err(Error::Invalid(format!(
                "invalid filter 'status={wanted}': invalid value for state ({wanted}): must be one of created, running, \
                 paused, restarting, removing, exited, dead"
            )));
        }
    }
    for wanted in filters.get("exited") {
        if wanted.parse::<i32>().is_err() {
            return Err(Error::Invalid(format!(
                "invalid filter 'exited={wanted}': strconv.Atoi: parsing {wanted:?}: invalid syntax"
            )));
        }
    }
    if let Some(wanted) = filters.get("health").find(|wanted| !HEALTH.contains(wanted)) {
        return Err(Error::Invalid(format!(
            "invalid filter 'health={wanted}': invalid value for health ({wanted}): must be one of none, starting, healthy, \
             unhealthy"
        )));
    }
    filters.boolean("is-task")?;
    let published = ports(filters, "publish")?;
    let exposed = ports(filters, "expose")?;
    let exited = |code: &str| {
        let ended = matches!(snapshot.status.phase, Phase::Exited | Phase::Dead)
            && !snapshot.status.finished_at.is_never();
        ended && code.parse() == Ok(snapshot.status.exit_code)
    };
    Ok(any("id", &|id| container.id.as_str().starts_with(id))
        && any("name", &|name| name_matches(name, &container.name))
        && any("status", &|status| snapshot.status.phase.as_str() == status)
        && any("exited", &exited)
        && any("ancestor", &|image| is_ancestor(engine, snapshot, image))
        && any("volume", &|volume| {
            engine
                .mounts_of(container)
                .iter()
                .any(|m| m.name == volume || m.destination == volume || m.source.as_os_str() == volume)
        })
        && any("network", &|network| in_network(engine, snapshot, network))
        && any("health", &|wanted| snapshot.health.as_ref().map_or("none", |h| h.status.as_str()) == wanted)
        && any("is-task", &|value| matches!(value, "false" | "0"))
        && (published.is_empty() && exposed.is_empty()
            || super::ports(engine, snapshot).iter().any(|port| {
                published.iter().any(|range| range.has(port.public_port, &port.kind))
                    || exposed.iter().any(|range| range.has(port.private_port, &port.kind))
            }))
        && filters.labels_match("label", &container.config.labels))
}

/// As Docker: a regular expression, tried on the name with and without its slash; a text that is none matches nothing.
fn name_matches(pattern: &str, name: &str) -> bool {
    let Some(expression) = Expression::parse(pattern) else { return false };
    expression.finds(name) || expression.finds(&format!("/{name}"))
}

/// A regular expression of bounded size and linear time.
pub(crate) struct Expression(dense::DFA<Vec<u32>>);

/// Most memory that an expression's automaton may take, in bytes.
const MAX_AUTOMATON: usize = 4 << 20;

impl Expression {
    pub fn parse(pattern: &str) -> Option<Self> {
        let limits = dense::Config::new()
            .dfa_size_limit(Some(MAX_AUTOMATON))
            .determinize_size_limit(Some(MAX_AUTOMATON))
            .start_kind(StartKind::Unanchored);
        dense::Builder::new().configure(limits).build(pattern).ok().map(Self)
    }

    pub fn finds(&self, text: &str) -> bool {
        self.0.try_search_fwd(&Input::new(text)).is_ok_and(|found| found.is_some())
    }
}

fn is_ancestor(engine: &Inner, snapshot: &Snapshot, image: &str) -> bool {
    let container = &snapshot.container;
    if container.config.image == image {
        return true;
    }
    engine.images.find(image).is_ok_and(|found| Some(&found) == container.image.as_ref())
}

fn in_network(engine: &Inner, snapshot: &Snapshot, network: &str) -> bool {
    let networks = super::networks(engine, snapshot);
    networks.iter().any(|(name, settings)| {
        name == network || (!network.is_empty() && settings.network_id.starts_with(network))
    })
}

#[cfg(test)]
mod tests {
    use super::{PortRange, name_matches};

    #[test]
    fn port_ranges() {
        let range = PortRange::parse("79-90").unwrap();
        assert!(
            range.has(79, "tcp") && range.has(90, "tcp") && !range.has(91, "tcp") && !range.has(80, "udp")
        );
        assert!(PortRange::parse("53/UDP").unwrap().has(53, "udp"));
        for bad in ["x", "", "9-8", "1-", "99999", "80/tcp/x-"] {
            assert!(PortRange::parse(bad).is_none_or(|range| range.protocol == "tcp/x-"), "{bad}");
        }
    }

    #[test]
    fn names() {
        assert!(
            name_matches("eb", "web-1") && name_matches("^web", "web-1") && name_matches("^/web-1$", "web-1")
        );
        assert!(!name_matches("^eb", "web-1") && !name_matches("web$", "web-1"));
    }
}
