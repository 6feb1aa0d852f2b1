//! Exit codes of the client, as Docker documents them: 125, 126, 127, the program's own, 128+n.

use knarr_e2e::Engine;

#[test]
fn the_programs_own_code() {
    let e = Engine::start();
    for c in e.clients() {
        for code in [0, 1, 2, 42, 125, 126, 127, 255] {
            c.fails(code, &["run", "--rm", "busybox", "sh", "-c", &format!("exit {code}")]);
        }
    }
}

#[test]
fn killed_by_a_signal_is_128_and_its_number() {
    let e = Engine::start();
    for c in e.clients() {
        for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
            // PID 1 is deaf to its own signals: its child is not, and `sh` passes the code on.
            c.fails(
                code,
                &["run", "--rm", "busybox", "sh", "-c", &format!("sh -c 'kill -{signal} $$'; exit $?")],
            );
        }
        c.ok(&["run", "-d", "--name", "kk", "busybox", "sleep", "600"]);
        c.ok(&["kill", "kk"]);
        assert_eq!(c.ok(&["wait", "kk"]), "137");
        c.ok(&["rm", "kk"]);
    }
}

#[test]
fn command_not_found_is_127() {
    let e = Engine::start();
    for c in e.clients() {
        for command in ["nosuch", "/no/such/file"] {
            let o = c.fails(127, &["run", "--rm", "busybox", command]);
            assert!(o.stderr.contains(&format!("exec: \"{command}\": ")), "{}", o.stderr);
            let o = c.run(&["run", "-d", "--name", "dd", "busybox", command]);
            assert_eq!(o.code, 127, "detached too: {}", o.stderr);
            c.ok(&["rm", "dd"]);
        }
        let o = c.fails(127, &["run", "--rm", "busybox", "nosuch"]);
        o.says("executable file not found in $PATH");
        let o = c.fails(127, &["run", "--rm", "busybox", "/no/such/file"]);
        o.says("no such file or directory");
        assert_eq!(c.ok(&["ps", "-aq"]), "", "--rm removes what never ran");
    }
}

#[test]
fn command_not_executable_is_126() {
    let e = Engine::start();
    for c in e.clients() {
        c.fails(126, &["run", "--rm", "busybox", "/etc/passwd"]).says("permission denied");
        let o = c.run(&["run", "--rm", "busybox", "/etc"]);
        assert_eq!(o.code, 126, "a directory: {}", o.stderr);
    }
}

#[test]
fn trouble_before_the_container_is_125() {
    let e = Engine::start();
    for c in e.clients() {
        c.fails(125, &["run", "--nosuchflag", "busybox"]).says("unknown flag: --nosuchflag");
        c.fails(125, &["run", "--rm", "-m", "nonsense", "busybox"]).says("invalid");
        c.fails(125, &["run", "--rm", "-p", "99999:80", "busybox"]).says("invalid");
        c.fails(125, &["run", "--rm", "--pull", "never", "nosuchimage"])
            .says("No such image: nosuchimage:latest");
        c.fails(125, &["run", "--rm", "Bad:Name:x", "true"]).says("invalid reference format");
        let away = c.clone().env("DOCKER_HOST", "unix:///no/such/socket");
        away.fails(125, &["run", "--rm", "busybox", "true"]).says("Cannot connect to the");
        away.fails(1, &["ps"]).says("Cannot connect to the");
    }
}

#[test]
fn usage_errors() {
    let e = Engine::start();
    for c in e.clients() {
        c.fails(1, &["start"]).says("requires at least 1 argument");
        c.fails(1, &["rename", "one"]).says("requires 2 arguments");
        c.fails(1, &["inspect"]).says("requires at least 1 argument");
        c.fails(1, &["run"]).says("requires at least 1 argument");
        let o = c.run(&["nosuchcommand"]);
        assert_ne!(o.code, 0);
        assert!(o.stderr.contains("nosuchcommand"), "{}", o.stderr);
    }
}

/// `create` takes any program; `start` says why it cannot be executed, and `inspect` keeps the code and the text.
#[test]
fn a_created_container_whose_program_cannot_be_executed() {
    let e = Engine::start();
    for c in e.clients() {
        for (program, code, text) in [
            ("nosuch", "127", "executable file not found in $PATH"),
            ("/etc/passwd", "126", "permission denied"),
        ] {
            c.ok(&["create", "--name", "cc", "busybox", program]);
            for how in [&["start", "cc"][..], &["start", "-a", "cc"]] {
                c.fails(1, how).says(text);
                assert_eq!(c.field("cc", "{{.State.Status}} {{.State.ExitCode}}"), format!("created {code}"));
                assert!(c.field("cc", "{{.State.Error}}").contains(text));
            }
            c.ok(&["rm", "cc"]);
        }
    }
}
