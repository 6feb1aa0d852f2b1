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

/// Whether the container passes all filters; values of one filter are alternatives.
pub(crate) fn matches(engine: &Inner, snapshot: &Snapshot, filters: &Filters) -> Result<bool> {
    let container = &snapshot.container;
    let any =
        |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
    for wanted in filters.get("status") {
        if !Phase::ALL.iter().any(|phase| phase.as_str() == wanted) {
            return Err(Error::Invalid(format!("invalid filter 'status={wanted}'")));
        }
    }
    for wanted in filters.get("exited") {
        if wanted.parse::<i32>().is_err() {
            return Err(Error::Invalid(format!("invalid filter 'exited={wanted}'")));
        }
    }
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
        && any("expose", &|port| {
            container.config.exposed_ports.contains_key(&crate::create::merge::normal_port(port))
        })
        && any("publish", &|port| {
            container.host_config.port_bindings.contains_key(&crate::create::merge::normal_port(port))
        })
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
    use super::name_matches;

    #[test]
    fn names() {
        assert!(
            name_matches("eb", "web-1") && name_matches("^web", "web-1") && name_matches("^/web-1$", "web-1")
        );
        assert!(!name_matches("^eb", "web-1") && !name_matches("web$", "web-1"));
    }
}
