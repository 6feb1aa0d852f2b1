//! From create to exit, with and without an engine.
use crate::Test;
use crate::engine::*;
use knarr_cgroup::Cgroup;
use knarr_shim_proto::*;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

pub const TESTS: &[Test] = &[
    ("exit_codes_are_reported_and_recorded", exit_codes_are_reported_and_recorded),
    ("a_missing_program_is_127_and_an_unusable_one_126", a_missing_program_is_127_and_an_unusable_one_126),
    ("a_container_that_cannot_be_made_is_reported", a_container_that_cannot_be_made_is_reported),
    ("signals_arrive", signals_arrive),
    ("shutdown_before_start_leaves_nothing", shutdown_before_start_leaves_nothing),
    ("an_engine_that_dies_finds_everything_again", an_engine_that_dies_finds_everything_again),
    ("an_exit_without_an_engine_is_on_disk", an_exit_without_an_engine_is_on_disk),
    ("a_memory_kill_is_seen", a_memory_kill_is_seen),
    ("a_supervisor_is_small", a_supervisor_is_small),
    ("nothing_is_left_open", nothing_is_left_open),
    ("a_runtime_that_hangs_at_the_end_loses_no_exit", a_runtime_that_hangs_at_the_end_loses_no_exit),
];

fn exit_codes_are_reported_and_recorded() {
    let mut spawner = Spawner::start();
    for (script, code, signal) in
        [("exit 0", 0, None), ("exit 42", 42, None), ("/bin/sh -c 'kill -9 $$'; exit $?", 137, None)]
    {
        let container = Container::new(script);
        let mut running = container.run(&mut spawner);
        let record = running.control.exit();
        assert_eq!((record.code, record.signal, record.oom_killed), (code, signal, false), "{script}");
        assert_eq!(record.pid, running.pid);
        assert_eq!(container.exit_record(), Some(record.clone()));
        assert_eq!(running.control.state().exit, Some(record));
        running.control.call(Call::Shutdown).unwrap();
        assert!(running.control.ends());
        eventually("the supervisor ends", || !is_alive(running.shim_pid));
        eventually("no zombie", || !std::path::Path::new(&format!("/proc/{}", running.shim_pid)).exists());
    }
    spawner.vanish();
}

fn a_missing_program_is_127_and_an_unusable_one_126() {
    let mut spawner = Spawner::start();
    for (program, kind, code, text) in [
        ("nope", FailureKind::CommandNotFound, 127, "executable file not found in $PATH"),
        ("/tmp", FailureKind::CommandNotExecutable, 126, ""),
    ] {
        let container = Container::with(json!({ "args": [program] }));
        std::fs::write(container.path().join(file::CONFIG), serde_json::to_vec(&container.spec).unwrap())
            .unwrap();
        let (mut control, shim_pid) = spawner.spawn(container.config.clone());
        let failure = match control.event() {
            Event::CreateFailed(failure) => failure,
            Event::Created { .. } => control.call(Call::Start).unwrap_err(),
            other => panic!("{other:?}"),
        };
        assert_eq!(failure.kind, kind, "{failure:?}");
        assert!(failure.message.contains(text) && failure.message.contains(program), "{failure:?}");
        let record = container.exit_record().unwrap();
        assert_eq!((record.code, record.error), (code, Some(failure.message)));
        drop(control);
        eventually("the supervisor ends", || !is_alive(shim_pid));
    }
}

fn a_container_that_cannot_be_made_is_reported() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("true");
    container.config.log.path = "/nonexistent/log".into();
    let write = |container: &Container| {
        std::fs::write(container.path().join(file::CONFIG), serde_json::to_vec(&container.spec).unwrap())
            .unwrap();
    };
    write(&container);
    let (mut control, shim_pid) = spawner.spawn(container.config.clone());
    let Event::CreateFailed(failure) = control.event() else { panic!() };
    assert!(failure.message.starts_with("failed to initialize logging driver"), "{failure:?}");
    assert!(control.ends());
    eventually("the supervisor ends", || !is_alive(shim_pid));
    assert!(!container.path().join(file::SOCKET).exists());

    let mut container = Container::new("true");
    container.spec.mounts[0].destination = "/proc/../../outside".into();
    container.spec.mounts[0].kind = Some("nonsense".into());
    write(&container);
    let (mut control, _) = spawner.spawn(container.config.clone());
    assert!(matches!(control.event(), Event::CreateFailed(_)));
    assert_eq!(container.exit_record().unwrap().code, 128);
    assert!(!Cgroup::new(&container.config.cgroup.path).unwrap().exists());
}

fn signals_arrive() {
    let mut spawner = Spawner::start();
    let container = Container::new("trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = container.run(&mut spawner);
    eventually("ready", || !container.log().is_empty());
    running.control.call(Call::Kill { exec_id: None, signal: 15 }).unwrap();
    assert_eq!(running.control.exit().code, 7);
    let container = Container::new("while :; do sleep 1; done");
    let mut running = container.run(&mut spawner);
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    let record = running.control.exit();
    assert_eq!((record.code, record.signal), (137, Some(9)));
    let failure = running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
}

fn shutdown_before_start_leaves_nothing() {
    let mut spawner = Spawner::start();
    let container = Container::new("echo never");
    let mut running = container.create(&mut spawner);
    assert_eq!(running.control.state().phase, Phase::Created);
    running.control.call(Call::Shutdown).unwrap();
    assert!(running.control.ends());
    eventually("init ends", || !is_alive(running.pid));
    eventually("the supervisor ends", || !is_alive(running.shim_pid));
    assert!(container.log().is_empty());
    assert!(!container.path().join(file::SOCKET).exists());
}

fn an_engine_that_dies_finds_everything_again() {
    let mut spawner = Spawner::start();
    let mut container = Container::new("echo one; cat; echo two; exit 5");
    (container.config.open_stdin, container.config.stdin_once) = (true, true);
    let running = container.run(&mut spawner);
    // The engine dies: its spawner, its control connection and its streams are gone at once.
    let attached = stream(container.path(), Call::Attach(Streams::ALL)).unwrap();
    drop((attached, running.control));
    spawner.vanish();
    let mut control = Control::connect(container.path());
    // The end of the engine's connections is not the end of the container's input.
    std::thread::sleep(Duration::from_millis(1500));
    assert!(is_alive(running.shim_pid) && is_alive(running.pid));
    let state = control.state();
    assert_eq!(
        (state.phase, state.pid, state.shim_pid),
        (Phase::Running, Some(running.pid), running.shim_pid)
    );
    let record: ShimRecord =
        serde_json::from_slice(&std::fs::read(container.path().join(file::SHIM)).unwrap()).unwrap();
    assert_eq!(
        (record.shim_pid, record.pid, record.started_at),
        (running.shim_pid, running.pid, state.started_at)
    );
    assert!(record.shim_start_time > 0 && record.pid_start_time > 0);
    // Its input still works, and so does its exit.
    let attached = stream(container.path(), Call::Attach(Streams::ALL)).unwrap();
    use std::io::Write;
    (&attached).write_all(b"input\n").unwrap();
    attached.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(demultiplex(&attached).0, b"input\ntwo\n");
    assert_eq!(control.exit().code, 5);
    let mode = std::fs::metadata(container.path().join(file::SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    control.call(Call::Shutdown).unwrap();
    assert!(control.ends());
    let texts: Vec<String> = container.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one\n", "input\n", "two\n"]);
}

fn an_exit_without_an_engine_is_on_disk() {
    let mut spawner = Spawner::start();
    let container = Container::new("sleep 0.3; echo bye; exit 9");
    let running = container.run(&mut spawner);
    drop(running.control);
    spawner.vanish();
    eventually("the supervisor ends by itself", || !is_alive(running.shim_pid));
    let record = container.exit_record().unwrap();
    assert_eq!((record.code, record.pid), (9, running.pid));
    let age = jiff::Timestamp::now().duration_since(record.exited_at);
    assert!(age.as_secs() < 5, "{age:?}");
    assert_eq!(container.log(), [("stdout".to_owned(), "bye\n".to_owned())]);
    assert!(!container.path().join(file::SOCKET).exists());
}

fn a_memory_kill_is_seen() {
    let mut spawner = Spawner::start();
    let mut container =
        Container::new("x=; while :; do x=$x$x$(head -c 100000 /dev/zero | tr '\\0' x); done");
    container.spec.linux.as_mut().unwrap().resources =
        serde_json::from_value(json!({ "memory": { "limit": 8 << 20, "swap": 8 << 20 } })).unwrap();
    std::os::unix::fs::symlink("busybox", container.path().join("rootfs/bin/tr")).unwrap();
    let mut running = container.run(&mut spawner);
    let mut told = false;
    let record = loop {
        match running.control.event() {
            Event::Oom => told = true,
            Event::Exited(record) => break record,
            _ => {}
        }
    };
    assert!(record.oom_killed && told, "{record:?}");
    assert_eq!(record.code, 137);
}

fn a_supervisor_is_small() {
    let mut spawner = Spawner::start();
    let container = Container::new("head -c 3000000 /dev/zero; sleep 100");
    let mut running = container.run(&mut spawner);
    std::thread::sleep(Duration::from_secs(4));
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", running.shim_pid)).unwrap();
    let kib = |name: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    println!("  Pss {} KiB, private dirty {} KiB", kib("Pss:"), kib("Private_Dirty:"));
    assert!(kib("Private_Dirty:") < 350, "{rollup}");
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    running.control.exit();
}

/// Neither in the container nor in the supervisor.
fn nothing_is_left_open() {
    let begin = Instant::now();
    let mut spawner = Spawner::start();
    let container = Container::new("cd /proc/self/fd; echo *; sleep 100");
    let mut running = container.run(&mut spawner);
    eventually("output", || !container.log().is_empty());
    // 3 is the directory that the shell itself reads.
    assert_eq!(container.log()[0].1, "0 1 2 3\n");
    let links = std::fs::read_dir(format!("/proc/{}/fd", running.shim_pid)).unwrap();
    let links: Vec<String> =
        links.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string()).collect();
    assert!(links.len() < 16, "{links:?}");
    let sockets = links.iter().filter(|link| link.starts_with("socket:")).count();
    assert_eq!(sockets, 2, "the listener and the control connection: {links:?}");
    running.control.call(Call::Kill { exec_id: None, signal: 9 }).unwrap();
    running.control.exit();
    assert!(begin.elapsed() < PATIENCE);
}

/// Needs runc. `Shutdown` is answered when nothing of the runtime runs any more.
fn a_runtime_that_hangs_at_the_end_loses_no_exit() {
    let Some(runc) = find("runc") else { return };
    let mut spawner = Spawner::start();
    let mut container = Container::new("exit 7");
    let (program, deleting) = (container.path().join("runtime"), container.path().join("deleting"));
    let script = format!(
        "#!/bin/sh\nfor word; do [ $word != delete ] || {{ echo $$ >{}; sleep 600; }}; done\nexec {} \"$@\"\n",
        deleting.display(),
        runc.display()
    );
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    container.config.runtime = Some(RuntimeProgram { path: program, args: Vec::new() });
    // Below no group that runc would leave.
    container.config.cgroup.path = format!("/knarr-shim-test-{}", container.config.id);
    container.spec.linux.as_mut().unwrap().cgroups_path = Some(container.config.cgroup.path.clone());
    let mut running = container.run(&mut spawner);
    let record = running.control.exit();
    assert_eq!(record.code, 7);
    assert_eq!(container.exit_record(), Some(record));
    eventually("it gives back", || std::fs::read_to_string(&deleting).is_ok_and(|text| text.ends_with('\n')));
    let pid: i32 = std::fs::read_to_string(&deleting).unwrap().trim().parse().unwrap();
    assert!(is_alive(pid));
    running.control.call(Call::Shutdown).unwrap();
    assert!(!is_alive(pid));
    assert!(running.control.ends());
    spawner.vanish();
    let state = container.path().join("oci/state");
    let mut delete = std::process::Command::new(runc);
    delete.arg("--root").arg(state).args(["delete", "--force", &container.config.id]);
    assert!(delete.status().unwrap().success());
}
