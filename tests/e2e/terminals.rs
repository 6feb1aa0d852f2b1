//! A real terminal (tmux): prompt, resize, control keys, detach keys, the terminal left sane.

use knarr_e2e::Engine;
use knarr_e2e::command::eventually;
use knarr_e2e::terminal::Terminal;
use std::time::Duration;

#[test]
fn an_interactive_shell() {
    let e = Engine::start();
    for c in e.clients() {
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        t.line("$C run --rm -it --name shell -h inner busybox");
        t.sees("/ #");
        t.line("tty; hostname; stty size");
        t.sees("24 80");
        assert!(t.screen().contains("/dev/pts/0") && t.screen().contains("inner"), "{}", t.screen());
        t.line("sleep 100");
        std::thread::sleep(Duration::from_millis(300));
        t.keys(&["C-c"]);
        t.line("echo code $?");
        t.sees("code 130");
        t.line("exit 5");
        t.prompt("host>");
        t.line("echo returned $?");
        t.sees("returned 5");
        assert_eq!(c.ok(&["ps", "-aq"]), "");
        t.line("stty -a | grep -o ' icanon' | tr -d ' ' | tr i I");
        t.sees("Icanon");
    }
}

#[test]
fn the_size_follows_the_window() {
    let e = Engine::start();
    for c in e.clients() {
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        t.line("$C run --rm -it busybox");
        t.sees("/ #");
        t.resize(100, 30);
        std::thread::sleep(Duration::from_millis(500));
        t.line("stty size");
        t.sees("30 100");
        t.line("exit");
        t.prompt("host>");
    }
}

#[test]
fn detach_keys_leave_it_running() {
    let e = Engine::start();
    for c in e.clients() {
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        t.line("$C run -it --name det busybox");
        t.sees("/ #");
        t.line("export MARK=still-here");
        // The shell asks the terminal where the cursor is; the answer must not come when the shell is not read from any more.
        t.prompt("/ #");
        std::thread::sleep(Duration::from_millis(400));
        t.keys(&["C-p", "C-q"]);
        t.prompt("host>");
        assert_eq!(c.field("det", "{{.State.Running}}"), "true");
        t.line("clear; $C attach --detach-keys ctrl-x,d det");
        std::thread::sleep(Duration::from_millis(400));
        t.line("echo $MARK");
        t.sees("still-here");
        t.prompt("/ #");
        std::thread::sleep(Duration::from_millis(400));
        t.keys(&["C-x", "d"]);
        t.prompt("host>");
        assert_eq!(c.field("det", "{{.State.Running}}"), "true");
        t.line("clear; $C attach det");
        std::thread::sleep(Duration::from_millis(400));
        t.line("exit 3");
        t.prompt("host>");
        t.line("echo code $?");
        t.sees("code 3");
        c.ok(&["rm", "-f", "det"]);
    }
}

#[test]
fn detach_keys_leave_a_command_running() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "ex", "busybox", "sleep", "600"]);
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        t.line("$C exec -it ex sh -c 'echo ready $((40 + 2)); sleep 600'");
        t.sees("ready 42");
        t.keys(&["C-p", "C-q"]);
        t.sees("read escape sequence");
        t.prompt("host>");
        t.line("echo code $?");
        t.sees("code 1");
        let processes = c.ok(&["top", "ex", "-o", "args"]);
        assert_eq!(processes.matches("sleep 600").count(), 2, "{}: {processes}", c.name);
        c.ok(&["rm", "-f", "ex"]);
    }
}

#[test]
fn exec_with_a_terminal() {
    let e = Engine::start();
    for c in e.clients() {
        c.ok(&["run", "-d", "--name", "ex", "busybox", "sleep", "600"]);
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        t.line("$C exec -it ex sh");
        t.sees("/ #");
        t.resize(90, 20);
        std::thread::sleep(Duration::from_millis(500));
        t.line("stty size; tty");
        t.sees("20 90");
        t.line("exit 4");
        t.prompt("host>");
        t.line("echo code $?");
        t.sees("code 4");
        c.ok(&["rm", "-f", "ex"]);
    }
}

#[test]
fn signals_are_proxied() {
    let e = Engine::start();
    for c in e.clients() {
        let script = "trap 'echo got-int; exit 11' INT; trap 'echo got-term; exit 12' TERM; trap 'exit 13' 37; trap 'exit 14' XCPU; echo up; while :; do sleep 0.05; done";
        // 37 is RTMIN+3, which halts a systemd
        for (signal, code) in [("INT", 11), ("TERM", 12), ("37", 13), ("XCPU", 14)] {
            let mut child = c.spawn(&["run", "--rm", "--name", "sig", "busybox", "sh", "-c", script]);
            eventually("up", Duration::from_secs(10), || {
                (c.run(&["logs", "sig"]).text() == "up").then_some(())
            });
            knarr_e2e::leaks::signal(child.id(), signal);
            let code_got = knarr_e2e::command::wait_until(
                &mut child,
                std::time::Instant::now() + Duration::from_secs(10),
            );
            assert_eq!(code_got, Some(code), "SIG{signal} through {}", c.name);
            eventually("removed", Duration::from_secs(5), || c.ok(&["ps", "-aq"]).is_empty().then_some(()));
        }
    }
}

#[test]
fn a_terminal_is_needed_for_t() {
    let e = Engine::start();
    for c in e.clients() {
        let o = c.run_with_stdin(&["run", "--rm", "-it", "busybox", "true"], b"");
        assert_eq!(o.code, 1, "{}", o.stderr);
        assert!(o.stderr.contains("the input device is not a TTY"), "{}", o.stderr);
        let o = c.run(&["run", "--rm", "-t", "busybox", "echo", "x"]).code(0);
        assert_eq!(o.stdout, "x\r\n", "-t alone gives a terminal's line ends");
    }
}

#[test]
fn three_interrupts_give_a_container_up() {
    let e = Engine::start();
    for c in e.clients() {
        let t = Terminal::new(&c, &e.fresh_dir("tmux"));
        // PID 1 without a handler: the kernel drops the signal
        t.line("$C run --name deaf busybox sh -c 'echo up; exec sleep 600'");
        eventually("up", Duration::from_secs(20), || (c.run(&["logs", "deaf"]).text() == "up").then_some(()));
        // one after the other: two of a kind at once are one signal
        for _ in 0..3 {
            t.keys(&["C-c"]);
            std::thread::sleep(Duration::from_millis(400));
        }
        t.sees("got 3 SIGTERM/SIGINTs, forcefully exiting");
        t.prompt("host>");
        t.line("echo code $?");
        t.sees("code 1");
        assert_eq!(c.field("deaf", "{{.State.Running}}"), "true", "only the client ends ({})", c.name);
        c.ok(&["rm", "-f", "deaf"]);
    }
}

#[test]
fn three_signals_give_the_terminal_back() {
    let e = Engine::start();
    let c = e.knarr();
    let t = Terminal::new(&c, &e.fresh_dir("tmux"));
    let name = format!("raw-{}", std::process::id());
    t.line(&format!("$C run -it --name {name} busybox sh"));
    t.sees("/ #");
    // in raw mode a key is no signal: they come from elsewhere
    let client = eventually("the client", Duration::from_secs(10), || {
        let out = std::process::Command::new("pgrep")
            .args(["-f", &format!("run -it --name {name} busybox")])
            .output()
            .ok()?;
        String::from_utf8_lossy(&out.stdout).lines().next()?.parse::<u32>().ok()
    });
    for _ in 0..3 {
        knarr_e2e::leaks::signal(client, "TERM");
        std::thread::sleep(Duration::from_millis(300));
    }
    t.sees("forcefully exiting");
    t.line("stty -a | grep -o ' icanon' | tr -d ' ' | tr i I");
    t.sees("Icanon");
    c.ok(&["rm", "-f", &name]);
}

/// Docker's client goes on until the third signal; ours ends with the first.
#[test]
fn without_sig_proxy_the_client_ends_alone() {
    let e = Engine::start();
    let c = e.knarr();
    let t = Terminal::new(&c, &e.fresh_dir("tmux"));
    t.line("$C run --sig-proxy=false --name alone busybox sh -c 'trap \"echo got-int; exit\" INT; echo up; while :; do sleep 0.1; done'");
    eventually("up", Duration::from_secs(20), || (c.run(&["logs", "alone"]).text() == "up").then_some(()));
    t.keys(&["C-c"]);
    t.prompt("host>");
    t.line("echo code $?");
    t.sees("code 130");
    assert_eq!(c.field("alone", "{{.State.Running}}"), "true");
    c.ok(&["rm", "-f", "alone"]);
}

#[test]
fn wrong_detach_keys_leave_no_container() {
    let e = Engine::start();
    let c = e.knarr();
    let o = c.fails(1, &["run", "--rm", "--detach-keys", "nosuch", "busybox", "true"]);
    assert_eq!(o.stderr, "Error response from daemon: Invalid detach keys (nosuch) provided\n");
    assert_eq!(c.ok(&["ps", "-aq"]), "");
}
