//! One binary: client, engine, supervisor, OCI runtime and init, chosen by an applet table.
mod applet;
mod daemon;
mod embedded;
mod hello;

use std::process::ExitCode;

fn main() -> ExitCode {
    // No thread exists yet, and none may be started before the applet is chosen: the spawner and the runtime fork.
    applet::run(std::env::args_os().collect())
}
