//! Commands executed in running containers.
use crate::{List, StrSlice};

pub use crate::id_response::IdResponse as CreateResponse;

api_struct! {
    /// `POST /containers/{id}/exec`.
    pub struct CreateRequest {
        user: String = "User",
        privileged: bool = "Privileged",
        tty: bool = "Tty",
        console_size: Option<[u32; 2]> = "ConsoleSize" omitempty,
        attach_stdin: bool = "AttachStdin",
        attach_stderr: bool = "AttachStderr",
        attach_stdout: bool = "AttachStdout",
        detach_keys: String = "DetachKeys",
        env: List<String> = "Env",
        working_dir: String = "WorkingDir",
        cmd: StrSlice = "Cmd",
    }

    /// `POST /exec/{id}/start`.
    pub struct StartRequest {
        detach: bool = "Detach",
        tty: bool = "Tty",
        console_size: Option<[u32; 2]> = "ConsoleSize" omitempty,
    }

    /// `GET /exec/{id}/json`.
    pub struct InspectResponse {
        id: String = "ID",
        running: bool = "Running",
        exit_code: Option<i64> = "ExitCode",
        process_config: Option<ProcessConfig> = "ProcessConfig",
        open_stdin: bool = "OpenStdin",
        open_stderr: bool = "OpenStderr",
        open_stdout: bool = "OpenStdout",
        can_remove: bool = "CanRemove",
        container_id: String = "ContainerID",
        /// Base64, as Go prints bytes.
        detach_keys: String = "DetachKeys",
        pid: i64 = "Pid",
    }

    pub struct ProcessConfig {
        tty: bool = "tty",
        entrypoint: String = "entrypoint",
        arguments: List<String> = "arguments",
        privileged: Option<bool> = "privileged" omitempty,
        user: String = "user" omitempty,
    }
}
