//! The table of the commands on containers.
use crate::cmd::{
    container_facts, container_flags, cp, create, exec, inspect, lifecycle, logs, ps, run, start, stats,
};
use crate::command::{Args, Command};
use crate::flag::Flag;

static RUN_TABLE: &[&[Flag]] = &[container_flags::RUN, container_flags::CREATE];

pub static RUN: Command = Command::new(
    "run",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    Args::AtLeast(1),
    run!(run::run),
)
.flags(RUN_TABLE)
.examples("  knarr run --rm -it busybox sh                           a shell that leaves nothing behind\n  knarr run -d --name web -p 8080:80 --restart always nginx  a service, published on port 8080\n  knarr run --rm -v \"$PWD\":/src -w /src busybox ls          with this directory in it")
.stops_at_argument()
.common()
.paths(&["knarr container run", "knarr run"]);
pub static CREATE: Command = Command::new(
    "create",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    Args::AtLeast(1),
    run!(create::create),
)
.flags(&[container_flags::ONLY_CREATE, container_flags::CREATE])
.stops_at_argument()
.paths(&["knarr container create", "knarr create"]);
pub static EXEC: Command = Command::new(
    "exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    Args::AtLeast(2),
    run!(exec::exec),
)
.flags(&[exec::FLAGS])
.examples("  knarr exec -it web sh             a shell in a running container\n  knarr exec -u 0 -e DEBUG=1 web env")
.stops_at_argument()
.common()
.paths(&["knarr container exec", "knarr exec"]);
pub static PS: Command = Command::new("ps", "[OPTIONS]", "List containers", Args::None, run!(ps::ps))
    .flags(&[ps::FLAGS])
    .examples("  knarr ps -a --filter status=exited\n  knarr ps --format 'table {{.Names}}\\t{{.Status}}\\t{{.Ports}}'")
    .common()
    .paths(&["knarr container ls", "knarr container list", "knarr container ps", "knarr ps"]);
pub static CONTAINER_LS: Command =
    Command::new("ls", "[OPTIONS]", "List containers", Args::None, run!(ps::ps))
        .flags(&[ps::FLAGS])
        .aliases(&["ps", "list"])
        .paths(&["knarr container ls", "knarr container list", "knarr container ps", "knarr ps"]);

/// Commands that take containers and little else.
macro_rules! containers {
    ($name:ident, $text:literal, $usage:literal, $about:literal, $run:path, $flags:expr) => {
        pub static $name: Command = Command::new($text, $usage, $about, Args::AtLeast(1), run!($run))
            .flags($flags)
            .paths(&[concat!("knarr container ", $text), concat!("knarr ", $text)]);
    };
}
containers!(
    START,
    "start",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Start one or more stopped containers",
    start::start,
    &[start::START_FLAGS]
);
containers!(
    STOP,
    "stop",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Stop one or more running containers",
    lifecycle::stop,
    &[lifecycle::STOP_FLAGS]
);
containers!(
    RESTART,
    "restart",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Restart one or more containers",
    lifecycle::restart,
    &[lifecycle::STOP_FLAGS]
);
containers!(
    KILL,
    "kill",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Kill one or more running containers",
    lifecycle::kill,
    &[lifecycle::KILL_FLAGS]
);
containers!(
    PAUSE,
    "pause",
    "CONTAINER [CONTAINER...]",
    "Pause all processes within one or more containers",
    lifecycle::pause,
    &[]
);
containers!(
    UNPAUSE,
    "unpause",
    "CONTAINER [CONTAINER...]",
    "Unpause all processes within one or more containers",
    lifecycle::unpause,
    &[]
);
containers!(
    WAIT,
    "wait",
    "CONTAINER [CONTAINER...]",
    "Block until one or more containers stop, then print their exit codes",
    lifecycle::wait,
    &[]
);
static RM_TABLE: &[&[Flag]] = &[lifecycle::RM_FLAGS];

/// `rm`, at the top and (with its other name) among the commands of `container`.
const fn removal() -> Command {
    Command::new(
        "rm",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Remove one or more containers",
        Args::AtLeast(1),
        run!(lifecycle::rm),
    )
    .flags(RM_TABLE)
    .paths(&["knarr container rm", "knarr container remove", "knarr rm"])
}
pub static RM: Command = removal();
pub static CONTAINER_RM: Command = removal().aliases(&["remove"]);

pub static ATTACH: Command = Command::new(
    "attach",
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    Args::Exactly(1),
    run!(start::attach),
)
.flags(&[start::ATTACH_FLAGS])
.paths(&["knarr container attach", "knarr attach"]);
pub static LOGS: Command = Command::new(
    "logs",
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    Args::Exactly(1),
    run!(logs::logs),
)
.flags(&[logs::FLAGS])
.examples(
    "  knarr logs -f --tail 20 web       the last lines, and what follows\n  knarr logs --since 10m -t web",
)
.paths(&["knarr container logs", "knarr logs"]);
pub static RENAME: Command = Command::new(
    "rename",
    "CONTAINER NEW_NAME",
    "Rename a container",
    Args::Exactly(2),
    run!(lifecycle::rename),
)
.paths(&["knarr container rename", "knarr rename"]);
pub static INSPECT: Command = Command::new(
    "inspect",
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on Knarr objects",
    Args::AtLeast(1),
    run!(inspect::inspect),
)
.flags(&[inspect::FLAGS]);
pub static CONTAINER_INSPECT: Command = Command::new(
    "inspect",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
    Args::AtLeast(1),
    run!(inspect::container),
)
.flags(&[inspect::SIZE_FLAGS]);
pub static CONTAINER_PRUNE: Command =
    Command::new("prune", "[OPTIONS]", "Remove all stopped containers", Args::None, run!(lifecycle::prune))
        .flags(&[lifecycle::PRUNE_FLAGS]);

pub static TOP: Command = Command::new(
    "top",
    "CONTAINER [ps OPTIONS]",
    "Display the running processes of a container",
    Args::AtLeast(1),
    run!(container_facts::top),
)
.stops_at_argument()
.paths(&["knarr container top", "knarr top"]);
pub static STATS: Command = Command::new(
    "stats",
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    Args::Any,
    run!(stats::stats),
)
.flags(&[stats::FLAGS])
.paths(&["knarr container stats", "knarr stats"]);
pub static PORT: Command = Command::new(
    "port",
    "CONTAINER [PRIVATE_PORT[/PROTO]]",
    "List port mappings or a specific mapping for the container",
    Args::Between(1, 2),
    run!(container_facts::port),
)
.paths(&["knarr container port", "knarr port"]);
pub static CP: Command = Command::new(
    "cp",
    "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tknarr cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    "Copy files/folders between a container and the local filesystem",
    Args::Exactly(2),
    run!(cp::cp),
)
.flags(&[cp::FLAGS])
.examples("  knarr cp web:/etc/nginx/nginx.conf .\n  knarr cp ./site/. web:/usr/share/nginx/html")
.long("Copy files/folders between a container and the local filesystem\n\nUse '-' as the source to read a tar archive from stdin\nand extract it to a directory destination in a container.\nUse '-' as the destination to stream a tar archive of a\ncontainer source to stdout.")
.paths(&["knarr container cp", "knarr cp"]);
pub static DIFF: Command = Command::new(
    "diff",
    "CONTAINER",
    "Inspect changes to files or directories on a container's filesystem",
    Args::Exactly(1),
    run!(container_facts::diff),
)
.paths(&["knarr container diff", "knarr diff"]);
pub static COMMIT: Command = Command::new(
    "commit",
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    Args::Between(1, 2),
    run!(container_facts::commit),
)
.flags(&[container_facts::COMMIT_FLAGS])
.paths(&["knarr container commit", "knarr commit"]);
pub static EXPORT: Command = Command::new(
    "export",
    "[OPTIONS] CONTAINER",
    "Export a container's filesystem as a tar archive",
    Args::Exactly(1),
    run!(container_facts::export),
)
.flags(&[container_facts::EXPORT_FLAGS])
.paths(&["knarr container export", "knarr export"]);
pub static UPDATE: Command = Command::new(
    "update",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration of one or more containers",
    Args::AtLeast(1),
    run!(container_facts::update),
)
.flags(&[container_facts::UPDATE_FLAGS])
.paths(&["knarr container update", "knarr update"]);

pub static CONTAINER: Command = Command::group(
    "container",
    "Manage containers",
    &[
        &ATTACH,
        &COMMIT,
        &CP,
        &CREATE,
        &DIFF,
        &EXEC,
        &EXPORT,
        &CONTAINER_INSPECT,
        &KILL,
        &LOGS,
        &CONTAINER_LS,
        &PAUSE,
        &PORT,
        &CONTAINER_PRUNE,
        &RENAME,
        &RESTART,
        &CONTAINER_RM,
        &RUN,
        &START,
        &STATS,
        &STOP,
        &TOP,
        &UNPAUSE,
        &UPDATE,
        &WAIT,
    ],
);
