//! The life of containers: create, start, stop, kill, restart, pause, wait, remove, rename.
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::machine::{Event, Refusal, StopWish};
use crate::metrics::Action;
use crate::record::Container;
use crate::registry::Entry;
use crate::signal::{self, SIGKILL, SIGTERM};
use crate::stream::Wait;
use crate::task::Refused;
use knarr_docker_types::container::{CreateRequest, CreateResponse};
use knarr_docker_types::options::{ContainerCreate, ContainerRemove, ContainerStop, WaitCondition};
use std::time::Duration;

/// How long `kill` waits for a killed process to be gone.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl Engine {
    pub async fn container_create(
        &self,
        request: CreateRequest,
        options: ContainerCreate,
    ) -> Result<CreateResponse> {
        // In a task of its own: a client that goes away drops a reply, not the work.
        let engine = self.inner.clone();
        let work = self.work();
        let done = tokio::spawn(async move {
            let _work = work;
            let _timer = engine.metrics.time(Action::Create);
            crate::create::create(&engine, request, options).await
        });
        done.await.map_err(|e| Error::Internal(e.to_string()))?
    }

    /// `NotModified` when it runs already.
    pub async fn container_start(&self, container: &str) -> Result<()> {
        let entry = self.entry(container)?;
        let _timer = self.inner.metrics.time(Action::Start);
        ask(&entry, Event::Start).await
    }

    /// `NotModified` when it does not run.
    pub async fn container_stop(&self, container: &str, options: ContainerStop) -> Result<()> {
        let entry = self.entry(container)?;
        let wish = stop_wish(&self.inner, &entry.snapshot.container, &options)?;
        ask(&entry, Event::Stop(wish)).await
    }

    pub async fn container_restart(&self, container: &str, options: ContainerStop) -> Result<()> {
        let entry = self.entry(container)?;
        let wish = stop_wish(&self.inner, &entry.snapshot.container, &options)?;
        ask(&entry, Event::Restart(wish)).await?;
        self.inner.emit_done(entry.snapshot.container.event("restart")).await;
        Ok(())
    }

    /// An empty signal is SIGKILL.
    pub async fn container_kill(&self, container: &str, signal: &str) -> Result<()> {
        let entry = self.entry(container)?;
        let number = match signal {
            "" => SIGKILL,
            text => signal_of(text)?,
        };
        let ends = number == SIGKILL || number == stop_signal(&entry.snapshot.container);
        let gone = match number {
            SIGKILL => Some(entry.inbox.wait(WaitCondition::NotRunning).await?),
            _ => None,
        };
        ask(&entry, Event::Kill { signal: number, ends }).await?;
        if let Some(gone) = gone {
            let _ = tokio::time::timeout(KILL_WAIT, gone).await;
        }
        Ok(())
    }

    pub async fn container_pause(&self, container: &str) -> Result<()> {
        ask(&self.entry(container)?, Event::Pause).await
    }

    pub async fn container_unpause(&self, container: &str) -> Result<()> {
        ask(&self.entry(container)?, Event::Unpause).await
    }

    /// Registered when it returns: the face sends its reply's head then, and the body when the outcome is there.
    pub async fn container_wait(&self, container: &str, condition: WaitCondition) -> Result<Wait> {
        Ok(Wait(self.entry(container)?.inbox.wait(condition).await?))
    }

    pub async fn container_remove(&self, container: &str, options: ContainerRemove) -> Result<()> {
        if options.link {
            return self.link_remove(container).await;
        }
        let entry = self.entry(container)?;
        let requiring = crate::requires::requiring(&self.inner, entry.snapshot.id());
        if !options.force && !entry.snapshot.is_live() && !requiring.is_empty() {
            return Err(Error::Conflict(format!(
                "cannot remove container \"/{}\": it is required by {}: remove those first or force remove",
                entry.snapshot.container.name,
                requiring.join(", ")
            )));
        }
        let _timer = self.inner.metrics.time(Action::Delete);
        ask(&entry, Event::Remove { force: options.force, volumes: options.volumes }).await
    }

    /// `container/alias`: the container is linked no longer to what it knows by that name.
    async fn link_remove(&self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        let Some((container, alias)) = path.rsplit_once('/') else {
            self.entry(path)?;
            return Err(Error::Conflict(
                "Conflict, cannot remove the default link name of the container".to_owned(),
            ));
        };
        let entry = self.entry(container)?;
        let is_it = |text: &String| knarr_network::Link::parse(text).is_some_and(|link| link.alias == alias);
        if !entry.snapshot.container.host_config.links.iter().any(is_it) {
            return Err(Error::NotFound(format!("No such link: /{path}")));
        }
        let alias = alias.to_owned();
        let change = move |c: &mut Container| {
            let links = &mut c.host_config.links;
            links.retain(|text| knarr_network::Link::parse(text).is_none_or(|link| link.alias != alias));
        };
        entry.inbox.configure("unlink", Vec::new(), change).await
    }

    pub async fn container_rename(&self, container: &str, name: &str) -> Result<()> {
        let name = name.trim();
        if name.trim_start_matches('/').is_empty() {
            return Err(Error::Invalid("Neither old nor new names may be empty".to_owned()));
        }
        let entry = self.entry(container)?;
        let allocating = |error: &Error| format!("Error when allocating new name: {error}");
        let path = format!("/{}", name.trim_start_matches('/'));
        let name = crate::create::name::check(&path).map_err(|e| Error::Invalid(allocating(&e)))?;
        let old = entry.snapshot.container.name.clone();
        if name == old {
            return Err(Error::Invalid(
                "Renaming a container with the same name as its current name".to_owned(),
            ));
        }
        let id = entry.snapshot.id().clone();
        let new = name.clone();
        let extra = vec![("oldName".to_owned(), format!("/{old}"))];
        let renamed = entry.inbox.configure("rename", extra, move |c| c.name = new).await;
        renamed.map_err(|error| match &error {
            Error::NameTaken { .. } => Error::Conflict(allocating(&error)),
            _ => error,
        })?;
        let inner = self.inner.clone();
        let renamed = self.inner.pool.run(move || inner.networks.rename(&id, &name)).await?;
        if let Err(error) = renamed {
            tracing::debug!(%error, "endpoints not renamed");
        }
        Ok(())
    }

    pub(crate) fn entry(&self, container: &str) -> Result<Entry> {
        self.inner.containers.resolve(container)
    }
}

/// The container's own stop signal.
fn stop_signal(container: &Container) -> i32 {
    signal::parse(&container.config.stop_signal).unwrap_or(SIGTERM)
}

/// What `stop` without options means.
pub(crate) fn own_stop_wish(engine: &Inner, container: &Container) -> StopWish {
    let seconds = container.config.stop_timeout.unwrap_or(engine.config().default_stop_timeout_s);
    StopWish { signal: stop_signal(container), timeout_ms: milliseconds(seconds) }
}

/// A negative time has no end.
fn milliseconds(seconds: i64) -> Option<u64> {
    u64::try_from(seconds).ok().map(|s| s.saturating_mul(1000))
}

fn stop_wish(engine: &Inner, container: &Container, options: &ContainerStop) -> Result<StopWish> {
    let signal = match options.signal.as_deref() {
        None | Some("") => stop_signal(container),
        Some(text) => signal_of(text)
            .map_err(|error| Error::Invalid(format!("cannot stop container: {}: {error}", container.name)))?,
    };
    let seconds = options.timeout_s.or(container.config.stop_timeout);
    let seconds = seconds.unwrap_or(engine.config().default_stop_timeout_s);
    Ok(StopWish { signal, timeout_ms: milliseconds(seconds) })
}

fn signal_of(text: &str) -> Result<i32> {
    signal::parse(text).ok_or_else(|| match text.parse::<i32>() {
        Ok(number) if number != 0 => {
            Error::Invalid(format!("the linux daemon does not support signal {number}"))
        }
        _ => Error::Invalid(format!("invalid signal: {text}")),
    })
}

async fn ask(entry: &Entry, event: Event) -> Result<()> {
    entry.inbox.request(event).await.map_err(|refused| match refused {
        Refused::Failed(error) => error,
        Refused::ByState(refusal) => refusal_error(entry, refusal),
    })
}

/// Docker's words.
fn refusal_error(entry: &Entry, refusal: Refusal) -> Error {
    let container = &entry.snapshot.container;
    let (id, name) = (&container.id, &container.name);
    match refusal {
        Refusal::AlreadyStarted | Refusal::AlreadyStopped => Error::NotModified(String::new()),
        Refusal::IsPaused => {
            Error::Conflict("cannot start a paused container, try unpause instead".to_owned())
        }
        Refusal::MarkedForRemoval => {
            Error::Conflict("container is marked for removal and cannot be started".to_owned())
        }
        Refusal::NotRunning => Error::Conflict(format!("container {id} is not running")),
        Refusal::AlreadyPaused => Error::Conflict(format!("Container {id} is already paused")),
        Refusal::NotPaused => Error::Conflict(format!("Container {id} is not paused")),
        Refusal::IsRestarting => {
            Error::Conflict(format!("Container {id} is restarting, wait until the container is running"))
        }
        Refusal::IsStopping => Error::Conflict(format!("Container {id} is being stopped")),
        Refusal::StillLive => {
            let phase = entry.snapshot.status.phase.as_str();
            let how = match phase {
                "paused" => "container is paused and must be unpaused first".to_owned(),
                _ => format!("container is {phase}: stop the container before removing or force remove"),
            };
            Error::Conflict(format!("cannot remove container \"{name}\": {how}"))
        }
        Refusal::RemovalInProgress => {
            Error::Conflict(format!("removal of container {name} is already in progress"))
        }
    }
}
