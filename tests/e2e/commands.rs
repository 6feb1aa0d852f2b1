//! Every command for containers, through both clients.

use knarr_e2e::command::{eventually, wait_until};
use knarr_e2e::{Cli, Engine, workspace};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const IDLE: &[&str] = &["busybox", "sleep", "600"];

/// `run -d` of a sleeping container with this name and these options.
fn idle(c: &Cli, name: &str, options: &[&str]) -> String {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(options);
    args.extend(IDLE);
    c.ok(&args)
}

fn is_id(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn run_passes_streams_and_arguments() {
    let e = Engine::start();
    for c in e.clients() {
        let o = c.run(&[
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2; echo \"$@\"",
            "xx",
            "a b",
            "",
            "*",
        ]);
        assert_eq!((o.code, o.stdout.as_str(), o.stderr.as_str()), (0, "out\na b  *\n", "err\n"));
        assert_eq!(c.ok(&["ps", "-aq"]), "", "--rm removes");
    }
}

#[test]
fn run_without_a_command_uses_the_images() {
    let e = Engine::start();
    for c in e.clients() {
        let o = c.run_with_stdin(&["run", "--rm", "-i", "busybox"], b"echo from $0\n").code(0);
        assert_eq!(o.stdout, "from sh\n");
    }
}

#[test]
fn stdin_reaches_the_program_and_ends() {
    let e = Engine::start();
    for c in e.clients() {
        let big = vec![b'x'; 3_000_000];
        let o = c.run_with_stdin(&["run", "--rm", "-i", "busybox", "wc", "-c"], &big).code(0);
        assert_eq!(o.text().trim(), "3000000");
        let o = c.run_with_stdin(&["run", "--rm", "busybox", "wc", "-c"], b"ignored without -i").code(0);
        assert_eq!(o.text().trim(), "0");
    }
}

#[test]
fn large_output_arrives_whole() {
    let e = Engine::start();
    for c in e.clients() {
        let out = c.bytes(&["run", "--rm", "busybox", "sh", "-c", "yes 0123456789abcde | head -c 20000000"]);
        assert_eq!(out.len(), 20_000_000);
        assert!(out.chunks(16).all(|l| l == b"0123456789abcde\n"));
    }
}

#[test]
fn detached_run_prints_the_id() {
    let e = Engine::start();
    for c in e.clients() {
        let id = idle(&c, "dd", &[]);
        assert!(is_id(&id), "{id}");
        assert_eq!(c.field("dd", "{{.Id}}"), id);
        assert_eq!(c.field(&id[..12], "{{.Name}}"), "/dd");
        assert_eq!(c.ok(&["rm", "-f", &id[..8]]), &id[..8]);
    }
}

#[test]
fn cidfile_holds_the_id() {
    let e = Engine::start();
    for c in e.clients() {
        let f = e.fresh("cid");
        let id = c.ok(&["create", "--cidfile", f.to_str().unwrap(), "busybox", "true"]);
        assert_eq!(std::fs::read_to_string(&f).unwrap(), id);
        c.fails(125, &["run", "--cidfile", f.to_str().unwrap(), "busybox", "true"]);
        c.ok(&["rm", &id]);
    }
}

#[test]
fn create_start_wait_rm() {
    let e = Engine::start();
    for c in e.clients() {
        let id = c.ok(&["create", "--name", "xx", "busybox", "sh", "-c", "echo made; exit 7"]);
        assert!(is_id(&id));
        assert_eq!(c.field("xx", "{{.State.Status}} {{.State.Running}} {{.State.Pid}}"), "created false 0");
        assert_eq!(c.ok(&["start", "xx"]), "xx");
        assert_eq!(c.ok(&["wait", "xx"]), "7");
        assert_eq!(c.field("xx", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
        assert_eq!(c.ok(&["logs", "xx"]), "made");
        let o = c.run(&["start", "-a", "xx"]);
        assert_eq!((o.code, o.text()), (7, "made"), "start -a gives output and code");
        assert_eq!(c.ok(&["rm", "xx"]), "xx");
        c.fails(1, &["inspect", "xx"]).says("no such object: xx");
        c.fails(1, &["rm", "xx"]).says("No such container: xx");
    }
}

#[test]
fn names_are_unique_and_checked() {
    let e = Engine::start();
    for c in e.clients() {
        let id = c.ok(&["create", "--name", "one", "busybox"]);
        c.fails(125, &["run", "--name", "one", "busybox", "true"])
            .says(&format!("Conflict. The container name \"/one\" is already in use by container \"{id}\""));
        c.fails(125, &["run", "--name", "b@d", "busybox", "true"]).says("Invalid container name (b@d)");
        c.ok(&["rm", "one"]);
        let generated = c.ok(&["create", "busybox"]);
        let name = c.field(&generated, "{{.Name}}");
        assert!(name.contains('_'), "a generated name is adjective_surname: {name}");
        c.ok(&["rm", &generated]);
    }
}

#[test]
fn stop_sends_term_then_kill() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "kind",
            "busybox",
            "sh",
            "-c",
            "trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done",
        ]);
        eventually("up", Duration::from_secs(5), || (c.ok(&["logs", "kind"]) == "up").then_some(()));
        let t = Instant::now();
        assert_eq!(c.ok(&["stop", "kind"]), "kind");
        assert!(t.elapsed() < Duration::from_secs(5));
        assert_eq!(c.field("kind", "{{.State.ExitCode}}"), "3");

        idle(&c, "deaf", &[]);
        let t = Instant::now();
        c.ok(&["stop", "-t", "1", "deaf"]);
        assert!(
            t.elapsed() >= Duration::from_millis(900) && t.elapsed() < Duration::from_secs(6),
            "{:?}",
            t.elapsed()
        );
        assert_eq!(
            c.field("deaf", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}"),
            "exited 137 false"
        );
        c.ok(&["stop", "deaf"]);
        c.ok(&["rm", "kind", "deaf"]);
    }
}

#[test]
fn stop_signal_and_timeout_of_the_container() {
    let e = Engine::start();
    for c in e.clients() {
        let script = "trap 'echo usr1; exit 9' USR1; echo up; while :; do sleep 0.05; done";
        c.ok(&[
            "run",
            "-d",
            "--name",
            "ss",
            "--stop-signal",
            "SIGUSR1",
            "--stop-timeout",
            "20",
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        eventually("up", Duration::from_secs(5), || (c.ok(&["logs", "ss"]) == "up").then_some(()));
        assert_eq!(c.field("ss", "{{.Config.StopSignal}} {{.Config.StopTimeout}}"), "SIGUSR1 20");
        c.ok(&["stop", "ss"]);
        assert_eq!(c.field("ss", "{{.State.ExitCode}}"), "9");
        c.ok(&["rm", "ss"]);
        idle(&c, "tt", &["--stop-timeout", "1"]);
        let t = Instant::now();
        c.ok(&["stop", "tt"]);
        assert!(t.elapsed() < Duration::from_secs(6), "{:?}", t.elapsed());
        c.ok(&["rm", "tt"]);
    }
}

#[test]
fn kill_sends_any_signal() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "kk", &[]);
        c.ok(&["kill", "kk"]);
        e.wait_status("kk", "exited");
        assert_eq!(c.field("kk", "{{.State.ExitCode}}"), "137");
        c.fails(1, &["kill", "kk"]).says("is not running");
        let script = "trap 'echo hup' HUP; trap 'exit 4' 10; echo up; while :; do sleep 0.05; done";
        c.ok(&["run", "-d", "--name", "ss", "busybox", "sh", "-c", script]);
        eventually("up", Duration::from_secs(5), || (c.ok(&["logs", "ss"]) == "up").then_some(()));
        c.ok(&["kill", "-s", "HUP", "ss"]);
        eventually("hup", Duration::from_secs(5), || (c.ok(&["logs", "ss"]) == "up\nhup").then_some(()));
        c.fails(1, &["kill", "-s", "NOSUCH", "ss"]).says("invalid signal: NOSUCH");
        c.ok(&["kill", "--signal=10", "ss"]);
        assert_eq!(c.ok(&["wait", "ss"]), "4");
        c.ok(&["rm", "kk", "ss"]);
    }
}

#[test]
fn restart_starts_again() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "rr", "busybox", "sh", "-c", "echo run >>/count; sleep 600"]);
        let first = c.field("rr", "{{.State.Pid}} {{.State.StartedAt}}");
        c.ok(&["restart", "-t", "0", "rr"]);
        assert_ne!(c.field("rr", "{{.State.Pid}} {{.State.StartedAt}}"), first);
        assert_eq!(c.field("rr", "{{.State.Running}} {{.RestartCount}}"), "true 0");
        eventually("second run", Duration::from_secs(5), || {
            (c.ok(&["exec", "rr", "cat", "/count"]) == "run\nrun").then_some(())
        });
        c.ok(&["stop", "-t", "0", "rr"]);
        c.ok(&["restart", "rr"]);
        assert_eq!(c.field("rr", "{{.State.Running}}"), "true");
        c.ok(&["rm", "-f", "rr"]);
    }
}

#[test]
fn pause_freezes_and_unpause_thaws() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "pp",
            "busybox",
            "sh",
            "-c",
            "i=0; while :; do i=$((i+1)); echo $i >/n; usleep 10000; done",
        ]);
        let read = || c.bytes(&["cp", "pp:/n", "-"]);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(c.ok(&["pause", "pp"]), "pp");
        assert_eq!(
            c.field("pp", "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
            "paused true true"
        );
        assert!(c.ok(&["ps", "--format", "{{.Status}}"]).contains("(Paused)"));
        let a = read();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(a, read(), "nothing runs while paused");
        c.fails(1, &["pause", "pp"]).says("already paused");
        c.fails(1, &["exec", "pp", "true"]).says("is paused, unpause the container before exec");
        assert_eq!(c.ok(&["unpause", "pp"]), "pp");
        eventually("runs on", Duration::from_secs(5), || (read() != a).then_some(()));
        c.fails(1, &["unpause", "pp"]).says("is not paused");
        c.ok(&["pause", "pp"]);
        c.ok(&["rm", "-f", "pp"]);
    }
}

#[test]
fn rm_refuses_the_running_unless_forced() {
    let e = Engine::start();
    for c in e.clients() {
        let id = idle(&c, "rr", &[]);
        c.fails(1, &["rm", "rr"])
            .says("container is running: stop the container before removing or force remove");
        assert_eq!(c.ok(&["rm", "-f", "rr"]), "rr");
        c.fails(1, &["inspect", &id]);
        c.ok(&["rm", "-f", "nothing-of-that-name"]);
        c.fails(1, &["rm", "nothing-of-that-name"]);
    }
}

#[test]
fn ps_lists_filters_and_sorts() {
    let e = Engine::start();
    for c in e.clients() {
        let a = idle(&c, "aa", &["--label", "k=v", "--label", "only"]);
        idle(&c, "bb", &["--label", "k=w"]);
        c.fails(
            5,
            &["run", "--name", "cc", "busybox", "sh", "-c", "exit 5; # a long command line that is cut"],
        );
        three_are_listed(&c);
        c.ok(&["rm", "-f", "aa", "bb", "cc"]);
        assert_eq!(a.len(), 64);
    }
}

/// The listing of the three containers above.
fn three_are_listed(c: &Cli) {
    let names = |args: &[&str]| {
        let mut v = vec!["ps", "--format", "{{.Names}}"];
        v.extend(args);
        c.ok(&v).replace('\n', " ")
    };
    assert_eq!(names(&[]), "bb aa");
    assert_eq!(names(&["-a"]), "cc bb aa");
    assert_eq!(names(&["-n", "1"]), "cc");
    assert_eq!(names(&["-l"]), "cc");
    assert_eq!(names(&["-f", "label=k"]), "bb aa");
    assert_eq!(names(&["-f", "label=k=v"]), "aa");
    assert_eq!(names(&["-a", "-f", "name=^/?c"]), "cc");
    assert_eq!(names(&["-a", "-f", "exited=5"]), "cc");
    assert_eq!(names(&["-a", "-f", "status=exited"]), "cc");
    assert_eq!(names(&["-f", "ancestor=busybox"]), "bb aa");
    assert_eq!(names(&["-a", "-f", "before=bb"]), "aa");
    assert_eq!(names(&["-a", "-f", "since=bb"]), "cc");
    c.fails(1, &["ps", "-f", "nosuch=1"]).says("invalid filter");
    let table = c.ok(&["ps", "-a"]);
    let head = table.lines().next().unwrap_or_default();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    let cc = table.lines().nth(1).unwrap_or_default();
    assert!(
        cc.contains("Exited (5)") && cc.contains("\"sh -c 'exit 5; # a …\"") && cc.ends_with("cc"),
        "{cc}"
    );
    assert!(c.ok(&["ps", "--no-trunc"]).contains("\"sleep 600\""));
    assert_eq!(c.ok(&["ps", "-q"]).lines().map(str::len).collect::<Vec<_>>(), [12, 12]);
    assert!(c.ok(&["ps", "-s", "--format", "{{.Size}}"]).contains("virtual"));
}

#[test]
fn logs_of_both_streams_with_tail_since_and_times() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "ll",
            "busybox",
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done; printf unfinished",
        ]);
        c.ok(&["wait", "ll"]);
        let o = c.run(&["logs", "ll"]).code(0);
        assert_eq!(o.stdout, "o1\no2\no3\no4\no5\nunfinished");
        assert_eq!(o.stderr, "e1\ne2\ne3\ne4\ne5\n");
        c.ok(&["run", "--name", "tail", "busybox", "seq", "1000"]);
        assert_eq!(c.ok(&["logs", "--tail", "3", "tail"]), "998\n999\n1000");
        c.ok(&["rm", "tail"]);
        assert_eq!(c.run(&["logs", "-n", "0", "ll"]).stdout, "");
        let o = c.run(&["logs", "-t", "--tail", "1", "ll"]).code(0);
        let (time, text) = o.stdout.split_once(' ').unwrap();
        assert!(
            time.len() == 30 && time.ends_with('Z') && time.contains('T') && text == "unfinished",
            "{}",
            o.stdout
        );
        assert_eq!(c.run(&["logs", "--since", "2099-01-01T00:00:00Z", "ll"]).stdout, "");
        assert_eq!(c.run(&["logs", "--until", "1h", "ll"]).stdout, "");
        assert!(c.run(&["logs", "--since", "1h", "ll"]).stdout.starts_with("o1\n"));
        c.fails(1, &["logs", "nosuch"]).says("No such container: nosuch");
        c.ok(&["rm", "ll"]);
    }
}

#[test]
fn logs_follow_until_the_end() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "--name",
            "ff",
            "busybox",
            "sh",
            "-c",
            "echo one; sleep 1; echo two; sleep 0.5; echo three",
        ]);
        let t = Instant::now();
        let o = c.run(&["logs", "-f", "ff"]).code(0);
        assert_eq!(o.stdout, "one\ntwo\nthree\n");
        assert!(t.elapsed() < Duration::from_secs(15));
        c.ok(&["rm", "ff"]);
    }
}

#[test]
fn logs_keep_long_lines_whole() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "--name",
            "ll",
            "busybox",
            "sh",
            "-c",
            "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end",
        ]);
        let out = c.ok(&["logs", "ll"]);
        assert_eq!(out.lines().map(str::len).collect::<Vec<_>>(), [100_000, 3]);
        c.ok(&["rm", "ll"]);
    }
}

#[test]
fn exec_runs_beside() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "xx", &["-e", "FROM=container", "-w", "/tmp"]);
        assert_eq!(c.ok(&["exec", "xx", "sh", "-c", "echo $FROM; pwd; id -u"]), "container\n/tmp\n0");
        assert_eq!(
            c.ok(&[
                "exec",
                "-e",
                "A=b",
                "-w",
                "/etc",
                "-u",
                "1000:44",
                "xx",
                "sh",
                "-c",
                "echo $A $PWD $(id -u):$(id -g)"
            ]),
            "b /etc 1000:44"
        );
        assert_eq!(c.ok(&["exec", "-u", "tester", "xx", "id", "-un"]), "tester");
        let o = c.run(&["exec", "xx", "sh", "-c", "echo o; echo e >&2; exit 6"]);
        assert_eq!((o.code, o.stdout.as_str(), o.stderr.as_str()), (6, "o\n", "e\n"));
        let o = c.run_with_stdin(&["exec", "-i", "xx", "cat"], b"through exec").code(0);
        assert_eq!(o.stdout, "through exec");
        c.ok(&["exec", "-d", "xx", "touch", "/made"]);
        eventually("exec -d", Duration::from_secs(5), || {
            (c.run(&["exec", "xx", "test", "-e", "/made"]).code == 0).then_some(())
        });
        let o = c.run(&["exec", "xx", "nosuch"]);
        assert_eq!(o.code, 127, "{}", o.stderr);
        assert_eq!(c.run(&["exec", "xx", "/etc"]).code, 126);
        assert_eq!(c.run(&["exec", "xx", "sh", "-c", "kill -9 $$"]).code, 137);
        c.ok(&["stop", "-t", "0", "xx"]);
        c.fails(1, &["exec", "xx", "true"]).says("is not running");
        c.ok(&["rm", "xx"]);
    }
}

#[test]
fn exec_sees_the_containers_namespaces_and_limits() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "xx", &["-h", "inner", "--cap-drop", "ALL"]);
        let script = "hostname; cat /proc/1/comm; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; cat /proc/self/cgroup";
        let inside = c.ok(&["exec", "xx", "sh", "-c", script]);
        let lines: Vec<_> = inside.lines().collect();
        assert_eq!(lines[..2], ["inner", "sleep"]);
        assert_eq!(lines[2].split_whitespace().last(), Some("0000000000000000"));
        assert_eq!(lines[3].split_whitespace().last(), Some("2"));
        let caps = c.ok(&["exec", "--privileged", "xx", "sh", "-c", "grep CapEff /proc/self/status"]);
        // All that this machine gives to root, which may be less than the kernel knows.
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let all = own.lines().find_map(|l| l.strip_prefix("CapBnd:")).unwrap().trim();
        assert_eq!(caps.split_whitespace().last(), Some(all));
        c.ok(&["rm", "-f", "xx"]);
    }
}

#[test]
fn attach_sees_output_and_gives_input() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "-d",
            "-i",
            "--name",
            "aa",
            "busybox",
            "sh",
            "-c",
            "while read l; do [ $l != quit ] || exit 8; echo got $l; done",
        ]);
        let mut child = c.spawn(&["attach", "aa"]);
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdin.write_all(b"first\n").unwrap();
        let mut buf = [0u8; 10];
        stdout.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"got first\n");
        stdin.write_all(b"second\nquit\n").unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "got second\n");
        assert_eq!(
            wait_until(&mut child, Instant::now() + Duration::from_secs(10)),
            Some(8),
            "attach returns the exit code"
        );
        c.fails(1, &["attach", "aa"]).says("You cannot attach to a stopped container, start it first");
        c.ok(&["rm", "aa"]);
    }
}

#[test]
fn rename_changes_the_name() {
    let e = Engine::start();
    for c in e.clients() {
        let id = idle(&c, "old", &[]);
        idle(&c, "other", &[]);
        c.ok(&["rename", "old", "new"]);
        assert_eq!(c.field("new", "{{.Id}}"), id);
        c.fails(1, &["inspect", "old"]);
        c.fails(1, &["rename", "new", "other"]).says("already in use");
        c.fails(1, &["rename", "nosuch", "xx"]).says("No such container");
        c.ok(&["rm", "-f", "new", "other"]);
    }
}

#[test]
fn top_lists_processes() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "tt", "busybox", "sh", "-c", "sleep 600 & sleep 601"]);
        eventually("two processes", Duration::from_secs(5), || {
            let o = c.ok(&["top", "tt"]);
            assert!(o.lines().next().unwrap_or_default().contains("PID") && o.contains("CMD"), "{o}");
            (o.contains("sleep 600") && o.contains("sleep 601")).then_some(())
        });
        let o = c.ok(&["top", "tt", "-o", "pid,comm"]);
        assert_eq!(
            o.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>(),
            ["PID", "COMMAND"]
        );
        c.ok(&["stop", "-t", "0", "tt"]);
        c.fails(1, &["top", "tt"]).says("is not running");
        c.ok(&["rm", "tt"]);
    }
}

#[test]
fn stats_show_memory_and_processes() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "ss", &["-m", "64m"]);
        let o = c.ok(&[
            "stats",
            "--no-stream",
            "--format",
            "{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}",
            "ss",
        ]);
        assert!(o.starts_with("ss ") && o.contains("/ 64MiB 1 ") && o.ends_with('%'), "{o}");
        let table = c.ok(&["stats", "--no-stream"]);
        assert!(table.contains("MEM USAGE / LIMIT") && table.contains("NET I/O"), "{table}");
        c.ok(&["rm", "-f", "ss"]);
    }
}

#[test]
fn cp_out_and_in() {
    let e = Engine::start();
    for c in e.clients() {
        let dir = e.fresh("cp");
        std::fs::create_dir_all(dir.join("tree/sub")).unwrap();
        std::fs::write(dir.join("tree/sub/file"), "content").unwrap();
        std::os::unix::fs::symlink("sub/file", dir.join("tree/link")).unwrap();
        let host = |p: &str| dir.join(p).display().to_string();
        idle(&c, "cc", &["--tmpfs", "/scratch"]);
        c.ok(&["cp", &host("tree"), "cc:/tmp/copied"]);
        assert_eq!(
            c.ok(&["exec", "cc", "sh", "-c", "cat /tmp/copied/sub/file; readlink /tmp/copied/link"]),
            "contentsub/file"
        );
        c.ok(&["cp", &host("tree"), "cc:/tmp"]);
        assert_eq!(c.ok(&["exec", "cc", "cat", "/tmp/tree/link"]), "content", "into an existing directory");
        c.ok(&["cp", "cc:/tmp/copied/.", &host("back")]);
        assert_eq!(std::fs::read_to_string(dir.join("back/sub/file")).unwrap(), "content");
        c.ok(&["cp", &host("tree/sub/file"), "cc:/tmp/renamed"]);
        c.ok(&["cp", "cc:/tmp/renamed", &host("one")]);
        assert_eq!(std::fs::read_to_string(dir.join("one")).unwrap(), "content");
        c.ok(&["cp", "cc:/etc/passwd", &host("passwd")]);
        assert!(std::fs::read_to_string(dir.join("passwd")).unwrap().starts_with("root:"));
        let tar = c.bytes(&["cp", "cc:/etc/group", "-"]);
        assert_eq!(knarr_e2e::tree::listing(&tar).keys().collect::<Vec<_>>(), ["group"]);
        c.fails(1, &["cp", "cc:/nosuch", &host("xx")])
            .says("Could not find the file /nosuch in container cc");
        c.fails(1, &["cp", &host("one"), "cc:/no/such/dir/"]).says("no such directory");
        c.ok(&["stop", "-t", "0", "cc"]);
        c.ok(&["cp", &host("one"), "cc:/stopped"]);
        assert!(!c.bytes(&["cp", "cc:/stopped", "-"]).is_empty(), "cp works on a stopped container");
        c.ok(&["rm", "cc"]);
    }
}

#[test]
fn diff_lists_changes() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "--name",
            "dd",
            "busybox",
            "sh",
            "-c",
            "echo x >/new; rm /etc/group; echo y >>/etc/passwd; mkdir -p /a/b",
        ]);
        let out = c.ok(&["diff", "dd"]);
        let mut lines: Vec<_> = out.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["A /a", "A /a/b", "A /new", "C /etc", "C /etc/passwd", "D /etc/group"]);
        c.ok(&["rm", "dd"]);
    }
}

#[test]
fn commit_makes_an_image() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "--name",
            "cc",
            "-e",
            "KEPT=yes",
            "busybox",
            "sh",
            "-c",
            "echo data >/file; rm -r /var",
        ]);
        let id = c.ok(&[
            "commit",
            "-m",
            "a note",
            "-a",
            "someone",
            "-c",
            "CMD cat /file",
            "-c",
            "ENV MORE=1",
            "cc",
            "made:v1",
        ]);
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(c.ok(&["run", "--rm", "made:v1"]), "data");
        assert_eq!(
            c.ok(&["run", "--rm", "made:v1", "sh", "-c", "echo $KEPT $MORE; ls -d /var 2>/dev/null; true"])
                .trim(),
            "yes 1"
        );
        let v = c.inspect("made:v1");
        assert_eq!((v["Comment"].as_str(), v["Author"].as_str()), (Some("a note"), Some("someone")));
        assert_eq!(v["RootFS"]["Layers"].as_array().unwrap().len(), 2);
        c.ok(&["rm", "cc"]);
        c.ok(&["rmi", "made:v1"]);
    }
}

#[test]
fn export_gives_the_whole_tree() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&[
            "run",
            "--name",
            "xx",
            "busybox",
            "sh",
            "-c",
            "echo data >/file; chmod 4711 /file; rm -r /var",
        ]);
        let tar = c.bytes(&["export", "xx"]);
        let l = knarr_e2e::tree::listing(&tar);
        assert!(l["file"].starts_with("0 4711 0:0"), "{}", l["file"]);
        assert!(l.contains_key("bin/busybox") && !l.contains_key("var/www"));
        assert!(!l.keys().any(|k| k.starts_with("proc/")), "no kernel filesystems");
        let f = e.fresh("export");
        c.ok(&["export", "-o", f.to_str().unwrap(), "xx"]);
        assert_eq!(std::fs::read(&f).unwrap().len(), tar.len());
        c.ok(&["rm", "xx"]);
    }
}

#[test]
fn port_lists_the_published() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "pp", &["-p", "127.0.0.1:18080:80", "-p", "127.0.0.1:18053:53/udp"]);
        assert_eq!(c.ok(&["port", "pp", "80"]), "127.0.0.1:18080");
        assert_eq!(c.ok(&["port", "pp", "53/udp"]), "127.0.0.1:18053");
        let mut all: Vec<_> = c.ok(&["port", "pp"]).lines().map(str::to_owned).collect();
        all.sort();
        assert_eq!(all, ["53/udp -> 127.0.0.1:18053", "80/tcp -> 127.0.0.1:18080"]);
        c.fails(1, &["port", "pp", "81"]).says("no public port '81");
        c.ok(&["rm", "-f", "pp"]);
    }
}

#[test]
fn inspect_tells_what_was_asked() {
    let e = Engine::start();
    for c in e.clients() {
        idle(
            &c,
            "ii",
            &["-e", "A=1", "-l", "x=y", "-m", "32m", "-w", "/tmp", "-u", "1000", "--restart", "on-failure:3"],
        );
        let v = c.inspect("ii");
        assert_eq!(v["Path"], "sleep");
        assert_eq!(v["Args"][0], "600");
        assert_eq!(v["Config"]["Image"], "busybox");
        assert!(v["Image"].as_str().unwrap().starts_with("sha256:"));
        assert_eq!(v["Config"]["Labels"]["x"], "y");
        assert_eq!(v["Config"]["WorkingDir"], "/tmp");
        assert_eq!(v["Config"]["User"], "1000");
        assert_eq!(v["HostConfig"]["Memory"], 33_554_432);
        assert_eq!(v["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
        assert_eq!(v["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 3);
        assert_eq!(v["State"]["Status"], "running");
        assert!(v["State"]["Pid"].as_i64().unwrap() > 0);
        assert!(v["State"]["StartedAt"].as_str().unwrap().starts_with("20"));
        assert_eq!(v["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
        let address = v["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap();
        assert!(address.starts_with(&e.subnet_prefix()), "{address}");
        assert_eq!(v["NetworkSettings"]["Networks"]["bridge"]["Gateway"], e.gateway().as_str());
        c.fails(1, &["inspect", "nosuch"]).says("no such object: nosuch");
        let o = c.run(&["inspect", "nosuch"]);
        assert_eq!(o.stdout.trim(), "[]");
        assert_eq!(
            c.ok(&["inspect", "--type", "image", "-f", "{{index .RepoTags 0}}", "busybox"]),
            "busybox:latest"
        );
        assert!(!c.ok(&["inspect", "-s", "-f", "{{.SizeRw}}", "ii"]).contains("no value"));
        c.ok(&["rm", "-f", "ii"]);
    }
}

#[test]
fn update_changes_limits_of_the_running() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "uu", &["-m", "64m"]);
        c.ok(&["update", "-m", "32m", "--memory-swap", "-1", "--restart", "always", "uu"]);
        assert_eq!(
            c.field("uu", "{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}"),
            "33554432 always"
        );
        c.ok(&["rm", "-f", "uu"]);
    }
}

#[test]
fn wait_for_several_and_for_the_gone() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "aa", "busybox", "sh", "-c", "sleep 0.3; exit 1"]);
        c.ok(&["run", "-d", "--name", "bb", "busybox", "sh", "-c", "exit 2"]);
        assert_eq!(c.ok(&["wait", "aa", "bb"]), "1\n2");
        assert_eq!(c.ok(&["wait", "aa"]), "1", "at once for one that has exited");
        c.fails(1, &["wait", "nosuch"]).says("No such container: nosuch");
        c.ok(&["rm", "aa", "bb"]);
    }
}

#[test]
fn events_tell_the_life() {
    let e = Engine::start();
    for c in e.clients() {
        let since = jiffy();
        c.ok(&["run", "--rm", "--name", "ev", "busybox", "true"]);
        let out = c.ok(&[
            "events",
            "--since",
            &since,
            "--until",
            &jiffy_after(1),
            "--filter",
            "container=ev",
            "--format",
            "{{.Action}}",
        ]);
        assert_eq!(out.lines().collect::<Vec<_>>(), ["create", "attach", "start", "die", "destroy"]);
        let die = c.ok(&[
            "events",
            "--since",
            &since,
            "--until",
            &jiffy_after(1),
            "--filter",
            "event=die",
            "--format",
            "{{json .Actor.Attributes}}",
        ]);
        assert!(
            die.contains("\"exitCode\":\"0\"")
                && die.contains("\"name\":\"ev\"")
                && die.contains("\"image\":\"busybox\""),
            "{die}"
        );
    }
}

fn jiffy() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

fn jiffy_after(seconds: u64) -> String {
    std::thread::sleep(Duration::from_millis(300));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}", now.as_secs() + seconds)
}

#[test]
fn prune_removes_the_stopped() {
    let e = Engine::start();
    for c in e.clients() {
        idle(&c, "stays", &[]);
        let gone = c.ok(&["create", "busybox"]);
        let o = c.ok(&["container", "prune", "-f"]);
        assert!(o.contains(&gone) && o.contains("Total reclaimed space:"), "{o}");
        assert_eq!(c.ok(&["ps", "-a", "--format", "{{.Names}}"]), "stays");
        c.ok(&["rm", "-f", "stays"]);
    }
}

#[test]
fn many_at_once() {
    let e = Engine::start();
    for c in e.clients() {
        std::thread::scope(|s| {
            for i in 0..16 {
                let c = &c;
                s.spawn(move || {
                    assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", &i.to_string()]), i.to_string())
                });
            }
        });
        assert_eq!(c.ok(&["ps", "-aq"]), "");
    }
}

#[test]
fn info_version_and_disk_usage() {
    let e = Engine::start();
    for c in e.clients() {
        let v = c.ok(&["version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"]);
        assert!(v.ends_with("linux"), "{v}");
        assert_eq!(c.ok(&["info", "--format", "{{.Containers}} {{.Images}} {{.OSType}}"]), "0 1 linux");
        assert!(c.ok(&["info"]).contains("Server Version"));
        assert!(c.ok(&["system", "df"]).contains("Images"));
    }
}

/// What such a container writes is thrown away: nothing of it is synced, and it can be started again all the same.
#[test]
fn a_container_that_removes_itself_is_volatile() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "600"]);
    c.ok(&["run", "-d", "--name", "kept", "busybox", "sleep", "600"]);
    let root = |name: &str| c.ok(&["exec", name, "grep", " / ", "/proc/mounts"]);
    if workspace::peer().is_none() {
        assert!(root("gone").contains("volatile"), "{}", root("gone"));
    }
    assert!(!root("kept").contains("volatile"), "{}", root("kept"));
    c.ok(&["exec", "gone", "sh", "-c", "echo here > /file; sync"]);
    c.ok(&["restart", "-t", "0", "gone"]);
    assert_eq!(c.ok(&["exec", "gone", "cat", "/file"]), "here");
    c.ok(&["rm", "-f", "gone", "kept"]);
}
