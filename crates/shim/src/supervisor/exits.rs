//! Ended processes, the records of them, and the supervisor's own end.
//!
//! Order at an exit: the streams are drained into log and clients, the record is written (and synced if no engine listens), every control
//! connection is told, and then the clients' streams end. Output that others still hold open (`command &`) is waited for
//! [`LINGER`] at most, and delays the report not at all. Only then the runtime gives back what it holds of the container,
//! which may hang: no exit is lost with that. Until it is done no `Shutdown` is answered, and the engine uses neither control
//! group nor directories again.
use super::Supervisor;
use super::connection::Connection;
use super::log::Log;
use super::process::INIT;
use crate::error::Error;
use knarr_shim_proto::stdcopy::Stream;
use knarr_shim_proto::{Event, ExecState, ExitRecord, Phase, file};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// How long the streams of an ended process are read that somebody else holds open; Docker's limit.
const LINGER: Duration = Duration::from_secs(2);
/// Most ended commands whose result is kept for an engine that comes back.
const MAX_ENDED: usize = 256;

impl Supervisor {
    /// A pidfd said that its process ended.
    pub(super) fn on_process_ended(&mut self, id: u32) {
        let Some(process) = self.processes.get(&id) else { return };
        if process.ended.is_some() {
            return;
        }
        self.poller.remove(&process.created.pidfd);
        self.drain(id);
        self.close_input(id);
        let oom_killed = id == INIT && self.check_oom();
        let Some(process) = self.processes.get_mut(&id) else { return };
        let record = process.collect(oom_killed);
        self.undeleted |= id == INIT;
        process.ended = Some((Instant::now(), record.clone()));
        match process.exec_id.clone() {
            None => self.report_exit(record),
            Some(exec_id) => {
                let state = ExecState { exec_id, pid: record.pid, exit: Some(record.clone()) };
                let exec_id = state.exec_id.clone();
                self.remember(state);
                self.broadcast(Event::ExecExited { exec_id, exit: record });
            }
        }
        self.resume_outputs(id);
        self.finish_if_over(id);
    }

    fn report_exit(&mut self, mut record: ExitRecord) {
        self.flush_log();
        record.log_lost = self.log.as_ref().map_or(0, Log::lost);
        self.never_started = self.phase == Phase::Created;
        self.phase = Phase::Exited;
        self.exit = Some(record.clone());
        // A record that cannot be written is still told: whoever listens knows then.
        let _ = self.write_record(file::EXIT, &record, self.must_last());
        self.broadcast(Event::Exited(record));
    }

    /// `execve` failed: the container ends without having run.
    pub(super) fn on_start_failed(&mut self, error: &Error) {
        let Some(init) = self.processes.get(&INIT) else { return };
        let _ = init.signal(Signal::KILL.as_raw());
        self.poller.remove(&init.created.pidfd);
        let failure = error.failure();
        let collected = init.collect(false);
        self.undeleted = true;
        let record = ExitRecord {
            code: failure.kind.exit_code(),
            signal: None,
            error: Some(failure.message),
            ..collected
        };
        self.phase = Phase::Exited;
        self.exit = Some(record.clone());
        let _ = self.write_record(file::EXIT, &record, self.must_last());
        self.close_input(INIT);
        if let Some(init) = self.processes.get_mut(&INIT) {
            init.ended = Some((Instant::now(), record));
        }
        self.close_outputs(INIT);
        self.finish_if_over(INIT);
    }

    /// After an exit was reported.
    pub(super) fn delete_ended(&mut self) {
        if std::mem::take(&mut self.undeleted) {
            self.runtime.delete();
        }
    }

    fn remember(&mut self, state: ExecState) {
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(state);
    }

    /// Ends the streams of a process that is reported and whose output has ended.
    pub(super) fn finish_if_over(&mut self, id: u32) {
        let over = self
            .processes
            .get(&id)
            .is_some_and(|process| process.ended.is_some() && process.outputs.is_empty());
        if !over {
            return;
        }
        self.processes.remove(&id);
        self.flush_log();
        let mut finished = Vec::new();
        for (number, connection) in &mut self.connections {
            let Some(stream) = connection.stream_mut().filter(|stream| stream.process == id) else {
                continue;
            };
            stream.closing = true;
            stream.input_open = false;
            if connection.is_finished() || connection.watch(&self.poller).is_err() {
                finished.push(*number);
            }
        }
        finished.into_iter().for_each(|number| self.drop_connection(number));
    }

    /// When the next wait for somebody else's hold on a stream ends.
    pub(super) fn next_linger_end(&self) -> Option<Instant> {
        self.processes.values().filter_map(|process| process.ended.as_ref()).map(|(at, _)| *at + LINGER).min()
    }

    pub(super) fn end_lingering(&mut self, now: Instant) {
        let over = |at: Instant| now >= at + LINGER;
        let ids: Vec<u32> = self
            .processes
            .iter()
            .filter(|(_, process)| process.ended.as_ref().is_some_and(|(at, _)| over(*at)))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.drain(id);
            self.close_outputs(id);
        }
    }

    fn close_outputs(&mut self, id: u32) {
        self.close_output(id, Stream::Stdout);
        self.close_output(id, Stream::Stderr);
        self.finish_if_over(id);
    }

    /// An engine that listens commits the exit to its database, durably, before it drops the record; without one the
    /// record itself has to survive a power cut.
    fn must_last(&self) -> bool {
        !self.connections.values().any(Connection::is_control)
    }

    /// Collects ended processes that nobody here asked for: what a runtime's program left behind.
    pub(super) fn reap_orphans(&self) {
        if !self.runtime.is_subreaper() {
            return;
        }
        let own = |pid| self.processes.values().any(|p| p.created.pid == pid && p.ended.is_none());
        // Without children there is nothing to collect.
        let _ = knarr_linux::process::reap_unknown(own);
    }

    /// Nothing is left to look after, and nobody is there who has not heard of it.
    pub(super) fn is_over(&self) -> bool {
        let told = self.shutdown || !self.connections.values().any(|connection| connection.is_control());
        let streaming = self.connections.values().any(|connection| !connection.is_control());
        self.exit.is_some() && self.processes.is_empty() && !streaming && told
    }

    /// What was logged last is on its way, or the time for that is over.
    pub(super) fn is_log_sent(&mut self, now: Instant) -> bool {
        let Some(log) = self.log.as_mut().filter(|log| !log.is_drained()) else { return true };
        let until = *self.drain_until.get_or_insert(now + LINGER);
        if now >= until {
            log.give_up();
        }
        now >= until
    }

    /// The kernel killed something because of the memory limit; tells the engine at once.
    pub(super) fn on_oom(&mut self) {
        if self.oom.check() {
            self.broadcast(Event::Oom);
        }
    }

    /// Whether it happened at all, at the container's end; nothing is watched any longer.
    fn check_oom(&mut self) -> bool {
        self.on_oom();
        if let Some(fd) = self.oom.fd() {
            self.poller.remove(fd);
        }
        self.oom.killed()
    }
}
