//! Storage drivers through the client: what a user does goes the same way whatever containers are made of.

use knarr_e2e::command::eventually;
use knarr_e2e::disk::Disk;
use knarr_e2e::pack::{Form, Image};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::{Engine, Options, workspace};
use std::time::Duration;

macro_rules! knarr_only {
    () => {
        if workspace::peer().is_some() {
            return;
        }
    };
}

/// A day of a container. `maps`: the file system lets mounts map ids.
fn life(e: &mut Engine, driver: &str, maps: bool) {
    let c = e.docker();
    assert_eq!(c.ok(&["info", "-f", "{{.Driver}}"]), driver);
    assert!(c.ok(&["run", "--rm", "busybox", "cat", "/etc/passwd"]).lines().count() > 1);
    assert_eq!(
        c.ok(&["run", "--rm", "--read-only", "busybox", "sh", "-c", "echo x >/x || echo refused"]),
        "refused"
    );
    assert_eq!(c.ok(&["run", "--rm", "-u", "1000:7", "-v", "/vol", "busybox", "id", "-u"]), "1000");

    c.ok(&["run", "-d", "--name", "one", "busybox", "sleep", "600"]);
    assert_eq!(c.field("one", "{{.Driver}} {{.GraphDriver.Name}}"), format!("{driver} {driver}"));
    assert_eq!(c.ok(&["diff", "one"]), "", "nothing was done yet");
    c.ok(&[
        "exec",
        "one",
        "sh",
        "-c",
        "echo more >>/etc/passwd; rm /etc/group; mkdir /new; echo content >/new/file; \
        dd if=/dev/zero of=/new/large bs=1M count=3 2>/dev/null",
    ]);
    let changes = "C /etc\nD /etc/group\nC /etc/passwd\nA /new\nA /new/file\nA /new/large";
    assert_eq!(c.ok(&["diff", "one"]), changes);
    let size = c.ok(&["ps", "-s", "--format", "{{.Size}}"]);
    assert!(size.starts_with("3.15MB (virtual"), "{size}");
    let file = e.fresh("in");
    std::fs::write(&file, "copied in").unwrap();
    c.ok(&["cp", file.to_str().unwrap(), "one:/new/copied"]);
    let out = e.fresh("out");
    c.ok(&["cp", "one:/new/file", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "content\n");

    // The engine dies and comes back; the container stops, is looked at and starts again.
    e.crash_and_restart();
    assert_eq!(c.ok(&["exec", "one", "cat", "/new/copied"]), "copied in");
    c.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(
        c.ok(&["diff", "one"]),
        format!("{changes}\nA /new/copied")
            .replace("A /new/file\nA /new/large\nA /new/copied", "A /new/copied\nA /new/file\nA /new/large")
    );
    c.ok(&["cp", file.to_str().unwrap(), "one:/new/while-stopped"]);
    let exported = String::from_utf8_lossy(&c.bytes(&["export", "one"])).into_owned();
    assert!(exported.contains("new/while-stopped") && exported.contains("bin/busybox"));
    c.ok(&["start", "one"]);
    assert_eq!(c.ok(&["exec", "one", "cat", "/new/while-stopped"]), "copied in");

    // An image of it, and one of that.
    c.ok(&["commit", "one", "committed"]);
    let look = "cat /new/copied; ls /etc/group 2>/dev/null; tail -n 1 /etc/passwd; rm /new/large";
    assert_eq!(c.ok(&["run", "--name", "two", "committed", "sh", "-c", look]), "copied inmore");
    assert_eq!(c.ok(&["diff", "two"]), "C /new\nD /new/large");
    c.ok(&["commit", "two", "again"]);
    assert_eq!(c.ok(&["run", "--rm", "again", "ls", "/new"]), "copied\nfile\nwhile-stopped");

    // Ids of its own: the same files.
    let owners = "stat -c %u:%g /etc/passwd; echo x >/made; stat -c %u /made; cat /proc/self/uid_map";
    let mapped = ["run", "--name", "mapped", "--userns", "auto", "busybox", "sh", "-c", owners];
    if maps {
        let shown = e.knarr().ok(&mapped);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[..2], ["0:0", "0"], "{shown}");
        assert_ne!(lines[2].split_whitespace().nth(1), Some("0"), "{shown}");
        assert_eq!(c.ok(&["diff", "mapped"]), "A /made");
    } else {
        e.knarr().run(&mapped).says("id-mapped");
    }

    c.ok(&["rm", "-f", "one", "two", "mapped"]);
    c.ok(&["rmi", "again", "committed"]);
    e.assert_no_leaks();
    c.ok(&["rmi", "busybox"]);
    eventually("layers and trees of images are gone", Duration::from_secs(20), || {
        let count = |dir: &str| {
            std::fs::read_dir(e.data().join(dir))
                .map_or(0, |dir| dir.flatten().filter(|d| d.path().is_dir()).count())
        };
        // The layer of mount points stays.
        ((count("layers"), count("btrfs"), count("trash"), count("tmp")) == (1, 0, 0, 0)).then_some(())
    });
}

#[test]
fn snapshots_on_btrfs() {
    knarr_only!();
    let Some(disk) = Disk::new("btrfs") else { return };
    life(&mut Options::new().data_on(&disk).arg("--storage-driver=btrfs").start(), "btrfs", true);
}

#[test]
fn copies_that_share_blocks_on_xfs() {
    knarr_only!();
    let Some(disk) = Disk::new("xfs") else { return };
    life(&mut Options::new().data_on(&disk).arg("--storage-driver=vfs").start(), "vfs", true);
}

/// As in a container without a volume for the data root: no overlay goes on an overlay, and no whiteout can be kept.
#[test]
fn copies_where_no_overlay_can_be() {
    knarr_only!();
    let Some(disk) = Disk::new("overlay") else { return };
    // Nor can ids be mapped on one.
    life(&mut Options::new().data_on(&disk).start(), "vfs", false);
}

#[test]
fn overlays_on_this_disk() {
    knarr_only!();
    life(&mut Options::new().arg("--storage-driver=overlay2").start(), "overlay2", true);
}

/// Another runtime finds the container's own directory; for an overlay it gets a mount.
#[test]
fn another_runtime_runs_on_any_driver() {
    knarr_only!();
    let Some(runc) = workspace::on_path("runc") else { return };
    let Some(disk) = Disk::new("btrfs") else { return };
    for driver in ["btrfs", "vfs"] {
        let options = Options::new().data_on(&disk).arg(&format!("--storage-driver={driver}"));
        let e = options.arg(&format!("--add-runtime=other={}", runc.display())).start();
        let c = e.docker();
        let script = "echo text >/made; cat /made";
        let shown = c.ok(&["run", "--name", "other", "--runtime", "other", "busybox", "sh", "-c", script]);
        assert_eq!(shown, "text", "{driver}");
        assert_eq!(c.ok(&["diff", "other"]), "A /made", "{driver}");
        e.assert_no_leaks();
    }
}

/// Containers are kept as they were made; new ones are made the other way.
#[test]
fn a_driver_can_be_changed() {
    knarr_only!();
    let Some(disk) = Disk::new("btrfs") else { return };
    let mut e = Options::new().data_on(&disk).start();
    let c = e.docker();
    c.ok(&["run", "--name", "overlay2", "busybox", "sh", "-c", "echo text >/file"]);
    for driver in ["btrfs", "vfs"] {
        e.stop();
        e.set_arg("--storage-driver", driver);
        e.launch();
        c.ok(&["run", "--name", driver, "busybox", "sh", "-c", "echo text >/file"]);
    }
    e.stop();
    e.set_arg("--storage-driver", "overlay2");
    e.launch();
    assert!(!e.data().join("btrfs").exists(), "trees that nobody needs");
    for name in ["overlay2", "btrfs", "vfs"] {
        assert_eq!(c.field(name, "{{.GraphDriver.Name}}"), name);
        assert_eq!(c.ok(&["diff", name]), "A /file", "{name}");
        c.ok(&["start", "-a", name]);
        c.ok(&["commit", name, &format!("of-{name}")]);
        assert_eq!(c.ok(&["run", "--rm", &format!("of-{name}"), "cat", "/file"]), "text");
        c.ok(&["rm", name]);
    }
    e.assert_no_leaks();
}

/// The engine dies while it makes and removes containers; nothing of them stays, and the next one is whole.
#[test]
fn death_while_containers_are_made() {
    knarr_only!();
    let Some(binary) = workspace::knarr_with_failpoints() else { return };
    for (kind, driver, points) in
        [("btrfs", "btrfs", &["driver.chain", "driver.made"][..]), ("xfs", "vfs", &["driver.made"])]
    {
        let Some(disk) = Disk::new(kind) else { continue };
        let driver = format!("--storage-driver={driver}");
        let options = Options { binary: Some(binary.clone()), ..Options::new() };
        let mut e = options.data_on(&disk).arg(&driver).start();
        for point in points {
            e.kill9();
            e.set_env("KNARR_FAILPOINT", Some(&format!("{point}=kill")));
            e.launch();
            let c = e.docker();
            drop(c.run(&["create", "--name", "dies", "busybox", "true"]));
            e.kill9();
            e.set_env("KNARR_FAILPOINT", None);
            e.launch();
            assert_eq!(c.ok(&["ps", "-aq"]), "", "{point}");
            assert_eq!(c.ok(&["run", "--name", "dies", "busybox", "echo", "fine"]), "fine", "{point}");
            c.ok(&["rm", "dies"]);
            e.assert_no_leaks();
        }
    }
}

#[test]
fn drivers_that_cannot_be_are_refused() {
    knarr_only!();
    let Some(disk) = Disk::new("overlay") else { return };
    for (driver, text) in [
        ("overlay2", "storage driver overlay2 cannot be used: "),
        ("btrfs", "is not on btrfs"),
        ("aufs", "expected overlay2, btrfs or vfs"),
    ] {
        let mut e = Engine::prepare(
            Options::new().may_leak().data_on(&disk).arg(&format!("--storage-driver={driver}")),
        );
        e.spawn_daemon();
        assert_ne!(e.wait_death(Duration::from_secs(20)), 0, "{driver}");
        assert!(e.log_tail().contains(text), "{driver}: {}", e.log_tail());
    }
}

/// Docker stops at 127.
#[test]
fn images_of_many_layers_run_and_grow() {
    knarr_only!();
    let e = Engine::start();
    let c = e.docker();
    let busybox = workspace::on_path("busybox").expect("busybox");
    let mut layers = vec![knarr_e2e::images::busybox_layer(&busybox)];
    layers.extend((0..220).map(|n: u32| {
        archive(&[
            Entry::file("last", 0o644, n.to_string().as_bytes()),
            Entry::file(&format!("many/{n}"), 0o644, b"x"),
        ])
    }));
    let tar = e.fresh("many.tar");
    Image::new("many:latest", layers).write(&tar, Form::DockerSave);
    e.load(&tar);
    assert_eq!(
        c.ok(&["run", "--name", "grows", "many", "sh", "-c", "ls /many | wc -l; cat /last; rm /many/7"]),
        "220\n219"
    );
    assert_eq!(c.ok(&["diff", "grows"]), "C /many\nD /many/7");
    c.ok(&["commit", "grows", "more"]);
    assert_eq!(
        e.knarr().ok(&["run", "--rm", "--userns", "auto", "more", "sh", "-c", "ls /many | wc -l"]),
        "219"
    );
    assert_eq!(c.ok(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "more"]), "222");
}
