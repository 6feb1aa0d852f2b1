//! Descriptors of the host, the program's own binary, sockets without a file: nothing of ours is within reach.
//! CVE-2016-9962, CVE-2019-5736, CVE-2020-15257, CVE-2024-21626.

use super::run;
use knarr_e2e::attack::{self, Bundle};
use knarr_e2e::command::eventually;
use knarr_e2e::tarball::Entry;
use knarr_e2e::{Cli, Engine, workspace};
use serde_json::json;
use std::time::Duration;

/// Executions while the first process looks at every process that appears.
const EXECS: usize = 120;
/// More descriptors than any part of the engine has open.
const HIGHEST: usize = 64;

/// Numbers of open descriptors, from lines of `attack fds`.
fn numbers(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.split_whitespace().next()).collect()
}

#[test]
fn only_three_descriptors_inside() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    let three = ["0", "1", "2"];
    for options in [&[][..], &["-t"], &["--init"], &["-i"], &["-t", "--init"], &["--privileged"]] {
        let o = run(&c, options, "attack:1", &["/attack", "fds"]);
        assert_eq!(numbers(&o.stdout), three, "run {options:?}: {o:?}");
        assert!(!o.stdout.contains(&e.dir.display().to_string()), "{o:?}");
    }
    for init in [&[][..], &["--init"]] {
        let mut args = vec!["run", "-d", "--name", "box"];
        args.extend(init);
        args.extend(["attack:1", "/attack", "sleep"]);
        c.ok(&args);
        for options in [&[][..], &["-t"], &["-i"], &["-u", "1000"], &["--privileged"]] {
            let mut args = vec!["exec"];
            args.extend(options);
            args.extend(["box", "/attack", "fds"]);
            let o = c.run(&args);
            assert_eq!(numbers(&o.stdout), three, "exec {options:?}: {o:?}");
        }
        // From outside: what the kernel says of each of its processes.
        for pid in c.ok(&["top", "box", "-eo", "pid"]).lines().skip(1) {
            let open =
                std::fs::read_dir(format!("/proc/{}/fd", pid.trim())).expect("descriptors of a process");
            let mut open: Vec<String> =
                open.flatten().map(|f| f.file_name().to_string_lossy().into_owned()).collect();
            open.sort();
            let own = |fd: &String| three.contains(&fd.as_str());
            // The program of --init waits for signals through a descriptor of its own; it leads nowhere.
            let strange: Vec<_> = open.iter().filter(|fd| !own(fd)).collect();
            for fd in &strange {
                let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", pid.trim())).unwrap_or_default();
                assert!(link.starts_with("anon_inode:[signalfd]"), "{pid}: {fd} is {}", link.display());
            }
            assert!(init.len() >= strange.len(), "{pid}: {open:?}");
        }
        c.ok(&["rm", "-f", "box"]);
    }
    assert_eq!(std::fs::read_to_string(marker).unwrap(), attack::SECRET);
}

#[test]
fn only_three_descriptors_inside_by_the_runtime() {
    let e = Engine::prepare(knarr_e2e::Options::new());
    let mut bundle = Bundle::new(&e.fresh_dir("bundle"), &["/attack", "fds"]);
    let o = bundle.run("fds");
    assert_eq!((numbers(&o.stdout), o.code), (vec!["0", "1", "2"], 0), "{o:?}");
    bundle.config["process"]["args"] = json!(["/attack", "sleep"]);
    let _ = bundle.runtime(&["create", "--bundle", "BUNDLE", "box"]).code(0);
    let _ = bundle.runtime(&["start", "box"]).code(0);
    let o = bundle.runtime(&["exec", "box", "/attack", "fds"]);
    let _ = bundle.runtime(&["delete", "--force", "box"]).code(0);
    assert_eq!((numbers(&o.stdout), o.code), (vec!["0", "1", "2"], 0), "{o:?}");
}

/// A first process that watches; gives what it has seen after `during`.
fn watched(c: &Cli, marker: &str, during: impl Fn()) -> String {
    c.ok(&["run", "-d", "--name", "watch", "attack:1", "/attack", "watch", marker]);
    eventually("the watcher", Duration::from_secs(20), || {
        c.ok(&["logs", "watch"]).contains("READY").then_some(())
    });
    during();
    let seen = c.ok(&["logs", "watch"]);
    c.ok(&["rm", "-f", "watch"]);
    let (processes, seen) =
        seen.lines().filter(|l| *l != "READY").partition::<Vec<_>, _>(|l| l.starts_with("SAW "));
    assert!(!processes.is_empty(), "the watcher has seen no process at all");
    seen.join("\n")
}

/// CVE-2016-9962 and CVE-2019-5736: between its birth in the container and its program, a process shows nothing of the host.
#[test]
fn a_first_process_sees_nothing_of_an_exec() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    let seen = watched(&c, &attack::below_root(&marker), || {
        for round in 0..EXECS {
            let options: &[&str] = match round % 4 {
                0 => &["exec", "watch", "/attack", "fds"],
                1 => &["exec", "-t", "watch", "/attack", "fds"],
                2 => &["exec", "-u", "1000", "-w", "/tmp", "watch", "/attack", "fds"],
                _ => &["exec", "--privileged", "watch", "/attack", "fds"],
            };
            assert_eq!(c.run(options).code, 0);
        }
    });
    assert_eq!(seen.trim(), "", "what the first process saw");
}

/// CVE-2019-5736: the program that is near the container is not the file on disk, and cannot be written.
#[test]
fn the_binary_cannot_be_overwritten_from_inside() {
    if workspace::peer().is_some() {
        return;
    }
    let (e, marker) = attack::engine();
    let script = "for n in 1 2 3; do for f in /proc/[0-9]*/exe /proc/self/exe /sbin/docker-init; do \
        (echo x >>$f) 2>/dev/null && echo $(readlink $f); done; done; true";
    let own = [
        Entry::file("entry", 0o755, b"#!/proc/self/exe\n"),
        Entry::symlink("self", "/proc/self/exe"),
        Entry::file("lib/libseccomp.so.2", 0o755, b"no library of an image is ever loaded"),
    ];
    assert_eq!(attack::load(&e, &attack::image("self:1", &own)).code, 0);
    let c = e.knarr();
    let before = std::fs::read(workspace::knarr()).expect("the binary");
    for command in
        [&["/entry"][..], &["/proc/self/exe", "version"], &["/self"], &["/sbin/docker-init", "true"]]
    {
        for options in [&[][..], &["--init"]] {
            let _ = run(&c, options, "self:1", command);
        }
    }
    for options in [&[][..], &["--init"]] {
        let mut args = vec!["run", "-d", "--name", "ow"];
        args.extend(options);
        args.extend(["self:1", "/attack", "sleep"]);
        c.ok(&args);
        // The image's own programs may be written; nothing else.
        let out = c.ok(&["exec", "ow", "sh", "-c", script]);
        let strange: Vec<_> = out.lines().filter(|l| !l.starts_with("/bin/") && *l != "/attack").collect();
        assert!(strange.is_empty(), "{options:?}: {strange:?}");
        for command in ["/entry", "/proc/self/exe", "/self"] {
            let _ = c.run(&["exec", "ow", command]);
        }
        c.ok(&["rm", "-f", "ow"]);
    }
    assert!(std::fs::read(workspace::knarr()).expect("the binary") == before, "the binary has changed");
    assert_eq!(std::fs::read_to_string(marker).unwrap(), attack::SECRET);
    // By the runtime's command line: the same program, without an engine.
    let mut bundle = Bundle::new(&e.fresh_dir("bundle"), &["/entry"]);
    std::fs::write(bundle.rootfs().join("entry"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(
        bundle.rootfs().join("entry"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let _ = bundle.run("self");
    bundle.config["process"]["args"] = json!(["/proc/self/exe", "--version"]);
    let _ = bundle.run("self");
    assert!(std::fs::read(workspace::knarr()).expect("the binary") == before, "the binary has changed");
}

/// CVE-2024-21626: a working directory through a descriptor of the runtime.
#[test]
fn a_working_directory_never_leads_out() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    let up = attack::below_root(&marker);
    c.ok(&["run", "-d", "--name", "box", "attack:1", "/attack", "sleep"]);
    for n in 0..HIGHEST {
        for dir in [format!("/proc/self/fd/{n}"), format!("/proc/self/fd/{n}/../..")] {
            let inside = ["/attack", "out", &up];
            for o in [
                run(&c, &["-w", &dir], "attack:1", &inside),
                c.run(&["exec", "-w", &dir, "box", "/attack", "out", &up]),
            ] {
                assert!(!o.stdout.contains("OUT"), "{o:?}");
                // A new directory of that name cannot be, so neither can the container. (The second form is `/proc/self` as soon
                // as it is cleaned, as Docker does.)
                assert!(o.code != 0 || dir.ends_with(".."), "{o:?}");
            }
            // Debug builds take their time; the second form is the first one's shadow.
            if n % 8 != 0 {
                break;
            }
        }
    }
    // The image decides too.
    for n in [0, 3, 5, 7, 8, 9, 10, 11, 20] {
        let image = attack::image("wd:1", &[]).config("WorkingDir", json!(format!("/proc/self/fd/{n}")));
        assert_eq!(attack::load(&e, &image).code, 0);
        let o = run(&c, &[], "wd:1", &["/attack", "out", &up]);
        assert!(o.code != 0 && !o.stdout.contains("OUT"), "{n}: {o:?}");
    }
    // A link in the image to such a place.
    let link = attack::image("wl:1", &[Entry::symlink("wd", "/proc/self/fd/7/../..")]);
    assert_eq!(attack::load(&e, &link.config("WorkingDir", json!("/wd"))).code, 0);
    let o = run(&c, &[], "wl:1", &["/attack", "out", &up]);
    assert!(o.code != 0 && !o.stdout.contains("OUT"), "{o:?}");
    c.ok(&["rm", "-f", "box"]);
    let mut bundle = Bundle::new(&e.fresh_dir("bundle"), &["/attack", "out", &up]);
    for n in 0..HIGHEST {
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{n}"));
        let o = bundle.run("wd");
        assert!(o.code != 0 && !o.stdout.contains("OUT"), "{n}: {o:?}");
    }
}

/// CVE-2020-15257: a container of the host's network reaches every socket without a file in that network namespace.
#[test]
fn no_socket_without_a_file() {
    let (e, _marker) = attack::engine();
    let c = e.knarr();
    c.ok(&["run", "-d", "--name", "one", "attack:1", "/attack", "sleep"]);
    c.ok(&["run", "-d", "--name", "two", "--init", "-t", "attack:1", "/attack", "sleep"]);
    let mut exec = c.spawn(&["exec", "-i", "one", "sh"]);
    let sockets = run(&c, &["--network", "host"], "attack:1", &["cat", "/proc/net/unix"]).code(0);
    assert!(sockets.stdout.lines().count() > 1, "the engine's own socket is there: {sockets:?}");
    // The engine has this network namespace for itself, so each of them would be the engine's or a supervisor's.
    let abstracts: Vec<_> = sockets.stdout.lines().filter(|l| l.contains(" @")).collect();
    assert!(abstracts.is_empty(), "{abstracts:#?}");
    let _ = exec.kill();
    let _ = exec.wait();
    c.ok(&["rm", "-f", "one", "two"]);
}
