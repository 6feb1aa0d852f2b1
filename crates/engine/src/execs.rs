//! Commands executed in containers. They live in memory: their processes belong to the supervisor, which remembers them.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use knarr_base::ContainerId;
use knarr_docker_types::exec::CreateRequest;
use knarr_oci::runtime::Process;
use knarr_shim_proto::ExitRecord;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Commands remembered per container after they ended.
const MAX_ENDED: usize = 64;
/// Commands that exist in one container at most.
const MAX_EXECS: usize = 4096;

#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub id: String,
    pub container: ContainerId,
    pub request: CreateRequest,
    pub process: Process,
    pub state: ExecState,
    /// For order: the larger the newer.
    pub number: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExecState {
    Created,
    Starting,
    Running { pid: i32 },
    Ended { pid: i32, code: i32 },
}

#[derive(Default)]
pub(crate) struct Execs {
    map: Mutex<BTreeMap<String, Exec>>,
    changed: tokio::sync::Notify,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Exec>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, mut exec: Exec) -> Result<()> {
        let mut map = self.lock();
        let count = map.values().filter(|e| e.container == exec.container).count();
        if count >= MAX_EXECS {
            return Err(Error::Conflict(format!("too many commands in container {}", exec.container)));
        }
        exec.number = map.values().map(|e| e.number).max().unwrap_or(0) + 1;
        map.insert(exec.id.clone(), exec);
        Ok(())
    }

    /// By id or its beginning.
    pub fn get(&self, id: &str) -> Result<Exec> {
        let map = self.lock();
        let mut found =
            map.range(id.to_owned()..).take_while(|(key, _)| !id.is_empty() && key.starts_with(id));
        match (found.next(), found.next()) {
            (Some((_, exec)), None) => Ok(exec.clone()),
            (Some((key, exec)), Some(_)) if key == id => Ok(exec.clone()),
            _ => Err(Error::NoSuchExec(id.to_owned())),
        }
    }

    pub fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    pub fn set_state(&self, id: &str, state: ExecState) {
        if let Some(exec) = self.lock().get_mut(id) {
            // An exit that was reported first is not undone by the start's answer.
            if !matches!(exec.state, ExecState::Ended { .. }) {
                exec.state = state;
            }
        }
        self.changed.notify_waiters();
    }

    /// Returns when the command has ended, or is forgotten.
    pub async fn ended(&self, id: &str) {
        loop {
            let changed = self.changed.notified();
            match self.lock().get(id).map(|exec| exec.state.clone()) {
                None | Some(ExecState::Ended { .. }) => return,
                Some(_) => {}
            }
            changed.await;
        }
    }

    /// Marks it as being started; only once.
    pub fn begin(&self, id: &str) -> Result<()> {
        let mut map = self.lock();
        let exec = map.get_mut(id).ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
        match exec.state {
            ExecState::Created => exec.state = ExecState::Starting,
            ExecState::Ended { .. } => {
                return Err(Error::Conflict(format!("exec command {id} has already run")));
            }
            _ => return Err(Error::Conflict(format!("exec command {id} is already running"))),
        }
        Ok(())
    }

    pub fn of(&self, container: &ContainerId) -> Vec<String> {
        let map = self.lock();
        let live =
            map.values().filter(|e| e.container == *container && !matches!(e.state, ExecState::Ended { .. }));
        live.map(|e| e.id.clone()).collect()
    }

    /// Reported by the supervisor.
    pub fn exited(&self, engine: &Arc<Inner>, container: &Arc<Container>, id: &str, exit: &ExitRecord) {
        self.set_state(id, ExecState::Ended { pid: exit.pid, code: exit.code });
        self.forget_old(&container.id, Some(id));
        let event = container.event("exec_die").with("execID", id).with("exitCode", exit.code.to_string());
        let event = knarr_state::Event { minor: crate::health::is_probe(&container.id, id), ..event };
        let engine = Arc::clone(engine);
        tokio::spawn(async move { engine.emit(event).await });
    }

    /// The container's process ended, and all of its commands with it.
    pub fn container_ended(&self, container: &ContainerId) {
        for exec in self.lock().values_mut().filter(|e| e.container == *container) {
            if let ExecState::Running { pid } = exec.state {
                exec.state = ExecState::Ended { pid, code: 137 };
            }
        }
        self.changed.notify_waiters();
        self.forget_old(container, None);
    }

    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
        self.changed.notify_waiters();
    }

    pub fn forget(&self, container: &ContainerId) {
        self.lock().retain(|_, exec| exec.container != *container);
    }

    /// `just_ended`: its client has yet to ask how it ended, however long ago it began.
    fn forget_old(&self, container: &ContainerId, just_ended: Option<&str>) {
        let mut map = self.lock();
        let ended = |e: &&Exec| e.container == *container && matches!(e.state, ExecState::Ended { .. });
        let mut ended: Vec<(u64, String)> =
            map.values().filter(ended).map(|e| (e.number, e.id.clone())).collect();
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        for (_, id) in ended.into_iter().filter(|(_, id)| Some(id.as_str()) != just_ended).take(surplus) {
            map.remove(&id);
        }
    }
}
