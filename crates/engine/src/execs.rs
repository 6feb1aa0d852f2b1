//! Commands executed in containers. They live in memory: their processes belong to the supervisor, which remembers them.
use crate::engine::Inner;
use crate::error::{Error, Result};
use crate::record::Container;
use knarr_base::ContainerId;
use knarr_docker_types::exec::CreateRequest;
use knarr_oci::runtime::Process;
use knarr_shim_proto::ExitRecord;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
struct Known {
    by_id: BTreeMap<String, Exec>,
    /// Their ids.
    of: HashMap<ContainerId, BTreeSet<String>>,
    last_number: u64,
}

impl Known {
    fn in_container(&self, container: &ContainerId) -> impl Iterator<Item = &Exec> {
        self.of.get(container).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    fn remove(&mut self, id: &str) {
        let Some(exec) = self.by_id.remove(id) else { return };
        if let Some(ids) = self.of.get_mut(&exec.container) {
            ids.remove(id);
            if ids.is_empty() {
                self.of.remove(&exec.container);
            }
        }
    }
}

#[derive(Default)]
pub(crate) struct Execs {
    known: Mutex<Known>,
    changed: tokio::sync::Notify,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where there are too many, one that was made and never started makes room.
    pub fn add(&self, mut exec: Exec) -> Result<()> {
        let mut known = self.lock();
        if known.of.get(&exec.container).is_some_and(|ids| ids.len() >= MAX_EXECS) {
            let unused = known.in_container(&exec.container).filter(|e| e.state == ExecState::Created);
            let Some(oldest) = unused.min_by_key(|e| e.number).map(|e| e.id.clone()) else {
                return Err(Error::Conflict(format!("too many commands in container {}", exec.container)));
            };
            known.remove(&oldest);
        }
        known.last_number += 1;
        exec.number = known.last_number;
        known.of.entry(exec.container.clone()).or_default().insert(exec.id.clone());
        known.by_id.insert(exec.id.clone(), exec);
        Ok(())
    }

    /// By id or its beginning.
    pub fn get(&self, id: &str) -> Result<Exec> {
        let known = self.lock();
        let mut found =
            known.by_id.range(id.to_owned()..).take_while(|(key, _)| !id.is_empty() && key.starts_with(id));
        match (found.next(), found.next()) {
            (Some((_, exec)), None) => Ok(exec.clone()),
            (Some((key, exec)), Some(_)) if key == id => Ok(exec.clone()),
            _ => Err(Error::NoSuchExec(id.to_owned())),
        }
    }

    pub fn has(&self, id: &str) -> bool {
        self.lock().by_id.contains_key(id)
    }

    pub fn set_state(&self, id: &str, state: ExecState) {
        if let Some(exec) = self.lock().by_id.get_mut(id) {
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
            match self.lock().by_id.get(id).map(|exec| exec.state.clone()) {
                None | Some(ExecState::Ended { .. }) => return,
                Some(_) => {}
            }
            changed.await;
        }
    }

    /// Marks it as being started; only once.
    pub fn begin(&self, id: &str) -> Result<()> {
        let mut known = self.lock();
        let exec = known.by_id.get_mut(id).ok_or_else(|| Error::NoSuchExec(id.to_owned()))?;
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
        let known = self.lock();
        let live = known.in_container(container).filter(|e| !matches!(e.state, ExecState::Ended { .. }));
        live.map(|e| e.id.clone()).collect()
    }

    /// Reported by the supervisor.
    pub fn exited(&self, engine: &Arc<Inner>, container: &Container, id: &str, exit: &ExitRecord) {
        self.set_state(id, ExecState::Ended { pid: exit.pid, code: exit.code });
        self.forget_old(&container.id, Some(id));
        let event = container.event("exec_die").with("execID", id).with("exitCode", exit.code.to_string());
        let event = knarr_state::Event { minor: crate::health::is_probe(&container.id, id), ..event };
        let engine = Arc::clone(engine);
        tokio::spawn(async move { engine.emit(event).await });
    }

    /// The container's process ended, and all of its commands with it.
    pub fn container_ended(&self, container: &ContainerId) {
        {
            let mut known = self.lock();
            let Known { by_id, of, .. } = &mut *known;
            for id in of.get(container).into_iter().flatten() {
                if let Some(exec) = by_id.get_mut(id)
                    && let ExecState::Running { pid } = exec.state
                {
                    exec.state = ExecState::Ended { pid, code: 137 };
                }
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
        let mut known = self.lock();
        for id in known.of.remove(container).unwrap_or_default() {
            known.by_id.remove(&id);
        }
        drop(known);
        self.changed.notify_waiters();
    }

    /// `just_ended`: its client has yet to ask how it ended, however long ago it began.
    fn forget_old(&self, container: &ContainerId, just_ended: Option<&str>) {
        let mut known = self.lock();
        let ended = known.in_container(container).filter(|e| matches!(e.state, ExecState::Ended { .. }));
        let mut ended: Vec<(u64, String)> = ended.map(|e| (e.number, e.id.clone())).collect();
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(MAX_ENDED);
        for (_, id) in ended.into_iter().filter(|(_, id)| Some(id.as_str()) != just_ended).take(surplus) {
            known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(container: u8, id: &str, state: ExecState) -> Exec {
        Exec {
            id: id.to_owned(),
            container: ContainerId::from_bytes(&[container; 32]),
            request: CreateRequest::default(),
            process: Process::default(),
            state,
            number: 0,
        }
    }

    #[test]
    fn what_was_never_started_makes_room() {
        let (execs, of) = (Execs::default(), |n: u8| ContainerId::from_bytes(&[n; 32]));
        for number in 0..MAX_EXECS {
            let state = if number % 2 == 0 { ExecState::Running { pid: 1 } } else { ExecState::Created };
            execs.add(exec(1, &format!("{number:05}"), state)).unwrap();
        }
        execs.add(exec(2, "other", ExecState::Created)).unwrap();
        execs.add(exec(1, "new", ExecState::Running { pid: 1 })).unwrap();
        assert!(!execs.has("00001") && execs.has("00003") && execs.has("00000") && execs.has("new"));
        assert_eq!(execs.of(&of(1)).len(), MAX_EXECS);
        // Its process took those along that ran; only the last that ended are remembered.
        execs.container_ended(&of(1));
        assert_eq!(execs.of(&of(1)).len(), MAX_EXECS / 2 - 1);
        assert!(!execs.has("00000") && execs.has("new"));
        execs.forget(&of(1));
        assert_eq!((execs.of(&of(1)), execs.has("new"), execs.has("other")), (Vec::new(), false, true));
        for number in 0..MAX_EXECS {
            execs.add(exec(1, &format!("{number:05}"), ExecState::Starting)).unwrap();
        }
        assert!(execs.add(exec(1, "new", ExecState::Created)).is_err());
    }
}
