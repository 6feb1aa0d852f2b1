//! A private engine: its own data, socket, network namespace, bridge address and cgroup parent; killed, restarted,
//! and swept away afterwards, with a look at what it left behind.

use crate::api::Api;
use crate::cli::Cli;
use crate::command::{eventually, wait_until};
use crate::disk::Disk;
use crate::lab::Netns;
use crate::{leaks, workspace};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SLOTS: usize = 200;
const READY_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// How an engine is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More flags for `knarr daemon`.
    pub args: Vec<String>,
    /// More environment.
    pub env: Vec<(String, String)>,
    /// Images to load, by file name in the image cache. None: busybox.
    pub images: Option<Vec<String>>,
    /// Run in the machine's own network namespace instead of a private one.
    pub host_network: bool,
    /// The test leaves things on purpose: do not look for leaks.
    pub may_leak: bool,
    /// Start this Docker daemon instead of Knarr's.
    pub peer: Option<PathBuf>,
    /// The bridge's address and prefix length.
    pub bip: Option<String>,
    /// The host's `/etc/resolv.conf`, as the engine sees it; `resolv.conf` in the test's directory.
    pub resolv_conf: Option<String>,
    /// Another knarr binary than the one under test.
    pub binary: Option<PathBuf>,
    /// The data root lies here.
    pub data: Option<PathBuf>,
}

impl Options {
    pub fn new() -> Options {
        Options::default()
    }
    #[must_use]
    pub fn arg(mut self, a: &str) -> Options {
        self.args.push(a.to_owned());
        self
    }
    #[must_use]
    pub fn args(mut self, all: &[&str]) -> Options {
        self.args.extend(all.iter().map(|a| (*a).to_owned()));
        self
    }
    #[must_use]
    pub fn env(mut self, k: &str, v: &str) -> Options {
        self.env.push((k.to_owned(), v.to_owned()));
        self
    }
    #[must_use]
    pub fn images(mut self, files: &[&str]) -> Options {
        self.images = Some(files.iter().map(|s| (*s).to_owned()).collect());
        self
    }
    #[must_use]
    pub fn may_leak(mut self) -> Options {
        self.may_leak = true;
        self
    }
    #[must_use]
    pub fn host_network(mut self) -> Options {
        self.host_network = true;
        self
    }
    /// Another address for the bridge than the test's own.
    #[must_use]
    pub fn bip(mut self, cidr: &str) -> Options {
        self.bip = Some(cidr.to_owned());
        self
    }
    #[must_use]
    pub fn resolv_conf(mut self, text: &str) -> Options {
        self.resolv_conf = Some(text.to_owned());
        self
    }
    /// The data root is a directory on this file system.
    #[must_use]
    pub fn data_on(mut self, disk: &Disk) -> Options {
        self.data = Some(disk.path().join("data"));
        self
    }
    pub fn start(self) -> Engine {
        Engine::with(self)
    }
}

/// A number that no other running test has: it names the bridge's subnet and the cgroup parent.
#[derive(Debug)]
struct Slot {
    number: usize,
    _lock: File,
}

impl Slot {
    fn take() -> Slot {
        let dir = std::env::temp_dir().join("knarr-e2e-slots");
        std::fs::create_dir_all(&dir).expect("slot directory");
        let first = std::process::id() as usize;
        for i in 0..SLOTS {
            let number = (first + i) % SLOTS + 1;
            let f = File::create(dir.join(number.to_string())).expect("slot file");
            if f.try_lock().is_ok() {
                return Slot { number, _lock: f };
            }
        }
        panic!("more than {SLOTS} engines at once");
    }
}

/// A running engine and everything around it.
#[derive(Debug)]
pub struct Engine {
    pub dir: PathBuf,
    slot: Slot,
    pub net: Option<Netns>,
    daemon: Option<Child>,
    options: Options,
}

impl Engine {
    /// An engine with busybox loaded.
    pub fn start() -> Engine {
        Engine::with(Options::new())
    }

    pub fn with(options: Options) -> Engine {
        let e = Engine::prepare(options);
        let mut e = e;
        e.launch();
        let images = e.options.images.clone().unwrap_or_else(|| vec!["busybox.tar".to_owned()]);
        for i in images {
            e.load(&workspace::image(&i));
        }
        e
    }

    /// Docker's own daemon, to compare with.
    pub fn peer(dockerd: &Path) -> Engine {
        let options = Options {
            peer: Some(dockerd.to_owned()),
            images: Some(vec![]),
            may_leak: true,
            ..Options::default()
        };
        Engine::with(options)
    }

    /// The Docker daemon that stands in for Knarr here.
    fn peer_program(&self) -> Option<PathBuf> {
        self.options.peer.clone().or_else(workspace::peer)
    }

    /// Everything but the daemon itself.
    pub fn prepare(options: Options) -> Engine {
        let slot = Slot::take();
        let dir = std::env::temp_dir().join(format!("knarr-e2e-{}-{}", std::process::id(), slot.number));
        std::fs::create_dir_all(dir.join("config")).expect("test directory");
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o711)).expect("mode");
        if let Some(text) = &options.resolv_conf {
            std::fs::write(dir.join("resolv.conf"), text).expect("resolv.conf");
        }
        if let Some(data) = &options.data {
            std::fs::create_dir_all(data).expect("data root");
            std::os::unix::fs::symlink(data, dir.join("data")).expect("link to the data root");
        }
        let net = (!options.host_network).then(Netns::new);
        Engine { dir, slot, net, daemon: None, options }
    }

    /// Start the daemon and wait until it answers.
    ///
    /// # Panics
    /// Where it ends or does not answer in time.
    pub fn launch(&mut self) {
        assert!(self.daemon.is_none(), "the engine runs already");
        self.spawn_daemon();
        let end = Instant::now() + READY_LIMIT;
        loop {
            let child = self.daemon.as_mut().expect("just spawned");
            if let Some(status) = child.try_wait().expect("wait") {
                self.daemon = None;
                panic!("the engine ended at its start: {status}\n{}", self.log_tail());
            }
            if self.api().get("/_ping").is_ok_and(|r| r.status == 200) {
                return;
            }
            assert!(Instant::now() < end, "the engine does not answer\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(4));
        }
    }

    /// Start the daemon and do not wait: for engines that are to die early.
    pub fn spawn_daemon(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.join("log")).expect("log");
        let mut c = match self.peer_program() {
            Some(p) => self.peer_command(&p),
            None => self.knarr_command(),
        };
        c.args(&self.options.args).envs(self.options.env.iter().map(|(k, v)| (k, v)));
        c.stdin(Stdio::null()).stdout(log.try_clone().expect("log")).stderr(log);
        self.daemon = Some(c.spawn().expect("the engine starts"));
    }

    fn knarr_command(&self) -> Command {
        let bin = self.options.binary.as_deref().unwrap_or_else(|| workspace::knarr());
        let bin = bin.to_str().expect("UTF-8 path");
        let own_file = self.options.resolv_conf.is_some();
        let first = if own_file { "unshare" } else { bin };
        let mut c = match &self.net {
            Some(n) => n.command(first),
            None => Command::new(first),
        };
        if own_file {
            // The same process: without --fork the daemon has the number that we know.
            let script = "mount --bind $0/resolv.conf /etc/resolv.conf && exec \"$@\"";
            c.args(["-m", "--propagation", "slave", "sh", "-c", script]).arg(&self.dir).arg(bin);
        }
        c.arg("daemon").args(self.common_flags());
        c
    }

    /// Docker's daemon in mount and process namespaces of its own; it leaves more behind than Knarr.
    fn peer_command(&self, dockerd: &Path) -> Command {
        let net = self.net.as_ref().expect("a peer runs in a private network namespace only");
        let mut c = net.command("unshare");
        c.args(["-m", "-p", "-f", "--kill-child", "--propagation", "slave", "sh", "-c"]);
        c.arg("mount -t proc proc /proc; mount --make-rshared /; mkdir -p $0/xt; export XTABLES_LOCKFILE=$0/xt/lock; exec \"$@\"");
        let proxy = dockerd.with_file_name("docker-proxy");
        c.arg(&self.dir)
            .arg(dockerd)
            .args(["--storage-driver", "overlay2", "--userland-proxy-path"])
            .arg(proxy)
            .args(self.common_flags());
        c
    }

    fn common_flags(&self) -> Vec<String> {
        let d = self.dir.display();
        [
            ("--data-root", format!("{d}/data")),
            ("--exec-root", format!("{d}/run")),
            ("--pidfile", format!("{d}/engine.pid")),
            ("-H", self.host()),
            ("--bip", self.options.bip.clone().unwrap_or_else(|| format!("{}/24", self.gateway()))),
            ("--cgroup-parent", self.cgroup_parent()),
        ]
        .into_iter()
        .flat_map(|(a, b)| [a.to_owned(), b])
        .collect()
    }

    /// A path below the test's directory that nothing has yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        (1..).map(|n| self.dir.join(format!("{name}-{n}"))).find(|p| !p.exists()).expect("a free name")
    }

    /// A new directory below the test's.
    pub fn fresh_dir(&self, name: &str) -> PathBuf {
        let p = self.fresh(name);
        std::fs::create_dir_all(&p).expect("a directory");
        p
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("engine.sock")
    }

    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub fn api(&self) -> Api {
        Api::unix(&self.socket())
    }

    /// The bridge's address.
    pub fn gateway(&self) -> String {
        format!("10.213.{}.1", self.slot.number)
    }

    /// The bridge's first three numbers, with the dot.
    pub fn subnet_prefix(&self) -> String {
        format!("10.213.{}.", self.slot.number)
    }

    pub fn cgroup_parent(&self) -> String {
        format!("/knarr-e2e-{}-{}", std::process::id(), self.slot.number)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Docker's own client.
    pub fn docker(&self) -> Cli {
        self.client("docker", workspace::docker())
    }

    /// Knarr's client (a peer has none: there it is Docker's again).
    pub fn knarr(&self) -> Cli {
        match self.peer_program() {
            Some(_) => self.docker(),
            None => self.client("knarr", workspace::knarr()),
        }
    }

    /// Both clients: the same command must do the same with either.
    pub fn clients(&self) -> [Cli; 2] {
        [self.docker(), self.knarr()]
    }

    fn client(&self, name: &'static str, program: &Path) -> Cli {
        Cli::new(name, program, &self.host(), &self.dir.join("config"))
    }

    /// Run a shell script where the engine's "host" is: its network namespace.
    #[track_caller]
    pub fn on_host(&self, script: &str) -> String {
        self.net.as_ref().expect("private network namespace").ok(script)
    }

    #[track_caller]
    pub fn load(&self, tar: &Path) -> String {
        self.docker().ok(&["load", "-q", "-i", tar.to_str().expect("UTF-8")])
    }

    /// The engine's process.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the engine runs").id()
    }

    /// `kill -9` of the engine alone, and wait for its end.
    pub fn kill9(&mut self) {
        if let Some(mut c) = self.daemon.take() {
            drop(c.kill());
            drop(c.wait());
        }
    }

    /// Wait until the engine ends by itself (a failpoint).
    pub fn wait_death(&mut self, limit: Duration) -> i32 {
        let mut c = self.daemon.take().expect("the engine runs");
        let code = wait_until(&mut c, Instant::now() + limit);
        code.unwrap_or_else(|| {
            self.daemon = Some(c);
            panic!("the engine still runs after {limit:?}\n{}", self.log_tail())
        })
    }

    /// SIGTERM, and wait.
    pub fn stop(&mut self) {
        if let Some(mut c) = self.daemon.take() {
            // A peer runs below `unshare`, which does not pass signals on.
            let pid = match self.peer_program() {
                Some(_) => children(c.id()).first().copied().unwrap_or(c.id()),
                None => c.id(),
            };
            leaks::signal(pid, "TERM");
            if wait_until(&mut c, Instant::now() + STOP_LIMIT).is_none() {
                drop(c.kill());
                drop(c.wait());
                assert!(std::thread::panicking(), "the engine did not end {STOP_LIMIT:?} after SIGTERM");
            }
        }
    }

    /// Kill -9 and start again with the same flags and data.
    pub fn crash_and_restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// Change a flag with a value for the next start.
    pub fn set_arg(&mut self, flag: &str, value: &str) {
        let begin = format!("{flag}=");
        self.options.args.retain(|arg| !arg.starts_with(&begin));
        self.options.args.push(format!("{begin}{value}"));
    }

    /// Change the environment for the next start.
    pub fn set_env(&mut self, k: &str, v: Option<&str>) {
        self.options.env.retain(|(key, _)| key != k);
        if let Some(v) = v {
            self.options.env.push((k.to_owned(), v.to_owned()));
        }
    }

    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Remove every container, then expect that nothing of them is left anywhere.
    #[track_caller]
    pub fn assert_no_leaks(&self) {
        self.remove_all();
        let mut found = Vec::new();
        let end = Instant::now() + Duration::from_secs(6);
        while Instant::now() < end {
            found = leaks::of_containers(self);
            if found.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        panic!("left behind after every container was removed:\n{}\n{}", found.join("\n"), self.log_tail());
    }

    fn remove_all(&self) {
        let Ok(r) = self.api().get("/containers/json?all=1") else { return };
        let list: serde_json::Value = serde_json::from_slice(&r.body).unwrap_or_default();
        for c in list.as_array().into_iter().flatten() {
            let id = c["Id"].as_str().unwrap_or_default();
            drop(self.api().delete(&format!("/containers/{id}?force=1&v=1")));
        }
    }

    /// Wait until a container has this status.
    #[track_caller]
    pub fn wait_status(&self, name: &str, status: &str) {
        let mut last = String::new();
        eventually(&format!("{name} is {status}"), Duration::from_secs(20), || {
            let o = self.docker().run(&["inspect", "-f", "{{.State.Status}}", name]);
            o.text().clone_into(&mut last);
            (last == status).then_some(())
        });
    }
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|p| p.parse().ok()).collect()
}

impl Drop for Engine {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if failing {
            eprintln!("---- the engine's log, its last lines ({})\n{}", self.dir.display(), self.log_tail());
        }
        let check = !failing && !self.options.may_leak && self.peer_program().is_none();
        let mut found = Vec::new();
        if self.daemon.is_some() {
            self.remove_all();
            if check {
                let verdict =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.assert_no_leaks()));
                found.extend(verdict.err().map(|e| leaks::panic_text(&*e)));
            }
            self.stop();
            if check
                && found.is_empty()
                && let Some(n) = &self.net
            {
                let left = leaks::settle(|| leaks::processes_in(n));
                found.extend(left.iter().map(|p| format!("process after the engine's end: {p}")));
            }
        }
        if let Some(n) = &self.net {
            leaks::kill_all_in(n);
        }
        leaks::sweep(&self.dir, &self.cgroup_parent());
        self.net = None;
        assert!(found.is_empty() || failing, "{}", found.join("\n"));
    }
}
