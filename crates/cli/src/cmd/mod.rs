//! The commands: one file for each verb or small family, and the table that names them.
/// An async function as a row's function.
macro_rules! run {
    ($($path:tt)+) => { |cli, m| Box::pin($($path)+(cli, m)) };
}

mod completion;
mod container_facts;
mod container_flags;
mod container_table;
mod context;
mod copy_archive;
mod cp;
mod create;
mod create_request;
mod disk_usage;
mod exec;
mod images;
mod inspect;
mod lifecycle;
mod login;
mod logs;
mod manifest;
mod network;
mod ps;
mod push;
mod run;
mod search;
mod start;
mod stats;
mod system;
mod transfer;
mod upkeep;
mod volume;

use crate::command::{Args, Command};
use container_table::{
    ATTACH, COMMIT, CONTAINER, CP, CREATE, DIFF, EXEC, EXPORT, INSPECT, KILL, LOGS, PAUSE, PORT, PS, RENAME,
    RESTART, RM, RUN, START, STATS, STOP, TOP, UNPAUSE, UPDATE, WAIT,
};

static IMAGES: Command = Command::new(
    "images",
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    Args::AtMost(1),
    run!(images::images),
)
.flags(&[images::FLAGS])
.common()
.paths(&["knarr image ls", "knarr image list", "knarr images"]);
static IMAGE_LS: Command =
    Command::new("ls", "[OPTIONS] [REPOSITORY[:TAG]]", "List images", Args::AtMost(1), run!(images::images))
        .flags(&[images::FLAGS])
        .aliases(&["list"])
        .paths(&["knarr image ls", "knarr image list", "knarr images"]);
static HISTORY: Command = Command::new(
    "history",
    "[OPTIONS] IMAGE",
    "Show the history of an image",
    Args::Exactly(1),
    run!(images::history),
)
.flags(&[images::HISTORY_FLAGS])
.paths(&["knarr image history", "knarr history"]);
static PULL: Command = Command::new(
    "pull",
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    Args::Exactly(1),
    run!(transfer::pull),
)
.flags(&[transfer::PULL_FLAGS])
.common()
.paths(&["knarr image pull", "knarr pull"]);
static PUSH: Command = Command::new(
    "push",
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to a registry",
    Args::Exactly(1),
    run!(push::push),
)
.flags(&[push::FLAGS])
.common()
.paths(&["knarr image push", "knarr push"]);
static LOAD: Command = Command::new(
    "load",
    "[OPTIONS]",
    "Load an image from a tar archive or STDIN",
    Args::None,
    run!(transfer::load),
)
.flags(&[transfer::LOAD_FLAGS])
.paths(&["knarr image load", "knarr load"]);
static SAVE: Command = Command::new(
    "save",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    Args::AtLeast(1),
    run!(transfer::save),
)
.flags(&[transfer::SAVE_FLAGS])
.paths(&["knarr image save", "knarr save"]);
static IMPORT: Command = Command::new(
    "import",
    "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    Args::Between(1, 2),
    run!(transfer::import),
)
.flags(&[transfer::IMPORT_FLAGS])
.paths(&["knarr image import", "knarr import"]);
static TAG: Command = Command::new(
    "tag",
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    Args::Exactly(2),
    run!(transfer::tag),
)
.paths(&["knarr image tag", "knarr tag"]);
static RMI: Command = Command::new(
    "rmi",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    Args::AtLeast(1),
    run!(transfer::rmi),
)
.flags(&[transfer::RMI_FLAGS])
.paths(&["knarr image rm", "knarr image remove", "knarr rmi"]);
static IMAGE_RM: Command = Command::new(
    "rm",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    Args::AtLeast(1),
    run!(transfer::rmi),
)
.flags(&[transfer::RMI_FLAGS])
.aliases(&["rmi", "remove"])
.paths(&["knarr image rm", "knarr image remove", "knarr rmi"]);
static IMAGE_INSPECT: Command = Command::new(
    "inspect",
    "[OPTIONS] IMAGE [IMAGE...]",
    "Display detailed information on one or more images",
    Args::AtLeast(1),
    run!(inspect::image),
)
.flags(&[inspect::IMAGE_FLAGS]);
static IMAGE_PRUNE: Command =
    Command::new("prune", "[OPTIONS]", "Remove unused images", Args::None, run!(transfer::prune))
        .flags(&[transfer::PRUNE_FLAGS]);
static IMAGE: Command = Command::group(
    "image",
    "Manage images",
    &[
        &HISTORY,
        &IMPORT,
        &IMAGE_INSPECT,
        &LOAD,
        &IMAGE_LS,
        &IMAGE_PRUNE,
        &PULL,
        &PUSH,
        &IMAGE_RM,
        &SAVE,
        &TAG,
    ],
);
static SEARCH: Command = Command::new(
    "search",
    "[OPTIONS] TERM",
    "Search Docker Hub for images",
    Args::Exactly(1),
    run!(search::search),
)
.flags(&[search::FLAGS])
.common();
static MANIFEST: Command = Command::group(
    "manifest",
    "Manage image manifests and manifest lists",
    &[
        &Command::new(
            "annotate",
            "[OPTIONS] MANIFEST_LIST MANIFEST",
            "Add additional information to a local image manifest",
            Args::Exactly(2),
            run!(manifest::annotate),
        )
        .flags(&[manifest::ANNOTATE_FLAGS]),
        &Command::new(
            "create",
            "MANIFEST_LIST MANIFEST [MANIFEST...]",
            "Create a local manifest list for annotating and pushing to a registry",
            Args::AtLeast(2),
            run!(manifest::create),
        )
        .flags(&[manifest::CREATE_FLAGS]),
        &Command::new(
            "inspect",
            "[OPTIONS] [MANIFEST_LIST] MANIFEST",
            "Display an image manifest, or manifest list",
            Args::Between(1, 2),
            run!(manifest::inspect),
        )
        .flags(&[manifest::INSPECT_FLAGS]),
        &Command::new(
            "push",
            "[OPTIONS] MANIFEST_LIST",
            "Push a manifest list to a repository",
            Args::Exactly(1),
            run!(manifest::push),
        )
        .flags(&[manifest::PUSH_FLAGS]),
        &Command::new(
            "rm",
            "MANIFEST_LIST [MANIFEST_LIST...]",
            "Delete one or more manifest lists from local storage",
            Args::AtLeast(1),
            run!(manifest::rm),
        ),
    ],
);

static NETWORK: Command = Command::group(
    "network",
    "Manage networks",
    &[
        &Command::new(
            "connect",
            "[OPTIONS] NETWORK CONTAINER",
            "Connect a container to a network",
            Args::Exactly(2),
            run!(network::connect),
        )
        .flags(&[network::CONNECT_FLAGS]),
        &Command::new(
            "create",
            "[OPTIONS] NETWORK",
            "Create a network",
            Args::Exactly(1),
            run!(network::create),
        )
        .flags(&[network::CREATE_FLAGS]),
        &Command::new(
            "disconnect",
            "[OPTIONS] NETWORK CONTAINER",
            "Disconnect a container from a network",
            Args::Exactly(2),
            run!(network::disconnect),
        )
        .flags(&[network::DISCONNECT_FLAGS]),
        &Command::new(
            "inspect",
            "[OPTIONS] NETWORK [NETWORK...]",
            "Display detailed information on one or more networks",
            Args::AtLeast(1),
            run!(inspect::network),
        )
        .flags(&[inspect::NETWORK_FLAGS]),
        &Command::new("ls", "[OPTIONS]", "List networks", Args::None, run!(network::ls))
            .flags(&[network::LS_FLAGS])
            .aliases(&["list"]),
        &Command::new("prune", "[OPTIONS]", "Remove all unused networks", Args::None, run!(network::prune))
            .flags(&[network::PRUNE_FLAGS]),
        &Command::new(
            "rm",
            "NETWORK [NETWORK...]",
            "Remove one or more networks",
            Args::AtLeast(1),
            run!(network::rm),
        )
        .flags(&[network::RM_FLAGS])
        .aliases(&["remove"]),
    ],
);
static VOLUME: Command = Command::group(
    "volume",
    "Manage volumes",
    &[
        &Command::new(
            "create",
            "[OPTIONS] [VOLUME]",
            "Create a volume",
            Args::AtMost(1),
            run!(volume::create),
        )
        .flags(&[volume::CREATE_FLAGS]),
        &Command::new(
            "inspect",
            "[OPTIONS] VOLUME [VOLUME...]",
            "Display detailed information on one or more volumes",
            Args::AtLeast(1),
            run!(inspect::volume),
        )
        .flags(&[inspect::FORMAT_FLAGS]),
        &Command::new("ls", "[OPTIONS]", "List volumes", Args::None, run!(volume::ls))
            .flags(&[volume::LS_FLAGS])
            .aliases(&["list"]),
        &Command::new("prune", "[OPTIONS]", "Remove unused local volumes", Args::None, run!(volume::prune))
            .flags(&[volume::PRUNE_FLAGS]),
        &Command::new(
            "rm",
            "[OPTIONS] VOLUME [VOLUME...]",
            "Remove one or more volumes",
            Args::AtLeast(1),
            run!(volume::rm),
        )
        .flags(&[volume::RM_FLAGS])
        .aliases(&["remove"]),
    ],
);

static INFO: Command =
    Command::new("info", "[OPTIONS]", "Display system-wide information", Args::None, run!(system::info))
        .flags(&[system::FORMAT_FLAGS])
        .common()
        .paths(&["knarr system info", "knarr info"]);
static VERSION: Command = Command::new(
    "version",
    "[OPTIONS]",
    "Show the Knarr version information",
    Args::None,
    run!(system::version),
)
.flags(&[system::FORMAT_FLAGS])
.common();
static EVENTS: Command = Command::new(
    "events",
    "[OPTIONS]",
    "Get real time events from the server",
    Args::None,
    run!(system::events),
)
.flags(&[system::EVENTS_FLAGS])
.paths(&["knarr system events", "knarr events"]);
static SYSTEM: Command = Command::group(
    "system",
    "Manage the engine",
    &[
        &Command::new(
            "check",
            "[OPTIONS]",
            "Verify images, layers, containers and volumes on the disk",
            Args::None,
            run!(upkeep::check),
        )
        .flags(&[upkeep::CHECK_FLAGS]),
        &Command::new(
            "clean",
            "[OPTIONS]",
            "Remove images by the clean-up policy",
            Args::None,
            run!(upkeep::clean),
        )
        .flags(&[upkeep::CLEAN_FLAGS]),
        &Command::new("df", "[OPTIONS]", "Show disk usage", Args::None, run!(disk_usage::df))
            .flags(&[disk_usage::FLAGS]),
        &EVENTS,
        &INFO,
        &Command::new("prune", "[OPTIONS]", "Remove unused data", Args::None, run!(system::prune))
            .flags(&[system::PRUNE_FLAGS]),
    ],
);

static CONTEXT: Command = Command::group(
    "context",
    "Manage contexts",
    &[
        &Command::new(
            "create",
            "[OPTIONS] CONTEXT",
            "Create a context",
            Args::Exactly(1),
            run!(context::create),
        )
        .flags(&[context::CREATE_FLAGS]),
        &Command::new(
            "inspect",
            "[OPTIONS] [CONTEXT] [CONTEXT...]",
            "Display detailed information on one or more contexts",
            Args::Any,
            run!(context::inspect),
        )
        .flags(&[inspect::FORMAT_FLAGS]),
        &Command::new("ls", "[OPTIONS]", "List contexts", Args::None, run!(context::ls))
            .flags(&[context::LS_FLAGS])
            .aliases(&["list"]),
        &Command::new(
            "rm",
            "CONTEXT [CONTEXT...]",
            "Remove one or more contexts",
            Args::AtLeast(1),
            run!(context::rm),
        )
        .flags(&[context::RM_FLAGS])
        .aliases(&["remove"]),
        &Command::new("show", "", "Print the name of the current context", Args::None, run!(context::show)),
        &Command::new(
            "update",
            "[OPTIONS] CONTEXT",
            "Update a context",
            Args::Exactly(1),
            run!(context::update),
        )
        .flags(&[context::UPDATE_FLAGS]),
        &Command::new(
            "use",
            "CONTEXT",
            "Set the current context",
            Args::Exactly(1),
            run!(context::use_context),
        ),
    ],
);
static LOGIN: Command = Command::new(
    "login",
    "[OPTIONS] [SERVER]",
    "Authenticate to a registry",
    Args::AtMost(1),
    run!(login::login),
)
.flags(&[login::LOGIN_FLAGS])
.common();
static LOGOUT: Command =
    Command::new("logout", "[SERVER]", "Log out from a registry", Args::AtMost(1), run!(login::logout))
        .common();
static COMPLETION: Command = Command::new(
    "completion",
    "SHELL",
    "Print the completion script of a shell (bash, zsh, fish)",
    Args::Exactly(1),
    run!(completion::completion),
);
static COMPLETE: Command = Command::new("__complete", "", "", Args::Any, run!(completion::complete)).hidden();
static HELP: Command =
    Command::new("help", "[COMMAND]", "Help about the command", Args::Any, run!(completion::help)).hidden();

/// Everything that can stand after `knarr`.
pub static ROOT: &[&Command] = &[
    &RUN,
    &EXEC,
    &PS,
    &PULL,
    &PUSH,
    &IMAGES,
    &LOGIN,
    &LOGOUT,
    &SEARCH,
    &VERSION,
    &INFO,
    &CONTAINER,
    &CONTEXT,
    &IMAGE,
    &MANIFEST,
    &NETWORK,
    &SYSTEM,
    &VOLUME,
    &ATTACH,
    &COMMIT,
    &COMPLETION,
    &CP,
    &CREATE,
    &DIFF,
    &EVENTS,
    &EXPORT,
    &HISTORY,
    &IMPORT,
    &INSPECT,
    &KILL,
    &LOAD,
    &LOGS,
    &PAUSE,
    &PORT,
    &RENAME,
    &RESTART,
    &RM,
    &RMI,
    &SAVE,
    &START,
    &STATS,
    &STOP,
    &TAG,
    &TOP,
    &UNPAUSE,
    &UPDATE,
    &WAIT,
    &HELP,
    &COMPLETE,
];
