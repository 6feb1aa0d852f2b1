//! A container's life.
use crate::bundle::{Bundle, process};
use knarr_linux::process::Exit;

pub const TESTS: &[(&str, fn())] = &[
    ("basics::runs_and_exits", runs_and_exits),
    ("basics::sees_its_own_world", sees_its_own_world),
    ("basics::exit_codes_and_signals", exit_codes_and_signals),
    ("basics::missing_commands", missing_commands),
    ("basics::executes_another_process", executes_another_process),
];

fn runs_and_exits() {
    assert_eq!(Bundle::new(&["echo", "hello"]).output(), "hello\n");
}

fn sees_its_own_world() {
    let bundle = Bundle::new(&["sh", "-c", "echo $$; hostname; ls -A /; ls /dev; cat /proc/mounts; id"]);
    let text = bundle.output();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("1"));
    assert_eq!(lines.next(), Some(&bundle.id[bundle.id.len() - 8..]));
    assert!(text.contains("overlay / overlay"), "{text}");
    assert!(text.contains("uid=0 gid=0"));
    for device in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "stdin", "fd", "shm", "mqueue"]
    {
        assert!(text.lines().any(|l| l == device), "{device} is missing in {text}");
    }
    assert_eq!(bundle.host_mounts(), [""; 0]);
}

fn exit_codes_and_signals() {
    assert_eq!(Bundle::new(&["sh", "-c", "exit 7"]).run().unwrap().exit, Exit::Code(7));
    let running = Bundle::new(&["sleep", "1000"]);
    let running = running.start();
    let pidfd = &running.created.pidfd;
    knarr_linux::process::pidfd_send_signal(std::os::fd::AsFd::as_fd(pidfd), 9).unwrap();
    let exit = knarr_linux::process::wait(std::os::fd::AsFd::as_fd(pidfd), true).unwrap();
    assert_eq!(exit, Some(Exit::Signal(9)));
}

fn missing_commands() {
    let text = |args: &[&str]| {
        let error = Bundle::new(args).run().map(|o| o.exit).unwrap_err();
        (error.to_string(), error.exit_code())
    };
    assert_eq!(text(&["foo"]), ("exec: \"foo\": executable file not found in $PATH".to_owned(), Some(127)));
    assert_eq!(text(&["/x"]), ("exec: \"/x\": stat /x: no such file or directory".to_owned(), Some(127)));
    assert_eq!(text(&["/etc"]), ("exec: \"/etc\": is a directory".to_owned(), Some(126)));
    let bundle = Bundle::new(&["/etc/file"]);
    std::fs::write(bundle.lower().join("etc/file"), "").unwrap();
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert_eq!(error.to_string(), "exec: \"/etc/file\": permission denied");
    assert_eq!(error.exit_code(), Some(126));
}

fn executes_another_process() {
    let bundle = Bundle::new(&["sleep", "1000"]);
    let running = bundle.start();
    let outcome =
        running.exec(&process(&["sh", "-c", "echo $$; ps; hostname; cat /proc/self/cgroup"])).unwrap();
    assert!(outcome.stdout.contains("sleep 1000"), "{}{}", outcome.stdout, outcome.stderr);
    assert!(!outcome.stdout.contains("knarr-test/"), "cgroup namespace: {}", outcome.stdout);
    assert_eq!(outcome.exit, Exit::Code(0));
    let error = running.exec(&process(&["nothing"])).map(|o| o.exit).unwrap_err();
    assert_eq!(error.exit_code(), Some(127));
}
