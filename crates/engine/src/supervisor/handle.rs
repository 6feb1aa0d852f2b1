//! One container's supervisor: requests with answers, events, streams.
use super::error::{Error, Result};
use super::{socket, wire};
use knarr_shim_proto::{Answer, Call, Event, ExecConfig, Failure, FromShim, Request, StateReport, Streams};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

/// Longest wait for an answer. A start executes hooks, and an exec makes a process on a machine that may be loaded.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Events that may wait to be taken.
const EVENTS: usize = 256;

/// Events of a supervisor. `None` is received when its connection has ended: after an exit that is in order; otherwise
/// the supervisor died, and [`super::records::exit`] says what is known.
pub type Events = mpsc::Receiver<Event>;

/// The control connection of one supervisor. Copies share it; it closes with the last one.
#[derive(Debug, Clone)]
pub struct ShimHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Mutex<Waiting>>,
    reader: tokio::task::AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Requests without an answer yet.
#[derive(Debug, Default)]
struct Waiting {
    last_number: u64,
    answers: HashMap<u64, oneshot::Sender<Result<Answer, Failure>>>,
    closed: bool,
}

impl ShimHandle {
    /// Connects to a running supervisor, as after a restart of the engine.
    pub async fn connect(dir: &Path) -> Result<(Self, Events)> {
        let stream = socket::connect(dir).await?;
        Ok(Self::over(stream, dir))
    }

    pub(super) fn over(stream: UnixStream, dir: &Path) -> (Self, Events) {
        let (read, write) = stream.into_split();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let (events, receiver) = mpsc::channel(EVENTS);
        let reader = tokio::spawn(receive(read, Arc::clone(&waiting), events)).abort_handle();
        let inner = Inner { dir: dir.to_owned(), writer: write.into(), waiting, reader };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// Lets the container's init execute its program; an error of `execve` comes back.
    pub async fn start(&self) -> Result<()> {
        self.done(Call::Start).await
    }

    pub async fn kill(&self, signal: i32) -> Result<()> {
        self.done(Call::Kill { exec_id: None, signal }).await
    }

    pub async fn kill_exec(&self, exec_id: &str, signal: i32) -> Result<()> {
        self.done(Call::Kill { exec_id: Some(exec_id.to_owned()), signal }).await
    }

    pub async fn resize(&self, exec_id: Option<&str>, rows: u16, cols: u16) -> Result<()> {
        self.done(Call::Resize { exec_id: exec_id.map(str::to_owned), rows, cols }).await
    }

    pub async fn state(&self) -> Result<StateReport> {
        match self.call(Call::State).await? {
            Answer::State(state) => Ok(state),
            _ => Err(Error::Unexpected),
        }
    }

    pub async fn reopen_logs(&self) -> Result<()> {
        self.done(Call::ReopenLogs).await
    }

    /// Lets the supervisor end once nothing is left to look after; before `start` it kills the container's init.
    pub async fn shutdown(&self) -> Result<()> {
        self.done(Call::Shutdown).await
    }

    /// Executes a command that nobody is attached to. Gives its process id.
    pub async fn exec(&self, config: ExecConfig) -> Result<i32> {
        started(self.call(Call::Exec(ExecConfig { attach: false, ..config })).await?)
    }

    /// Executes a command, and gives its process id and its stream. When the stream ends, `ExecExited` has been sent.
    pub async fn exec_attached(&self, config: ExecConfig) -> Result<(i32, UnixStream)> {
        let (answer, stream) = self.stream_call(Call::Exec(ExecConfig { attach: true, ..config })).await?;
        Ok((started(answer)?, stream))
    }

    /// A stream of the container's output and input: Docker's multiplexed frames, or raw bytes with a terminal.
    pub async fn attach(&self, streams: Streams) -> Result<UnixStream> {
        match self.stream_call(Call::Attach(streams)).await? {
            (Answer::Done, stream) => Ok(stream),
            _ => Err(Error::Unexpected),
        }
    }

    async fn done(&self, call: Call) -> Result<()> {
        match self.call(call).await? {
            Answer::Done => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    async fn call(&self, call: Call) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut waiting = lock(&self.inner.waiting);
            if waiting.closed {
                return Err(Error::Gone);
            }
            waiting.last_number += 1;
            let number = waiting.last_number;
            waiting.answers.insert(number, sender);
            number
        };
        let _forget = Forget { waiting: &self.inner.waiting, number };
        within(ANSWER_TIMEOUT, async {
            // The lock is held for whole frames only; a caller that gives up between two bytes of a frame would spoil
            // the connection, so the frame is sent by a task of its own.
            let bytes = knarr_shim_proto::frame::encode(&Request { number, call })?;
            let inner = Arc::clone(&self.inner);
            let send = async move {
                use tokio::io::AsyncWriteExt;
                inner.writer.lock().await.write_all(&bytes).await
            };
            match tokio::spawn(send).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(Error::Gone),
            }
            Ok(receiver.await.map_err(|_| Error::Gone)??)
        })
        .await
    }

    /// A request on a connection of its own, which becomes the stream.
    async fn stream_call(&self, call: Call) -> Result<(Answer, UnixStream)> {
        within(ANSWER_TIMEOUT, async {
            let mut stream = socket::connect(&self.inner.dir).await?;
            wire::write(&mut stream, &Request { number: 1, call }).await?;
            Ok((wire::answer(&mut stream).await?, stream))
        })
        .await
    }
}

fn started(answer: Answer) -> Result<i32> {
    match answer {
        Answer::Started { pid } => Ok(pid),
        _ => Err(Error::Unexpected),
    }
}

/// Waits for a result, but not for ever.
pub(super) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::Timeout(limit)))
}

/// A request that nobody waits for any longer is forgotten.
struct Forget<'a> {
    waiting: &'a Mutex<Waiting>,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(self.waiting).answers.remove(&self.number);
    }
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sorts what comes into answers and events until the connection ends.
async fn receive(mut read: OwnedReadHalf, waiting: Arc<Mutex<Waiting>>, events: mpsc::Sender<Event>) {
    loop {
        match wire::read(&mut read).await {
            Ok(FromShim::Event(event)) => {
                // Nobody listens: events are dropped, answers still matter.
                let _ = events.send(event).await;
            }
            Ok(FromShim::Reply(reply)) => {
                if let Some(sender) = lock(&waiting).answers.remove(&reply.number) {
                    let _ = sender.send(reply.result);
                }
            }
            Err(_) => break,
        }
    }
    let mut waiting = lock(&waiting);
    waiting.closed = true;
    waiting.answers.clear();
}
