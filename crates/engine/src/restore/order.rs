//! In which order containers are started by their policies: one that joins another's namespaces or requires another comes after
//! that one.
use crate::engine::Inner;
use crate::machine::Event;
use knarr_base::ContainerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::watch;

/// Starts them, each as soon as those are started (or have failed to) that it depends on. Returns at once.
pub(super) fn start(engine: &Arc<Inner>, ids: Vec<ContainerId>) {
    let depends: BTreeMap<String, BTreeSet<String>> = ids
        .iter()
        .filter_map(|id| engine.containers.resolve(id.as_str()).ok())
        .map(|entry| {
            let resolve = |name: &str| Some(engine.containers.resolve(name).ok()?.snapshot.id().to_string());
            let container = &entry.snapshot.container;
            let required = container.requires.iter().map(ToString::to_string);
            let others =
                crate::start::joined_names(container).into_iter().filter_map(resolve).chain(required);
            (entry.snapshot.id().to_string(), others.collect())
        })
        .collect();
    let depends = without_circles(depends);
    let done: BTreeMap<String, watch::Sender<bool>> =
        depends.keys().map(|id| (id.clone(), watch::Sender::new(false))).collect();
    for (id, others) in depends {
        let before: Vec<_> =
            others.iter().filter_map(|other| done.get(other)).map(watch::Sender::subscribe).collect();
        let (Some(done), Ok(entry)) = (done.get(&id).cloned(), engine.containers.resolve(&id)) else {
            continue;
        };
        tokio::spawn(async move {
            for mut other in before {
                // An error: its task ended, so it is as started as it will be.
                let _ = other.wait_for(|done| *done).await;
            }
            // A failure is in the container's state, as after any start.
            let _ = entry.inbox.request(Event::Start).await;
            done.send_replace(true);
        });
    }
}

/// Only what can be waited for: a dependency on something that is not started, or on itself in the end, is none.
fn without_circles(mut depends: BTreeMap<String, BTreeSet<String>>) -> BTreeMap<String, BTreeSet<String>> {
    let known: BTreeSet<String> = depends.keys().cloned().collect();
    depends.values_mut().for_each(|others| others.retain(|other| known.contains(other)));
    let mut open: BTreeSet<String> = known;
    loop {
        let ready = |id: &String| depends[id].iter().all(|other| !open.contains(other));
        let next: Vec<String> = open.iter().filter(|id| ready(id)).cloned().collect();
        next.iter().for_each(|id| {
            open.remove(id);
        });
        if next.is_empty() {
            // What is left goes round in circles.
            for id in &open {
                depends.entry(id.clone()).or_default().retain(|other| !open.contains(other));
            }
            return depends;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_and_strangers_are_not_waited_for() {
        let graph = |edges: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            edges
                .iter()
                .map(|(id, others)| ((*id).to_owned(), others.iter().map(|o| (*o).to_owned()).collect()))
                .collect()
        };
        let asked =
            graph(&[("a", &["b"]), ("b", &["c", "x"]), ("c", &[]), ("p", &["q", "c"]), ("q", &["p"])]);
        let kept = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &[]), ("p", &["c"]), ("q", &[])]);
        assert_eq!(without_circles(asked), kept);
        assert_eq!(without_circles(graph(&[("a", &["a"])])), graph(&[("a", &[])]));
    }
}
