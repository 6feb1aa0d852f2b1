//! What a task is told.
use super::Found;
use crate::error::{Error, Result};
use crate::machine;
use crate::record::{Container, ProbeResult};
use crate::start::{Failed, Launched};
use knarr_docker_types::container::WaitResponse;
use knarr_docker_types::options::WaitCondition;
use knarr_shim_proto::Streams;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Messages that wait at most.
const DEPTH: usize = 256;

pub(crate) enum Message {
    /// Answered when it is refused or its milestone has come.
    Request(machine::Event, oneshot::Sender<Result<(), Refused>>),
    /// `registered` is answered first: nothing is missed from then on.
    Wait {
        condition: WaitCondition,
        outcome: oneshot::Sender<WaitResponse>,
        registered: oneshot::Sender<()>,
    },
    /// The stream of the container's next process; dropped when it does not start.
    AttachNext {
        streams: Streams,
        stream: oneshot::Sender<UnixStream>,
        registered: oneshot::Sender<()>,
    },
    /// A changed configuration row to commit, with its event.
    Configure {
        change: Box<dyn FnOnce(&mut Container) + Send>,
        action: &'static str,
        extra: Vec<(String, String)>,
        reply: oneshot::Sender<Result<()>>,
    },
    Outcome(Outcome),
}

/// Why a request failed.
pub(crate) enum Refused {
    ByState(machine::Refusal),
    Failed(Error),
}

pub(crate) enum Outcome {
    Started(Box<Launched>),
    StartFailed(Box<Failed>),
    Frozen(Result<()>),
    Thawed(Result<()>),
    /// With the events of what was given back.
    Cleaned(Vec<knarr_state::Event>),
    Removed(Result<()>),
    /// What became of a supervisor whose connection was lost.
    Found(Found),
    /// Of a health check; no result: it could not be tried.
    Probed {
        number: u64,
        result: Option<ProbeResult>,
    },
}

/// Where a task is reached.
#[derive(Clone)]
pub(crate) struct Inbox(mpsc::Sender<Message>);

impl Inbox {
    pub fn new() -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(DEPTH);
        (Self(sender), receiver)
    }

    pub async fn send(&self, message: Message) -> Result<()> {
        self.0.send(message).await.map_err(|_| Error::NotFound("the container is gone".to_owned()))
    }

    /// Asks for something and waits until it is so.
    pub async fn request(&self, event: machine::Event) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Request(event, reply)).await.map_err(Refused::Failed)?;
        answer.await.unwrap_or_else(|_| {
            Err(Refused::Failed(Error::Unavailable("the engine is shutting down".into())))
        })
    }

    pub async fn wait(&self, condition: WaitCondition) -> Result<oneshot::Receiver<WaitResponse>> {
        let (outcome, receiver) = oneshot::channel();
        let (registered, done) = oneshot::channel();
        self.send(Message::Wait { condition, outcome, registered }).await?;
        let _ = done.await;
        Ok(receiver)
    }

    pub async fn attach_next(&self, streams: Streams) -> Result<oneshot::Receiver<UnixStream>> {
        let (stream, receiver) = oneshot::channel();
        let (registered, done) = oneshot::channel();
        self.send(Message::AttachNext { streams, stream, registered }).await?;
        let _ = done.await;
        Ok(receiver)
    }

    pub async fn configure(
        &self,
        action: &'static str,
        extra: Vec<(String, String)>,
        change: impl FnOnce(&mut Container) + Send + 'static,
    ) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Configure { change: Box::new(change), action, extra, reply }).await?;
        answer.await.map_err(|_| Error::Unavailable("the engine is shutting down".to_owned()))?
    }
}
