//! The commands: one file for each verb or small family, and the table that names them.
mod container_flags;
mod create;
mod create_request;
mod exec;
mod inspect;
mod lifecycle;
mod logs;
mod ps;
mod run;
mod start;

use crate::command::{Args, Command};
use crate::flag::Flag;

/// An async function as a row's function.
macro_rules! run {
    ($($path:tt)+) => { |cli, m| Box::pin($($path)+(cli, m)) };
}

static RUN_TABLE: &[&[Flag]] = &[container_flags::RUN, container_flags::CREATE];

static RUN: Command = Command::new(
    "run",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create and run a new container from an image",
    Args::AtLeast(1),
    run!(run::run),
)
.flags(RUN_TABLE)
.stops_at_argument()
.common()
.paths(&["knarr container run", "knarr run"]);
static CREATE: Command = Command::new(
    "create",
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    "Create a new container",
    Args::AtLeast(1),
    run!(create::create),
)
.flags(&[container_flags::CREATE])
.stops_at_argument()
.paths(&["knarr container create", "knarr create"]);
static EXEC: Command = Command::new(
    "exec",
    "[OPTIONS] CONTAINER COMMAND [ARG...]",
    "Execute a command in a running container",
    Args::AtLeast(2),
    run!(exec::exec),
)
.flags(&[exec::FLAGS])
.stops_at_argument()
.common()
.paths(&["knarr container exec", "knarr exec"]);
static PS: Command = Command::new("ps", "[OPTIONS]", "List containers", Args::None, run!(ps::ps))
    .flags(&[ps::FLAGS])
    .common()
    .paths(&["knarr container ls", "knarr container list", "knarr container ps", "knarr ps"]);
static CONTAINER_LS: Command = Command::new("ls", "[OPTIONS]", "List containers", Args::None, run!(ps::ps))
    .flags(&[ps::FLAGS])
    .aliases(&["ps", "list"])
    .paths(&["knarr container ls", "knarr container list", "knarr container ps", "knarr ps"]);

/// Commands that take containers and little else.
macro_rules! containers {
    ($name:ident, $text:literal, $usage:literal, $about:literal, $run:path, $flags:expr) => {
        static $name: Command = Command::new($text, $usage, $about, Args::AtLeast(1), run!($run))
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
containers!(
    RM,
    "rm",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Remove one or more containers",
    lifecycle::rm,
    &[lifecycle::RM_FLAGS]
);

static ATTACH: Command = Command::new(
    "attach",
    "[OPTIONS] CONTAINER",
    "Attach local standard input, output, and error streams to a running container",
    Args::Exactly(1),
    run!(start::attach),
)
.flags(&[start::ATTACH_FLAGS])
.paths(&["knarr container attach", "knarr attach"]);
static LOGS: Command = Command::new(
    "logs",
    "[OPTIONS] CONTAINER",
    "Fetch the logs of a container",
    Args::Exactly(1),
    run!(logs::logs),
)
.flags(&[logs::FLAGS])
.paths(&["knarr container logs", "knarr logs"]);
static RENAME: Command = Command::new(
    "rename",
    "CONTAINER NEW_NAME",
    "Rename a container",
    Args::Exactly(2),
    run!(lifecycle::rename),
)
.paths(&["knarr container rename", "knarr rename"]);
static INSPECT: Command = Command::new(
    "inspect",
    "[OPTIONS] NAME|ID [NAME|ID...]",
    "Return low-level information on Docker objects",
    Args::AtLeast(1),
    run!(inspect::inspect),
)
.flags(&[inspect::FLAGS]);
static CONTAINER_INSPECT: Command = Command::new(
    "inspect",
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Display detailed information on one or more containers",
    Args::AtLeast(1),
    run!(inspect::container),
)
.flags(&[inspect::SIZE_FLAGS]);
static CONTAINER_PRUNE: Command =
    Command::new("prune", "[OPTIONS]", "Remove all stopped containers", Args::None, run!(lifecycle::prune))
        .flags(&[lifecycle::PRUNE_FLAGS]);

static CONTAINER: Command = Command::group(
    "container",
    "Manage containers",
    &[
        &ATTACH,
        &CREATE,
        &EXEC,
        &CONTAINER_INSPECT,
        &KILL,
        &LOGS,
        &CONTAINER_LS,
        &PAUSE,
        &CONTAINER_PRUNE,
        &RENAME,
        &RESTART,
        &RM,
        &RUN,
        &START,
        &STOP,
        &UNPAUSE,
        &WAIT,
    ],
);

/// Everything that can stand after `knarr`.
pub static ROOT: &[&Command] = &[
    &RUN, &EXEC, &PS, &CONTAINER, &ATTACH, &CREATE, &INSPECT, &KILL, &LOGS, &PAUSE, &RENAME, &RESTART, &RM,
    &START, &STOP, &UNPAUSE, &WAIT,
];
