//! One connection to systemd's manager: over the system's or the user's message bus, or else over its own socket.
//!
//! Standard: D-Bus Specification, "Authentication Protocol" (EXTERNAL: the kernel says who we are). Invariant: every wait has
//! an end, and no message is longer than [`MAX_MESSAGE`].
use super::scope::is_rootless;
use super::wire::{self, Call, FIXED, Message, Reader, Value, Writer};
use crate::{Error, Result};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// systemd answers within milliseconds unless the machine is starved.
const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_MESSAGE: usize = 1 << 20;
/// Signals that wait while a reply is read; the bus has no reason to send more.
const MAX_SIGNALS: usize = 4096;
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const OBJECT: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

#[derive(Debug)]
pub(super) struct Manager {
    stream: UnixStream,
    serial: u32,
    /// A bus routes by names; systemd's own socket has nobody else on it.
    has_bus: bool,
    signals: VecDeque<Message>,
}

fn no_systemd(detail: impl ToString) -> Error {
    Error::NoSystemd { detail: detail.to_string() }
}

/// Sockets to try, and whether a bus is behind each.
fn sockets() -> Vec<(PathBuf, bool)> {
    if !is_rootless() {
        return vec![(SYSTEM_BUS.into(), true), ("/run/systemd/private".into(), false)];
    }
    let mut found = Vec::new();
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let paths = address.split(';').filter_map(|one| one.strip_prefix("unix:path="));
    found.extend(paths.map(|path| (path.split(',').next().unwrap_or(path).into(), true)));
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR") {
        let runtime = Path::new(&runtime);
        found.extend([(runtime.join("bus"), true), (runtime.join("systemd/private"), false)]);
    }
    found
}

impl Manager {
    pub fn connect() -> Result<Self> {
        let mut last = "no socket is known".to_owned();
        for (path, has_bus) in sockets() {
            match Self::open(&path, has_bus) {
                Ok(manager) => return Ok(manager),
                Err(error) => last = format!("{}: {error}", path.display()),
            }
        }
        Err(no_systemd(last))
    }

    fn open(path: &Path, has_bus: bool) -> std::io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        authenticate(&mut stream)?;
        let mut manager = Self { stream, serial: 0, has_bus, signals: VecDeque::new() };
        if has_bus {
            manager.bus("Hello", None).map_err(std::io::Error::other)?;
        }
        Ok(manager)
    }

    /// Ask for the signals that tell of the end of a job.
    pub fn subscribe(&mut self) -> Result<()> {
        if self.has_bus {
            let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
            self.bus("AddMatch", Some(rule))?;
            self.manager("subscribe to", "", "Subscribe", "", |_| {})?;
        }
        Ok(())
    }

    pub fn start(&mut self, unit: &str, properties: &[(&str, Value)]) -> Result<()> {
        let reply = self.manager("start", unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", |w| {
            w.string(unit);
            w.string("replace");
            w.properties(properties);
            w.array(8, |_| {});
        })?;
        self.wait("start", unit, &reply)
    }

    pub fn set(&mut self, unit: &str, properties: &[(&str, Value)]) -> Result<()> {
        self.manager("set properties of", unit, "SetUnitProperties", "sba(sv)", |w| {
            w.string(unit);
            w.u32(1);
            w.properties(properties);
        })
        .map(drop)
    }

    pub fn stop(&mut self, unit: &str) -> Result<()> {
        let reply = self.manager("stop", unit, "StopUnit", "ss", |w| {
            w.string(unit);
            w.string("replace");
        });
        match reply {
            Ok(reply) => self.wait("stop", unit, &reply),
            Err(Error::Systemd { detail, .. }) if detail.starts_with(NO_SUCH_UNIT) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn reset_failed(&mut self, unit: &str) -> Result<()> {
        match self.manager("reset", unit, "ResetFailedUnit", "s", |w| w.string(unit)) {
            Err(Error::Systemd { detail, .. }) if detail.starts_with(NO_SUCH_UNIT) => Ok(()),
            result => result.map(drop),
        }
    }

    /// The group that the manager's units are below.
    pub fn root(&mut self) -> Result<String> {
        let mut body = Writer::default();
        body.string(MANAGER);
        body.string("ControlGroup");
        let call = Call {
            destination: if self.has_bus { SYSTEMD } else { "" },
            path: OBJECT,
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            signature: "ss",
        };
        let reply = self.call("ask for the group of", "", call, body)?;
        let mut r = Reader { bytes: &reply.body, at: 0 };
        let value = r.signature().filter(|&kind| kind == "s").and_then(|_| r.string());
        value.map(str::to_owned).ok_or_else(|| no_systemd("it does not know its group"))
    }

    /// Until the job of `reply` is done.
    fn wait(&mut self, action: &'static str, unit: &str, reply: &Message) -> Result<()> {
        let failed = |detail: String| Error::Systemd { action, unit: unit.to_owned(), detail };
        let job = Reader { bytes: &reply.body, at: 0 }.string().unwrap_or_default().to_owned();
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let signal = match self.signals.pop_front() {
                Some(signal) => signal,
                None if Instant::now() >= deadline => return Err(failed("its job does not end".to_owned())),
                None => match self.receive()? {
                    message if message.kind == wire::SIGNAL => message,
                    _ => continue,
                },
            };
            // u: number, o: job, s: unit, s: result
            let mut r = Reader { bytes: &signal.body, at: 0 };
            if signal.member != "JobRemoved" || signal.signature != "uoss" || r.u32().is_none() {
                continue;
            }
            if r.string() == Some(job.as_str()) {
                let _ = r.string();
                return match r.string() {
                    Some("done") => Ok(()),
                    result => Err(failed(format!("its job ended with {}", result.unwrap_or("nothing")))),
                };
            }
        }
    }

    fn manager(
        &mut self,
        action: &'static str,
        unit: &str,
        member: &str,
        signature: &str,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Message> {
        let mut body = Writer::default();
        write(&mut body);
        let destination = if self.has_bus { SYSTEMD } else { "" };
        let call = Call { destination, path: OBJECT, interface: MANAGER, member, signature };
        self.call(action, unit, call, body)
    }

    fn bus(&mut self, member: &str, argument: Option<&str>) -> Result<Message> {
        let mut body = Writer::default();
        if let Some(text) = argument {
            body.string(text);
        }
        let call = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member,
            signature: if argument.is_some() { "s" } else { "" },
        };
        self.call("reach the bus of", "systemd", call, body)
    }

    fn call(&mut self, action: &'static str, unit: &str, call: Call<'_>, body: Writer) -> Result<Message> {
        self.serial += 1;
        self.stream.write_all(&wire::call(&call, self.serial, &body.bytes)).map_err(no_systemd)?;
        loop {
            let message = self.receive()?;
            if message.kind == wire::SIGNAL {
                if self.signals.len() < MAX_SIGNALS {
                    self.signals.push_back(message);
                }
            } else if message.reply_to == self.serial && message.kind == wire::ERROR {
                let text = Reader { bytes: &message.body, at: 0 }.string().unwrap_or_default().to_owned();
                let detail = format!("{}: {text}", message.error);
                return Err(Error::Systemd { action, unit: unit.to_owned(), detail });
            } else if message.reply_to == self.serial {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let mut fixed = [0; FIXED];
        self.stream.read_exact(&mut fixed).map_err(no_systemd)?;
        let length = wire::length(fixed).filter(|&n| (FIXED..=MAX_MESSAGE).contains(&n));
        let mut bytes = vec![0; length.ok_or_else(|| no_systemd("a message of an unusable length"))?];
        bytes[..FIXED].copy_from_slice(&fixed);
        self.stream.read_exact(&mut bytes[FIXED..]).map_err(no_systemd)?;
        wire::parse(&bytes).ok_or_else(|| no_systemd("a message that cannot be read"))
    }
}

/// The other side learns from the kernel who we are; nothing has to be said of it.
fn authenticate(stream: &mut UnixStream) -> std::io::Result<()> {
    stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
    if line(stream)?.starts_with("DATA") {
        stream.write_all(b"DATA\r\n")?;
        let answer = line(stream)?;
        if answer.starts_with("OK") {
            return stream.write_all(b"BEGIN\r\n");
        }
        return Err(std::io::Error::other(format!("not let in: {answer}")));
    }
    Err(std::io::Error::other("no authentication by the kernel"))
}

fn line(stream: &mut UnixStream) -> std::io::Result<String> {
    const MAX_LINE: usize = 512;
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") && text.len() < MAX_LINE {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}
