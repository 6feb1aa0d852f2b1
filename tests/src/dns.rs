//! Name servers that behave in every way, and queries from inside of a container's network.
use crate::{Engine, lab::Netns};
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The program of both; the machine's Python runs it.
const PROGRAM: &str = include_str!("dns.py");

fn program(e: &Engine) -> PathBuf {
    let path = e.dir.join("dns.py");
    if !path.exists() {
        std::fs::write(&path, PROGRAM).expect("write the program");
    }
    path
}

/// A name server in a network namespace; it ends with this value.
#[derive(Debug)]
pub struct NameServer {
    child: Child,
    log: PathBuf,
}

impl NameServer {
    /// # Panics
    /// Where it does not begin to listen.
    pub fn start(e: &Engine, net: &Netns, address: &str, mode: &str, answer: &str) -> NameServer {
        let log = e.dir.join(format!("dns-{address}-{mode}.log"));
        let mut c = net.command("python3");
        c.arg(program(e)).args(["serve", address, mode, answer]).arg(&log);
        let mut child = c.stdout(Stdio::piped()).spawn().expect("python3 runs");
        let mut ready = [0; 6];
        child.stdout.as_mut().expect("piped").read_exact(&mut ready).expect("a name server that listens");
        NameServer { child, log }
    }

    /// The queries so far, as `udp name` or `tcp name`.
    pub fn queries(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Of mode `stale`: whether it answers.
    pub fn set_alive(&self, alive: bool) {
        let mark = PathBuf::from(format!("{}.dead", self.log.display()));
        match alive {
            true => drop(std::fs::remove_file(mark)),
            false => std::fs::write(mark, "").expect("write a mark"),
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The program as a client, in the network of a running container.
pub fn client(e: &Engine, container: &str, words: &[&str]) -> Command {
    let inspected = e.api().get(&format!("/containers/{container}/json")).expect("the engine answers");
    let inspected: serde_json::Value = serde_json::from_slice(&inspected.body).expect("JSON");
    let pid = &inspected["State"]["Pid"];
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net")).arg("python3").arg(program(e)).args(words);
    command
}

/// What it says.
#[track_caller]
pub fn said(e: &Engine, container: &str, words: &[&str]) -> String {
    let out = client(e, container, words).output().expect("python3 runs");
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}
