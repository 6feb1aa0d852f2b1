//! The flags of `run` and `create`.
use crate::cmd::content_trust;
use crate::cmd::create_request::gpus;
use crate::flag::{
    ADDRESS, BYTES, CPUS, DURATION, ENV, EXTRA_HOST, Flag, LABEL, LINK, MOUNT, NETWORK, PLATFORM, SEARCH,
    STREAM, SWAP, SYSCTL, THROTTLE_BPS, THROTTLE_IOPS, Ty, ULIMIT, WEIGHT,
};
use crate::spec::device;

const RULE: Ty = Ty::Checked("list", device::check_rule);
const GPUS: Ty = Ty::Checked("gpu-request", |text| gpus(text).map(drop));
const ANNOTATION: Ty = Ty::Checked("map", |_| Ok(()));

/// Only `run`.
pub static RUN: &[Flag] = &[
    Flag::new("detach", Ty::Bool, "Run container in background and print container ID").short('d'),
    Flag::new("detach-keys", Ty::Str, "Override the key sequence for detaching a container"),
    Flag::new("pull", Ty::Str, "Pull image before running (\"always\", \"missing\", \"never\")")
        .default("missing"),
    Flag::new("sig-proxy", Ty::Bool, "Proxy received signals to the process").default("true"),
];

/// Only `create`.
pub static ONLY_CREATE: &[Flag] =
    &[Flag::new("pull", Ty::Str, "Pull image before creating (\"always\", \"missing\", \"never\")")
        .default("missing")];

/// Both.
pub static CREATE: &[Flag] = &[
    Flag::new("add-host", EXTRA_HOST, "Add a custom host-to-IP mapping (host:ip)"),
    Flag::new(
        "annotation",
        ANNOTATION,
        "Add an annotation to the container (passed through to the OCI runtime)",
    )
    .default("map[]"),
    Flag::new("attach", STREAM, "Attach to STDIN, STDOUT or STDERR").short('a'),
    Flag::new(
        "blkio-weight",
        Ty::Uint16,
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag::new("blkio-weight-device", WEIGHT, "Block IO weight (relative device weight)").default("[]"),
    Flag::new("cap-add", Ty::List, "Add Linux capabilities"),
    Flag::new("cap-drop", Ty::List, "Drop Linux capabilities"),
    Flag::new("cgroup-parent", Ty::Str, "Optional parent cgroup for the container"),
    Flag::new(
        "cgroupns",
        Ty::Str,
        "Cgroup namespace to use (host|private)\n'host':    Run the container in the Knarr host's cgroup namespace\n'private': Run the container in its own private cgroup namespace\n'':        Use the cgroup namespace as configured by the\n           default-cgroupns-mode option on the daemon (default)",
    ),
    Flag::new("cidfile", Ty::Str, "Write the container ID to the file"),
    Flag::new("cpu-count", Ty::Int, "CPU count (Windows only)").windows(),
    Flag::new("cpu-percent", Ty::Int, "CPU percent (Windows only)").windows(),
    Flag::new("cpu-period", Ty::Int, "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag::new("cpu-quota", Ty::Int, "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag::new("cpu-rt-period", Ty::Int, "Limit CPU real-time period in microseconds"),
    Flag::new("cpu-rt-runtime", Ty::Int, "Limit CPU real-time runtime in microseconds"),
    Flag::new("cpu-shares", Ty::Int, "CPU shares (relative weight)").short('c'),
    Flag::new("cpus", CPUS, "Number of CPUs"),
    Flag::new("cpuset-cpus", Ty::Str, "CPUs in which to allow execution (0-3, 0,1)"),
    Flag::new("cpuset-mems", Ty::Str, "MEMs in which to allow execution (0-3, 0,1)"),
    Flag::new("device", Ty::List, "Add a host device to the container"),
    Flag::new("device-cgroup-rule", RULE, "Add a rule to the cgroup allowed devices list"),
    Flag::new("device-read-bps", THROTTLE_BPS, "Limit read rate (bytes per second) from a device")
        .default("[]"),
    Flag::new("device-read-iops", THROTTLE_IOPS, "Limit read rate (IO per second) from a device")
        .default("[]"),
    Flag::new("device-write-bps", THROTTLE_BPS, "Limit write rate (bytes per second) to a device")
        .default("[]"),
    Flag::new("device-write-iops", THROTTLE_IOPS, "Limit write rate (IO per second) to a device")
        .default("[]"),
    content_trust::flag("Skip image verification"),
    Flag::new("dns", ADDRESS, "Set custom DNS servers"),
    Flag::new("dns-opt", Ty::List, "Set DNS options").hidden(),
    Flag::new("dns-option", Ty::List, "Set DNS options"),
    Flag::new("dns-search", SEARCH, "Set custom DNS search domains"),
    Flag::new("domainname", Ty::Str, "Container NIS domain name"),
    Flag::new("entrypoint", Ty::Str, "Overwrite the default ENTRYPOINT of the image"),
    Flag::new("env", ENV, "Set environment variables").short('e'),
    Flag::new("env-file", Ty::List, "Read in a file of environment variables"),
    Flag::new("expose", Ty::List, "Expose a port or a range of ports"),
    Flag::new("gpus", GPUS, "GPU devices to add to the container ('all' to pass all GPUs)"),
    Flag::new("group-add", Ty::List, "Add additional groups to join"),
    Flag::new("health-cmd", Ty::Str, "Command to run to check health"),
    Flag::new(
        "health-grpc",
        Ty::Str,
        "Check health by gRPC, without a program of the image ([ADDRESS:]PORT[/SERVICE])",
    ),
    Flag::new(
        "health-http",
        Ty::Str,
        "Check health by HTTP, without a program of the image (http://[ADDRESS]:PORT/PATH)",
    ),
    Flag::new("health-interval", DURATION, "Time between running the check (ms|s|m|h) (default 0s)"),
    Flag::new(
        "health-on-failure",
        Ty::Str,
        "What to do when the container is unhealthy (\"none\", \"restart\", \"stop\", \"kill\")",
    ),
    Flag::new("health-retries", Ty::Int, "Consecutive failures needed to report unhealthy"),
    Flag::new(
        "health-start-interval",
        DURATION,
        "Time between running the check during the start period (ms|s|m|h) (default 0s)",
    ),
    Flag::new(
        "health-start-period",
        DURATION,
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)",
    ),
    Flag::new(
        "health-tcp",
        Ty::Str,
        "Check health by a connection, without a program of the image ([ADDRESS:]PORT)",
    ),
    Flag::new("health-timeout", DURATION, "Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
    Flag::new("help", Ty::Bool, "Print usage"),
    Flag::new("hostname", Ty::Str, "Container host name").short('h'),
    Flag::new("init", Ty::Bool, "Run an init inside the container that forwards signals and reaps processes"),
    Flag::new("interactive", Ty::Bool, "Keep STDIN open even if not attached").short('i'),
    Flag::new("io-maxbandwidth", BYTES, "Maximum IO bandwidth limit for the system drive (Windows only)")
        .windows(),
    Flag::new("io-maxiops", Ty::Uint, "Maximum IOps limit for the system drive (Windows only)").windows(),
    Flag::new("ip", Ty::Str, "IPv4 address (e.g., 172.30.100.104)"),
    Flag::new("ip6", Ty::Str, "IPv6 address (e.g., 2001:db8::33)"),
    Flag::new("ipc", Ty::Str, "IPC mode to use"),
    Flag::new("isolation", Ty::Str, "Container isolation technology"),
    Flag::new("kernel-memory", BYTES, "Kernel memory limit"),
    Flag::new("label", LABEL, "Set meta data on a container").short('l'),
    Flag::new("label-file", Ty::List, "Read in a line delimited file of labels"),
    Flag::new("link", LINK, "Add link to another container"),
    Flag::new("link-local-ip", Ty::List, "Container IPv4/IPv6 link-local addresses"),
    Flag::new("log-driver", Ty::Str, "Logging driver for the container"),
    Flag::new("log-opt", Ty::List, "Log driver options"),
    Flag::new("mac-address", Ty::Str, "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag::new("memory", BYTES, "Memory limit").short('m'),
    Flag::new("memory-reservation", BYTES, "Memory soft limit"),
    Flag::new("memory-swap", SWAP, "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    Flag::new("memory-swappiness", Ty::Int, "Tune container memory swappiness (0 to 100)").default("-1"),
    Flag::new("mount", MOUNT, "Attach a filesystem mount to the container"),
    Flag::new("name", Ty::Str, "Assign a name to the container"),
    Flag::new("net", NETWORK, "Connect a container to a network").hidden(),
    Flag::new("net-alias", Ty::List, "Add network-scoped alias for the container").hidden(),
    Flag::new("network", NETWORK, "Connect a container to a network"),
    Flag::new("network-alias", Ty::List, "Add network-scoped alias for the container"),
    Flag::new("no-healthcheck", Ty::Bool, "Disable any container-specified HEALTHCHECK"),
    Flag::new("oom-kill-disable", Ty::Bool, "Disable OOM Killer"),
    Flag::new("oom-score-adj", Ty::Int, "Tune host's OOM preferences (-1000 to 1000)"),
    Flag::new("pid", Ty::Str, "PID namespace to use"),
    Flag::new("pids-limit", Ty::Int, "Tune container pids limit (set -1 for unlimited)"),
    PLATFORM,
    Flag::new("privileged", Ty::Bool, "Give extended privileges to this container"),
    Flag::new("publish", Ty::List, "Publish a container's port(s) to the host").short('p'),
    Flag::new("publish-all", Ty::Bool, "Publish all exposed ports to random ports").short('P'),
    Flag::new("quiet", Ty::Bool, "Suppress the pull output").short('q'),
    Flag::new("read-only", Ty::Bool, "Mount the container's root filesystem as read only"),
    Flag::new("requires", Ty::List, "Containers that are started before this one"),
    Flag::new("restart", Ty::Str, "Restart policy to apply when a container exits").default("no"),
    Flag::new(
        "restart-delay",
        DURATION,
        "First pause before a restart; it doubles each time (ms|s|m|h) (default 100ms)",
    ),
    Flag::new("restart-max-delay", DURATION, "Longest pause before a restart (ms|s|m|h) (default 1m0s)"),
    Flag::new(
        "rm",
        Ty::Bool,
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    Flag::new("runtime", Ty::Str, "Runtime to use for this container"),
    Flag::new("security-opt", Ty::List, "Security Options"),
    Flag::new("shm-size", BYTES, "Size of /dev/shm"),
    Flag::new("stop-signal", Ty::Str, "Signal to stop the container"),
    Flag::new("stop-timeout", Ty::Int, "Timeout (in seconds) to stop a container"),
    Flag::new("storage-opt", Ty::List, "Storage driver options for the container"),
    Flag::new("sysctl", SYSCTL, "Sysctl options").default("map[]"),
    Flag::new("tmpfs", Ty::List, "Mount a tmpfs directory"),
    Flag::new("tty", Ty::Bool, "Allocate a pseudo-TTY").short('t'),
    Flag::new("ulimit", ULIMIT, "Ulimit options").default("[]"),
    Flag::new("use-api-socket", Ty::Bool, "Bind mount Knarr API socket and required auth"),
    Flag::new("user", Ty::Str, "Username or UID (format: <name|uid>[:<group|gid>])").short('u'),
    Flag::new("userns", Ty::Str, "User namespace to use"),
    Flag::new("uts", Ty::Str, "UTS namespace to use"),
    Flag::new("volume", Ty::List, "Bind mount a volume").short('v'),
    Flag::new("volume-driver", Ty::Str, "Optional volume driver for the container"),
    Flag::new("volumes-from", Ty::List, "Mount volumes from the specified container(s)"),
    Flag::new("workdir", Ty::Str, "Working directory inside the container").short('w'),
];
