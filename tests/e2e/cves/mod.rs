//! Known vulnerabilities of container runtimes, each tried for real: the attack must fail, and a marker on the host must never
//! be seen or touched. The table in SECURITY.md names the test of each.

mod archives;
mod copies;
mod descriptors;
mod doors;
mod mounts;
mod races;
mod users;

use knarr_e2e::{Cli, Output};

/// An attack either does not start at all or starts and achieves nothing; a client that is stuck is neither.
#[track_caller]
fn refused_or(o: &Output, harmless: impl Fn(&Output) -> bool) {
    assert!(o.code != 0 || harmless(o), "{o:?}");
}

fn run(c: &Cli, options: &[&str], image: &str, command: &[&str]) -> Output {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.push(image);
    args.extend(command);
    c.run(&args)
}
