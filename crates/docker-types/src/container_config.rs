//! `Config`: what is portable about a container. The image's configuration is the template for it.
use crate::{Empty, List, Map, StrSlice};

api_struct! {
    /// Configuration of a container that does not depend on the host.
    pub struct Config {
        hostname: String = "Hostname",
        domainname: String = "Domainname",
        user: String = "User",
        attach_stdin: bool = "AttachStdin",
        attach_stdout: bool = "AttachStdout",
        attach_stderr: bool = "AttachStderr",
        /// `"80/tcp": {}`.
        exposed_ports: Map<Empty> = "ExposedPorts" omitempty,
        tty: bool = "Tty",
        open_stdin: bool = "OpenStdin",
        stdin_once: bool = "StdinOnce",
        env: List<String> = "Env",
        cmd: StrSlice = "Cmd",
        healthcheck: Option<HealthConfig> = "Healthcheck" omitempty,
        args_escaped: bool = "ArgsEscaped" omitempty,
        image: String = "Image",
        volumes: Map<Empty> = "Volumes",
        working_dir: String = "WorkingDir",
        entrypoint: StrSlice = "Entrypoint",
        network_disabled: bool = "NetworkDisabled" omitempty,
        on_build: List<String> = "OnBuild" omitempty,
        labels: Map<String> = "Labels",
        stop_signal: String = "StopSignal" omitempty,
        /// Seconds; negative waits without end.
        stop_timeout: Option<i64> = "StopTimeout" omitempty,
        shell: StrSlice = "Shell" omitempty,
    }

    /// How to check that a container is healthy. Durations are nanoseconds; 0 inherits.
    pub struct HealthConfig {
        /// `[]` inherit, `["NONE"]`, `["CMD", args...]`, `["CMD-SHELL", command]`.
        test: List<String> = "Test" omitempty,
        interval_ns: i64 = "Interval" omitempty,
        timeout_ns: i64 = "Timeout" omitempty,
        start_period_ns: i64 = "StartPeriod" omitempty,
        start_interval_ns: i64 = "StartInterval" omitempty,
        retries: i64 = "Retries" omitempty,
    }
}
