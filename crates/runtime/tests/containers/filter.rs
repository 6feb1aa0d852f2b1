//! A filter that notifies: who listens decides.
use crate::bundle::{Bundle, process};
use knarr_linux::fdpass;
use knarr_linux::process::{self as processes, Child, Clone3};
use knarr_oci::runtime::{Seccomp, SeccompAction, Syscall};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

pub const TESTS: &[(&str, fn())] = &[
    ("filter::listener_gets_the_calls", listener_gets_the_calls),
    ("filter::listener_has_to_be_there", listener_has_to_be_there),
    ("filter::what_cannot_work_is_refused", what_cannot_work_is_refused),
];

fn listen(path: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 4).unwrap();
    socket
}

/// A process that writes down each state that it is told, and fails every call with ENOANO (55).
fn agent(socket: OwnedFd, log: PathBuf) -> Child {
    let run = move || {
        let connection = rustix::net::accept(&socket).unwrap();
        let mut text = vec![0; 1 << 16];
        let (length, mut fds) = fdpass::receive(&connection, &mut text).unwrap();
        fs::write(&log, &text[..length]).unwrap();
        let filter = fds.pop().unwrap();
        let mut call = [0u64; 10];
        while knarr_linux::seccomp::notification(filter.as_fd(), &mut call).is_ok() {
            knarr_linux::seccomp::fail(filter.as_fd(), call[0], 55).ok();
            call = [0; 10];
        }
        0
    };
    Clone3::default().spawn(run).unwrap()
}

fn profile(path: &Path) -> Seccomp {
    let call = |name: &str, action| Syscall { names: vec![name.to_owned()], action, ..Syscall::default() };
    Seccomp {
        default_action: SeccompAction::Allow,
        listener_path: Some(path.to_str().unwrap().to_owned()),
        listener_metadata: Some("some=thing".to_owned()),
        flags: vec![
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV".to_owned(),
            "SECCOMP_FILTER_FLAG_TSYNC".to_owned(),
        ],
        syscalls: vec![call("mkdir", SeccompAction::Notify), call("mkdirat", SeccompAction::Notify)],
        ..Seccomp::default()
    }
}

fn listener_gets_the_calls() {
    for no_new_privileges in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (path, log) = (dir.path().join("socket"), dir.path().join("log"));
        let mut bundle = Bundle::new(&["sh", "-c", "mkdir /x; echo $?; ls -d /x"]);
        bundle.process().no_new_privileges = no_new_privileges;
        bundle.linux().seccomp = Some(profile(&path));
        bundle.spec.annotations.insert("a".to_owned(), "b".to_owned());
        let agent = agent(listen(&path), log.clone());
        let outcome = bundle.run().unwrap();
        processes::pidfd_send_signal(agent.pidfd.as_fd(), 9).unwrap();
        processes::wait(agent.pidfd.as_fd(), true).unwrap();
        assert_eq!(outcome.stdout, "1\n", "{}", outcome.stderr);
        assert!(outcome.stderr.contains("No anode"), "{}", outcome.stderr);
        let told: serde_json::Value = serde_json::from_slice(&fs::read(&log).unwrap()).unwrap();
        assert_eq!(told["fds"], serde_json::json!(["seccompFd"]));
        assert_eq!(told["metadata"], "some=thing");
        assert_eq!(told["state"]["id"], bundle.id.as_str());
        assert_eq!(told["state"]["status"], "creating");
        assert_eq!(told["state"]["annotations"]["a"], "b");
        assert!(told["pid"].as_i64().unwrap() > 1 && told["pid"] == told["state"]["pid"]);
    }
}

fn listener_has_to_be_there() {
    let mut bundle = Bundle::new(&["true"]);
    bundle.linux().seccomp = Some(profile(Path::new("/nowhere/socket")));
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert!(error.to_string().contains("/nowhere/socket"), "{error}");
    assert!(!bundle.cgroup().exists());
    // The first process has no filter, the other one has.
    let mut bundle = Bundle::new(&["sleep", "1000"]);
    bundle.linux().seccomp = None;
    let running = bundle.start();
    assert!(running.exec(&process(&["true"])).is_ok());
}

fn what_cannot_work_is_refused() {
    let refused = |change: fn(&mut Seccomp)| {
        let mut bundle = Bundle::new(&["true"]);
        let mut profile = profile(Path::new("/nowhere/socket"));
        change(&mut profile);
        bundle.linux().seccomp = Some(profile);
        bundle.run().map(|o| o.exit).unwrap_err().to_string()
    };
    assert!(refused(|p| p.default_action = SeccompAction::Notify).contains("default action"));
    assert!(refused(|p| p.syscalls[0].names = vec!["write".to_owned()]).contains("write"));
    assert!(refused(|p| p.syscalls[0].names.clear()).contains("names"));
    assert!(refused(|p| p.listener_path = None).contains("listenerMetadata"));
    assert!(refused(|p| (p.listener_path, p.listener_metadata) = (None, None)).contains("listenerPath"));
    assert!(refused(|p| p.default_errno_ret = Some(1)).contains("errno"));
    assert!(refused(|p| p.flags.push("ODD".to_owned())).contains("ODD"));
}
