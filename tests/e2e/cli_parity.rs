//! Both clients against one engine print the same: standard output, standard error, exit code. Knarr's runs under the name
//! `docker`, as people have it who replace Docker.

use knarr_e2e::cli::{Cli, Output};
use knarr_e2e::{Engine, workspace};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

/// Times go on between two commands; what differs once is asked again.
const TRIES: usize = 4;
const PARTS: usize = 4;

/// Knarr's client under the name `docker`, and Docker's, both with the API version of Docker's.
fn both(e: &Engine) -> [Cli; 2] {
    let dir = e.fresh_dir("as");
    let link = dir.join("docker");
    std::os::unix::fs::symlink(workspace::knarr(), &link).expect("link");
    let version = e.docker().ok(&["version", "--format", "{{.Client.APIVersion}}"]);
    let docker = e.docker().env("DOCKER_API_VERSION", &version);
    let knarr = Cli { name: "knarr as docker", program: link, ..docker.clone() };
    [docker, knarr]
}

/// Words of a line as a shell takes them apart.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "unbalanced quotes: {line}");
    words.extend(word);
    words
}

fn filled(line: &str, values: &BTreeMap<&str, String>) -> Vec<String> {
    words(line)
        .into_iter()
        .map(|word| {
            values.iter().fold(word, |word, (name, value)| word.replace(&format!("{{{name}}}"), value))
        })
        .collect()
}

/// Objects of every kind and state.
fn state(e: &Engine) -> BTreeMap<&'static str, String> {
    let d = e.docker();
    d.ok(&["volume", "create", "--label", "tier=front", "vol1"]);
    d.ok(&["volume", "create", "vol2"]);
    d.ok(&["volume", "create", "vol10"]);
    d.ok(&["network", "create", "--label", "tier=front", "--subnet", "10.232.0.0/24", "net1"]);
    d.ok(&["network", "create", "--subnet", "10.233.0.0/24", "net2"]);
    d.ok(&["network", "create", "--subnet", "10.234.0.0/24", "--internal", "net10"]);
    let web = "run -d --name web --label tier=front --label com.example.long-name=x -p 127.0.0.1:8080:80 -p 9000-9002:9000-9002 -v vol1:/data --network net1 -e A=1 busybox sleep 1000";
    d.ok(&words(web));
    d.ok(&["run", "-d", "--name", "cold", "busybox", "sleep", "1000"]);
    d.ok(&["pause", "cold"]);
    let done = "run --name done --label tier=back busybox sh -c 'echo one; echo two >&2; echo x > /new; rm /etc/group; exit 3'";
    d.fails(3, &words(done));
    d.ok(&words("create --name fresh --expose 7000 -v /anon busybox sh -c 'a very long command line that is truncated'"));
    d.ok(&words("run -d -t --name term busybox sh -c 'echo hello; sleep 1000'"));
    let commit = "commit --change 'LABEL made=here' --change 'CMD [\"x\"]' -m message -a author done made:1";
    d.ok(&words(commit));
    d.ok(&["commit", "done", "other/repo:1.0"]);
    d.ok(&["commit", "done"]);
    let web = d.field("web", "{{.Id}}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_secs();
    BTreeMap::from([
        ("web12", web[..12].to_owned()),
        ("web", web),
        ("img", d.field("busybox", "{{.Id}}")),
        ("now", now.to_string()),
    ])
}

/// What is compared: ids of objects that a command made are alike, and so is a misprint of Docker 28.
fn compared(output: &Output, short_ids: bool) -> (i32, String, String) {
    let plain = |text: &str| {
        let mut out = String::with_capacity(text.len());
        let mut hex = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
                hex.push(c);
                continue;
            }
            let id = hex.len() == 64 || hex.len() == 12 && short_ids;
            out.push_str(if id { "ID" } else { &hex });
            hex.clear();
            out.push(c);
        }
        out.replace("\n\nSRun '", "\n\nRun '")
    };
    (output.code, plain(&output.stdout), plain(&output.stderr))
}

/// Without what goes on by itself, and the widths of columns with it.
fn timeless(output: &Output) -> (i32, String, String) {
    let (code, stdout, stderr) = compared(output, false);
    let plain = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut out = String::new();
        for (at, word) in words.iter().enumerate() {
            let unit = |word: &&str| {
                let word = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
                ["second", "seconds", "minute", "minutes"].contains(&word)
            };
            let goes_on =
                unit(word) || words.get(at + 1).is_some_and(unit) || ["About", "Less", "than"].contains(word);
            out.push_str(if goes_on { "" } else { word });
            out.push(' ');
        }
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    (code, plain(&stdout), plain(&stderr))
}

fn differences(what: &str, a: &Output, b: &Output, short_ids: bool) -> Option<String> {
    (compared(a, short_ids) != compared(b, short_ids)).then(|| {
        let show =
            |o: &Output| format!("  code {}\n  stdout {:?}\n  stderr {:?}\n", o.code, o.stdout, o.stderr);
        format!("===== {what}\nDocker's:\n{}Knarr's:\n{}", show(a), show(b))
    })
}

/// The lines of a file that are not comments.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

fn questions(part: usize) {
    let all = lines(include_str!("parity/questions.txt"));
    let size = all.len().div_ceil(PARTS);
    let e = Engine::start();
    let values = state(&e);
    let [docker, knarr] = both(&e);
    let mut wrong = Vec::new();
    for line in all.iter().skip(part * size).take(size) {
        let args = filled(line, &values);
        let mut found = None;
        for _ in 0..TRIES {
            let (a, b) = std::thread::scope(|scope| {
                let a = scope.spawn(|| docker.run(&args));
                let b = knarr.run(&args);
                (a.join().expect("Docker's client"), b)
            });
            found = differences(line, &a, &b, false);
            if found.is_none() {
                break;
            }
            // of many containers some always get a second older; columns that differ without that are wrong
            let collapsed = |o: &Output| o.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            if timeless(&a) == timeless(&b) && collapsed(&a) != collapsed(&b) {
                found = None;
            }
        }
        wrong.extend(found);
    }
    let _ = docker.run(&["rm", "-f", "cold"]);
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.concat());
}

#[test]
fn questions_first_quarter() {
    questions(0);
}
#[test]
fn questions_second_quarter() {
    questions(1);
}
#[test]
fn questions_third_quarter() {
    questions(2);
}
#[test]
fn questions_last_quarter() {
    questions(3);
}

#[test]
fn what_changes_things() {
    let e = Engine::start();
    let mut values = state(&e);
    let clients = both(&e);
    let mut wrong = Vec::new();
    let text: String = include_str!("parity/scenarios.txt").lines().filter(|l| !l.starts_with('#')).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    );
    for group in text.split("\n\n").map(str::trim).filter(|group| !group.is_empty()) {
        let mut outputs = Vec::new();
        // the same path for both: it is printed
        let dir = e.fresh("scenario");
        for client in &clients {
            let _ = std::fs::remove_dir_all(&dir);
            std::fs::create_dir_all(&dir).expect("directory");
            values.insert("tmp", dir.display().to_string());
            let run = |line: &str| client.run(&filled(line, &values));
            outputs.push(group.lines().map(run).collect::<Vec<_>>());
        }
        for ((line, a), b) in group.lines().zip(&outputs[0]).zip(&outputs[1]) {
            wrong.extend(differences(line, a, b, true));
        }
    }
    let _ = clients[0].run(&["rm", "-f", "cold"]);
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.concat());
}

/// The protocol of `__complete` is cobra's, so that the scripts that come with Docker work as well.
#[test]
fn shells_are_offered_the_same_words() {
    let e = Engine::start();
    let values = state(&e);
    let [docker, knarr] = both(&e);
    let mut wrong = Vec::new();
    for line in lines(include_str!("parity/words.txt")) {
        let args = filled(line, &values);
        let typed = args.last().map_or("", String::as_str);
        let typed = if typed.starts_with("--") {
            typed.split_once('=').map_or(typed, |(_, value)| value)
        } else {
            typed
        };
        let offered = |o: &Output| {
            let fits = |line: &&str| line.starts_with(typed) || line.starts_with(':');
            (o.code, o.stdout.lines().filter(fits).map(str::to_owned).collect::<Vec<_>>(), o.stderr.clone())
        };
        let (a, b) = (docker.run(&args), knarr.run(&args));
        if offered(&a) != offered(&b) {
            wrong.push(format!("===== {line}\n{:?}\n{:?}\n", offered(&a), offered(&b)));
        }
    }
    let _ = docker.run(&["rm", "-f", "cold"]);
    assert!(wrong.is_empty(), "{} lines differ:\n{}", wrong.len(), wrong.concat());
}

/// The scripts in their shells, as far as those are installed; bash is.
#[test]
fn completion_in_shells() {
    let e = Engine::start();
    e.docker().ok(&["create", "--name", "one-of-two", "busybox"]);
    e.docker().ok(&["create", "--name", "one-of-three", "busybox"]);
    let knarr = e.knarr();
    let dir = e.fresh_dir("completion");
    std::os::unix::fs::symlink(workspace::knarr(), dir.join("knarr")).expect("link");
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let run = |shell: &str, script: &str| {
        let mut c = std::process::Command::new(shell);
        c.arg("-c").arg(script).env("PATH", &path).envs(knarr.env.iter().map(|(k, v)| (k, v)));
        let out = c.output().expect("the shell starts");
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let bash = |line: &str| {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let script = format!(
            "source <(knarr completion bash); COMP_WORDS=({}); COMP_CWORD={}; COMP_LINE='{line}'; COMP_POINT={}; COMP_TYPE=9; __knarr_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            line.len()
        );
        run("bash", &script)
    };
    assert_eq!(bash("knarr rm one-of-t").lines().collect::<Vec<_>>(), ["one-of-three", "one-of-two"]);
    assert_eq!(bash("knarr vers"), "version\n");
    assert_eq!(bash("knarr ps --no-t"), "--no-trunc\n");
    assert_eq!(bash("knarr network inspect bri"), "bridge\n");
    let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    if has("fish") {
        let out = run("fish", "knarr completion fish | source; complete -C 'knarr rm one-of-tw'");
        assert_eq!(out.trim(), "one-of-two");
    }
    if has("zsh") {
        let out = run(
            "zsh",
            "autoload -U compinit; compinit -u -D; source <(knarr completion zsh); whence -w _knarr; print -r -- $_comps[knarr]",
        );
        assert!(out.contains("_knarr: function") && out.trim().ends_with("_knarr"), "{out}");
    }
    e.docker().ok(&["rm", "one-of-two", "one-of-three"]);
}

#[test]
fn manual_pages() {
    let e = Engine::start();
    let knarr = e.knarr();
    let dir = e.fresh_dir("man");
    knarr.ok(&["man", "-d", dir.to_str().expect("UTF-8")]);
    let names: Vec<String> = std::fs::read_dir(&dir)
        .expect("pages")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    for name in ["knarr.1", "knarr-run.1", "knarr-container-ls.1", "knarr-context-import.1"] {
        assert!(names.iter().any(|n| n == name), "{name} is not among {names:?}");
    }
    assert!(names.len() > 90, "{} pages", names.len());
    let page = knarr.ok(&["man", "run"]);
    for text in [".TH KNARR\\-RUN 1", "\\fB\\-\\-publish\\-all\\fR", ".SH ALIASES"] {
        assert!(page.contains(text), "no {text} in {page}");
    }
    knarr.fails(1, &["man", "nosuch"]).says("no manual page for nosuch");
}

#[test]
fn help_lists_what_else_the_program_is() {
    let e = Engine::start();
    let knarr = e.knarr();
    for help in [knarr.ok(&["help"]), knarr.ok(&["--help"])] {
        for name in ["daemon", "runtime", "completion", "man"] {
            assert!(
                help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
                "{name}: {help}"
            );
        }
    }
    assert!(knarr.ok(&["help", "daemon"]).contains("The engine"));
    let as_docker = both(&e)[1].ok(&["--help"]).replace("knarr-e2e", "");
    assert!(!as_docker.to_lowercase().contains("knarr"), "{as_docker}");
    for words in
        ["build .", "buildx ls", "swarm init", "service ls", "plugin ls", "trust inspect x", "image build ."]
    {
        let o = knarr.fails(1, &words.split(' ').collect::<Vec<_>>());
        assert!(o.stderr.contains("is not supported") || o.stderr.contains("unknown command"), "{o:?}");
    }
}

/// A program in one of the directories of Docker's client is a command, and finds the same engine.
#[test]
fn plugins_of_the_command_line() {
    let e = Engine::start();
    let config = e.fresh_dir("plugins");
    let plugins = config.join("cli-plugins");
    std::fs::create_dir(&plugins).expect("directory");
    let script = "#!/bin/sh\nif [ \"$1\" = docker-cli-plugin-metadata ]; then echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"test\",\"ShortDescription\":\"Says what it got\"}'; exit; fi\necho \"$@\"; echo \"$DOCKER_HOST\"; exit 7\n";
    let program = plugins.join("docker-echo");
    std::fs::write(&program, script).expect("plugin");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    for client in both(&e) {
        let client = client.env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
        let o = client.fails(7, &["--log-level", "debug", "echo", "--flag", "word"]);
        assert_eq!(
            o.stdout,
            format!("--log-level debug echo --flag word\n{}\n", e.host()),
            "{}",
            client.name
        );
        assert!(client.ok(&["__complete", "ec"]).contains("echo\tSays what it got"), "{}", client.name);
        let help = client.ok(&["--help"]);
        assert!(help.contains("\n  echo*       Says what it got\n"), "{}: {help}", client.name);
        let facts = client.ok(&["info"]);
        let shown =
            format!(" Plugins:\n  echo: Says what it got (test)\n    Path:     {}\n", program.display());
        assert!(facts.contains(&shown), "{}: {facts}", client.name);
    }
    // what lies there and does not say what it is, is no command
    for (name, answer, problem) in [
        ("mute", "", "invalid metadata: "),
        ("nobody", r#"{"SchemaVersion":"0.1.0"}"#, "plugin metadata does not define a vendor"),
        ("ps", r#"{"SchemaVersion":"0.1.0","Vendor":"test"}"#, "plugin \"ps\" duplicates builtin command"),
    ] {
        let program = plugins.join(format!("docker-{name}"));
        std::fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).expect("plugin");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("mode");
        for client in both(&e) {
            let client = client.env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
            let help = client.ok(&["--help"]);
            let (_, invalid) = help.split_once("\nInvalid Plugins:\n").expect("plugins that cannot be used");
            assert!(invalid.contains(&format!("  {name:<11} {problem}")), "{}: {invalid}", client.name);
            if name != "ps" {
                client.fails(1, &[name, "x"]).says("unknown command");
            }
            assert_eq!(client.ok(&["ps", "-q"]), "");
        }
    }
    let own = e.knarr().env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
    let own = own.env("DOCKER_HOST", "").env("KNARR_HOST", &e.host());
    assert_eq!(own.fails(7, &["echo"]).stdout, format!("echo\n{}\n", e.host()));
}

/// A command's help in parts.
#[derive(Debug, Default)]
struct Help {
    usage: String,
    about: String,
    commands: BTreeMap<String, String>,
    /// Names and type of a flag, and what it says, without line breaks.
    flags: BTreeMap<String, (String, String)>,
}

impl Help {
    fn of(client: &Cli, path: &[&str]) -> Help {
        let args: Vec<&str> = path.iter().copied().chain(["--help"]).collect();
        let text = client.ok(&args);
        let mut help = Help::default();
        let (mut section, mut last) = (String::new(), String::new());
        for line in text.lines() {
            let indented = line.starts_with(' ') || line.starts_with('\t');
            if line.is_empty() {
                continue;
            }
            if !indented {
                match line.strip_prefix("Usage:  ") {
                    Some(usage) => help.usage = usage.to_owned(),
                    None if line.ends_with(':') => section = line.trim_end_matches(':').to_owned(),
                    None if line.starts_with("Run '") || line.starts_with("For more help") => section.clear(),
                    None => help.about.push_str(line),
                }
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if section.ends_with("Commands") {
                help.commands.insert(words[0].trim_end_matches('*').to_owned(), words[1..].join(" "));
            } else if section.ends_with("Options") {
                let column = line.len() - line.trim_start().len();
                let starts = column <= 6 && line.trim_start().starts_with('-');
                if starts {
                    let (names, about) = line.trim().split_once("   ").unwrap_or((line.trim(), ""));
                    let long = names.split("--").nth(1).unwrap_or(names);
                    last = long.split(' ').next().unwrap_or_default().to_owned();
                    help.flags.insert(last.clone(), (names.to_owned(), about.trim().to_owned()));
                } else if let Some((_, about)) = help.flags.get_mut(&last) {
                    about.push(' ');
                    about.push_str(&words.join(" "));
                }
            }
        }
        help
    }
}

/// Commands of Docker's for what this engine does not have: they are known, and say why not.
const REFUSED: [&str; 12] = [
    "bake",
    "build",
    "builder",
    "checkpoint",
    "config",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// Every command and flag of Docker's help is there, with the same names, type, usage and description.
#[test]
fn every_command_and_flag_of_docker() {
    let e = Engine::start();
    let [docker, knarr] = both(&e);
    let mut wrong = Vec::new();
    let mut todo: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let (theirs, ours) = (Help::of(&docker, &words), Help::of(&knarr, &words));
        seen += 1;
        let at = path.join(" ");
        if theirs.usage != ours.usage {
            wrong.push(format!("{at}: usage {:?}, not {:?}", ours.usage, theirs.usage));
        }
        if theirs.about != ours.about {
            wrong.push(format!("{at}: {:?}, not {:?}", ours.about, theirs.about));
        }
        for (name, (names, about)) in &theirs.flags {
            match ours.flags.get(name) {
                None => wrong.push(format!("{at}: no flag {names}")),
                // a misprint of Docker's
                Some((own, text)) if own == names && (text == about || about.contains("\"|missing\"")) => {}
                Some(other) => wrong.push(format!("{at}: {other:?}, not {names} {about}")),
            }
        }
        for (name, about) in &theirs.commands {
            if REFUSED.contains(&name.as_str()) {
                let o = knarr.run(&[words.as_slice(), &[name]].concat());
                if name != "bake" && (o.code != 1 || !o.stderr.contains("is not supported: ")) {
                    wrong.push(format!("{at} {name} should be refused: {o:?}"));
                }
                continue;
            }
            match ours.commands.get(name) {
                Some(own) if own == about => todo.push([path.clone(), vec![name.clone()]].concat()),
                other => wrong.push(format!("{at} {name}: {other:?}, not {about:?}")),
            }
        }
    }
    assert!(seen > 90, "only {seen} commands were looked at");
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each client uses, changes and removes what the other made.
#[test]
fn contexts_belong_to_both() {
    let e = Engine::start();
    let [docker, knarr] = both(&e);
    let config = e.fresh_dir("contexts");
    let host = e.host();
    let make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=ca";
    let made = std::process::Command::new("sh").args(["-c", make]).current_dir(&config).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let authority = std::fs::read(config.join("ca.pem")).expect("ca.pem");
    std::fs::write(config.join("bad.pem"), "nonsense").expect("file");
    for (one, other) in [(&docker, &knarr), (&knarr, &docker)] {
        let here = |client: &Cli| {
            client.clone().env("DOCKER_CONFIG", config.to_str().expect("UTF-8")).env("DOCKER_HOST", "")
        };
        let (one, other) = (here(one), here(other));
        one.ok(&[
            "context",
            "create",
            "mine",
            "--docker",
            &format!("host={host}"),
            "--description",
            "a text",
        ]);
        other.ok(&["context", "use", "mine"]);
        assert_eq!(one.ok(&["context", "show"]), "mine");
        one.ok(&["run", "--rm", "busybox", "true"]);
        other.ok(&["--context", "mine", "run", "--rm", "busybox", "true"]);
        other.ok(&["context", "update", "mine", "--description", "new"]);
        assert!(one.ok(&["context", "ls", "--format", "{{.Name}} {{.Description}}"]).contains("mine new"));
        other.fails(1, &["context", "rm", "mine"]);
        other.ok(&["context", "rm", "-f", "mine"]);
        assert_eq!(one.ok(&["context", "show"]), "default");

        let path = |name: &str| config.join(name).display().to_string();
        let tls = format!("host=tcp://10.0.0.1:2376,ca={0}/ca.pem,skip-tls-verify=true", config.display());
        let bad = tls.replace("ca.pem", "bad.pem");
        one.fails(1, &["context", "create", "tls", "--docker", &bad]).says("ca.pem seems invalid");
        one.ok(&["context", "create", "tls", "--docker", &tls]);
        one.ok(&["context", "export", "tls", &path("tls.tar")]);
        other.ok(&["context", "import", "copy", &path("tls.tar")]);
        let both: Vec<String> = ["tls", "copy"]
            .iter()
            .map(|name| {
                other.ok(&["context", "inspect", "-f", "{{json .Endpoints}} {{json .TLSMaterial}}", name])
            })
            .collect();
        assert_eq!(both[0], both[1]);
        assert!(both[0].contains("ca.pem") && both[0].contains("\"SkipTLSVerify\":true"), "{}", both[0]);
        let dir = one.ok(&["context", "inspect", "-f", "{{.Storage.TLSPath}}", "copy"]);
        assert_eq!(std::fs::read(Path::new(&dir).join("docker/ca.pem")).expect("ca.pem"), authority);
        one.ok(&["context", "rm", "tls", "copy"]);
        std::fs::remove_file(config.join("tls.tar")).expect("archive");
    }
}

/// The keys of config.json that change what a client does.
#[test]
fn config_json_is_read_alike() {
    let e = Engine::start();
    state(&e);
    let [docker, knarr] = both(&e);
    let config = e.fresh_dir("keys");
    let document = format!(
        r#"{{"psFormat": "table {{{{.Names}}}}\t{{{{.Image}}}}", "imagesFormat": "{{{{.Repository}}}}|{{{{.Tag}}}}",
            "networksFormat": "{{{{.Name}}}}", "volumesFormat": "{{{{.Name}}}}!", "statsFormat": "{{{{.Name}}}} stats",
            "HttpHeaders": {{"X-Meta": "value", "User-Agent": "nobody"}}, "detachKeys": "ctrl-x,x",
            "proxies": {{"default": {{"httpProxy": "http://default:1", "noProxy": "a,b"}},
                         "{}": {{"httpsProxy": "http://of-this-engine:2", "allProxy": "socks5://x"}}}}}}"#,
        e.host()
    );
    std::fs::write(config.join("config.json"), document).expect("config.json");
    let here = |client: &Cli| client.clone().env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
    let (docker, knarr) = (here(&docker), here(&knarr));
    let sorted = |o: &Output| {
        let mut lines: Vec<String> = o.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        (o.code, lines, o.stderr.clone())
    };
    for line in [
        "ps -a",
        "ps -aq",
        "ps -a --format {{.ID}}",
        "images",
        "images -q",
        "network ls",
        "volume ls",
        "stats --no-stream web",
        "run --rm --hostname same busybox env",
        "run --rm --hostname same -e https_proxy=mine busybox env",
        "exec web env",
    ] {
        let args = words(line);
        assert_eq!(sorted(&docker.run(&args)), sorted(&knarr.run(&args)), "{line}");
    }
    let env = knarr.ok(&["run", "--rm", "busybox", "env"]);
    assert!(env.contains("HTTPS_PROXY=http://of-this-engine:2") && !env.contains("default"), "{env}");
    for client in [&docker, &knarr] {
        let request = first_request(client, &["ps"]);
        assert!(request.to_lowercase().contains("\r\nx-meta: value\r\n"), "{request}");
        assert_eq!(request.to_lowercase().matches("\r\nuser-agent: ").count(), 1, "{request}");
        let own = (*client).clone().env("DOCKER_CUSTOM_HEADERS", "X-Other=a=b,\"X-More=c,d\"");
        let request = first_request(&own, &["ps"]).to_lowercase();
        assert!(
            request.contains("\r\nx-other: a=b\r\n") && request.contains("\r\nx-more: c,d\r\n"),
            "{request}"
        );
        assert!(!request.contains("x-meta"), "{request}");
        for (text, why) in
            [("X", "missing \"=\""), ("=x", "with an empty key"), ("\"", "must be formatted as")]
        {
            (*client).clone().env("DOCKER_CUSTOM_HEADERS", text).fails(1, &["ps"]).says(why);
        }
    }
    let _ = docker.run(&["rm", "-f", "cold"]);
}

/// A configuration file that cannot be used is told about, and nothing is written over it.
#[test]
fn an_unusable_config_json() {
    let e = Engine::start();
    for client in both(&e) {
        for (text, usable) in
            [("not json", false), ("[]", false), ("null", true), (" \n", true), ("{}", true)]
        {
            let config = e.fresh_dir("config");
            let file = config.join("config.json");
            std::fs::write(&file, text).expect("config.json");
            let here = client.clone().env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
            let o = here.run(&["ps", "-q"]).code(0);
            let warned = o.stderr.contains("WARNING: Error parsing config file (");
            assert_eq!(warned, !usable, "{}: {text}: {}", client.name, o.stderr);
            if client.name != "docker" && !usable {
                here.ok(&["context", "create", "other"]);
                here.fails(1, &["context", "use", "other"]).says("Error parsing config file");
                assert_eq!(std::fs::read_to_string(&file).expect("config.json"), text);
            }
        }
    }
}

/// What the file adds to every prune protects what is labelled so. (Docker's client 28 reads it, and then drops `label!` unless
/// the command line has a `label`.)
#[test]
fn standing_filters_of_prunes() {
    let e = Engine::start();
    let config = e.fresh_dir("prune");
    std::fs::write(config.join("config.json"), r#"{"pruneFilters": ["label!=keep"]}"#).expect("config.json");
    let client = e.knarr();
    let here = client.clone().env("DOCKER_CONFIG", config.to_str().expect("UTF-8"));
    client.ok(&["create", "--name", "kept", "--label", "keep", "busybox"]);
    client.ok(&["create", "--name", "not", "busybox"]);
    client.ok(&["volume", "create", "--label", "keep", "kept"]);
    client.ok(&["volume", "create", "not"]);
    client.ok(&["network", "create", "--label", "keep", "--internal", "kept"]);
    let asked = here.run_with_stdin(&["system", "prune"], b"n\n").code(0);
    assert!(asked.stdout.contains("with:\n  - label!=keep\n"), "{}", asked.stdout);
    here.ok(&["container", "prune", "-f"]);
    here.ok(&["volume", "prune", "-af"]);
    here.ok(&["network", "prune", "-f"]);
    here.ok(&["system", "prune", "-f", "--volumes"]);
    assert_eq!(client.ok(&["ps", "-a", "--format", "{{.Names}}"]), "kept");
    assert_eq!(client.ok(&["volume", "ls", "-q"]), "kept");
    client.ok(&["network", "inspect", "kept"]);
    client.ok(&["rm", "kept"]);
    client.ok(&["volume", "rm", "kept"]);
    client.ok(&["network", "rm", "kept"]);
}

/// Variables that stand for flags.
#[test]
fn variables_are_read_alike() {
    let e = Engine::start();
    let [docker, knarr] = both(&e);
    for (variable, value, line) in [
        ("DOCKER_DEFAULT_PLATFORM", "linux/amd64", "run --rm busybox echo ok"),
        ("DOCKER_DEFAULT_PLATFORM", "linux/arm64", "create --pull never busybox"),
        ("DOCKER_DEFAULT_PLATFORM", "linux/arm64", "run --rm --platform linux/amd64 busybox echo ok"),
        ("DOCKER_DEFAULT_PLATFORM", "linux/arm64", "image inspect -f {{.Architecture}} busybox"),
        ("DOCKER_DEFAULT_PLATFORM", "a/b/c/d", "create busybox"),
        ("DOCKER_CONTENT_TRUST", "0", "run --rm busybox echo ok"),
        ("DOCKER_CONTENT_TRUST", "1", "run --rm --disable-content-trust busybox echo ok"),
    ] {
        let [a, b] = [&docker, &knarr].map(|client| client.clone().env(variable, value).run(&words(line)));
        assert!(differences(line, &a, &b, true).is_none(), "{variable}={value} {line}: {a:?} {b:?}");
    }
    let arm = knarr.clone().env("DOCKER_DEFAULT_PLATFORM", "linux/arm64");
    assert!(arm.ok(&["run", "--help"]).contains("\"linux/arm64\")"));
    // a container of another platform than the one asked for is none
    arm.fails(1, &["create", "--pull", "never", "busybox"]);

    let hidden = |client: &Cli| {
        let text = client.clone().env("DOCKER_HIDE_LEGACY_COMMANDS", "1").ok(&["--help"]);
        (text.contains("\n  ps "), text.contains("\n  attach "), text.contains("\n  container "))
    };
    assert_eq!(hidden(&docker), (true, false, true));
    assert_eq!(hidden(&knarr), (true, false, true));
}

/// Nobody verifies images here: who wants them verified gets none rather than any.
#[test]
fn content_trust_is_refused() {
    let e = Engine::start();
    let trusting = e.knarr().env("DOCKER_CONTENT_TRUST", "1");
    let says = "content trust is asked for";
    trusting.fails(125, &["run", "--rm", "busybox", "true"]).says(says);
    trusting.fails(1, &["create", "busybox"]).says(says);
    trusting.fails(1, &["pull", "localhost:1/x"]).says(says);
    trusting.fails(1, &["push", "localhost:1/x"]).says(says);
    e.knarr().fails(125, &["run", "--rm", "--disable-content-trust=false", "busybox", "true"]).says(says);
    assert_eq!(e.knarr().ok(&["ps", "-aq"]), "");
    let odd = e.knarr().env("DOCKER_CONTENT_TRUST", "perhaps");
    odd.fails(1, &["create", "busybox"]).says(says);
}

/// Output that cannot be written is an error or a silent end, and never a panic.
#[test]
fn readers_that_go_away() {
    let e = Engine::start();
    e.docker().ok(&["run", "-d", "--name", "up", "busybox", "sleep", "600"]);
    let program = e.knarr().program.display().to_string();
    let shell = |line: &str| {
        let mut command = std::process::Command::new("bash");
        let line = line.replace('@', &program);
        command.env("DOCKER_HOST", e.host()).args(["-o", "pipefail", "-c", &line]);
        let output = command.output().expect("bash");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!stderr.contains("panicked"), "{line}: {stderr}");
        (output.status.code().unwrap_or(-1), stderr)
    };
    for command in
        ["--help", "ps --help", "help", "help ps", "--version", "ps", "inspect up", "images", "man run"]
    {
        let (code, stderr) = shell(&format!("@ {command} >/dev/full"));
        assert_eq!((code, stderr.as_str()), (1, "no space left on device\n"), "{command}");
        // the reader is gone before anything is written
        let (code, stderr) = shell(&format!("(sleep 0.3; exec @ {command}) | true"));
        assert_eq!((code, stderr.as_str()), (141, ""), "{command}");
        shell(&format!("@ {command} >&-"));
    }
    let (code, _) = shell("@ nosuch 2>/dev/full");
    assert_eq!(code, 1);
    let (code, _) = shell("(sleep 0.3; exec @ nosuch 2>&1) | true");
    assert_eq!(code, 1);
}

/// A program that does not read its input is no error, however much of it comes: both clients see the end, and not a
/// connection that was reset.
#[test]
fn input_that_nobody_reads() {
    let e = Engine::start();
    e.docker().ok(&["run", "-d", "--name", "up", "busybox", "sleep", "600"]);
    let much = vec![b'x'; 8 << 20];
    for client in e.clients() {
        for (line, text) in [
            ("run --rm -i busybox true", ""),
            ("run --rm -i busybox head -c 3", "xxx"),
            ("exec -i up true", ""),
            ("exec -i up head -c 3", "xxx"),
        ] {
            let o = client.run_with_stdin(&words(line), &much).code(0);
            assert_eq!((o.stdout.as_str(), o.stderr.as_str()), (text, ""), "{}: {line}", client.name);
        }
    }
}

/// The head of the first request about containers that a client sends.
fn first_request(client: &Cli, args: &[&str]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listener");
    let host = format!("tcp://{}", listener.local_addr().expect("address"));
    let server = std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().expect("connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.push(byte[0]);
            }
            let text = String::from_utf8_lossy(&head).into_owned();
            let body = if text.contains("/_ping") { "OK" } else { "[]" };
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            if text.contains("/containers/") {
                return text;
            }
        }
    });
    client.clone().env("DOCKER_HOST", &host).ok(args);
    server.join().expect("server")
}

/// `ssh://` with a stand-in for ssh that runs the command here: each client speaks through the other's `system dial-stdio`.
#[test]
fn engines_behind_ssh() {
    let e = Engine::start();
    let [docker, knarr] = both(&e);
    for (one, other) in [(&docker, &knarr), (&knarr, &docker)] {
        let dir = e.fresh_dir("ssh");
        std::os::unix::fs::symlink(&other.program, dir.join("docker")).expect("link");
        let ssh = format!(
            "#!/bin/sh\necho \"$@\" >>{0}/calls\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexport DOCKER_HOST={1}\nexec sh -c \"$*\"\n",
            dir.display(),
            e.host()
        );
        std::fs::write(dir.join("ssh"), ssh).expect("ssh");
        std::fs::set_permissions(dir.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("mode");
        let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
        let away = one.clone().env("DOCKER_HOST", "ssh://me@there:2222").env("PATH", &path);
        assert_eq!(
            away.ok(&["run", "--rm", "busybox", "echo", "through ssh"]),
            "through ssh",
            "{}",
            one.name
        );
        let o = away.run_with_stdin(&["run", "--rm", "-i", "busybox", "cat"], b"typed");
        assert_eq!((o.code, o.stdout.as_str()), (0, "typed"), "{}", one.name);
        let calls = std::fs::read_to_string(dir.join("calls")).expect("calls");
        assert!(calls.contains("-l me -p 2222") && calls.contains("there"), "{calls}");
    }
}
