//! The commands: one file for each verb or small family, and the table that names them.
/// An async function as a row's function.
macro_rules! run {
    ($($path:tt)+) => { |cli, m| Box::pin($($path)+(cli, m)) };
}

mod api_socket;
mod completion;
mod container_facts;
mod container_flags;
mod container_table;
mod content_trust;
mod context;
mod context_archive;
mod copy_archive;
mod cp;
mod create;
mod create_request;
mod dial_stdio;
mod disk_usage;
mod doctor;
mod exec;
mod image_tree;
mod images;
mod inspect;
mod lifecycle;
mod login;
mod logs;
mod man;
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
    run!(images::at_top),
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
    Args::AtLeast(1),
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
        &Command::refused("build", NO_BUILD),
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
    "Manage Knarr image manifests and manifest lists",
    &[
        &Command::new(
            "annotate",
            "[OPTIONS] MANIFEST_LIST MANIFEST",
            "Add additional information to a local image manifest",
            Args::Exactly(2),
            run!(manifest::annotate),
        )
        .flags(&[manifest::ANNOTATE_FLAGS])
        .experimental(),
        &Command::new(
            "create",
            "MANIFEST_LIST MANIFEST [MANIFEST...]",
            "Create a local manifest list for annotating and pushing to a registry",
            Args::AtLeast(2),
            run!(manifest::create),
        )
        .flags(&[manifest::CREATE_FLAGS])
        .experimental(),
        &Command::new(
            "inspect",
            "[OPTIONS] [MANIFEST_LIST] MANIFEST",
            "Display an image manifest, or manifest list",
            Args::Between(1, 2),
            run!(manifest::inspect),
        )
        .flags(&[manifest::INSPECT_FLAGS])
        .experimental(),
        &Command::new(
            "push",
            "[OPTIONS] MANIFEST_LIST",
            "Push a manifest list to a repository",
            Args::Exactly(1),
            run!(manifest::push),
        )
        .flags(&[manifest::PUSH_FLAGS])
        .experimental(),
        &Command::new(
            "rm",
            "MANIFEST_LIST [MANIFEST_LIST...]",
            "Delete one or more manifest lists from local storage",
            Args::AtLeast(1),
            run!(manifest::rm),
        )
        .experimental(),
    ],
)
.long("The **knarr manifest** command has subcommands for managing image manifests and\nmanifest lists. A manifest list allows you to use one name to refer to the same image\nbuilt for multiple architectures.\n\nTo see help for a subcommand, use:\n\n    knarr manifest CMD --help\n\nFor full details on using knarr manifest lists, see the registry v2 specification.")
.experimental();

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
        .flags(&[volume::CREATE_FLAGS, volume::CLUSTER_FLAGS]),
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
        .aliases(&["remove"])
        .long("Remove one or more volumes. You cannot remove a volume that is in use by a container."),
        &Command::new(
            "update",
            "[OPTIONS] [VOLUME]",
            "Update a volume (cluster volumes only)",
            Args::AtMost(1),
            run!(volume::update),
        )
        .flags(&[volume::UPDATE_FLAGS])
        .hidden(),
    ],
)
.says_command();

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
    "Manage Knarr",
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
        &Command::new(
            "doctor",
            "[OPTIONS]",
            "Check what the engine needs of this machine, and say what to do",
            Args::None,
            run!(doctor::doctor),
        )
        .flags(&[doctor::FLAGS]),
        &Command::new("df", "[OPTIONS]", "Show knarr disk usage", Args::None, run!(disk_usage::df))
            .flags(&[disk_usage::FLAGS]),
        &Command::new(
            "dial-stdio",
            "",
            "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
            Args::None,
            run!(dial_stdio::dial),
        )
        .hidden(),
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
        .flags(&[context::CREATE_FLAGS])
        .long("Create a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context's Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ knarr context create my-context --description \"some description\" --docker \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\""),
        &Command::new(
            "export",
            "[OPTIONS] CONTEXT [FILE|-]",
            "Export a context to a tar archive FILE or a tar stream on STDOUT.",
            Args::Between(1, 2),
            run!(context_archive::export),
        ),
        &Command::new(
            "import",
            "CONTEXT FILE|-",
            "Import a context from a tar or zip file",
            Args::Exactly(2),
            run!(context_archive::import),
        ),
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
        .flags(&[context::UPDATE_FLAGS])
        .long("Update a context\n\nDocker endpoint config:\n\nNAME                DESCRIPTION\nfrom                Copy named context's Docker endpoint configuration\nhost                Docker endpoint on which to connect\nca                  Trust certs signed only by this CA\ncert                Path to TLS certificate file\nkey                 Path to TLS key file\nskip-tls-verify     Skip TLS certificate validation\n\nExample:\n\n$ knarr context update my-context --description \"some description\" --docker \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\""),
        &Command::new(
            "use",
            "CONTEXT",
            "Set the current knarr context",
            Args::Any,
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
.long("Authenticate to a registry.\nDefaults to Docker Hub if no server is specified.")
.common();
static LOGOUT: Command =
    Command::new("logout", "[SERVER]", "Log out from a registry", Args::AtMost(1), run!(login::logout))
        .long("Log out from a registry.\nIf no server is specified, the default is defined by the daemon.")
        .common();
static COMPLETION: Command = Command::new(
    "completion",
    "SHELL",
    "Print the completion script of a shell (bash, zsh, fish)",
    Args::Exactly(1),
    run!(completion::completion),
)
.own()
.examples("  source <(knarr completion bash)\n  knarr completion zsh > \"${fpath[1]}/_knarr\"\n  knarr completion fish > ~/.config/fish/completions/knarr.fish");
static COMPLETE: Command = Command::new("__complete", "", "", Args::Any, run!(completion::complete)).hidden();
static COMPLETE_BARE: Command =
    Command::new("__completeNoDesc", "", "", Args::Any, run!(completion::complete_bare)).hidden();
static HELP: Command =
    Command::new("help", "[command]", "Help about the command", Args::Any, run!(completion::help)).hidden();
static MAN: Command = Command::new(
    "man",
    "[OPTIONS] [COMMAND...]",
    "Print the manual page of a command, or write all of them",
    Args::Any,
    run!(man::man),
)
.flags(&[man::FLAGS])
.own()
.examples("  knarr man run | man -l -\n  knarr man -d /usr/local/share/man/man1");

/// Docker's commands for what this engine does not have.
const NO_BUILD: &str =
    "Knarr does not build images yet; with the plugin docker-buildx installed this command is the plugin's";
const NO_SWARM: &str = "this engine cannot be part of a swarm";
const NO_PLUGINS: &str = "Knarr has no plugins of the engine yet (plugins of the command line work)";
const NO_TRUST: &str = "Knarr has no content trust; pull by digest to know what you get";
const NO_CHECKPOINTS: &str = "checkpoints are experimental in Docker, and Knarr has none";

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
    &COMPLETE_BARE,
    &MAN,
    &Command::refused("build", NO_BUILD),
    &Command::refused("builder", NO_BUILD),
    &Command::refused("checkpoint", NO_CHECKPOINTS),
    &Command::refused("config", NO_SWARM),
    &Command::refused("node", NO_SWARM),
    &Command::refused("plugin", NO_PLUGINS),
    &Command::refused("secret", NO_SWARM),
    &Command::refused("service", NO_SWARM),
    &Command::refused("stack", NO_SWARM),
    &Command::refused("swarm", NO_SWARM),
    &Command::refused("trust", NO_TRUST),
];
