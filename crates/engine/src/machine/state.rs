//! The vocabulary of the machine.
use super::{Backoff, Policy};
use serde::{Deserialize, Serialize};

/// What a container is, as stored and as shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    #[default]
    Created,
    Running,
    Paused,
    /// Between two runs, waiting for its restart.
    Restarting,
    Exited,
    Removing,
    /// A removal failed; it can only be removed.
    Dead,
}

impl Phase {
    pub const ALL: [Phase; 7] = [
        Phase::Created,
        Phase::Running,
        Phase::Paused,
        Phase::Restarting,
        Phase::Exited,
        Phase::Removing,
        Phase::Dead,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
            Phase::Removing => "removing",
            Phase::Dead => "dead",
        }
    }

    /// A process exists.
    pub fn is_live(self) -> bool {
        matches!(self, Phase::Running | Phase::Paused)
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Activity {
    #[default]
    Idle,
    /// The start table runs.
    Starting,
    /// A stop signal was sent; the process has a grace time.
    Stopping,
    /// The freezer works.
    Pausing,
    Unpausing,
    /// The process ended; what it held is being released.
    Cleaning,
    /// The removal runs.
    Removing,
}

/// Everything that decides what a container does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    pub phase: Phase,
    pub activity: Activity,
    pub policy: Policy,
    pub backoff: Backoff,
    pub auto_remove: bool,
    /// Someone asked for the end: `unless-stopped` remembers it.
    pub stopped_by_user: bool,
    pub wishes: Wishes,
    /// A stop that came while the start table ran.
    pub stop_after_start: Option<StopWish>,
    /// A signal that came then and ends nothing; of several the last.
    pub signal_after_start: Option<i32>,
    /// SIGKILL was sent because of a stop: nothing stronger is left.
    pub killed: bool,
    pub restarts: u32,
    pub backoff_ms: u64,
    /// Of the last run.
    pub exit_code: i32,
    pub ran_ms: u64,
}

/// What was asked for and is not reached yet. It is stored before the first signal is sent, so that an engine that dies in
/// between is followed by one that goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wishes {
    /// The next exit is wanted: no restart.
    #[serde(default)]
    pub exit: bool,
    /// A stop that has begun.
    #[serde(default)]
    pub stop: Option<StopWish>,
    /// After the exit start again, whatever the policy says.
    #[serde(default)]
    pub start_again: bool,
    /// After the exit start again when the policy's pause is over, whatever the policy says: the engine's own wish.
    #[serde(default)]
    pub restart_later: bool,
    /// After the exit remove; holds whether anonymous volumes go too.
    #[serde(default)]
    pub remove: Option<bool>,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopWish {
    pub signal: i32,
    /// `None`: for ever.
    pub timeout_ms: Option<u64>,
}

/// What happens to a container: requests, then outcomes of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Start,
    Stop(StopWish),
    /// `ends`: the signal is meant to end the container.
    Kill {
        signal: i32,
        ends: bool,
    },
    Restart(StopWish),
    /// Not a request: the engine found the container unhealthy.
    RestartLater(StopWish),
    Pause,
    Unpause,
    Remove {
        force: bool,
        volumes: bool,
    },
    Started,
    /// The table was undone already.
    StartFailed {
        code: i32,
    },
    /// `stop`'s grace time is over, or a killed process did not go.
    StopTimeout,
    Paused {
        ok: bool,
    },
    Unpaused {
        ok: bool,
    },
    Exited {
        code: i32,
        ran_ms: u64,
    },
    Cleaned,
    BackoffOver,
    Removed {
        ok: bool,
    },
}

/// What the task has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Run the start table; outcome `Started` or `StartFailed`.
    Launch,
    Signal(i32),
    /// `StopTimeout` after that time.
    ArmStop {
        after_ms: u64,
    },
    /// The same, but never later than it is armed already.
    HastenStop {
        after_ms: u64,
    },
    DisarmStop,
    Freeze,
    Thaw,
    /// Undo the start table; outcome `Cleaned`.
    Clean,
    /// `BackoffOver` after that time.
    ArmBackoff {
        after_ms: u64,
    },
    DisarmBackoff,
    /// Delete everything; outcome `Removed`.
    Delete {
        volumes: bool,
    },
    /// The row changed: commit it before the later effects.
    Commit,
    /// Only the wishes changed: store them before the later effects.
    Remember,
    /// Answer those who wait.
    Reached(Milestone),
    Missed(Milestone),
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Milestone {
    Started,
    /// No process and nothing held.
    Stopped,
    Paused,
    Unpaused,
    Removed,
}

/// The answer to an event that is a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Done, or not a request.
    Done,
    When(Milestone),
    Refused(Refusal),
}

/// Why a request makes no sense now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    AlreadyStarted,
    AlreadyStopped,
    /// `start` of a paused container.
    IsPaused,
    MarkedForRemoval,
    NotRunning,
    AlreadyPaused,
    NotPaused,
    IsRestarting,
    /// `pause` of a container that is being stopped.
    IsStopping,
    /// Removal without force.
    StillLive,
    RemovalInProgress,
}
