//! `docker events`: the outbox, from a point in time on, filtered.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Time;
use crate::stream::STREAM_DEPTH;
use knarr_docker_types::Filters;
use knarr_docker_types::event::{Actor, Message};
use knarr_docker_types::options::Events;
use knarr_state::Event;
use std::sync::Arc;
use tokio::sync::mpsc;

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

pub(crate) async fn stream(engine: &Arc<Inner>, options: &Events) -> Result<mpsc::Receiver<Message>> {
    options.filters.validate(FILTERS)?;
    let since = point(&options.since)?;
    let until = point(&options.until)?;
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        let (since, until) = (&options.since, &options.until);
        return Err(Error::Invalid(format!("`since` time ({since}) cannot be after `until` time ({until})")));
    }
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    // What has happened already is no news, though nobody may have waited for the disk.
    let store = engine.store.clone();
    engine.pool.run(move || store.sync()).await??;
    let mut newest = engine.store.subscribe();
    // Without `since` the stream begins with what comes next; numbers, not clocks, say what that is.
    let mut seen = if since.is_some() || until.is_some() { 0 } else { *newest.borrow_and_update() };
    let from = since.unwrap_or(Time::NEVER);
    let (engine, filters) = (Arc::clone(engine), options.filters.clone());
    let deadline = until.map(|until| {
        let left = u64::try_from(until.0.saturating_sub(Time::now().0)).unwrap_or(0);
        tokio::time::Instant::now() + std::time::Duration::from_nanos(left)
    });
    tokio::spawn(async move {
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(late);
        let mut ending = false;
        loop {
            let store = engine.store.clone();
            let read = move || {
                if ending {
                    store.sync()?;
                }
                store.events_since(seen)
            };
            let events = engine.pool.run(read).await;
            let Ok(Ok(events)) = events else { return };
            for (number, event) in events {
                seen = number;
                let at = Time(event.time_nanos);
                let in_time = at >= from && until.is_none_or(|until| at <= until);
                if in_time && matches(&filters, &event) && sender.send(message(event)).await.is_err() {
                    return;
                }
            }
            if ending {
                return;
            }
            tokio::select! {
                changed = newest.changed() => if changed.is_err() { return },
                () = &mut late => ending = true,
                () = sender.closed() => return,
            }
        }
    });
    Ok(receiver)
}

fn point(text: &str) -> Result<Option<Time>> {
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(crate::logs::time(text)?.map_or(Time(1), Time::from)))
}

fn message(event: Event) -> Message {
    Message {
        kind: event.kind,
        action: event.action,
        actor: Actor { id: event.id, attributes: event.attributes.into() },
        scope: "local".to_owned(),
        time: Time(event.time_nanos).seconds(),
        time_nano: event.time_nanos,
    }
}

/// Docker's rules: names are matched by their beginnings, whatever the event's type is.
fn matches(filters: &Filters, event: &Event) -> bool {
    let any =
        |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
    let begins = filters.get("event").any(|wanted| FUZZY.contains(&wanted));
    let name = event.attributes.get("name").map_or("", String::as_str);
    any("type", &|kind| event.kind == kind)
        && any("scope", &|scope| scope == "local")
        && any("event", &|wanted| event.action == wanted || begins && event.action.starts_with(wanted))
        && ABOUT
            .iter()
            .all(|kind| any(kind, &|wanted| event.id.starts_with(wanted) || name.starts_with(wanted)))
        && any("image", &|wanted| is_about_image(event, wanted))
        && filters.labels_match("label", &event.attributes)
}

/// Filters by the name of something.
const ABOUT: [&str; 9] =
    ["container", "network", "volume", "daemon", "plugin", "service", "node", "secret", "config"];
/// Actions that say what they are about behind a colon.
const FUZZY: [&str; 3] = ["health_status", "exec_create", "exec_start"];

/// Containers of an image count too.
fn is_about_image(event: &Event, wanted: &str) -> bool {
    let attribute = if event.kind == "image" { "name" } else { "image" };
    let name = event.attributes.get(attribute).map_or("", String::as_str);
    // Docker's clients have always been able to leave out the digest's algorithm of an image's own id.
    let bare_id = event.kind == "image" && event.id.strip_prefix("sha256:").is_some_and(|id| id == wanted);
    [event.id.as_str(), name].into_iter().any(|text| text == wanted || repository(text) == wanted) || bare_id
}

/// Without registry, tag and digest, as people write it.
fn repository(text: &str) -> String {
    knarr_oci::reference::Reference::parse(text).map_or_else(|_| text.to_owned(), |r| r.familiar_name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let event = Event::now("container", "exec_start: sh", "abcdef")
            .with("name", "web")
            .with("image", "busybox:1");
        let passes = |name: &str, value: &str| matches(&Filters::default().with(name, value), &event);
        assert!(passes("type", "container") && passes("event", "exec_start") && passes("container", "web"));
        assert!(passes("image", "busybox") && passes("label", "name=web"));
        assert!(!passes("type", "image") && !passes("event", "start") && !passes("container", "other"));
        // Beginnings of names and ids will do, and the exact action of others.
        assert!(passes("container", "we") && passes("container", "abc") && !passes("container", "eb"));
        assert!(passes("image", "busybox:1") && !passes("image", "busy"));
        let stop = Event::now("container", "stop", "abcdef").with("name", "web");
        let passes = |value: &str| matches(&Filters::default().with("event", value), &stop);
        assert!(passes("stop") && !passes("st"));
    }
}
