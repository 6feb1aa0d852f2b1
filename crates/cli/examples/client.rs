//! The client alone, without an engine of its own: for tests against any engine.
fn main() {
    std::process::exit(knarr_cli::main(std::env::args_os(), None));
}
