//! Real containers under real supervisors: exit codes, streams, logs, commands, and an engine that dies.
//!
//! Needs root and a static `busybox`. This program is also the spawner.
mod attach;
mod engine;
mod exec;
mod life;
mod logs;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

type Test = (&'static str, fn());

fn main() {
    if std::env::var_os("KNARR_TEST_INIT").is_some() {
        std::process::exit(knarr_shim::init::main(std::env::args_os().skip(1)));
    }
    if std::env::args().next().as_deref() == Some("knarr-spawner") {
        std::process::exit(knarr_shim::spawner::main(0));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tests: Vec<Test> = [life::TESTS, attach::TESTS, exec::TESTS, logs::TESTS].concat();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // What test runners ask: no test is ignored.
    if has("--ignored") {
        return;
    }
    if has("--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let exact = has("--exact");
    let matches = |name: &str, filter: &str| if exact { name == filter } else { name.contains(filter) };
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| matches(name, filter));
    if let Some(reason) = engine::cannot_run() {
        println!("containers: not run: {reason}");
        return;
    }
    let mut failed = Vec::new();
    for (name, test) in tests.into_iter().filter(|(name, _)| wanted(name)) {
        let begin = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(test));
        println!("test {name} ... {} ({:?})", if result.is_ok() { "ok" } else { "FAILED" }, begin.elapsed());
        failed.extend(result.is_err().then_some(name));
    }
    let _ = knarr_cgroup::Cgroup::new(&engine::parent_cgroup()).and_then(|parent| parent.destroy());
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
        std::process::exit(101);
    }
}
