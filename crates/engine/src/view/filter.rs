//! `ps --filter`.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::expression::Expression;
use crate::machine::Phase;
use crate::registry::Snapshot;
use knarr_base::ImageId;
use knarr_docker_types::Filters;
use std::collections::{HashMap, HashSet};

const FILTERS: &[&str] = &[
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

/// All filters of one list, checked and made ready once, however many containers are looked at. Values of one filter are
/// alternatives.
pub(crate) struct Matcher<'a> {
    engine: &'a Inner,
    filters: &'a Filters,
    /// As Docker: regular expressions; a text that is none matches nothing.
    names: Vec<Expression>,
    published: Vec<PortRange>,
    exposed: Vec<PortRange>,
    /// Images that are meant by `ancestor`, and those that were made from them.
    images: HashSet<ImageId>,
}

impl<'a> Matcher<'a> {
    /// Refuses what makes no sense, whether there are containers or not.
    pub fn new(engine: &'a Inner, filters: &'a Filters) -> Result<Self> {
        filters.validate(FILTERS)?;
        check(filters)?;
        Ok(Self {
            engine,
            filters,
            names: filters.get("name").filter_map(Expression::parse).collect(),
            published: ports(filters, "publish")?,
            exposed: ports(filters, "expose")?,
            images: descendants(engine, filters.get("ancestor"))?,
        })
    }

    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        let (engine, filters) = (self.engine, self.filters);
        let container = &snapshot.container;
        let any =
            |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
        let exited = |code: &str| {
            let ended = matches!(snapshot.status.phase, Phase::Exited | Phase::Dead)
                && !snapshot.status.finished_at.is_never();
            ended && code.parse() == Ok(snapshot.status.exit_code)
        };
        any("id", &|id| container.id.as_str().starts_with(id))
            && (!filters.contains("name") || name_matches(&self.names, &container.name))
            && any("status", &|status| snapshot.status.phase.as_str() == status)
            && any("exited", &exited)
            && (!filters.contains("ancestor")
                || container.image.as_ref().is_some_and(|id| self.images.contains(id)))
            && any("volume", &|volume| {
                engine
                    .mounts_of(container)
                    .iter()
                    .any(|m| m.name == volume || m.destination == volume || m.source.as_os_str() == volume)
            })
            && any("network", &|network| in_network(engine, snapshot, network))
            && any("health", &|wanted| {
                snapshot.health.as_ref().map_or("none", |h| h.status.as_str()) == wanted
            })
            && any("is-task", &|value| matches!(value, "false" | "0"))
            && (self.published.is_empty() && self.exposed.is_empty()
                || super::ports(engine, snapshot).iter().any(|port| {
                    self.published.iter().any(|range| range.has(port.public_port, &port.kind))
                        || self.exposed.iter().any(|range| range.has(port.private_port, &port.kind))
                }))
            && filters.labels_match("label", &container.config.labels)
    }
}

fn check(filters: &Filters) -> Result<()> {
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
    Ok(())
}

/// Tried on the name with and without its slash.
fn name_matches(patterns: &[Expression], name: &str) -> bool {
    let whole = format!("/{name}");
    patterns.iter().any(|pattern| pattern.finds(name) || pattern.finds(&whole))
}

/// The images of these names or ids, and all that were made from them. What is no image has no containers.
fn descendants<'a>(engine: &Inner, ancestors: impl Iterator<Item = &'a str>) -> Result<HashSet<ImageId>> {
    let mut found: HashSet<ImageId> = ancestors.filter_map(|name| engine.images.find(name).ok()).collect();
    if found.is_empty() {
        return Ok(found);
    }
    let mut children: HashMap<ImageId, Vec<ImageId>> = HashMap::new();
    for image in engine.images.list()?.iter() {
        if let Some(parent) = &image.parent {
            children.entry(parent.clone()).or_default().push(image.id.clone());
        }
    }
    let mut open: Vec<ImageId> = found.iter().cloned().collect();
    while let Some(image) = open.pop() {
        for child in children.remove(&image).unwrap_or_default() {
            if found.insert(child.clone()) {
                open.push(child);
            }
        }
    }
    Ok(found)
}

fn in_network(engine: &Inner, snapshot: &Snapshot, network: &str) -> bool {
    let networks = super::networks(engine, snapshot);
    networks.iter().any(|(name, settings)| {
        name == network || (!network.is_empty() && settings.network_id.starts_with(network))
    })
}

#[cfg(test)]
mod tests {
    use super::{Expression, PortRange};

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
        let name_matches =
            |pattern: &str, name: &str| super::name_matches(&[Expression::parse(pattern).unwrap()], name);
        assert!(
            name_matches("eb", "web-1") && name_matches("^web", "web-1") && name_matches("^/web-1$", "web-1")
        );
        assert!(!name_matches("^eb", "web-1") && !name_matches("web$", "web-1"));
    }
}
