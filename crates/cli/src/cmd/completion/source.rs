//! Which words can stand in a place: names of the engine's objects, or words that never change.
//!
//! Who completes gets fewer words rather than an error: an engine that cannot be asked has no objects.
use super::{Answer, directive};
use crate::cli::Cli;
use crate::cmd::context;
use crate::command::Command;
use crate::failure::Outcome;
use crate::flag::Flag;
use knarr_docker_types::container::Summary;
use knarr_docker_types::system::Info;
use knarr_docker_types::{image, network, volume};

/// Which containers.
#[derive(Clone, Copy, PartialEq)]
pub enum Which {
    All,
    Running,
    /// Running and not paused.
    Active,
    Paused,
    /// What can be started or removed without force.
    Ended,
}

/// Where words come from.
#[derive(Clone, Copy)]
pub enum Source {
    Nothing,
    Files,
    Directories,
    Words(&'static [&'static str]),
    /// Words that something follows at once.
    Starts(&'static [&'static str]),
    Containers(Which),
    /// Containers with a colon, and files.
    Paths,
    /// Modes with `container:NAME` among them.
    Modes(&'static [&'static str]),
    Images,
    Networks,
    Volumes,
    Contexts,
    Servers,
    Environment,
    Capabilities,
    Signals,
    Commands,
    LogDrivers,
    VolumeDrivers,
    /// Containers, images, networks, volumes.
    Anything,
}

const CAPABILITIES: [&str; 42] = [
    "ALL",
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE", "PROF", "PWR",
    "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2",
    "VTALRM", "WINCH", "XCPU", "XFSZ",
];
const PLATFORMS: &[&str] = &[
    "linux/amd64",
    "linux/386",
    "linux/arm64",
    "linux/arm",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/loong64",
    "linux/mips64",
    "linux/mips64le",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
];
const ULIMITS: &[&str] = &[
    "as=",
    "chroot=",
    "core=",
    "cpu=",
    "data=",
    "fsize=",
    "locks=",
    "maxlogins=",
    "maxsyslogins=",
    "memlock=",
    "msgqueue=",
    "nice=",
    "nofile=",
    "nproc=",
    "priority=",
    "rss=",
    "rtprio=",
    "sigpending=",
    "stack=",
];
const SECURITY: &[&str] = &["apparmor=", "label=", "no-new-privileges", "seccomp=", "systempaths=unconfined"];
const LEVELS: &[&str] = &["debug", "info", "warn", "error", "fatal", "panic"];

/// What the value of a flag can be.
pub fn of_flag(flag: &Flag, command: Option<&Command>) -> Source {
    let name = command.map_or("", |c| c.name);
    match flag.long {
        "context" | "from" => Source::Contexts,
        "log-level" => Source::Words(LEVELS),
        "config" => Source::Directories,
        "attach" => Source::Words(&["stderr", "stdin", "stdout"]),
        "cap-add" | "cap-drop" => Source::Capabilities,
        "cgroupns" => Source::Words(&["host", "private"]),
        "env" => Source::Environment,
        "ipc" => Source::Modes(&["container:", "host", "none", "private", "shareable"]),
        "pid" => Source::Modes(&["container:", "host"]),
        "userns" => Source::Words(&["auto", "host"]),
        "uts" => Source::Words(&["host"]),
        "link" | "volumes-from" => Source::Containers(Which::All),
        "log-driver" => Source::LogDrivers,
        "log-opt" => Source::Starts(&[
            "compress=",
            "env=",
            "env-regex=",
            "labels=",
            "max-buffer-size=",
            "max-file=",
            "max-size=",
            "mode=",
            "tag=",
        ]),
        "network" | "net" | "config-from" => Source::Networks,
        "platform" => Source::Words(PLATFORMS),
        "pull" => Source::Words(&["always", "missing", "never"]),
        "restart" => Source::Words(&["no", "always", "on-failure", "unless-stopped"]),
        "health-on-failure" => Source::Words(&["none", "restart", "stop", "kill"]),
        "security-opt" => Source::Starts(SECURITY),
        "signal" | "stop-signal" => Source::Signals,
        "storage-opt" => Source::Starts(&["size="]),
        "ulimit" => Source::Starts(ULIMITS),
        "volume-driver" => Source::VolumeDrivers,
        "driver" if name == "create" && command.is_some_and(|c| c.usage.contains("VOLUME")) => {
            Source::VolumeDrivers
        }
        "driver" => Source::Words(&["bridge", "host", "ipvlan", "macvlan", "none"]),
        "detach-keys" => Source::Starts(&["ctrl-"]),
        "type" if name == "inspect" => Source::Words(&["container", "image", "network", "volume"]),
        "filter" => Source::Starts(filters(command)),
        "format" => Source::Words(&["json", "table"]),
        _ => Source::Files,
    }
}

/// Names of filters.
fn filters(command: Option<&Command>) -> &'static [&'static str] {
    match command.map(|c| (c.name, c.about)) {
        Some(("ps" | "ls", "List containers")) => &[
            "ancestor=",
            "before=",
            "expose=",
            "exited=",
            "health=",
            "id=",
            "is-task=",
            "label=",
            "name=",
            "network=",
            "publish=",
            "since=",
            "status=",
            "volume=",
        ],
        Some(("images" | "ls", "List images")) => {
            &["before=", "dangling=", "label=", "reference=", "since=", "until="]
        }
        Some(("ls", "List networks")) => {
            &["dangling=", "driver=", "id=", "label=", "name=", "scope=", "type="]
        }
        Some(("ls", "List volumes")) => &["dangling=", "driver=", "label=", "name="],
        Some(("events", _)) => {
            &["container=", "daemon=", "event=", "image=", "label=", "network=", "scope=", "type=", "volume="]
        }
        Some(("search", _)) => &["is-official=", "stars="],
        _ => &["label=", "label!=", "until="],
    }
}

/// What an argument can be, by the command's path and how many arguments stand before it.
pub fn of_argument(path: &[&str], index: usize) -> Source {
    let (group, name) = match path {
        [name] => ("", *name),
        [group, name] => (*group, *name),
        _ => return Source::Nothing,
    };
    match (group, name, index) {
        ("", "help", _) => Source::Commands,
        ("", "man", _) => Source::Commands,
        ("", "completion", 0) => Source::Words(&["bash", "zsh", "fish"]),
        ("", "logout", 0) => Source::Servers,
        ("", "inspect", _) => Source::Anything,
        ("" | "container", "exec", 1..) | ("" | "container", "run" | "create", 1..) => Source::Files,
        ("" | "container", "attach" | "exec", 0) | ("" | "container", "pause", _) => {
            Source::Containers(Which::Active)
        }
        ("" | "container", "kill" | "stop" | "stats" | "wait", _)
        | ("" | "container", "top" | "port" | "commit" | "diff", 0) => Source::Containers(Which::Running),
        ("" | "container", "unpause", _) => Source::Containers(Which::Paused),
        ("" | "container", "start" | "rm", _) => Source::Containers(Which::Ended),
        ("" | "container", "logs" | "rename" | "export", 0)
        | ("" | "container", "restart" | "update", _)
        | ("container", "inspect", _) => Source::Containers(Which::All),
        ("" | "container", "cp", 0..=1) => Source::Paths,
        ("" | "container", "run" | "create", 0) => Source::Images,
        ("", "rmi" | "save", _) | ("image", "rm" | "save" | "inspect", _) => Source::Images,
        ("" | "image", "history" | "push", 0) | ("", "images", 0) | ("image", "ls", 0) => Source::Images,
        ("" | "image", "tag", 0..=1) | ("" | "container", "commit", 1) => Source::Images,
        ("" | "image", "import", 0) => Source::Files,
        ("network", "inspect" | "rm", _) | ("network", "connect" | "disconnect", 0) => Source::Networks,
        ("network", "connect" | "disconnect", 1) => Source::Containers(Which::All),
        ("volume", "inspect" | "rm", _) | ("volume", "update", 0) => Source::Volumes,
        ("context", "inspect" | "rm", _) | ("context", "use" | "update" | "export", 0) => Source::Contexts,
        ("context", "import" | "export", 1) => Source::Files,
        _ => Source::Nothing,
    }
}

impl Source {
    /// The words; `before` are arguments that are given already.
    pub async fn answer(self, cli: &Cli, typed: &str, before: &[&str]) -> Answer {
        use directive::{DEFAULT, DIRECTORIES, NO_FILES, NO_SPACE};
        match self {
            Self::Nothing => Answer::nothing(NO_FILES),
            Self::Files => Answer::nothing(DEFAULT),
            Self::Directories => Answer::nothing(DIRECTORIES),
            Self::Words(words) => Answer::new(words.iter().copied(), NO_FILES),
            Self::Starts(words) => Answer::new(words.iter().copied(), NO_SPACE | NO_FILES),
            Self::Signals => Answer::new(SIGNALS.iter().copied(), NO_FILES),
            Self::Capabilities => Answer::new(CAPABILITIES, NO_FILES),
            Self::Environment => {
                let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
                Answer::new(names, NO_FILES)
            }
            Self::Modes(words) if !typed.starts_with("container:") => {
                let partly = !typed.is_empty() && "container:".starts_with(typed);
                Answer::new(words.iter().copied(), if partly { NO_SPACE | NO_FILES } else { NO_FILES })
            }
            Self::Modes(_) => {
                let names = containers(cli, Which::All).await.unwrap_or_default();
                Answer::new(names.iter().map(|name| format!("container:{name}")), NO_FILES)
            }
            Self::Paths => {
                let names = containers(cli, Which::All).await.unwrap_or_default();
                let directive =
                    if names.iter().any(|name| name.starts_with(typed)) { NO_SPACE } else { DEFAULT };
                Answer::new(names.iter().map(|name| format!("{name}:")), directive)
            }
            other => {
                let mut words = other.names(cli).await.unwrap_or_default();
                words.retain(|word| !before.contains(&word.as_str()));
                Answer::new(words, NO_FILES)
            }
        }
    }

    /// Names that have to be asked for.
    async fn names(self, cli: &Cli) -> Outcome<Vec<String>> {
        Ok(match self {
            Self::Containers(which) => containers(cli, which).await?,
            Self::Images => images(cli).await?,
            Self::Networks => networks(cli).await?,
            Self::Volumes => volumes(cli).await?,
            Self::Contexts => context::names(cli),
            Self::Servers => crate::credentials::servers(cli.config()),
            Self::Commands => {
                let visible =
                    crate::cmd::ROOT.iter().filter(|c| c.category != crate::command::Category::Hidden);
                visible.map(|command| command.name.to_owned()).collect()
            }
            Self::LogDrivers => info(cli).await?.plugins.log.to_vec(),
            Self::VolumeDrivers => info(cli).await?.plugins.volume.to_vec(),
            Self::Anything => {
                let mut all = containers(cli, Which::All).await.unwrap_or_default();
                all.extend(images(cli).await.unwrap_or_default());
                all.extend(networks(cli).await.unwrap_or_default());
                all.extend(volumes(cli).await.unwrap_or_default());
                all
            }
            _ => Vec::new(),
        })
    }
}

/// The engine for a completion: one that runs, none is started.
fn client(cli: &Cli) -> Outcome<knarr_docker_client::Client> {
    cli.running_client()
}

async fn containers(cli: &Cli, which: Which) -> Outcome<Vec<String>> {
    let all = matches!(which, Which::All | Which::Ended);
    let list: Vec<Summary> = client(cli)?.get("/containers/json").flag("all", all).fetch().await?;
    let fits = |c: &&Summary| match which {
        Which::All | Which::Running => true,
        Which::Active => c.state != "paused",
        Which::Paused => c.state == "paused",
        Which::Ended => matches!(c.state.as_str(), "created" | "exited" | "dead"),
    };
    let names = list.iter().filter(fits).flat_map(|c| c.names.iter());
    // links have a slash inside and are no names
    Ok(names.map(|n| n.trim_start_matches('/').to_owned()).filter(|n| !n.contains('/')).collect())
}

async fn images(cli: &Cli) -> Outcome<Vec<String>> {
    let list: Vec<image::Summary> = client(cli)?.get("/images/json").fetch().await?;
    Ok(list.iter().flat_map(|i| i.repo_tags.iter().cloned()).filter(|name| name != "<none>:<none>").collect())
}

async fn networks(cli: &Cli) -> Outcome<Vec<String>> {
    let list: Vec<network::Network> = client(cli)?.get("/networks").fetch().await?;
    Ok(list.into_iter().map(|n| n.name).collect())
}

async fn volumes(cli: &Cli) -> Outcome<Vec<String>> {
    let list: volume::ListResponse = client(cli)?.get("/volumes").fetch().await?;
    Ok(list.volumes.into_iter().map(|v| v.name).collect())
}

async fn info(cli: &Cli) -> Outcome<Info> {
    Ok(client(cli)?.get("/info").fetch().await?)
}
