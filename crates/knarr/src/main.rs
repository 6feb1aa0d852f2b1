//! One binary: client, engine, supervisor, OCI runtime and init, chosen by an applet table.
fn main() {}
