//! What a task is told.
use super::Found;
use crate::error::{Error, Result};
use crate::machine;
use crate::record::{Container, ProbeResult};
use crate::start::{Failed, Launched};
use knarr_base::ContainerId;
use knarr_docker_types::container::WaitResponse;
use knarr_docker_types::options::WaitCondition;
use knarr_shim_proto::Streams;
use std::sync::Arc;
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
    /// The stream of the container's process, or of its next one; dropped when that does not start.
    Attach {
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
pub(crate) struct Inbox {
    sender: mpsc::Sender<Message>,
    id: Arc<str>,
}

impl Inbox {
    pub fn new(id: &ContainerId) -> (Self, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(DEPTH);
        (Self { sender, id: id.as_str().into() }, receiver)
    }

    /// A task ends when its container was removed; what was asked meanwhile is never answered.
    fn gone(&self) -> Error {
        Error::NoSuchContainer(self.id.to_string())
    }

    pub async fn send(&self, message: Message) -> Result<()> {
        self.sender.send(message).await.map_err(|_| self.gone())
    }

    /// Asks for something and waits until it is so.
    pub async fn request(&self, event: machine::Event) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Message::Request(event, reply)).await.map_err(Refused::Failed)?;
        answer.await.unwrap_or_else(|_| Err(Refused::Failed(self.gone())))
    }

    pub async fn wait(&self, condition: WaitCondition) -> Result<oneshot::Receiver<WaitResponse>> {
        let (outcome, receiver) = oneshot::channel();
        let (registered, done) = oneshot::channel();
        self.send(Message::Wait { condition, outcome, registered }).await?;
        done.await.map_err(|_| self.gone())?;
        Ok(receiver)
    }

    pub async fn attach(&self, streams: Streams) -> Result<oneshot::Receiver<UnixStream>> {
        let (stream, receiver) = oneshot::channel();
        let (registered, done) = oneshot::channel();
        self.send(Message::Attach { streams, stream, registered }).await?;
        done.await.map_err(|_| self.gone())?;
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
        answer.await.map_err(|_| self.gone())?
    }
}
