//! Hooks run where and when they should.
use crate::bundle::Bundle;
use knarr_oci::runtime::{Hook, Hooks};
use std::fs;

pub const TESTS: &[(&str, fn())] = &[
    ("hooks::run_in_order", run_in_order),
    ("hooks::a_failure_ends_it", a_failure_ends_it),
    ("hooks::mounts_are_seen_below_the_root", mounts_are_seen_below_the_root),
    ("hooks::input_that_nobody_reads", input_that_nobody_reads),
];

fn hook(script: &str, timeout: Option<i64>) -> Hook {
    Hook {
        path: "/bin/busybox".into(),
        args: ["sh", "sh", "-c", script].iter().skip(1).map(|&a| a.to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned()],
        timeout,
    }
}

fn run_in_order() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let path = log.path().to_str().unwrap().to_owned();
    let note = |name: &str| {
        vec![hook(&format!("cat | grep -o '\"status\":\"[a-z]*\"' >> {path}; echo {name} >> {path}"), None)]
    };
    let mut bundle = Bundle::new(&["cat", "/started"]);
    bundle.spec.hooks = Some(Hooks {
        prestart: note("prestart"),
        create_runtime: note("createRuntime"),
        create_container: note("createContainer"),
        start_container: vec![hook("echo in $(hostname) as $(cat | grep -c pid) > /started", None)],
        poststart: note("poststart"),
        ..Hooks::default()
    });
    let host = &bundle.id[bundle.id.len() - 8..];
    assert_eq!(bundle.output(), format!("in {host} as 1\n"));
    let text = fs::read_to_string(log.path()).unwrap();
    let names: Vec<&str> = text.lines().filter(|l| !l.starts_with('"')).collect();
    assert_eq!(names, ["prestart", "createRuntime", "createContainer", "poststart"]);
    assert_eq!(text.matches("created").count(), 3);
    assert_eq!(text.matches("running").count(), 1);
}

fn a_failure_ends_it() {
    for kind in 0..4 {
        let mut bundle = Bundle::new(&["true"]);
        let mut hooks = Hooks::default();
        let failing = vec![hook("exit 3", None)];
        match kind {
            0 => hooks.prestart = failing,
            1 => hooks.create_runtime = failing,
            2 => hooks.create_container = failing,
            _ => hooks.start_container = failing,
        }
        bundle.spec.hooks = Some(hooks);
        let error = bundle.run().map(|outcome| outcome.exit).unwrap_err().to_string();
        let name = ["prestart", "createRuntime", "createContainer", "startContainer"][kind];
        assert!(error.starts_with(&format!("error running {name} hook #0: ")), "{error}");
        assert!(error.ends_with("exit status 3"), "{error}");
        assert!(!bundle.cgroup().exists());
    }
    let mut bundle = Bundle::new(&["true"]);
    bundle.spec.hooks = Some(Hooks { prestart: vec![hook("sleep 100", Some(1))], ..Hooks::default() });
    let error = bundle.run().map(|o| o.exit).unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");
}

/// Where hooks that add libraries of drivers look for them, and what a hook in the container has of the program.
fn mounts_are_seen_below_the_root() {
    let mut bundle = Bundle::new(&["cat", "/seen"]);
    bundle.overlay = false;
    let root = bundle.lower().display().to_string();
    bundle.process().env.push("ONE=two".to_owned());
    bundle.spec.hooks = Some(Hooks {
        create_container: vec![hook(&format!("test -e {root}/proc/self && test -c {root}/dev/null"), None)],
        start_container: vec![Hook { env: Vec::new(), ..hook("echo $ONE > /seen", None) }],
        ..Hooks::default()
    });
    assert_eq!(bundle.output(), "two\n");
    let signalled = vec![hook("kill -9 $$", None)];
    bundle.spec.hooks = Some(Hooks { start_container: signalled, ..Hooks::default() });
    let error = bundle.run().map(|outcome| outcome.exit).unwrap_err().to_string();
    assert_eq!(error, "error running startContainer hook #0: signal: killed");
}

/// A state that is longer than a pipe, and hooks that do not care for it, in the parent and in the new process.
fn input_that_nobody_reads() {
    let mut bundle = Bundle::new(&["echo", "ran"]);
    bundle.spec.annotations.insert("long".to_owned(), "x".repeat(200 << 10));
    let idle = vec![hook("exit 0", Some(5))];
    let length = vec![hook("test $(wc -c) -gt 204800", Some(5))];
    bundle.spec.hooks = Some(Hooks {
        create_runtime: idle.clone(),
        create_container: [idle.clone(), length].concat(),
        start_container: idle,
        ..Hooks::default()
    });
    assert_eq!(bundle.output(), "ran\n");
    for in_init in [false, true] {
        let slow = vec![hook("sleep 100", Some(1))];
        let (create_runtime, create_container) = if in_init { (vec![], slow) } else { (slow, vec![]) };
        bundle.spec.hooks = Some(Hooks { create_runtime, create_container, ..Hooks::default() });
        let begin = std::time::Instant::now();
        assert!(bundle.run().is_err());
        assert!(begin.elapsed() < std::time::Duration::from_secs(20), "the timeout holds");
    }
}
