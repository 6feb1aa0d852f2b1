//! The accept loop and the end of it.
use crate::config::ServerConfig;
use crate::connection::{App, Connection, Connections};
use crate::listen::{self, Bound};
use crate::routes;
use crate::tls;
use knarr_engine::Engine;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one listener that are served at the same time; more wait in the kernel's queue. Each listener has its
/// own: whoever uses up those of one does not lock out the others, least of all root at the unix socket.
const MAX_CONNECTIONS: usize = if cfg!(test) { 32 } else { 4096 };
/// Connections of one listener in their TLS handshake, which costs a stranger nothing.
const MAX_HANDSHAKES: usize = if cfg!(test) { 8 } else { 256 };
/// Time for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after accept(2) failed, for instance for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Listen(#[from] listen::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Serves the API until `shutdown`, then gives open replies [`ServerConfig::grace`] to end.
///
/// Sockets are bound when this future is first polled; `ready` is told when all are.
pub async fn serve(
    config: ServerConfig,
    engine: Engine,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    serve_app(config, routes::app(engine), shutdown, ready).await
}

/// [`serve`] with anything that answers.
async fn serve_app(
    mut config: ServerConfig,
    app: App,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), Error> {
    let acceptor = match &config.tls {
        Some(files) => Some(TlsAcceptor::from(tls::server_config(files)?)),
        None => None,
    };
    let bound = listen::bind(&mut config).await?;
    ready();
    let tracker = TaskTracker::new();
    let connections = Arc::new(Connections {
        app,
        version: config.version.clone(),
        activity: config.activity.clone(),
        shutdown: shutdown.clone(),
        tracker: tracker.clone(),
    });
    let accepting = TaskTracker::new();
    for socket in bound {
        accepting.spawn(accept_loop(socket, acceptor.clone(), connections.clone()));
    }
    accepting.close();
    accepting.wait().await;
    tracker.close();
    if tokio::time::timeout(config.grace, tracker.wait()).await.is_err() {
        tracing::debug!(open = tracker.len(), "replies that did not end in time are cut off");
    }
    Ok(())
}

async fn accept_loop(socket: Bound, acceptor: Option<TlsAcceptor>, connections: Arc<Connections>) {
    let acceptor = acceptor.filter(|_| matches!(socket, Bound::Tcp { tls: true, .. }));
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    // What a connection needs first: a place in the handshake, or at once one among those that are served.
    let first = if acceptor.is_some() { handshakes } else { Arc::clone(&slots) };
    let shutdown = connections.shutdown.clone();
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => return,
            place = Arc::clone(&first).acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept(&socket) => accepted,
        };
        match accepted {
            Ok(Accepted::Unix(stream)) => connections.spawn(Connection::Trusted, stream, place),
            Ok(Accepted::Tcp(stream)) => {
                let _ = stream.set_nodelay(true);
                match acceptor.clone() {
                    None => connections.spawn(Connection::PlainTcp, stream, place),
                    Some(acceptor) => {
                        let (connections, slots) = (connections.clone(), Arc::clone(&slots));
                        tokio::spawn(async move {
                            let Some(stream) = handshake(acceptor, stream).await else { return };
                            // Its place in the handshake is kept until it has one here: what waits is bounded.
                            let Ok(slot) = slots.acquire_owned().await else { return };
                            drop(place);
                            connections.spawn(Connection::Trusted, stream, slot);
                        });
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

enum Accepted {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn accept(socket: &Bound) -> io::Result<Accepted> {
    match socket {
        Bound::Unix { listener, .. } => Ok(Accepted::Unix(listener.accept().await?.0)),
        Bound::Tcp { listener, .. } => Ok(Accepted::Tcp(listener.accept().await?.0)),
    }
}

async fn handshake<S>(acceptor: TlsAcceptor, stream: S) -> Option<tokio_rustls::server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::info!(%error, "TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
