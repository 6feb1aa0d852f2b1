//! Network namespaces that belong to one test: a process holds each, so they end with it, and everything in them.

use crate::command::{self, Finished};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A network namespace with loopback up, held by a sleeping process.
#[derive(Debug)]
pub struct Netns {
    holder: Child,
}

impl Netns {
    /// # Panics
    /// Where the namespace cannot be made (root is needed).
    pub fn new() -> Netns {
        let mut c = Command::new("unshare");
        // Without --fork the pid that we know is the one to enter.
        c.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 86400"]);
        c.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = c.spawn().expect("unshare --net (are you root?)");
        let mut ready = [0u8; 6];
        std::io::Read::read_exact(holder.stdout.as_mut().expect("piped"), &mut ready)
            .expect("a network namespace (are you root?)");
        Netns { holder }
    }

    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// `/proc/<pid>/ns/net`'s identity, as `net:[4026532000]`.
    pub fn identity(&self) -> String {
        let link = std::fs::read_link(format!("/proc/{}/ns/net", self.pid())).expect("holder lives");
        link.to_string_lossy().into_owned()
    }

    /// The words that run a program in here.
    pub fn prefix(&self) -> Vec<String> {
        vec!["nsenter".into(), format!("--net=/proc/{}/ns/net", self.pid())]
    }

    pub fn command(&self, program: &str) -> Command {
        let p = self.prefix();
        let mut c = Command::new(&p[0]);
        c.args(&p[1..]).arg(program);
        c
    }

    /// Run a shell script in here.
    pub fn sh(&self, script: &str) -> Finished {
        command::run(self.command("sh").args(["-c", script]), None, Duration::from_secs(30))
    }

    /// Run a shell script in here, expect success, give its output.
    #[track_caller]
    pub fn ok(&self, script: &str) -> String {
        let f = self.sh(script);
        let err = String::from_utf8_lossy(&f.stderr);
        assert_eq!(f.code, 0, "{script}\n{}{err}", String::from_utf8_lossy(&f.stdout));
        String::from_utf8_lossy(&f.stdout).trim_end().to_owned()
    }

    /// Join two namespaces by a veth pair: `a` gets `a_addr` on `a_name`, `b` gets `b_addr` on `b_name`.
    pub fn wire(a: &Netns, a_name: &str, a_addr: &str, b: &Netns, b_name: &str, b_addr: &str) {
        a.ok(&format!("ip link add {a_name} type veth peer name {b_name} netns {}", b.pid()));
        a.ok(&format!("ip addr add {a_addr} dev {a_name} && ip link set {a_name} up"));
        b.ok(&format!("ip addr add {b_addr} dev {b_name} && ip link set {b_name} up"));
    }
}

impl Default for Netns {
    fn default() -> Self {
        Netns::new()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        crate::leaks::kill_all_in(self);
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}
