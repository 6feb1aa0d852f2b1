//! Containers that another one requires (`--requires`): started before it, whoever starts it, its policy as well.
//!
//! A container can only require containers that exist when it is made, and keeps their ids: so there are no circles, and a
//! rename changes nothing. [`order`] is pure, and refuses circles all the same: rows are data.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::machine::{Event, Refusal};
use crate::record::Container;
use crate::task::Refused;
use knarr_base::ContainerId;
use knarr_docker_types::Map;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Annotation of a request: names or ids, with commas between them.
const ANNOTATION: &str = "io.knarr.requires";
/// Containers that one requires, those that these require among them.
const MAX: usize = 1000;

/// Which containers a request names.
pub(crate) fn resolve(engine: &Inner, annotations: &Map<String>) -> Result<Vec<ContainerId>> {
    let Some(text) = annotations.get(ANNOTATION) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        // Not "not found", which a client takes for the image.
        let entry = engine.containers.resolve(name).map_err(|_| {
            Error::Invalid(format!("required container {name} does not exist: make it first"))
        })?;
        let id = entry.snapshot.id().clone();
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Names of the containers that require one.
pub(crate) fn requiring(engine: &Inner, id: &ContainerId) -> Vec<String> {
    let all = engine.containers.all();
    let requiring = all.iter().filter(|other| other.container.requires.contains(id));
    requiring.map(|other| other.container.name.clone()).collect()
}

/// Starts what a container requires and does not run, each after what it requires itself.
pub(crate) async fn start_before(engine: &Arc<Inner>, container: &Container) -> Result<()> {
    if container.requires.is_empty() {
        return Ok(());
    }
    let of = |id: &ContainerId| match engine.containers.resolve(id.as_str()) {
        Ok(entry) => entry.snapshot.container.requires.clone(),
        Err(_) => Vec::new(),
    };
    let failed = |name: &str, why: String| {
        Error::Conflict(format!("container {} requires {name}: {why}", container.name))
    };
    let ids = order(&container.id, &of).map_err(|why| failed("itself", why))?;
    for id in ids {
        let Ok(entry) = engine.containers.resolve(id.as_str()) else {
            return Err(failed(id.short(), "it was removed".to_owned()));
        };
        let name = &entry.snapshot.container.name;
        match entry.inbox.request(Event::Start).await {
            Ok(()) | Err(Refused::ByState(Refusal::AlreadyStarted)) => {}
            Err(Refused::ByState(Refusal::IsPaused)) => {
                return Err(failed(name, "it is paused, unpause it first".to_owned()));
            }
            Err(Refused::ByState(_)) => return Err(failed(name, "it is being removed".to_owned())),
            Err(Refused::Failed(error)) => return Err(failed(name, error.to_string())),
        }
    }
    Ok(())
}

/// All that `root` requires, each after what it requires itself; `root` is not among them. The error says what goes round in
/// circles.
fn order(
    root: &ContainerId,
    of: &dyn Fn(&ContainerId) -> Vec<ContainerId>,
) -> Result<Vec<ContainerId>, String> {
    #[derive(PartialEq)]
    enum State {
        Open,
        Done,
    }
    let mut states = BTreeMap::from([(root.clone(), State::Open)]);
    // With what is left to look at of each.
    let mut path = vec![(root.clone(), of(root))];
    let mut ordered = Vec::new();
    while let Some((id, left)) = path.last_mut() {
        match left.pop() {
            None => {
                states.insert(id.clone(), State::Done);
                ordered.push(id.clone());
                path.pop();
            }
            Some(next) => match states.get(&next) {
                Some(State::Done) => {}
                Some(State::Open) => return Err(format!("{} requires itself in the end", next.short())),
                None if states.len() > MAX => return Err(format!("more than {MAX} containers")),
                None => {
                    let needs = of(&next);
                    states.insert(next.clone(), State::Open);
                    path.push((next, needs));
                }
            },
        }
    }
    ordered.pop();
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: char) -> ContainerId {
        ContainerId::parse(&letter.to_string().repeat(64)).unwrap()
    }

    fn ordered(edges: &[(char, &str)], root: char) -> Result<String, String> {
        let of = |from: &ContainerId| {
            let found = edges.iter().find(|(letter, _)| id(*letter) == *from);
            found.map_or_else(Vec::new, |(_, to)| to.chars().map(id).collect())
        };
        Ok(order(&id(root), &of)?.iter().map(|id| id.as_str().chars().next().unwrap()).collect())
    }

    #[test]
    fn what_is_required_comes_first_and_once() {
        assert_eq!(ordered(&[('a', "b"), ('b', "c")], 'a').unwrap(), "cb");
        let diamond = [('a', "bc"), ('b', "d"), ('c', "d"), ('d', "")];
        let text = ordered(&diamond, 'a').unwrap();
        assert!(text.starts_with('d') && text.len() == 3, "{text}");
        assert_eq!(ordered(&[], 'a').unwrap(), "");
        for circle in [&[('a', "a")][..], &[('a', "b"), ('b', "c"), ('c', "b")], &[('a', "b"), ('b', "a")]] {
            assert!(ordered(circle, 'a').unwrap_err().contains("requires itself"));
        }
    }
}
