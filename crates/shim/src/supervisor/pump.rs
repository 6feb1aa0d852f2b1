//! Output from processes to the log and to attached clients; input from clients to processes.
//!
//! Back-pressure is Docker's: while an attached client has not taken what was read, nothing more is read, so the
//! process waits in its own write. A client that is gone holds up nothing. What an ended process left is always read.
use super::process::Process;
use super::streams::Read;
use super::{Supervisor, streams};
use jiff::Timestamp;
use knarr_shim_proto::stdcopy::Stream;
use rustix::event::epoll::EventFlags;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::connection::Role;
use super::log::Log;
use super::poller::Target;

/// Most bytes of input that wait for one process.
const INPUT_PENDING_MAX: usize = 64 * 1024;
/// How long after a hang-up it shows whether the engine is gone too. Its connections are closed at once.
const HANGUP_GRACE: Duration = Duration::from_secs(1);
/// Most bytes that an ended process can have left in one stream (the largest pipe that the kernel allows by default).
const DRAIN_MAX: usize = 1 << 20;

/// A client's stream that was closed as a whole.
#[derive(Debug)]
pub struct Hangup {
    at: Instant,
    process: u32,
    /// The number of the connection that came next.
    before: u32,
}

impl Supervisor {
    /// A process has written.
    pub(super) fn on_output(&mut self, id: u32, stream: Stream) {
        let stalled = self.is_stalled(id);
        self.held_by_log |= stalled && self.is_held_by_log(id);
        let poller = &self.poller;
        let Some(process) = self.processes.get_mut(&id) else { return };
        let ended = process.ended.is_some();
        let Some(output) = process.output(stream) else { return };
        if stalled && !ended {
            poller.remove(&output.fd);
            output.paused = true;
            return;
        }
        self.read_output(id, stream);
    }

    /// Reads once and passes it on; false when there was nothing, or the stream ended.
    fn read_output(&mut self, id: u32, stream: Stream) -> Option<usize> {
        let mut buffer = self.take_buffer();
        let output = self.processes.get_mut(&id).and_then(|process| process.output(stream));
        let read = output.map(|output| streams::read(output.fd.as_fd(), &mut buffer));
        let count = match read {
            Some(Read::Bytes(count)) => {
                if count == buffer.len()
                    && let Some(output) = self.processes.get_mut(&id).and_then(|p| p.output(stream))
                {
                    output.make_roomy();
                }
                self.deliver(id, stream, &buffer[..count]);
                Some(count)
            }
            Some(Read::End) => {
                self.close_output(id, stream);
                None
            }
            Some(Read::Empty) | None => None,
        };
        self.return_buffer(buffer);
        count
    }

    /// Reads what an ended process left, without waiting.
    pub(super) fn drain(&mut self, id: u32) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut drained = 0;
            while let Some(count) = self.read_output(id, stream) {
                drained += count;
                if drained >= DRAIN_MAX {
                    break;
                }
            }
        }
    }

    fn deliver(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if let Some(log) = self.log.as_mut().filter(|_| process.logged)
            && let Some(output) = process.output(stream)
        {
            output.splitter.push(bytes, Timestamp::now(), |message| log.append(stream, message));
        }
        let mut gone = Vec::new();
        for (number, connection) in &mut self.connections {
            let wants = connection.stream().filter(|part| part.process == id && !part.closing);
            let Some(part) = wants else { continue };
            let selected = match stream {
                Stream::Stdout => part.streams.stdout,
                Stream::Stderr => part.streams.stderr,
            };
            let raw = part.raw;
            if selected
                && (connection.send_output(stream, raw, bytes).is_err()
                    || connection.watch(&self.poller).is_err())
            {
                gone.push(*number);
            }
        }
        gone.into_iter().for_each(|number| self.drop_connection(number));
    }

    /// An output has ended, or is not waited for any longer.
    pub(super) fn close_output(&mut self, id: u32, stream: Stream) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let logged = process.logged;
        let Some(at) = process.outputs.iter().position(|output| output.stream == stream) else { return };
        let mut output = process.outputs.remove(at);
        self.poller.remove(&output.fd);
        if let Some(log) = self.log.as_mut().filter(|_| logged) {
            output.splitter.finish(Timestamp::now(), |message| log.append(stream, message));
        }
        self.finish_if_over(id);
    }

    /// A client of the process has not taken what was read before, or the log's target.
    fn is_stalled(&self, id: u32) -> bool {
        self.is_held_by_log(id)
            || self.connections.values().any(|connection| {
                connection.has_pending() && connection.stream().is_some_and(|stream| stream.process == id)
            })
    }

    fn is_held_by_log(&self, id: u32) -> bool {
        self.log.as_ref().is_some_and(Log::holds_up)
            && self.processes.get(&id).is_some_and(|process| process.logged)
    }

    /// Reads a process's outputs again, if no client holds them up.
    pub(super) fn resume_outputs(&mut self, id: u32) {
        let stalled = self.is_stalled(id);
        let Some(process) = self.processes.get_mut(&id) else { return };
        if stalled && process.ended.is_none() {
            return;
        }
        for output in process.outputs.iter_mut().filter(|output| output.paused) {
            let target = Target::Output(id, output.stream);
            output.paused = self.poller.add(&output.fd, target, EventFlags::IN).is_err();
        }
    }

    /// A connection is ready.
    pub(super) fn on_connection(&mut self, id: u32, flags: EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if flags.contains(EventFlags::OUT) {
            if connection.flush().is_err() {
                return self.drop_connection(id);
            }
            if connection.is_finished() {
                return self.drop_connection(id);
            }
            if connection.watch(&self.poller).is_err() {
                return self.drop_connection(id);
            }
            if let Some(process) = connection.stream().map(|stream| stream.process) {
                self.resume_outputs(process);
            }
        }
        let hung_up = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        if !flags.contains(EventFlags::IN) && !hung_up {
            return;
        }
        match self.connections.get(&id).map(|connection| &connection.role) {
            Some(Role::Control(..)) => self.on_requests(id),
            Some(Role::Stream(_)) => self.on_stream_input(id, hung_up),
            None => {}
        }
    }

    /// An attached client has sent input, has ended it, or is gone.
    fn on_stream_input(&mut self, id: u32, hung_up: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(stream) = connection.stream_mut() else { return };
        if !stream.input_open {
            // Without input only a hang-up is reported: the client is gone.
            return self.drop_connection(id);
        }
        if !stream.input_room {
            // What it sent before it went is read when there is room.
            return connection.ignore(&self.poller);
        }
        let mut buffer = self.take_buffer();
        let limit = buffer.len().min(INPUT_PENDING_MAX);
        let read = self.connections.get(&id).map(|connection| connection.read(&mut buffer[..limit]));
        match read {
            Some(Ok(Some(count))) if count > 0 => self.take_input(id, &buffer[..count]),
            Some(Ok(None)) => {}
            Some(Ok(Some(_))) if !hung_up => self.end_input(id),
            Some(Ok(Some(_)) | Err(_)) | None => self.hang_up(id),
        }
        self.return_buffer(buffer);
    }

    /// The stream was closed as a whole while its input was open. Either its client is gone, and then its input has ended;
    /// or the engine is, and then the container is not to notice: that shows a moment later.
    fn hang_up(&mut self, id: u32) {
        let Some(stream) = self.connections.get(&id).and_then(|connection| connection.stream()) else {
            return;
        };
        let process = stream.process;
        self.drop_connection(id);
        if self.passes_end_on(process) {
            self.hangups.push(Hangup { at: Instant::now(), process, before: self.next_connection });
        }
    }

    /// Whether the end of a client's input is the end of the process's.
    fn passes_end_on(&self, process: u32) -> bool {
        self.processes.get(&process).is_some_and(|process| process.stdin_once && !process.terminal)
    }

    /// When the next hang-up is decided.
    pub(super) fn next_hangup(&self) -> Option<Instant> {
        self.hangups.first().map(|hangup| hangup.at + HANGUP_GRACE)
    }

    /// Decides about hang-ups that are old enough: if a control connection of that time is still there, so is the engine.
    pub(super) fn decide_hangups(&mut self, now: Instant) {
        while let Some(hangup) = self.hangups.first().filter(|hangup| now >= hangup.at + HANGUP_GRACE) {
            let (process, before) = (hangup.process, hangup.before);
            self.hangups.remove(0);
            let engine_lives =
                self.connections.range(..before).any(|(_, connection)| connection.is_control());
            if engine_lives {
                self.end_process_input(process);
            }
        }
    }

    fn end_process_input(&mut self, process: u32) {
        if let Some(input) = self.processes.get_mut(&process).and_then(|process| process.input.as_mut()) {
            input.ending = true;
            self.on_input(process);
        }
    }

    /// Passes a client's input to its process.
    pub(super) fn take_input(&mut self, id: u32, bytes: &[u8]) {
        let Some(process_id) = self.connections.get(&id).and_then(|c| c.stream()).map(|s| s.process) else {
            return;
        };
        // Without an open input what comes is thrown away, so that the client's going is noticed.
        if let Some(input) = self.processes.get_mut(&process_id).and_then(|p| p.input.as_mut())
            && !input.ending
        {
            input.pending.push(bytes);
            self.on_input(process_id);
        }
    }

    /// The client's input has ended: end the process's too, or the client's part, as Docker does.
    fn end_input(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(stream) = connection.stream_mut() else { return };
        stream.input_open = false;
        let process_id = stream.process;
        if self.passes_end_on(process_id) {
            self.end_process_input(process_id);
        } else if let Some(stream) = self.connections.get_mut(&id).and_then(|c| c.stream_mut()) {
            stream.closing = true;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.is_finished() || connection.watch(&self.poller).is_err() {
            self.drop_connection(id);
        }
    }

    /// Writes what waits to a process's input.
    pub(super) fn on_input(&mut self, id: u32) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        let Some(input) = &mut process.input else { return };
        let fd = input.fd.as_fd();
        let broken = input.pending.flush(|bytes| rustix::io::write(fd, bytes)).is_err();
        if broken || (input.pending.is_empty() && input.ending) {
            self.close_input(id);
        } else {
            let wanted = !input.pending.is_empty();
            if wanted != input.watched {
                input.watched = wanted;
                if wanted {
                    let _ = self.poller.add(&input.fd, Target::Input(id), EventFlags::OUT);
                } else {
                    self.poller.remove(&input.fd);
                }
            }
        }
        self.tell_input_room(id);
    }

    pub(super) fn close_input(&mut self, id: u32) {
        if let Some(input) = self.processes.get_mut(&id).and_then(|process| process.input.take()) {
            self.poller.remove(&input.fd);
        }
    }

    /// Clients may send more input, or must wait.
    fn tell_input_room(&mut self, id: u32) {
        let input = self.processes.get(&id).and_then(|process: &Process| process.input.as_ref());
        let room = input.is_none_or(|input| input.pending.len() < INPUT_PENDING_MAX);
        let mut gone = Vec::new();
        for (number, connection) in &mut self.connections {
            let Some(stream) = connection.stream_mut().filter(|stream| stream.process == id) else {
                continue;
            };
            if stream.input_room != room {
                stream.input_room = room;
                if connection.watch(&self.poller).is_err() {
                    gone.push(*number);
                }
            }
        }
        gone.into_iter().for_each(|number| self.drop_connection(number));
    }
}
