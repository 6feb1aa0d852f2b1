//! Standard output and error behind a bounded queue and a thread, so that a slow reader never blocks signals.
use bytes::Bytes;
use std::io::{self, Write};
use tokio::sync::{mpsc, oneshot};

const QUEUE_CHUNKS: usize = 16;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Stdout,
    Stderr,
}

pub struct Output {
    sender: mpsc::Sender<(Target, Bytes)>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub fn new() -> Self {
        let (sender, mut receiver) = mpsc::channel::<(Target, Bytes)>(QUEUE_CHUNKS);
        let (report, done) = oneshot::channel();
        std::thread::spawn(move || {
            let mut result = Ok(());
            while let Some((target, bytes)) = receiver.blocking_recv() {
                result = write(target, &bytes);
                if result.is_err() {
                    break;
                }
            }
            let _ = report.send(result);
        });
        Self { sender, done }
    }

    /// Queues bytes; false when the reader of our output went away.
    pub async fn write(&self, target: Target, bytes: Bytes) -> bool {
        self.sender.send((target, bytes)).await.is_ok()
    }

    /// Waits until everything is written.
    pub async fn finish(self) -> io::Result<()> {
        drop(self.sender);
        self.done.await.unwrap_or(Ok(()))
    }
}

fn write(target: Target, bytes: &[u8]) -> io::Result<()> {
    match target {
        Target::Stdout => {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Target::Stderr => io::stderr().lock().write_all(bytes),
    }
}
