//! Real containers, made by this single-threaded process as root from a static busybox.
mod basics;
mod bundle;
mod callers;
mod command_line;
mod filter;
mod hooks;
mod isolation;
mod limits;
mod mounts;
mod process;
mod rootless;
mod terminal;
mod unified;
mod users;

type Test = (&'static str, fn());

fn main() {
    let all: Vec<String> = std::env::args().collect();
    if all.get(1).is_some_and(|a| a == "runtime") {
        std::process::exit(knarr_runtime::cli::main(&all[2..]).into());
    }
    let has = |flag: &str| all.iter().any(|argument| argument == flag);
    let (list, ignored, exact) = (has("--list"), has("--ignored"), has("--exact"));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    let all: Vec<Test> = [
        basics::TESTS,
        isolation::TESTS,
        limits::TESTS,
        mounts::TESTS,
        terminal::TESTS,
        hooks::TESTS,
        command_line::TESTS,
        callers::TESTS,
        unified::TESTS,
        users::TESTS,
        rootless::TESTS,
        filter::TESTS,
        process::TESTS,
    ]
    .concat();
    // What test runners ask: no test is ignored.
    if ignored {
        return;
    }
    if list {
        all.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let matches = |name: &str, w: &str| if exact { name == w } else { name.contains(w) };
    let mut count = 0;
    for (name, test) in all {
        if !wanted.is_empty() && !wanted.iter().any(|w| matches(name, w)) {
            continue;
        }
        count += 1;
        match std::panic::catch_unwind(test) {
            Ok(()) => println!("test {name} ... ok"),
            Err(_) => {
                println!("test {name} ... FAILED");
                failed.push(name);
            }
        }
    }
    // Others of these tests may be running.
    let _ = knarr_cgroup::Cgroup::new("/knarr-test").and_then(|group| group.remove_if_empty());
    println!("\n{} of {count} passed", count - failed.len());
    if !failed.is_empty() {
        println!("failed: {failed:?}");
        std::process::exit(1);
    }
}
