//! `docker cp` with volumes, binds and links, on containers that run and on those that do not: always what their processes see.

use knarr_e2e::{Engine, Options};

/// A stopped and a running container with the same mounts; `Docker` and Knarr agree.
#[test]
fn copies_go_where_links_and_mounts_lead() {
    let e = Engine::start();
    let c = e.docker();
    let bind = e.fresh_dir("bind");
    std::fs::write(bind.join("host-file"), "from the host").unwrap();
    let file = e.fresh("payload");
    std::fs::write(&file, "payload").unwrap();
    let file = file.to_str().unwrap();
    let script = "ln -s /vol /to-vol; ln -s /bind/deep /to-bind; mkdir -p /bind/deep /vol/sub; ln -s /etc/hostname /vol/abs; \
        ln -s ../../../../../../../etc/hostname /vol/up; echo in-volume >/vol/sub/f; ln -s /rovol /to-ro; echo own >/etc/marker";
    let mount = format!("{}:/bind", bind.display());
    c.ok(&[
        "run",
        "--name",
        "stopped",
        "-v",
        "v1:/vol",
        "-v",
        "v1:/rovol:ro",
        "-v",
        &mount,
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    c.ok(&["run", "-d", "--name", "running", "--volumes-from", "stopped", "busybox", "sh", "-c",
        "ln -s /vol /to-vol; ln -s /bind/deep /to-bind; ln -s /rovol /to-ro; echo own >/etc/marker; sleep 600"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let cat = |from: &str| {
        let tar = c.bytes(&["cp", "-L", from, "-"]);
        String::from_utf8_lossy(&tar).into_owned()
    };
    for name in ["stopped", "running"] {
        let at = |path: &str| format!("{name}:{path}");
        // Into a volume and a bind through links of the container.
        c.ok(&["cp", file, &at(&format!("/to-vol/via-{name}"))]);
        c.ok(&["cp", file, &at(&format!("/to-bind/via-{name}"))]);
        assert_eq!(std::fs::read_to_string(bind.join(format!("deep/via-{name}"))).unwrap(), "payload");
        let seen = c.ok(&["run", "--rm", "-v", "v1:/v", "busybox", "cat", &format!("/v/via-{name}")]);
        assert_eq!(seen, "payload", "{name}");
        // Out of them.
        assert!(cat(&at("/to-vol/sub/f")).contains("in-volume"), "{name}");
        assert!(cat(&at("/bind/host-file")).contains("from the host"), "{name}");
        // A directory comes with what is mounted below it.
        let tar = c.bytes(&["cp", &at("/vol"), "-"]);
        assert!(String::from_utf8_lossy(&tar).contains("in-volume"), "{name}");
        // A link in a volume leads to the container's own files.
        for link in ["/vol/abs", "/vol/up"] {
            let text = cat(&at(link));
            let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
            assert!(host.trim().is_empty() || !text.contains(host.trim()), "{name} {link}: {text}");
        }
        // What it cannot write is not written, whatever way leads there.
        for to in ["/rovol/x", "/to-ro/x"] {
            c.fails(1, &["cp", file, &at(to)]).says("read-only");
        }
        assert!(cat(&at("/etc/marker")).contains("own"));
    }
    c.ok(&["rm", "-f", "stopped", "running"]);
}

#[test]
fn copies_into_containers_that_never_ran() {
    let e = Engine::start();
    let c = e.docker();
    let file = e.fresh("payload");
    std::fs::write(&file, "payload").unwrap();
    let file = file.to_str().unwrap();
    c.ok(&["create", "--name", "new", "-v", "v2:/made/for/it", "busybox", "cat", "/made/for/it/f"]);
    c.ok(&["cp", file, "new:/made/for/it/f"]);
    let tar = c.bytes(&["cp", "new:/made/for/it/f", "-"]);
    assert!(String::from_utf8_lossy(&tar).contains("payload"));
    assert_eq!(c.ok(&["start", "-a", "new"]), "payload");
    assert_eq!(c.ok(&["run", "--rm", "-v", "v2:/v", "busybox", "cat", "/v/f"]), "payload");
    // Its root is read-only, its volume is not.
    c.ok(&["create", "--name", "ro", "--read-only", "-v", "v3:/vol", "busybox", "true"]);
    c.fails(1, &["cp", file, "ro:/etc/f"]).says("read-only");
    c.ok(&["cp", file, "ro:/vol/f"]);
    assert_eq!(c.ok(&["run", "--rm", "-v", "v3:/v", "busybox", "cat", "/v/f"]), "payload");
    c.ok(&["rm", "new", "ro"]);
}

/// A container that puts a link in the place of a directory of its volume gets nowhere with it.
#[test]
fn a_subpath_that_became_a_link_leads_nowhere() {
    let e = Options::new().start();
    let c = e.docker();
    let outside = e.fresh_dir("outside");
    std::fs::write(outside.join("secret"), "secret").unwrap();
    let file = e.fresh("payload");
    std::fs::write(&file, "payload").unwrap();
    c.ok(&["run", "--rm", "-v", "v4:/v", "busybox", "mkdir", "-p", "/v/a/b"]);
    c.ok(&[
        "create",
        "--name",
        "sub",
        "--mount",
        "type=volume,src=v4,dst=/s,volume-subpath=a/b",
        "busybox",
        "ls",
        "/s",
    ]);
    c.ok(&["cp", file.to_str().unwrap(), "sub:/s/f"]);
    assert_eq!(c.ok(&["run", "--rm", "-v", "v4:/v", "busybox", "ls", "/v/a/b"]), "f");
    let link = format!("rm -r /v/a/b; ln -s {} /v/a/b", outside.display());
    c.ok(&["run", "--rm", "-v", "v4:/v", "busybox", "sh", "-c", &link]);
    let got = c.run(&["cp", "sub:/s/secret", "-"]);
    assert!(got.code != 0 && !got.stdout.contains("secret"), "{got:?}");
    assert!(c.run(&["cp", file.to_str().unwrap(), "sub:/s/f"]).code != 0);
    assert!(!outside.join("f").exists());
    assert!(c.run(&["start", "-a", "sub"]).code != 0);
    c.ok(&["rm", "sub"]);
}
