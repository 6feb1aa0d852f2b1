//! A real terminal for interactive tests: a private tmux server with one pane.

use crate::cli::Cli;
use crate::command::eventually;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[derive(Debug)]
pub struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// A pane of 80x24 that runs a shell with the client's environment; the client is `$C` in it.
    pub fn new(cli: &Cli, dir: &std::path::Path) -> Terminal {
        let socket = dir.join(format!("tmux-{}", cli.name));
        let t = Terminal { socket };
        let rc = dir.join("bashrc");
        std::fs::write(&rc, "PS1='host> '\n").expect("rc file");
        let mut c = t.tmux();
        c.args(["new-session", "-d", "-x", "80", "-y", "24"]);
        for (k, v) in &cli.env {
            c.args(["-e", &format!("{k}={v}")]);
        }
        let words: Vec<String> =
            cli.prefix.iter().cloned().chain([cli.program.display().to_string()]).collect();
        c.args([
            "-e",
            &format!("C={}", words.join(" ")),
            &format!("bash --noprofile --rcfile {} -i", rc.display()),
        ]);
        let out = c.output().expect("tmux");
        assert!(out.status.success(), "tmux: {}", String::from_utf8_lossy(&out.stderr));
        t.sees("host>");
        t
    }

    fn tmux(&self) -> Command {
        let mut c = Command::new("tmux");
        c.env_remove("TMUX").arg("-f").arg("/dev/null").arg("-S").arg(&self.socket);
        c
    }

    /// Type a line and Enter.
    pub fn line(&self, text: &str) {
        drop(self.tmux().args(["send-keys", "-l", text]).status());
        self.keys(&["Enter"]);
    }

    /// Press keys by tmux's names: `C-c`, `C-p`, `Enter`.
    pub fn keys(&self, keys: &[&str]) {
        for k in keys {
            drop(self.tmux().args(["send-keys", k]).status());
        }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        drop(
            self.tmux().args(["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]).status(),
        );
    }

    pub fn screen(&self) -> String {
        let out = self.tmux().args(["capture-pane", "-p", "-J"]).output().expect("tmux");
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }

    /// Wait until the screen shows a text.
    ///
    /// # Panics
    /// After 20 seconds, with the screen.
    #[track_caller]
    pub fn sees(&self, text: &str) {
        let mut last = String::new();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while std::time::Instant::now() < end {
            last = self.screen();
            if last.contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the terminal never showed {text:?}:\n{last}");
    }

    /// Wait until the last line of the screen is a prompt again.
    #[track_caller]
    pub fn prompt(&self, prompt: &str) {
        eventually(&format!("prompt {prompt:?}"), Duration::from_secs(20), || {
            self.screen().lines().last().is_some_and(|l| l.trim_end().ends_with(prompt)).then_some(())
        });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the terminal\n{}", self.screen());
        }
        drop(self.tmux().arg("kill-server").output());
    }
}
