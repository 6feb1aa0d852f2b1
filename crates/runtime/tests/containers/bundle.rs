//! A root file system of busybox, a configuration like Docker's, and running it.
use knarr_cgroup::Cgroup;
use knarr_linux::process::{self, Exit};
use knarr_oci::rootfs::RootfsMount;
use knarr_oci::runtime::{Capabilities, Linux, Mount, Namespace, NamespaceType, Process, Root, Spec, User};
use knarr_oci::seccomp::{Facts, KernelVersion, Machine, default_profile};
use knarr_runtime::{CgroupOptions, CreateOptions, Created, Error, ExecOptions, Stdio};
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub const DEFAULT_CAPS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Directories of one container, removed at the end.
pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub id: String,
    pub spec: Spec,
    pub overlay: bool,
    pub userns: Option<OwnedFd>,
    pub netns: Option<OwnedFd>,
}

pub struct Outcome {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
}

impl Bundle {
    pub fn new(args: &[&str]) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = tempfile::Builder::new().prefix("knarr-runtime-").tempdir_in("/tmp").unwrap();
        let lower = dir.path().join("lower");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "home"] {
            fs::create_dir_all(lower.join(name)).unwrap();
        }
        fs::hard_link(busybox(), lower.join("bin/busybox"))
            .or_else(|_| fs::copy(busybox(), lower.join("bin/busybox")).map(drop))
            .unwrap();
        for applet in [
            "sh", "true", "false", "cat", "ls", "id", "sleep", "echo", "mount", "hostname", "readlink",
            "stat", "ps", "touch", "mkdir", "env", "pwd", "tty", "dd", "ip", "umask", "kill", "head", "grep",
            "wc", "chown", "cp", "rm", "mv", "tee",
        ] {
            symlink("busybox", lower.join("bin").join(applet)).unwrap();
        }
        for name in ["upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let id = format!("knarr-test-{}-{number}", std::process::id());
        Self { spec: spec(args, &id), dir, id, overlay: true, userns: None, netns: None }
    }

    /// Lines of the caller's mount table that name anything of this bundle; other tests have mounts there too.
    pub fn host_mounts(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_string_lossy();
        table.lines().filter(|line| line.contains(&*own)).map(str::to_owned).collect()
    }
    pub fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }
    pub fn process(&mut self) -> &mut Process {
        self.spec.process.as_mut().unwrap()
    }
    pub fn linux(&mut self) -> &mut Linux {
        self.spec.linux.as_mut().unwrap()
    }
    pub fn rootfs(&self) -> RootfsMount {
        if !self.overlay {
            return RootfsMount::Directory { path: self.lower() };
        }
        RootfsMount::Overlay {
            lower: vec![self.lower()],
            upper: self.dir.path().join("upper"),
            work: self.dir.path().join("work"),
            volatile: false,
        }
    }
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::new(&format!("/knarr-test/{}", self.id)).unwrap()
    }

    pub fn create(&self, stdio: Stdio) -> Result<Created, Error> {
        self.create_on(&self.rootfs(), stdio)
    }
    pub fn create_on(&self, rootfs: &RootfsMount, stdio: Stdio) -> Result<Created, Error> {
        let path = self.cgroup().path().to_owned();
        knarr_runtime::create(CreateOptions {
            rootfs: Some(rootfs),
            stdio,
            userns: self.userns.as_ref().map(AsFd::as_fd),
            netns: self.netns.as_ref().map(AsFd::as_fd),
            cgroup: CgroupOptions::Path(&path),
            ..CreateOptions::new(&self.id, &self.spec, self.dir.path())
        })
    }

    /// Create, start, collect the output, wait, remove.
    pub fn run(&self) -> Result<Outcome, Error> {
        self.run_on(&self.rootfs())
    }
    fn run_on(&self, rootfs: &RootfsMount) -> Result<Outcome, Error> {
        let (stdio, out, err) = pipes();
        let mut created = self.create_on(rootfs, stdio)?;
        let started = created.start();
        let outcome = collect(&created, out, err);
        self.cgroup().destroy().unwrap();
        started.map(|()| outcome)
    }
    /// Standard output of a run that succeeds.
    pub fn output(&self) -> String {
        self.output_of(&self.rootfs())
    }
    pub fn output_of(&self, rootfs: &RootfsMount) -> String {
        let outcome = self.run_on(rootfs).unwrap();
        assert_eq!(outcome.exit, Exit::Code(0), "{}{}", outcome.stdout, outcome.stderr);
        outcome.stdout
    }

    /// Started, with its output going nowhere.
    pub fn start(&self) -> Running<'_> {
        let (stdio, ..) = pipes();
        let mut created = self.create(stdio).unwrap();
        created.start().unwrap();
        Running { bundle: self, created }
    }
}

pub struct Running<'a> {
    pub bundle: &'a Bundle,
    pub created: Created,
}

impl Running<'_> {
    pub fn exec(&self, process: &Process) -> Result<Outcome, Error> {
        let (stdio, out, err) = pipes();
        let mut created = self.exec_with(process, stdio)?;
        let started = created.start();
        let outcome = collect(&created, out, err);
        started.map(|()| outcome)
    }
    pub fn exec_with(&self, process: &Process, stdio: Stdio) -> Result<Created, Error> {
        let path = self.bundle.cgroup().path().to_owned();
        knarr_runtime::exec(ExecOptions {
            stdio,
            cgroup: CgroupOptions::Path(&path),
            ..ExecOptions::new(self.created.pid, self.created.pidfd.as_fd(), &self.bundle.spec, process)
        })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = process::pidfd_send_signal(self.created.pidfd.as_fd(), 9);
        let _ = process::wait(self.created.pidfd.as_fd(), true);
        self.bundle.cgroup().kill_all().unwrap();
        self.bundle.cgroup().destroy().unwrap();
    }
}

fn collect(created: &Created, out: OwnedFd, err: OwnedFd) -> Outcome {
    let read = |fd: OwnedFd| {
        let mut text = Vec::new();
        fs::File::from(fd).read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (stdout, stderr) = (read(out), read(err));
    let exit = process::wait(created.pidfd.as_fd(), true).unwrap().unwrap();
    Outcome { exit, stdout, stderr }
}

pub fn pipes() -> (Stdio, OwnedFd, OwnedFd) {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let ((out, stdout), (err, stderr)) = (pipe(), pipe());
    (Stdio::Pipes { stdin: None, stdout, stderr }, out, err)
}

fn busybox() -> PathBuf {
    let path = PathBuf::from("/bin/busybox");
    assert!(path.exists(), "these tests need a static busybox: apt install busybox-static");
    path
}

pub fn process(args: &[&str]) -> Process {
    let caps: Vec<String> = DEFAULT_CAPS.iter().map(|&c| c.to_owned()).collect();
    Process {
        user: User { uid: 0, gid: 0, umask: None, additional_gids: Vec::new() },
        args: args.iter().map(|&a| a.to_owned()).collect(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        cwd: "/".to_owned(),
        capabilities: Some(Capabilities {
            bounding: caps.clone(),
            effective: caps.clone(),
            permitted: caps,
            ..Capabilities::default()
        }),
        ..Process::default()
    }
}

/// The configuration that Docker gives to a container without options.
pub fn spec(args: &[&str], id: &str) -> Spec {
    use NamespaceType::{Cgroup, Ipc, Mount as Mnt, Network, Pid, Uts};
    let json = include_str!("docker-linux.json");
    let mut linux: Linux = serde_json::from_str(json).unwrap();
    let caps: Vec<String> = DEFAULT_CAPS.iter().map(|&c| c.to_owned()).collect();
    let facts = Facts { machine: Machine::native(), kernel: KernelVersion(6, 1), caps: &caps };
    linux.seccomp = Some(default_profile().resolve(&facts).unwrap());
    linux.namespaces = [Mnt, Network, Uts, Pid, Ipc, Cgroup].map(Namespace::new).to_vec();
    Spec {
        oci_version: "1.2.0".to_owned(),
        process: Some(process(args)),
        root: Some(Root { path: "lower".into(), readonly: false }),
        hostname: Some(id[id.len() - 8..].to_owned()),
        mounts: vec![
            Mount::new("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            Mount::new("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            Mount::new(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            Mount::new("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            Mount::new("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            Mount::new("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            Mount::new(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"],
            ),
        ],
        linux: Some(linux),
        ..Spec::default()
    }
}
