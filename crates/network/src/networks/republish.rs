//! Ports of a container that runs: more of them, or fewer. The others are not touched, so that nobody who uses them notices.
use super::Networks;
use super::attach::publish_error;
use crate::endpoint::{Endpoint, Ports};
use crate::error::{Error, Result};
use crate::network::{Driver, Network};
use crate::port::PublishedPort;
use crate::publish::{Reservation, bindings};
use knarr_base::ContainerId;

impl Networks {
    /// Takes away the published ports that `remove` says, then publishes `add`; if that cannot be, all is as before.
    pub(super) fn republish_container(
        &self,
        container: &ContainerId,
        add: &Ports,
        remove: &dyn Fn(&PublishedPort) -> bool,
    ) -> Result<()> {
        let publishing: Vec<(Endpoint, Network)> = {
            let state = self.state();
            let with = |e: &Endpoint| Some((e.clone(), state.networks.get(&e.network)?.clone()));
            let publishes = |(e, n): &(Endpoint, Network)| {
                n.driver == Driver::Bridge && !n.internal && (e.default4 || e.default6)
            };
            state.of_container(container).filter_map(with).filter(publishes).collect()
        };
        let mut changed: Vec<Endpoint> = Vec::new();
        for (endpoint, network) in &publishing {
            let gone: Vec<PublishedPort> =
                endpoint.ports.iter().filter(|port| remove(port)).cloned().collect();
            let done = self.take_away(endpoint, &gone).and_then(|kept| self.add_ports(kept, network, add));
            if done.is_ok() {
                changed.push(endpoint.clone());
                continue;
            }
            for before in changed.iter().chain([endpoint]) {
                self.put_back(before);
            }
            return done;
        }
        Ok(())
    }

    /// The endpoint without these ports.
    fn take_away(&self, endpoint: &Endpoint, gone: &[PublishedPort]) -> Result<Endpoint> {
        let kept = endpoint.ports.iter().filter(|port| !gone.contains(port)).cloned().collect();
        let kept = Endpoint { ports: kept, ..endpoint.clone() };
        if gone.is_empty() {
            return Ok(kept);
        }
        self.store.write::<_, Error>(|tx| Ok(tx.put(&kept.key(), &kept)?))?;
        self.state().endpoints.insert(kept.key(), kept.clone());
        self.change_ports(endpoint, &kept)?;
        let held = self.state().let_go(&kept.key());
        if let Some(mut reservation) = held {
            for failure in reservation.release(gone, |ipv4| kept.address(ipv4)) {
                tracing::warn!(endpoint = kept.id, error = %failure, "a port is not relayed any more");
            }
            let served = reservation.serve(&self.relays);
            self.state().hold(kept.key(), reservation);
            served.map_err(Error::io("relay published ports"))?;
        }
        Ok(kept)
    }

    fn add_ports(&self, endpoint: Endpoint, network: &Network, add: &Ports) -> Result<()> {
        let wanted = bindings(add);
        if wanted.is_empty() {
            return Ok(());
        }
        let target = self.target(&endpoint, network, add);
        let taken = |protocol, host, port| self.state().taken.any(protocol, host, port);
        let mut made =
            Reservation::make(&wanted, &target, &taken).map_err(|source| publish_error(&endpoint, source))?;
        made.serve(&self.relays).map_err(Error::io("relay published ports"))?;
        let new = made.ports.clone();
        let mut more = endpoint.clone();
        more.ports.extend(new.iter().cloned());
        self.store.write::<_, Error>(|tx| Ok(tx.put(&more.key(), &more)?))?;
        self.hold_more(&more, made);
        let published = self.change_ports(&endpoint, &more);
        if published.is_err() {
            self.take_away(&more, &new)?;
        }
        published
    }

    /// The endpoint has more ports.
    fn hold_more(&self, endpoint: &Endpoint, more: Reservation) {
        let mut state = self.state();
        state.endpoints.insert(endpoint.key(), endpoint.clone());
        let mut all = state.let_go(&endpoint.key()).unwrap_or_default();
        all.join(more);
        state.hold(endpoint.key(), all);
    }

    /// After a failure, as well as it can be done: the ports were this container's a moment ago.
    fn put_back(&self, before: &Endpoint) {
        let now = self.state().endpoints.get(&before.key()).cloned();
        let Some(now) = now.filter(|now| now.ports != before.ports) else { return };
        let new: Vec<PublishedPort> =
            now.ports.iter().filter(|port| !before.ports.contains(port)).cloned().collect();
        let undone = self.take_away(&now, &new).and_then(|kept| {
            let missing: Vec<PublishedPort> =
                before.ports.iter().filter(|port| !kept.ports.contains(port)).cloned().collect();
            let relays = self.config.relays;
            let (mut again, failures) = Reservation::remake(&missing, relays, |ipv4| before.address(ipv4));
            for failure in failures {
                tracing::warn!(endpoint = before.id, error = %failure, "a port was taken meanwhile");
            }
            self.store.write::<_, Error>(|tx| Ok(tx.put(&before.key(), before)?))?;
            again.serve(&self.relays).map_err(Error::io("relay published ports"))?;
            self.hold_more(before, again);
            self.change_ports(&kept, before)
        });
        if let Err(error) = undone {
            tracing::error!(endpoint = before.id, %error, "published ports are not as they were before");
        }
    }
}
