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
        let script = "trap 'echo got-int; exit 11' INT; trap 'echo got-term; exit 12' TERM; echo up; while :; do sleep 0.05; done";
        for (signal, code) in [("INT", 11), ("TERM", 12)] {
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
