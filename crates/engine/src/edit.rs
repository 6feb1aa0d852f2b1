//! Editing a container, running or not: labels, published ports and networks, which `update` adds and removes.
//!
//! [`Edit::of`] and [`Edit::apply`] are pure: a request and a container's row to the row that it becomes. Of a container that
//! runs the kernel's side is changed first; should that fail, what was done already is undone and the row stays.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::record::Container;
use crate::registry::{Entry, Snapshot};
use crate::start;
use knarr_base::ContainerId;
use knarr_docker_types::container::UpdateRequest;
use knarr_docker_types::host_config::{PortBinding as AskedBinding, PortMap};
use knarr_docker_types::network::EndpointSettings;
use knarr_docker_types::{Empty, Map};
use knarr_network::{PortBinding, Ports, PublishedPort};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};

/// Locks that containers share by their ids; two edits of one container never overlap.
const LOCKS: usize = 64;

pub(crate) struct Locks([Mutex<()>; LOCKS]);

impl Default for Locks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(())))
    }
}

impl Locks {
    /// To be held while a container's networks or ports are changed.
    pub async fn of(&self, id: &ContainerId) -> MutexGuard<'_, ()> {
        let number = id.as_str().get(..4).and_then(|head| usize::from_str_radix(head, 16).ok());
        self.0[number.unwrap_or_default() % LOCKS].lock().await
    }
}

/// What changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Edit {
    labels_add: BTreeMap<String, String>,
    labels_remove: Vec<String>,
    ports_add: PortMap,
    ports_remove: PortMap,
    networks_add: Map<EndpointSettings>,
    networks_remove: Vec<String>,
}

impl Edit {
    /// Checked against the container that it is about.
    pub fn of(request: &UpdateRequest, container: &Container) -> Result<Self> {
        let ports = |asked: &PortMap| -> Result<PortMap> {
            let normal = asked.iter().map(|(port, bindings)| {
                let (number, protocol) = start::parse_port(port)?;
                Ok((format!("{number}/{protocol}"), bindings.clone()))
            });
            Ok(normal.collect::<Result<BTreeMap<_, _>>>()?.into())
        };
        let edit = Self {
            labels_add: request.labels_add.clone().into_inner(),
            labels_remove: request.labels_remove.to_vec(),
            ports_add: ports(&request.ports_add)?,
            ports_remove: ports(&request.ports_remove)?,
            networks_add: request.networks_add.clone(),
            networks_remove: request.networks_remove.to_vec(),
        };
        edit.check(container)?;
        Ok(edit)
    }

    fn check(&self, container: &Container) -> Result<()> {
        if self.labels_add.keys().any(String::is_empty) {
            return Err(Error::Invalid("a label has no name".to_owned()));
        }
        let mode = container.host_config.network_mode.as_str();
        let shares = mode == "host" || mode == "none" || mode.starts_with("container:");
        if shares && !self.ports_add.is_empty() {
            return Err(Error::Invalid(format!(
                "conflicting options: port publishing and the {mode} network mode"
            )));
        }
        for (port, bindings) in &self.ports_remove {
            let have = container.host_config.port_bindings.get(port).map_or(&[][..], |b| b.as_slice());
            let any =
                have.iter().any(|have| bindings.is_empty() || bindings.iter().any(|b| is_like(have, b)));
            let unsaid = container.host_config.port_bindings.contains_key(port) && have.is_empty();
            if !(any || unsaid && bindings.iter().all(|b| b.host_port.is_empty())) {
                return Err(Error::Invalid(format!(
                    "port {port} of container {} is not published so: nothing to remove (see docker port)",
                    container.name
                )));
            }
        }
        if let Some(both) =
            self.networks_remove.iter().find(|name| self.networks_add.contains_key(name.as_str()))
        {
            return Err(Error::Invalid(format!("network {both} is to be added and removed")));
        }
        let mut changed = container.clone();
        self.apply(&mut changed);
        start::check_ports(&changed)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The row as it is to be, but for the networks, whose names are not known here.
    pub fn apply(&self, container: &mut Container) {
        let labels = &mut container.config.labels;
        for key in &self.labels_remove {
            labels.remove(key);
        }
        for (key, value) in &self.labels_add {
            labels.insert(key.clone(), value.clone());
        }
        let ports = &mut container.host_config.port_bindings;
        for (port, gone) in &self.ports_remove {
            let Some(have) = ports.get_mut(port) else { continue };
            have.retain(|have| !gone.is_empty() && !gone.iter().any(|gone| is_like(have, gone)));
            if have.is_empty() {
                ports.remove(port);
            }
        }
        for (port, added) in &self.ports_add {
            let any = [AskedBinding::default()];
            let added = if added.is_empty() { &any[..] } else { added.as_slice() };
            for binding in added {
                if !ports.get(port).is_some_and(|have| have.contains(binding)) {
                    ports.entry(port.clone()).or_default().push(binding.clone());
                }
            }
            container.config.exposed_ports.insert(port.clone(), Empty);
        }
    }

    fn changes_ports(&self) -> bool {
        !(self.ports_add.is_empty() && self.ports_remove.is_empty())
    }
}

/// What is not said is anything.
fn is_like(have: &AskedBinding, wanted: &AskedBinding) -> bool {
    let same = |have: &str, wanted: &str| wanted.is_empty() || have == wanted;
    same(&have.host_ip, &wanted.host_ip) && same(&have.host_port, &wanted.host_port)
}

/// What one row publishes and the other does not.
struct PortChange {
    add: Ports,
    gone: Vec<PortBinding>,
}

impl PortChange {
    fn between(before: &Container, after: &Container) -> Result<Self> {
        let (had, mut has) = (start::published_ports(before)?, start::published_ports(after)?);
        let gone = had.bindings.iter().filter(|binding| !has.bindings.contains(binding)).cloned().collect();
        has.bindings.retain(|binding| !had.bindings.contains(binding));
        // Those of `-P` are there already.
        has.publish_all = false;
        Ok(Self { add: has, gone })
    }

    fn is_empty(&self) -> bool {
        self.add.bindings.is_empty() && self.gone.is_empty()
    }

    /// Whether a port is published because of one of the bindings that go.
    fn removes(&self, port: &PublishedPort) -> bool {
        self.gone.iter().any(|gone| {
            // Without translation there is no port of the host.
            let host = port.host_port == 0
                || gone.host_port.is_none_or(|range| (range.begin..=range.end).contains(&port.host_port));
            (gone.protocol, gone.container_port) == (port.protocol, port.container_port)
                && gone.host_ip.is_none_or(|ip| ip == port.host_ip)
                && host
        })
    }
}

/// Changes the networks and ports of a container, if it runs; then `commit` its row. Nothing of it, if it fails.
pub(crate) async fn carry_out(
    engine: &Engine,
    entry: &Entry,
    edit: &Edit,
    commit: impl AsyncFnOnce(RowChange) -> Result<()>,
) -> Result<()> {
    let before = Arc::clone(&entry.snapshot);
    let mut row = RowChange { edit: edit.clone(), joined: Vec::new(), left: Vec::new() };
    let mut joined: Vec<String> = Vec::new();
    let done = async {
        for (name, settings) in &edit.networks_add {
            let network = engine.join(&before, name, settings).await?;
            joined.push(network.id.to_string());
            row.joined.push((network.name, network.id.to_string(), settings.clone()));
        }
        let mut after = Container::clone(&before.container);
        edit.apply(&mut after);
        if edit.changes_ports() {
            republish(engine, &before, &before.container, &after).await?;
        }
        let mut now = Snapshot::clone(&before);
        now.container = Arc::new(after);
        for name in &edit.networks_remove {
            match engine.leave(&now, name).await {
                Ok(network) => row.left.push((network.name, network.id.to_string())),
                Err(error) => {
                    republish(engine, &before, &now.container, &before.container).await?;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
    .await;
    match done {
        Ok(()) => commit(row).await,
        Err(error) => {
            for network in joined.iter().filter(|_| before.is_live()) {
                if let Err(error) = engine.leave_joined(&before, network).await {
                    tracing::warn!(container = before.id().short(), %error, "a network joined in vain is not left");
                }
            }
            Err(error)
        }
    }
}

/// What is to be changed in the row as it is when it is written.
pub(crate) struct RowChange {
    edit: Edit,
    joined: Vec<(String, String, EndpointSettings)>,
    left: Vec<(String, String)>,
}

impl RowChange {
    pub fn apply(self, container: &mut Container) {
        self.edit.apply(container);
        for (name, id, settings) in self.joined {
            crate::facade::joined_network(container, &name, &id, settings);
        }
        for (name, id) in self.left {
            crate::facade::left_network(container, &name, &id);
        }
    }
}

async fn republish(engine: &Engine, live: &Snapshot, before: &Container, after: &Container) -> Result<()> {
    let change = PortChange::between(before, after)?;
    if !live.is_live() || change.is_empty() {
        return Ok(());
    }
    let id = live.id().clone();
    engine
        .blocking(move |engine| {
            Ok(engine.networks.republish(&id, &change.add, &|port| change.removes(port))?)
        })
        .await
}

/// A container was edited while it was being started: what it was started with is brought to what its row says.
pub(crate) async fn catch_up(engine: &Arc<Inner>, id: &ContainerId, started_with: &Container) {
    let engine = Engine { inner: Arc::clone(engine) };
    let _edit = engine.inner.edits.of(id).await;
    let Ok(entry) = engine.inner.containers.resolve(id.as_str()) else { return };
    if !entry.snapshot.is_live() {
        return;
    }
    let (now, before) = (Arc::clone(&entry.snapshot), started_with);
    if now.container.host_config.resources != before.host_config.resources {
        let container = Arc::clone(&now.container);
        report(id, engine.blocking(move |engine| crate::update::set_limits(engine, &container)).await);
    }
    if now.container.name != before.name {
        let container = Arc::clone(&now.container);
        let renamed =
            move |engine: &Arc<Inner>| Ok(engine.networks.rename(&container.id, &container.name)?);
        report(id, engine.blocking(renamed).await);
    }
    let mut old = Snapshot::clone(&now);
    old.container = Arc::new(before.clone());
    for (name, settings) in
        now.container.networks.iter().filter(|(name, _)| !before.networks.contains_key(*name))
    {
        report(id, engine.join(&old, name, settings).await.map(drop));
    }
    report(id, republish(&engine, &now, before, &now.container).await);
    for (name, _) in before.networks.iter().filter(|(name, _)| !now.container.networks.contains_key(*name)) {
        report(id, engine.leave_joined(&now, name).await);
    }
}

fn report(id: &ContainerId, result: Result<()>) {
    if let Err(error) = result {
        tracing::warn!(container = id.short(), %error, "what was edited while it started is not in force yet");
    }
}

/// Whether two rows differ in what a container was started with.
pub(crate) fn differs(a: &Container, b: &Container) -> bool {
    a.name != b.name
        || a.host_config.resources != b.host_config.resources
        || a.networks != b.networks
        || a.off_mode_network != b.off_mode_network
        || a.host_config.port_bindings != b.host_config.port_bindings
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_docker_types::List;

    fn binding(ip: &str, port: &str) -> AskedBinding {
        AskedBinding { host_ip: ip.into(), host_port: port.into(), ..AskedBinding::default() }
    }

    fn map(pairs: &[(&str, &[AskedBinding])]) -> PortMap {
        let pairs = pairs.iter().map(|(port, bindings)| ((*port).to_owned(), List::from(bindings.to_vec())));
        pairs.collect::<BTreeMap<_, _>>().into()
    }

    fn container() -> Container {
        let mut container = crate::spec::test_container();
        container.host_config.network_mode = "bridge".into();
        container.config.labels.insert("keep".into(), "1".into());
        container.config.labels.insert("drop".into(), "1".into());
        container.host_config.port_bindings = map(&[
            ("80/tcp", &[binding("", "8080"), binding("127.0.0.1", "8081")]),
            ("53/udp", &[binding("", "")]),
        ]);
        container
    }

    #[test]
    fn rows_become_what_is_asked_for() {
        let request = UpdateRequest {
            labels_add: BTreeMap::from([("new".to_owned(), "2".to_owned())]).into(),
            labels_remove: vec!["drop".to_owned(), "absent".to_owned()].into(),
            ports_add: map(&[("81", &[]), ("80/tcp", &[binding("", "9000"), binding("127.0.0.1", "8081")])]),
            ports_remove: map(&[("80/tcp", &[binding("", "8080")]), ("53/udp", &[])]),
            ..UpdateRequest::default()
        };
        let mut container = container();
        let edit = Edit::of(&request, &container).unwrap();
        edit.apply(&mut container);
        let labels: Vec<_> = container.config.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["keep=1", "new=2"]);
        let wanted = map(&[
            ("80/tcp", &[binding("127.0.0.1", "8081"), binding("", "9000")]),
            ("81/tcp", &[binding("", "")]),
        ]);
        assert_eq!(container.host_config.port_bindings, wanted);
        assert!(container.config.exposed_ports.contains_key("81/tcp"));
        // Once more changes nothing but what is not there any more.
        let again = UpdateRequest { ports_remove: PortMap::default(), ..request };
        let edit = Edit::of(&again, &container).unwrap();
        let before = container.clone();
        edit.apply(&mut container);
        assert_eq!(container, before);
    }

    #[test]
    fn what_is_refused() {
        let container = container();
        let text = |request: UpdateRequest, container: &Container| {
            Edit::of(&request, container).unwrap_err().to_string()
        };
        let remove =
            UpdateRequest { ports_remove: map(&[("80/tcp", &[binding("", "1")])]), ..Default::default() };
        assert!(text(remove, &container).contains("port 80/tcp of container"), "not published so");
        let wrong = UpdateRequest { ports_add: map(&[("x/tcp", &[])]), ..Default::default() };
        assert_eq!(text(wrong, &container), "invalid port specification: \"x\"");
        let mut host = container.clone();
        host.host_config.network_mode = "host".into();
        let add = UpdateRequest { ports_add: map(&[("80/tcp", &[])]), ..Default::default() };
        assert_eq!(text(add, &host), "conflicting options: port publishing and the host network mode");
        let both = UpdateRequest {
            networks_add: BTreeMap::from([("n".to_owned(), EndpointSettings::default())]).into(),
            networks_remove: vec!["n".to_owned()].into(),
            ..Default::default()
        };
        assert_eq!(text(both, &container), "network n is to be added and removed");
    }

    #[test]
    fn which_published_ports_go() {
        let before = container();
        let mut after = before.clone();
        after.host_config.port_bindings.remove("53/udp");
        let change = PortChange::between(&before, &after).unwrap();
        let published = |protocol, container_port, host_port| PublishedPort {
            protocol,
            container_port,
            host_ip: "0.0.0.0".parse().unwrap(),
            host_port,
            scope: knarr_network::Scope::Any,
        };
        use knarr_network::Protocol::{Tcp, Udp};
        assert!(change.removes(&published(Udp, 53, 32768)));
        assert!(!change.removes(&published(Tcp, 80, 8080)) && change.add.bindings.is_empty());
    }
}
