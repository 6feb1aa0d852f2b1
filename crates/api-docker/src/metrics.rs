//! `GET /metrics` on an address of its own, as `metrics-addr` says. It is for anybody who can reach the address, as Docker's: it
//! serves numbers and changes nothing.
use crate::reply::{self, Reply};
use crate::transport;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use knarr_engine::Engine;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

const MAX_CONNECTIONS: usize = 64;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until `shutdown`.
pub async fn serve_metrics(listener: TcpListener, engine: Engine, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection for metrics failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let engine = engine.clone();
        let answer = move |request: Request<Incoming>, _| -> Pin<Box<dyn Future<Output = Reply> + Send>> {
            let engine = engine.clone();
            Box::pin(async move { page(&engine, &request).await })
        };
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let _slot = slot;
            transport::serve(stream, answer, shutdown).await;
        });
    }
}

async fn page(engine: &Engine, request: &Request<Incoming>) -> Reply {
    if request.uri().path() != "/metrics" {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".to_owned());
    }
    match engine.metrics().await {
        Ok(page) => text(StatusCode::OK, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Reply {
    reply::reply(status, CONTENT_TYPE, reply::full_body(body))
}
