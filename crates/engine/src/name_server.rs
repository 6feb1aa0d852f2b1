//! Containers' own name server: who is served, with which sockets, before and after a restart of the engine.
//!
//! Invariant: the sockets are kept by the container's supervisor. An engine that starts gets them back from there and goes on;
//! what was asked meanwhile waits in them.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::{Container, Status};
use crate::start;
use crate::supervisor::{self, kept};
use knarr_base::ContainerId;
use knarr_dns::{Client, Sockets};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Whether the container is on a network where containers find each other by name.
fn is_needed(engine: &Inner, id: &ContainerId) -> bool {
    let endpoints = engine.networks.endpoints(id).unwrap_or_default();
    endpoints.iter().any(|endpoint| engine.networks.has_names(&endpoint.network))
}

/// Opens the sockets in the container's network namespace.
pub(crate) fn open(namespace: BorrowedFd<'_>) -> Result<Sockets> {
    Sockets::open(namespace).map_err(|error| Error::Internal(error.to_string()))
}

/// Begins to answer on a thread of the pool.
pub(crate) fn serve(engine: &Inner, container: &Container, sockets: &Sockets) -> Result<()> {
    let (choice, ndots_set) = start::resolver_choice(engine, container)?;
    let client = Client { container: container.id.clone(), servers: choice.servers, ndots_set };
    engine.dns.serve(client, sockets).map_err(Error::io("serve names to the container"))?;
    // It may have ended, or left the network, meanwhile. Who takes it off a network does so first and looks here then.
    forget_unneeded(engine, &container.id);
    Ok(())
}

fn forget_unneeded(engine: &Inner, id: &ContainerId) {
    if !is_needed(engine, id) {
        engine.dns.forget(id);
    }
}

/// For a container that runs already and joined its first network with names.
pub(crate) async fn begin(engine: &Arc<Inner>, container: &Arc<Container>, status: &Status) -> Result<()> {
    let sockets = {
        let (pool, engine, container, status) =
            (engine.pool.clone(), Arc::clone(engine), Arc::clone(container), status.clone());
        pool.run(move || {
            let sockets = open(start::network_namespace(&status)?.as_fd())?;
            serve(&engine, &container, &sockets)?;
            Ok::<_, Error>(sockets)
        })
        .await??
    };
    // An engine that comes after could not go on with it.
    keep(engine, &container.id, &sockets).await.inspect_err(|_| engine.dns.forget(&container.id))
}

/// For a container that an earlier engine served, once its supervisor is found.
pub(crate) async fn resume(engine: &Arc<Inner>, container: &Container, status: &Status) {
    if engine.dns.serves(&container.id) || !is_needed(engine, &container.id) {
        return;
    }
    if let Err(error) = take_back(engine, container, status).await {
        tracing::error!(container = container.id.short(), %error, "it finds no names");
    }
}

async fn take_back(engine: &Arc<Inner>, container: &Container, status: &Status) -> Result<()> {
    let container = Arc::new(container.clone());
    let given = match kept::get(&engine.paths.run(&container.id)).await {
        // A supervisor of a version that knew nothing of it.
        Err(supervisor::Error::Gone) => Vec::new(),
        given => given?,
    };
    let Some(sockets) = Sockets::from_descriptors(given) else {
        // An engine died before it had them kept.
        return begin(engine, &container, status).await;
    };
    let (pool, engine) = (engine.pool.clone(), Arc::clone(engine));
    pool.run(move || serve(&engine, &container, &sockets)).await?
}

async fn keep(engine: &Inner, id: &ContainerId, sockets: &Sockets) -> Result<()> {
    let copies = sockets.descriptors().map_err(Error::io("copy the name server's sockets"))?;
    let fds: Vec<BorrowedFd<'_>> = copies.iter().map(AsFd::as_fd).collect();
    Ok(kept::put(&engine.paths.run(id), &fds).await?)
}
