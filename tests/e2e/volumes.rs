//! Volumes and mounts: what Docker's clients do with them, and what is left on the host.

use knarr_e2e::attack;
use knarr_e2e::command::eventually;
use knarr_e2e::tarball::Entry;
use knarr_e2e::{Cli, Engine, Options};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// `run --rm OPTIONS busybox sh -c SCRIPT`
#[track_caller]
fn sh(c: &Cli, options: &[&str], script: &str) -> String {
    let mut args = vec!["run", "--rm"];
    args.extend(options);
    args.extend(["busybox", "sh", "-c", script]);
    c.ok(&args)
}

/// A container that runs until it is stopped.
fn sleeper(c: &Cli, name: &str, options: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name, "--stop-signal", "KILL"];
    args.extend(options);
    args.extend(["busybox", "sleep", "600"]);
    c.ok(&args);
}

fn is_mounted(e: &Engine, volume: &str) -> bool {
    let place = e.data().join("volumes").join(volume).join("_data").canonicalize().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == place.to_str())
}

#[test]
fn a_volume_with_a_file_system_of_its_own_lives_as_long_as_its_users() {
    let mut e = Engine::start();
    let c = e.knarr();
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,uid=1000"];
    c.ok(&[&["volume", "create"], &options[..], &["ram"]].concat());
    let shown = e.docker().ok(&["volume", "inspect", "-f", "{{json .Options}}", "ram"]);
    assert_eq!(shown, r#"{"device":"tmpfs","o":"size=1m,uid=1000","type":"tmpfs"}"#);
    assert!(!is_mounted(&e, "ram"), "nobody uses it");
    sleeper(&c, "one", &["-v", "ram:/ram"]);
    sleeper(&c, "two", &["-v", "ram:/ram:ro"]);
    assert!(is_mounted(&e, "ram"));
    c.ok(&["exec", "one", "sh", "-c", "echo shared >/ram/file"]);
    assert_eq!(c.ok(&["exec", "two", "sh", "-c", "cat /ram/file; stat -c %u /ram"]), "shared\n1000");
    let full = c.run(&["exec", "one", "dd", "if=/dev/zero", "of=/ram/x", "bs=1M", "count=2"]);
    assert!(full.code == 1 && full.stderr.contains("No space left"), "{}", full.stderr);
    e.crash_and_restart();
    c.ok(&["rm", "-f", "one"]);
    assert!(is_mounted(&e, "ram"), "two uses it, also after a restart of the engine");
    assert_eq!(c.ok(&["exec", "two", "cat", "/ram/file"]), "shared");
    c.fails(1, &["volume", "rm", "ram"]).says("volume is in use");
    c.ok(&["stop", "two"]);
    eventually("it is unmounted", LIMIT, || (!is_mounted(&e, "ram")).then_some(()));
    // For a copy it is mounted again, as long as that takes.
    let copy = e.fresh("copy");
    c.ok(&["cp", "two:/ram", copy.to_str().unwrap()]);
    assert!(copy.is_dir() && !is_mounted(&e, "ram"));
    c.ok(&["rm", "two"]);
    c.ok(&["volume", "rm", "ram"]);
}

/// What watchers of a machine are started with: `/` of the host, by its name or by another one, is not the container's own.
#[test]
fn the_hosts_root_is_shown() {
    let e = Engine::start();
    let c = e.knarr();
    let own = e.fresh_dir("marker");
    std::fs::write(own.join("file"), "of the host").unwrap();
    std::os::unix::fs::symlink("/", own.join("root")).unwrap();
    let file = own.join("file").canonicalize().unwrap();
    let link = format!("{}:/link:ro", own.join("root").display());
    let script = format!("cat /host{0} /link{0}", file.display());
    for options in [&["-v", "/:/host:ro", "-v", &link][..], &["-v", "/:/host:ro,rslave", "-v", &link]] {
        assert_eq!(sh(&c, options, &script), "of the hostof the host", "{options:?}");
    }
}

#[test]
fn volumes_that_lie_elsewhere() {
    let e = Engine::start();
    for c in e.clients() {
        let dir = e.fresh_dir("elsewhere");
        std::fs::write(dir.join("file"), "there").unwrap();
        let device = format!("device={}", dir.display());
        c.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", &device, "dir"]);
        assert_eq!(
            sh(&c, &["-v", "dir:/d"], "cat /d/file; echo; touch /d/new 2>&1 | grep -o Read-only"),
            "there\nRead-only"
        );
        assert_eq!(
            c.ok(&["volume", "prune", "-af"]),
            "Total reclaimed space: 0B",
            "what lies elsewhere stays"
        );
        c.ok(&["volume", "rm", "dir"]);
        assert!(dir.join("file").exists());
        // By --mount, made on the way.
        let mount = format!(
            "type=volume,src=made,dst=/d,volume-opt=type=none,volume-opt=o=bind,volume-opt={device},volume-label=by=mount"
        );
        assert_eq!(sh(&c, &["--mount", &mount], "cat /d/file"), "there");
        assert_eq!(c.ok(&["volume", "ls", "-q", "--filter", "label=by=mount"]), "made");
        c.ok(&["volume", "rm", "made"]);
    }
}

#[test]
fn driver_options_that_do_not_work() {
    let e = Engine::start();
    for c in e.clients() {
        let create = |options: &[&str]| c.fails(1, &[&["volume", "create"], options, &["bad"]].concat());
        create(&["-o", "foo=bar"]).says("create bad: invalid option: \"foo\"");
        create(&["-o", "type=tmpfs"]).says("create bad: missing required option: \"device\"");
        create(&["-o", "size=1x"]).says("create bad: invalid suffix: 'x'");
        create(&["-d", "nosuch"]).says("nosuch");
        assert_eq!(c.ok(&["volume", "ls", "-q"]), "");
        let nfs = ["-o", "type=nfs", "-o", "device=:/export", "-o", "o=addr=127.0.0.1,password=secret"];
        c.ok(&[&["volume", "create"], &nfs[..], &["far"]].concat());
        let failed = c.fails(125, &["run", "--name", "xx", "-v", "far:/far", "busybox", "true"]);
        failed
            .says("error while mounting volume '")
            .says("failed to mount local volume: mount :/export:")
            .says("data: addr=127.0.0.1,password=********");
        c.run(&["rm", "-f", "xx"]);
        c.ok(&["volume", "rm", "far"]);
    }
}

/// On a file system without project quotas, which nearly all are.
#[test]
fn a_size_needs_quotas() {
    let e = Engine::start();
    for c in e.clients() {
        let made = c.run(&["volume", "create", "-o", "size=16m", "small"]);
        if made.code == 0 {
            let out = c.run(&[
                "run",
                "--rm",
                "-v",
                "small:/s",
                "busybox",
                "dd",
                "if=/dev/zero",
                "of=/s/x",
                "bs=1M",
                "count=32",
            ]);
            assert!(
                out.code == 1 && (out.stderr.contains("quota") || out.stderr.contains("space")),
                "{}",
                out.stderr
            );
            c.ok(&["volume", "rm", "small"]);
            continue;
        }
        made.says("create small: quota size requested but no quota support");
        assert_eq!(c.ok(&["volume", "ls", "-q"]), "");
        assert!(!e.data().join("volumes/small").exists());
    }
}

#[test]
fn the_images_content_comes_with_its_owners() {
    let e = Engine::start();
    for c in e.clients() {
        let facts = "stat -c '%u %g %a' /home/tester /var/spool/mail";
        let both = ["-v", "home:/home/tester", "-v", "mail:/var/spool/mail:nocopy"];
        assert_eq!(sh(&c, &both, facts), "1000 1000 755\n0 0 755");
        let mount = "type=volume,src=other,dst=/home/tester,volume-nocopy";
        assert_eq!(sh(&c, &["--mount", mount], "stat -c %u /home/tester"), "0");
        // Of a volume that has something nothing is replaced.
        sh(&c, &["-v", "full:/v"], "echo mine >/v/passwd");
        assert_eq!(
            sh(&c, &["-v", "full:/etc"], "cat /etc/passwd; ls /etc | wc -l").lines().next(),
            Some("mine")
        );
        for volume in ["home", "mail", "other", "full"] {
            c.ok(&["volume", "rm", volume]);
        }
    }
}

#[test]
fn volumes_of_another_container() {
    let e = Engine::start();
    for c in e.clients() {
        let host = e.fresh_dir("bound");
        let bind = format!("{}:/bound", host.display());
        sleeper(&c, "first", &["-v", "/anonymous", "-v", "named:/named", "-v", &bind]);
        c.ok(&["exec", "first", "sh", "-c", "echo 1 >/anonymous/f; echo 2 >/named/f; echo 3 >/bound/f"]);
        assert_eq!(
            sh(&c, &["--volumes-from", "first"], "cat /anonymous/f /named/f /bound/f; echo x >/named/g"),
            "1\n2\n3"
        );
        let ro = sh(
            &c,
            &["--volumes-from", "first:ro"],
            "touch /named/h /bound/h /anonymous/h 2>&1 | grep -c Read-only",
        );
        assert_eq!(ro, "3");
        c.fails(125, &["run", "--rm", "--volumes-from", "first:rslave", "busybox", "true"])
            .says("invalid mode: rslave");
        c.fails(125, &["run", "--rm", "--volumes-from", "nosuch", "busybox", "true"])
            .says("No such container: nosuch");
        // The anonymous volume goes with the last one that is removed with its volumes.
        sleeper(&c, "second", &["--volumes-from", "first"]);
        c.ok(&["rm", "-f", "-v", "second"]);
        assert_eq!(c.ok(&["exec", "first", "cat", "/anonymous/f"]), "1");
        c.ok(&["rm", "-f", "-v", "first"]);
        assert_eq!(c.ok(&["volume", "ls", "-q"]), "named");
        c.ok(&["volume", "rm", "named"]);
    }
}

#[test]
fn files_of_an_image() {
    let mut e = Engine::with(Options::new().images(&["busybox.tar", "awkward.tar"]));
    for c in e.clients() {
        let whole = ["--mount", "type=image,source=awkward,target=/i"];
        let out = sh(&c, &whole, "cat /i/w/stays; echo; touch /i/x 2>&1 | grep -o Read-only");
        assert_eq!(out, "stays\nRead-only");
        let part = ["--mount", "type=image,source=awkward,target=/i,image-subpath=w"];
        assert_eq!(sh(&c, &part, "cat /i/stays"), "stays");
        let file = ["--mount", "type=image,source=awkward,target=/etc/one,image-subpath=w/stays"];
        assert_eq!(sh(&c, &file, "cat /etc/one"), "stays");
        c.fails(
            125,
            &[
                "run",
                "--rm",
                "--mount",
                "type=image,source=awkward,target=/i,image-subpath=nosuch",
                "busybox",
                "true",
            ],
        )
        .says("nosuch");
        c.fails(
            125,
            &[
                "run",
                "--rm",
                "--mount",
                "type=image,source=awkward,target=/i,image-subpath=../etc",
                "busybox",
                "true",
            ],
        )
        .says("subpath must be a relative path within the volume");
        c.fails(
            125,
            &[
                "run",
                "--rm",
                "--pull",
                "never",
                "--mount",
                "type=image,source=nosuch,target=/i",
                "busybox",
                "true",
            ],
        )
        .says("nosuch");
    }
    // Its layers stay as long as a container has them mounted, whatever becomes of the image.
    let c = e.knarr();
    sleeper(&c, "holds", &["--mount", "type=image,source=awkward,target=/i"]);
    let mount = c.inspect("holds")["Mounts"][0].clone();
    assert_eq!(
        (&mount["Type"], &mount["Name"], &mount["RW"]),
        (&"image".into(), &"awkward".into(), &false.into())
    );
    c.ok(&["rmi", "-f", "awkward"]);
    e.crash_and_restart();
    c.ok(&["restart", "holds"]);
    assert_eq!(c.ok(&["exec", "holds", "cat", "/i/w/stays"]), "stays");
    c.ok(&["stop", "holds"]);
    let copy = e.fresh("copied");
    c.ok(&["cp", "holds:/i/w/stays", copy.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(copy).unwrap(), "stays");
    c.ok(&["rm", "holds"]);
}

/// Mounts that are made on the host later come into a container only if it was asked for, and the other way round.
#[test]
fn how_mounts_travel() {
    let e = Engine::start();
    let c = e.knarr();
    let dir = e.fresh_dir("travel");
    let d = dir.to_str().unwrap();
    std::fs::create_dir(dir.join("sub")).unwrap();
    let on_host = |script: &str| {
        let out = std::process::Command::new("sh").args(["-ec", script]).output().unwrap();
        assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    };
    on_host(&format!("mount --bind {d} {d}; mount --make-private {d}"));
    let refused = c.fails(125, &["run", "--rm", "-v", &format!("{d}:/x:rshared"), "busybox", "true"]);
    refused.says(&format!("path {d} is mounted on {d} but it is not a shared mount"));
    on_host(&format!("mount --make-shared {d}"));
    sleeper(&c, "slave", &["-v", &format!("{d}:/x:rslave")]);
    sleeper(&c, "own", &["-v", &format!("{d}:/x")]);
    sleeper(&c, "shared", &["-v", &format!("{d}:/x:rshared"), "--privileged"]);
    on_host(&format!("mount -t tmpfs tmpfs {d}/sub; touch {d}/sub/later"));
    assert_eq!(c.ok(&["exec", "slave", "ls", "/x/sub"]), "later");
    assert_eq!(c.ok(&["exec", "own", "ls", "/x/sub"]), "");
    assert_eq!(c.ok(&["exec", "shared", "ls", "/x/sub"]), "later");
    c.ok(&["exec", "shared", "sh", "-c", "mkdir /x/in; mount -t tmpfs tmpfs /x/in; touch /x/in/seen"]);
    assert!(dir.join("in/seen").exists(), "a mount of the container is the host's too");
    on_host(&format!("umount {d}/in {d}/sub"));
    c.ok(&["rm", "-f", "slave", "own", "shared"]);
    on_host(&format!("umount -l {d}"));
}

#[test]
fn how_deep_read_only_goes() {
    let e = Engine::start();
    let dir = e.fresh_dir("deep");
    let d = dir.to_str().unwrap().to_owned();
    std::fs::create_dir(dir.join("sub")).unwrap();
    std::fs::write(dir.join("sub/below"), "").unwrap();
    let mount =
        std::process::Command::new("mount").args(["-t", "tmpfs", "tmpfs", &format!("{d}/sub")]).status();
    assert!(mount.unwrap().success());
    for c in e.clients() {
        let write = |how: &str| {
            let mount = format!("type=bind,src={d},dst=/x,readonly{how}");
            c.run(&["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", "touch /x/sub/f && ls /x/sub"])
        };
        assert_eq!(write("").code, 1, "all of it");
        assert_eq!(write(",bind-recursive=readonly,bind-propagation=rprivate").code, 1);
        assert_eq!(write(",bind-recursive=writable").code(0).stdout.trim(), "f");
        let alone = format!("type=bind,src={d},dst=/x,bind-recursive=disabled");
        assert_eq!(sh(&c, &["--mount", &alone], "ls /x/sub"), "below", "without what is mounted below");
    }
    assert!(std::process::Command::new("umount").arg(format!("{d}/sub")).status().unwrap().success());
}

#[test]
fn sources_are_made_when_asked_for() {
    let e = Engine::start();
    let c = e.knarr();
    let missing = e.fresh("missing");
    let mount = |more: &str| format!("type=bind,src={},dst=/x{more}", missing.display());
    c.fails(125, &["run", "--rm", "--mount", &mount(""), "busybox", "true"])
        .says("bind source path does not exist");
    sh(&c, &["--mount", &mount(",bind-create-src")], "true");
    assert!(missing.is_dir());
    std::fs::remove_dir(&missing).unwrap();
    let body = serde_json::json!({
        "Image": "busybox", "Cmd": ["true"],
        "HostConfig": {"Mounts": [{
            "Type": "bind", "Source": missing, "Target": "/x", "BindOptions": {"CreateMountpoint": true}
        }]}
    });
    let id = e.api().post("/containers/create", &body.to_string()).expect(201).json()["Id"].clone();
    e.api().post(&format!("/containers/{}/start", id.as_str().unwrap()), "").expect(204);
    assert!(missing.is_dir());
}

#[test]
fn tmpfs_options() {
    let e = Engine::start();
    for c in e.clients() {
        let options = |o: &str| sh(&c, &["--tmpfs", o], "grep ' /t ' /proc/mounts");
        assert!(
            options("/t:exec,suid,dev").contains("tmpfs /t tmpfs rw,relatime"),
            "{}",
            options("/t:exec,suid,dev")
        );
        assert!(options("/t:ro,size=64k").contains(" ro,nosuid,nodev,noexec,relatime,size=64k"));
        let refused = c.fails(125, &["run", "--rm", "--tmpfs", "/t:foo=bar", "busybox", "true"]);
        refused.says(r#"invalid tmpfs option ["foo" "bar"]"#);
        c.fails(125, &["run", "--rm", "--tmpfs", "/", "busybox", "true"]).says("destination can't be '/'");
        // The image's content is not there, and nothing is left.
        assert_eq!(sh(&c, &["--tmpfs", "/etc"], "ls /etc | grep -c passwd; true"), "0");
    }
    let body = serde_json::json!({
        "Image": "busybox", "Cmd": ["sh", "-c", "cp /bin/busybox /t/busybox && /t/busybox true"],
        "HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Options": [["exec"]]}}]}
    });
    let id = e.api().post("/containers/create?name=exec", &body.to_string()).expect(201).json()["Id"].clone();
    e.api().post(&format!("/containers/{}/start", id.as_str().unwrap()), "").expect(204);
    assert_eq!(e.knarr().ok(&["wait", "exec"]), "0");
}

#[test]
fn which_volumes_prune_takes() {
    let e = Engine::start();
    for c in e.clients() {
        let all = || {
            let mut names: Vec<String> = c.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect();
            names.retain(|name| name.len() < 64);
            names
        };
        c.ok(&["volume", "create", "--label", "keep=1", "kept"]);
        c.ok(&["volume", "create", "--label", "drop=1", "dropped"]);
        c.ok(&["volume", "create", "used"]);
        let anonymous = c.ok(&["volume", "create"]);
        sleeper(&c, "user", &["-v", "used:/u"]);
        assert_eq!(c.ok(&["volume", "ls", "-q", "--filter", "dangling=false"]), "used");
        assert_eq!(
            c.ok(&["volume", "ls", "-q", "--filter", "dangling=true", "--filter", "name=pp"]),
            "dropped"
        );
        let pruned = c.ok(&["volume", "prune", "-f"]);
        assert!(pruned.contains(&anonymous) && !pruned.contains("kept"), "{pruned}");
        c.ok(&["volume", "prune", "-f", "--filter", "all=1", "--filter", "label=drop"]);
        assert_eq!(all(), ["kept", "used"]);
        c.ok(&["volume", "prune", "-af", "--filter", "label!=keep"]);
        assert_eq!(all(), ["kept", "used"]);
        c.fails(1, &["volume", "prune", "-f", "--filter", "until=1h"]).says("invalid filter 'until'");
        let id = c.inspect("user")["Id"].as_str().unwrap().to_owned();
        c.fails(1, &["volume", "rm", "used"]).says(&format!("remove used: volume is in use - [{id}]"));
        c.ok(&["rm", "-f", "user"]);
        c.ok(&["volume", "prune", "-af"]);
        assert!(all().is_empty());
        c.fails(1, &["volume", "rm", "used"]).says("get used: no such volume");
        c.ok(&["volume", "rm", "-f", "used"]);
        c.fails(1, &["volume", "create", "x"]).says("volume name is too short");
    }
}

#[test]
fn events_of_volumes() {
    let e = Engine::start();
    let c = e.docker();
    c.ok(&["volume", "create", "vv"]);
    sh(&c, &["-v", "vv:/v:ro"], "true");
    c.ok(&["volume", "rm", "vv"]);
    let lines = eventually("all events", LIMIT, || {
        let format = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.destination}} {{index .Actor.Attributes \"read/write\"}}";
        let out = c.ok(&[
            "events",
            "--since",
            "1h",
            "--until",
            "-1s",
            "--filter",
            "type=volume",
            "--format",
            format,
        ]);
        let lines: Vec<String> =
            out.lines().map(|line| line.replace("<no value>", "-").trim().to_owned()).collect();
        (lines.len() == 4).then_some(lines)
    });
    assert_eq!(lines, ["create vv -", "mount vv /v false", "unmount vv -", "destroy vv -"]);
}

/// What the images says is a volume and is a file there.
#[test]
fn a_volume_over_a_file() {
    let e = Engine::start();
    let c = e.knarr();
    c.fails(125, &["run", "--rm", "-v", "/etc/passwd", "busybox", "true"])
        .says("cannot mount volume over existing file");
    assert_eq!(e.docker().ok(&["ps", "-aq"]), "");
    assert!(!Path::new("/etc/passwd/_data").exists());
}

/// Paths in volumes and images that are links out of them, or become ones while they are looked at (the class of CVE-2017-1002101,
/// CVE-2021-25741, CVE-2024-23651).
#[test]
fn subpaths_do_not_lead_out() {
    let (e, marker) = attack::engine();
    let c = e.knarr();
    let dir = marker.parent().unwrap().to_str().unwrap();
    let name = marker.file_name().unwrap().to_str().unwrap();
    let up = format!("{}{}", "../".repeat(20), dir.trim_start_matches('/'));
    let links =
        [Entry::symlink("out", dir), Entry::symlink("up", &up), Entry::symlink("root", "/proc/1/root")];
    assert_eq!(attack::load(&e, &attack::image("links:1", &links)).code, 0);
    for link in ["out", "up", "root", "out/sub", "up/.."] {
        let mount = format!("type=image,source=links:1,target=/i,image-subpath={link}");
        let seen = c.run(&["run", "--rm", "--mount", &mount, "busybox", "cat", &format!("/i/{name}")]);
        assert!(seen.code != 0 && !seen.stdout.contains(attack::SECRET), "{link}: {seen:?}");
    }
    // In a volume somebody exchanges a directory for a link, as fast as they can.
    let script = format!(
        "mkdir /v/real; touch /v/real/{name}; ln -s {dir} /v/link; echo ready; \
         while :; do mv -T /v/real /v/sub; mv -T /v/sub /v/real; mv -T /v/link /v/sub; mv -T /v/sub /v/link; done"
    );
    c.ok(&[
        "run",
        "-d",
        "--name",
        "flips",
        "--stop-signal",
        "KILL",
        "-v",
        "vol:/v",
        "busybox",
        "sh",
        "-c",
        &script,
    ]);
    eventually("it flips", LIMIT, || c.ok(&["logs", "flips"]).contains("ready").then_some(()));
    let (mut real, mut refused) = (0, 0);
    for _ in 0..30 {
        let mount = "type=volume,src=vol,dst=/s,volume-subpath=sub";
        let seen = c.run(&["run", "--rm", "--mount", mount, "busybox", "cat", &format!("/s/{name}")]);
        assert!(!seen.stdout.contains(attack::SECRET), "{seen:?}");
        if seen.code == 0 { real += 1 } else { refused += 1 }
    }
    assert_eq!(real + refused, 30);
    c.ok(&["rm", "-f", "flips"]);
}
