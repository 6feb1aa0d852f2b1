//! What is the caller's and what is the container's: groups, passed descriptors, streams.
use crate::bundle::Bundle;
use crate::command_line::{Runtime, write};
use knarr_cgroup::Cgroup;
use std::process::{Command, Output, Stdio};

pub const TESTS: &[(&str, fn())] = &[
    ("callers::a_group_is_one_containers", a_group_is_one_containers),
    ("callers::a_group_that_was_there_stays", a_group_that_was_there_stays),
    ("callers::only_descriptors_that_were_passed", only_descriptors_that_were_passed),
    ("callers::streams_are_the_users", streams_are_the_users),
];

fn path(bundle: &Bundle) -> String {
    bundle.dir.path().to_str().unwrap().to_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn a_group_is_one_containers() {
    let runtime = Runtime::new();
    let mut first = Bundle::new(&["sleep", "1000"]);
    write(&mut first);
    runtime.quiet(&["run", "--detach", "--bundle", &path(&first), &first.id]);
    let pid = runtime.state(&first.id)["pid"].as_i64().unwrap();
    let mut second = Bundle::new(&["sleep", "1000"]);
    write(&mut second);
    second.linux().cgroups_path = Some(first.cgroup().path().to_owned());
    let text = serde_json::to_vec(&second.spec).unwrap();
    std::fs::write(second.dir.path().join("config.json"), text).unwrap();
    let create = ["create", "--bundle", &path(&second), &second.id];
    let refused = runtime.run(&create);
    assert!(
        error(&refused).contains("container's cgroup is not empty: 1 process(es)"),
        "{}",
        error(&refused)
    );
    runtime.ok(&["delete", "--force", &second.id]);
    assert_eq!(runtime.state(&first.id)["pid"], pid, "the other one's end is nothing to it");
    assert!(first.cgroup().exists());
    // Nor is it free while the first is only stopped: deleting that would end the second.
    runtime.ok(&["kill", &first.id, "KILL"]);
    runtime.wait_for(&first.id, "stopped");
    let refused = runtime.run(&create);
    assert!(
        error(&refused).contains(&format!("is the cgroup of container {}", first.id)),
        "{}",
        error(&refused)
    );
    runtime.ok(&["delete", &first.id]);
    assert!(!first.cgroup().exists());
    runtime.quiet(&create);
    runtime.ok(&["delete", "--force", &second.id]);
    assert!(!first.cgroup().exists());
}

/// With processes that came later and are not the container's.
fn a_group_that_was_there_stays() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    write(&mut bundle);
    let group: Cgroup = bundle.cgroup();
    drop(group.create().unwrap());
    runtime.quiet(&["run", "--detach", "--bundle", &path(&bundle), &bundle.id]);
    let mut other = Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap();
    group.add(other.id() as i32).unwrap();
    runtime.ok(&["delete", "--force", &bundle.id]);
    let lives = other.try_wait().unwrap().is_none();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(lives, "it was not the container's");
    assert!(group.exists());
    group.destroy().unwrap();
}

/// The command of a shell, in which `"$@"` is the runtime with its arguments.
fn shell(runtime: &Runtime, script: &str, arguments: &[&str]) -> Output {
    let inner = runtime.command(arguments);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::null()).output().unwrap()
}

fn only_descriptors_that_were_passed() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sh", "-c", "ls /proc/self/fd | wc -l; env | grep LISTEN; cat <&3"]);
    write(&mut bundle);
    let (path, id) = (path(&bundle), bundle.id.clone());
    let run = ["run", "--bundle", &path, &id];
    let preserve = ["run", "--preserve-fds", "1", "--bundle", &path, &id];
    // Without it a file of the runtime's own would be number 3.
    let missing = shell(&runtime, r#"exec 3<&- 4<&-; exec "$@""#, &preserve);
    assert!(error(&missing).contains("to be preserved some are not open"), "{}", error(&missing));
    let missing = shell(&runtime, r#"exec 3<&- 4<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#, &run);
    assert!(error(&missing).contains("to be preserved some are not open"), "{}", error(&missing));
    // Variables of another process.
    let script = r#"exec 3< /dev/null 4<&-; LISTEN_PID=1 LISTEN_FDS=1 exec "$@""#;
    let others = shell(&runtime, script, &run);
    let text = String::from_utf8_lossy(&others.stdout).into_owned();
    assert!(!text.contains("LISTEN") && text.starts_with("4\n"), "{text}{}", error(&others));
    let file = bundle.dir.path().join("config.json");
    let script = format!(r#"exec 3< {} 4<&-; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#, file.display());
    let given = shell(&runtime, &script, &run);
    let text = String::from_utf8_lossy(&given.stdout).into_owned();
    assert!(
        text.contains("LISTEN_FDS=1") && text.contains("LISTEN_PID=1") && text.contains("ociVersion"),
        "{text}"
    );
}

/// A program may open its streams again by name.
fn streams_are_the_users() {
    let runtime = Runtime::new();
    let mut bundle = Bundle::new(&["sh", "-c", "echo err > /dev/stderr; echo out > /dev/stdout"]);
    bundle.process().user.uid = 1000;
    bundle.process().user.gid = 1000;
    write(&mut bundle);
    let output = runtime.run(&["run", "--bundle", &path(&bundle), &bundle.id]);
    assert_eq!((output.stdout.as_slice(), error(&output).as_str()), (&b"out\n"[..], "err\n"));
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    write(&mut bundle);
    runtime.quiet(&["run", "--detach", "--bundle", &path(&bundle), &bundle.id]);
    let script = "echo err > /dev/stderr; echo out > /dev/stdout";
    let output = runtime.run(&["exec", "--user", "1000:1000", &bundle.id, "sh", "-c", script]);
    runtime.ok(&["delete", "--force", &bundle.id]);
    assert_eq!((output.stdout.as_slice(), error(&output).as_str()), (&b"out\n"[..], "err\n"));
}
