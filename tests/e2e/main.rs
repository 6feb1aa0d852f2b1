//! Black-box tests of knarr, one module per point of what it promises. Every test starts an engine of its own.

mod api;
mod archives;
mod bad_input;
mod commands;
mod copies;
mod cves;
mod drivers;
mod endings;
mod exit_codes;
mod formats;
mod guest;
mod images;
mod isolation;
mod names;
mod networks;
mod options;
mod program;
mod pulls;
mod registries;
mod runtime_peers;
mod runtimes;
mod security_modules;
mod survival;
mod terminals;
mod userns;
