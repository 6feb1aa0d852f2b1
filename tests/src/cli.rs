//! A command-line client (knarr's own or Docker's) pointed at one engine.

use crate::command::{self, DEADLINE};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// One client program with its environment.
#[derive(Debug, Clone)]
pub struct Cli {
    pub name: &'static str,
    pub program: PathBuf,
    pub env: Vec<(String, String)>,
    pub prefix: Vec<String>,
    pub deadline: Duration,
}

/// What a client printed and returned.
#[derive(Debug, Clone)]
pub struct Output {
    pub command: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn new(name: &'static str, program: &Path, host: &str, config: &Path) -> Cli {
        let env = vec![
            ("DOCKER_HOST".to_owned(), host.to_owned()),
            ("DOCKER_CONFIG".to_owned(), config.display().to_string()),
            ("HOME".to_owned(), config.display().to_string()),
            ("DOCKER_CLI_HINTS".to_owned(), "false".to_owned()),
        ];
        Cli { name, program: program.to_owned(), env, prefix: Vec::new(), deadline: DEADLINE }
    }

    /// The same client with one more variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Cli {
        self.env.retain(|(k, _)| k != key);
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same client inside a network namespace, or under another program.
    #[must_use]
    pub fn under(mut self, prefix: &[&str]) -> Cli {
        self.prefix = prefix.iter().map(|s| (*s).to_owned()).collect();
        self
    }

    /// The command, not started.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut c = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut c = Command::new(first);
                c.args(rest).arg(&self.program);
                c
            }
            None => Command::new(&self.program),
        };
        c.args(args).env_remove("DOCKER_CONTEXT").env_remove("KNARR_HOST").env_remove("DOCKER_API_VERSION");
        c.envs(self.env.iter().map(|(k, v)| (k, v)));
        c
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Output {
        self.finish(args, None)
    }

    pub fn run_with_stdin<S: AsRef<OsStr>>(&self, args: &[S], stdin: &[u8]) -> Output {
        self.finish(args, Some(stdin))
    }

    fn finish<S: AsRef<OsStr>>(&self, args: &[S], stdin: Option<&[u8]>) -> Output {
        let f = command::run(&mut self.command(args), stdin, self.deadline);
        let words: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy().into_owned()).collect();
        Output {
            command: format!("{} {}", self.name, words.join(" ")),
            code: f.code,
            stdout: String::from_utf8_lossy(&f.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&f.stderr).into_owned(),
        }
    }

    /// Run, expect exit code 0, give stdout without the last newline.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: &[S]) -> String {
        self.run(args).code(0).stdout.trim_end_matches('\n').to_owned()
    }

    /// Run and expect this exit code.
    #[track_caller]
    pub fn fails<S: AsRef<OsStr>>(&self, code: i32, args: &[S]) -> Output {
        self.run(args).code(code)
    }

    /// Run and give the raw bytes of stdout.
    #[track_caller]
    pub fn bytes<S: AsRef<OsStr>>(&self, args: &[S]) -> Vec<u8> {
        let f = command::run(&mut self.command(args), None, self.deadline);
        assert_eq!(f.code, 0, "stderr: {}", String::from_utf8_lossy(&f.stderr));
        f.stdout
    }

    /// `inspect` as JSON: the first element.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = self.ok(&["inspect", name]);
        let v: serde_json::Value = serde_json::from_str(&text).expect("inspect prints JSON");
        v[0].clone()
    }

    /// One field of `inspect`, by a Go template.
    #[track_caller]
    pub fn field(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "-f", template, name])
    }

    /// Start it and leave it running, all streams piped.
    pub fn spawn<S: AsRef<OsStr>>(&self, args: &[S]) -> Child {
        let mut c = self.command(args);
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        c.spawn().expect("client starts")
    }
}

impl Output {
    /// Expect an exit code.
    #[track_caller]
    #[must_use]
    pub fn code(self, code: i32) -> Output {
        assert_eq!(
            self.code, code,
            "exit code of `{}`\nstdout: {}\nstderr: {}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// Expect that stderr holds a text, whatever its case.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(
            self.stderr.to_lowercase().contains(&text.to_lowercase()),
            "`{}` should say {text:?}\nstdout: {}\nstderr: {}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// stdout without the last newline.
    pub fn text(&self) -> &str {
        self.stdout.trim_end_matches('\n')
    }

    /// stdout's lines.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}
