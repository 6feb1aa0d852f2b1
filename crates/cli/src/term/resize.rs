//! Keeps a container's terminal as large as ours.
use knarr_docker_client::Client;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// How often the first size is tried: the process may not have its terminal yet.
const TRIES: u32 = 10;

/// What is resized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resized {
    Container(String),
    Exec(String),
}

async fn resize(client: &Client, what: &Resized) -> bool {
    resize_by(client, what, 0).await
}

async fn resize_by(client: &Client, what: &Resized, more: u16) -> bool {
    let Some((rows, columns)) = super::size_of_stdout() else { return true };
    let (rows, columns) = (rows + more, columns + more);
    let path = match what {
        Resized::Container(id) => format!("/containers/{id}/resize"),
        Resized::Exec(id) => format!("/exec/{id}/resize"),
    };
    let request = client.post(path).query("h", rows.to_string()).query("w", columns.to_string());
    request.done().await.is_ok()
}

/// Sends the size now and whenever it changes; ends when the handle is dropped.
pub fn follow(client: &Client, what: Resized) -> Following {
    let client = client.clone();
    Following(tokio::task::spawn_local(async move {
        for attempt in 1..=TRIES {
            if resize(&client, &what).await {
                break;
            }
            tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 10)).await;
        }
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        while changes.recv().await.is_some() {
            resize(&client, &what).await;
        }
    }))
}

/// As [`follow`], after a change of size that makes the program in the terminal draw itself again.
pub fn follow_with_redraw(client: &Client, what: Resized) -> Following {
    let client = client.clone();
    Following(tokio::task::spawn_local(async move {
        resize_by(&client, &what, 1).await;
        let _following = follow(&client, what);
        std::future::pending::<()>().await;
    }))
}

/// Following ends with it.
pub struct Following(JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}
