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
        return Err(Error::Invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            options.since, options.until
        )));
    }
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    // What has happened already is no news, though nobody may have waited for the disk.
    let store = engine.store.clone();
    engine.pool.run(move || store.sync()).await??;
    let mut newest = engine.store.subscribe();
    // Without `since` the stream begins with what comes next; numbers, not clocks, say what that is.
    let mut seen = if since.is_some() || until.is_some() { 0 } else { *newest.borrow_and_update() };
    let from = since.unwrap_or(if until.is_some() { Time::now() } else { Time::NEVER });
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

fn matches(filters: &Filters, event: &Event) -> bool {
    let any =
        |name: &str, test: &dyn Fn(&str) -> bool| !filters.contains(name) || filters.get(name).any(test);
    let action = event.action.split(':').next().unwrap_or(&event.action);
    any("type", &|kind| event.kind == kind)
        && any("scope", &|scope| scope == "local")
        && any("event", &|wanted| wanted == action || wanted == event.action)
        && ["container", "image", "network", "volume", "daemon", "plugin"]
            .iter()
            .all(|kind| any(kind, &|wanted| is_about(event, kind, wanted)))
        && filters.labels_match("label", &event.attributes)
}

fn is_about(event: &Event, kind: &str, wanted: &str) -> bool {
    let attribute = |name: &str| event.attributes.get(name).is_some_and(|value| value == wanted);
    match kind {
        "image" => {
            let bare = |name: &str| name.rsplit_once(':').is_some_and(|(repo, _)| repo == wanted);
            let image = event.attributes.get("image").or_else(|| event.attributes.get("name"));
            (event.kind == "image"
                && (event.id == wanted || event.id.trim_start_matches("sha256:").starts_with(wanted)))
                || image.is_some_and(|name| name == wanted || bare(name))
        }
        _ => {
            event.kind == kind
                && (event.id == wanted
                    || attribute("name")
                    || (wanted.len() >= 12 && event.id.starts_with(wanted)))
        }
    }
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
    }
}
