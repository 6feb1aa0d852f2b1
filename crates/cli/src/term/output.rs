//! Standard output and error behind a bounded queue and a thread, so that a slow reader never blocks signals.
use crate::failure::Outcome;
use bytes::Bytes;
use std::cell::OnceCell;
use std::io::{self, Write};
use tokio::sync::{mpsc, oneshot};

const QUEUE_CHUNKS: usize = 16;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Stdout,
    Stderr,
}

/// A command that says nothing has neither.
#[derive(Default)]
pub struct Output(OnceCell<Writer>);

struct Writer {
    sender: mpsc::Sender<(Target, Bytes)>,
    done: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    fn start() -> Self {
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
}

impl Output {
    /// Queues bytes; false when the reader of our output went away.
    pub async fn write(&self, target: Target, bytes: Bytes) -> bool {
        self.0.get_or_init(Writer::start).sender.send((target, bytes)).await.is_ok()
    }

    /// Waits until everything is written.
    pub async fn finish(self) -> io::Result<()> {
        let Some(Writer { sender, done }) = self.0.into_inner() else { return Ok(()) };
        drop(sender);
        done.await.unwrap_or(Ok(()))
    }
}

/// Prints on standard output; a reader that went away and a full disk are failures, and no panic as with `print!`.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a line on standard error, if somebody hears it.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
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
