//! Bad input: a clear error with Docker's status and exit code, and nothing left behind.

use knarr_e2e::pack::{Compression, Form, Image};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::{Engine, Options, workspace};
use std::io::Write;

/// Load must fail or do no harm; nothing may appear outside, and the engine must live.
fn load(e: &Engine, tar: &[u8]) -> knarr_e2e::Output {
    e.docker().run_with_stdin(&["load"], tar)
}

#[test]
fn truncated_archives() {
    let e = Options::new().images(&[]).start();
    for file in ["busybox.tar", "busybox-both.tar", "busybox-oci-zstd.tar"] {
        let whole = std::fs::read(workspace::image(file)).unwrap();
        for part in [0, 1, 511, 512, 700, whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
            let o = load(&e, &whole[..part]);
            if part > 0 {
                assert_ne!(o.code, 0, "{file} cut at {part}: {o:?}");
            }
        }
    }
    assert_eq!(e.docker().ok(&["images", "-aq"]), "", "nothing of them is kept");
    e.load(&workspace::image("busybox.tar"));
    assert_eq!(e.docker().ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn garbage_is_no_image() {
    let e = Options::new().images(&[]).start();
    let junk: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert_ne!(load(&e, &junk).code, 0);
    assert_ne!(load(&e, &archive(&[Entry::file("hello", 0o644, b"x")])).code, 0, "a tar, but no image");
    assert_ne!(load(&e, &archive(&[Entry::file("manifest.json", 0o644, b"{not json")])).code, 0);
    assert_ne!(
        load(
            &e,
            &archive(&[Entry::file("manifest.json", 0o644, br#"[{"Config":"nosuch.json","Layers":[]}]"#)])
        )
        .code,
        0
    );
    let deep = format!("[{}", "[".repeat(200_000));
    assert_ne!(load(&e, &archive(&[Entry::file("manifest.json", 0o644, deep.as_bytes())])).code, 0);
    assert_eq!(e.docker().ok(&["images", "-aq"]), "");
}

#[test]
fn a_wrong_digest_is_refused() {
    let e = Options::new().images(&[]).start();
    let mut layer = archive(&[Entry::file("a", 0o644, b"true content")]);
    let image = Image::new("x:1", vec![layer.clone()]).compression(Compression::None);
    let mut tar = image.archive(Form::OciLayout);
    let at = tar.windows(12).position(|w| w == b"true content").expect("the content is there");
    tar[at..at + 12].copy_from_slice(b"fake content");
    assert_ne!(load(&e, &tar).code, 0, "a blob that is not what its name says");
    layer.truncate(10);
    let mut save = image.archive(Form::DockerSave);
    let at = save.windows(12).position(|w| w == b"true content").expect("the content is there");
    save[at..at + 12].copy_from_slice(b"fake content");
    assert_ne!(load(&e, &save).code, 0, "a layer that is not what the configuration says");
    assert_eq!(e.docker().ok(&["images", "-aq"]), "");
}

/// An image on busybox with these members in its upper layer.
fn hostile(entries: &[Entry]) -> Vec<u8> {
    let base = knarr_e2e::images::busybox_layer(&workspace::on_path("busybox").unwrap());
    Image::new("hostile:1", vec![base, archive(entries)])
        .compression(Compression::None)
        .archive(Form::DockerSave)
}

#[test]
fn hostile_layers_write_nothing_outside() {
    let e = Options::new().images(&[]).start();
    let target = e.fresh_dir("target");
    let t = target.display().to_string();
    let up = format!("{}{}", "../".repeat(20), &t[1..]);
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("dot-dot", vec![Entry::file(&format!("{up}/escaped"), 0o644, b"x")]),
        ("absolute", vec![Entry::file(&format!("{t}/escaped"), 0o644, b"x")]),
        ("through an absolute link", vec![Entry::symlink("l", &t), Entry::file("l/escaped", 0o644, b"x")]),
        ("through a relative link", vec![Entry::symlink("l", &up), Entry::file("l/escaped", 0o644, b"x")]),
        (
            "through a link to a link",
            vec![Entry::symlink("a", &t), Entry::symlink("b", "a"), Entry::file("b/escaped", 0o644, b"x")],
        ),
        (
            "hard link out",
            vec![Entry::hardlink("h", &format!("{t}/../config")), Entry::file("h", 0o644, b"x")],
        ),
        (
            "hard link by dot-dot",
            vec![Entry::hardlink("h", &format!("{up}/victim")), Entry::file("h", 0o666, b"overwritten")],
        ),
        ("whiteout of dot-dot", vec![Entry::file(&format!("{up}/.wh.victim"), 0o644, b"")]),
        ("whiteout through a link", vec![Entry::symlink("l", &t), Entry::file("l/.wh.victim", 0o644, b"")]),
        ("whiteout of everything", vec![Entry::file(".wh...", 0o644, b""), Entry::file(".wh..", 0o644, b"")]),
        ("opaque through a link", vec![Entry::symlink("l", &t), Entry::file("l/.wh..wh..opq", 0o644, b"")]),
        (
            "directory over a link",
            vec![Entry::symlink("l", &t), Entry::dir("l", 0o777), Entry::file("l/escaped", 0o644, b"x")],
        ),
        (
            "proc in the way",
            vec![Entry::symlink("l", "/proc/self/root"), Entry::file(&format!("l{t}/escaped"), 0o644, b"x")],
        ),
        (
            "long name with NUL",
            vec![Entry::file("a", 0o644, b"x").pax("path", format!("{t}/escaped\0b").as_bytes())],
        ),
        ("negative pax size", vec![Entry::file("a", 0o644, b"x").pax("size", b"-1")]),
        ("huge claimed size", vec![Entry::file("a", 0o644, b"x").claim_size(0o7_777_777_777)]),
        ("overlay's own marks", vec![Entry::dir("o", 0o755).xattr("trusted.overlay.redirect", b"/etc")]),
        ("the layer's metadata", vec![Entry::file("../meta.json", 0o644, b"{}")]),
    ];
    for (name, entries) in cases {
        std::fs::write(target.join("victim"), "safe").unwrap();
        let o = load(&e, &hostile(&entries));
        if o.code == 0 {
            let id = e.docker().run(&["create", "hostile:1"]);
            drop(e.docker().run(&["start", id.text()]));
            drop(e.docker().run(&["rm", "-f", id.text()]));
        }
        let left: Vec<_> = std::fs::read_dir(&target).unwrap().flatten().map(|f| f.file_name()).collect();
        assert_eq!(left, ["victim"], "{name}: {o:?}");
        assert_eq!(std::fs::read_to_string(target.join("victim")).unwrap(), "safe", "{name}");
        assert!(e.api().get("/_ping").is_ok_and(|r| r.status == 200), "{name}: the engine lives");
        drop(e.docker().run(&["rmi", "-f", "hostile:1"]));
    }
    e.load(&workspace::image("busybox.tar"));
    assert_eq!(e.docker().ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine");
}

#[test]
fn a_bomb_is_bounded_by_the_disk_not_by_memory() {
    let e = Options::new().images(&[]).start();
    if workspace::peer().is_some() {
        return;
    }
    // 1 GiB of zeroes in about a megabyte of gzip: unpacking it must not be held in memory.
    let mut w = flate2_zeroes(256 << 20);
    w.truncate(w.len() / 2); // and it is cut: an error at the end
    let entries = [
        Entry::file(
            "manifest.json",
            0o644,
            br#"[{"Config":"c.json","RepoTags":["bomb:1"],"Layers":["l.tar"]}]"#,
        ),
        Entry::file("c.json", 0o644, b"{}"),
        Entry::file("l.tar", 0o644, &w),
    ];
    assert_ne!(load(&e, &archive(&entries)).code, 0);
    let status = std::fs::read_to_string(format!("/proc/{}/status", e.pid())).unwrap();
    let peak: u64 = status
        .lines()
        .find(|l| l.starts_with("VmHWM"))
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|n| n.parse().ok())
        .unwrap();
    assert!(peak < 200 * 1024, "peak memory {peak} KiB");
}

fn flate2_zeroes(n: usize) -> Vec<u8> {
    knarr_e2e::pack::compress(&vec![0; n], Compression::Gzip)
}

#[test]
fn a_full_disk_is_an_error_and_passes() {
    // A small filesystem for the engine's data.
    if workspace::peer().is_some() {
        return;
    }
    let e = knarr_e2e::engine::Engine::prepare(Options::new().may_leak());
    std::fs::create_dir_all(e.data()).unwrap();
    let out = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(e.data())
        .output()
        .unwrap();
    assert!(out.status.success());
    let mut e = e;
    e.launch();
    e.load(&workspace::image("busybox.tar"));
    let c = e.docker();
    let o = c.run(&["load", "-i", workspace::image("debian-bookworm-slim.tar").to_str().unwrap()]);
    assert!(o.code == 1 && o.stderr.to_lowercase().contains("no space left on device"), "{o:?}");
    assert_eq!(c.ok(&["run", "--rm", "busybox", "echo", "space again"]), "space again");
    let o = c.run(&["run", "--rm", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=100"]);
    assert!(o.code != 0 && o.stderr.contains("No space left"), "{o:?}");
    // What the removed one held comes back in the background.
    let again =
        || (c.run(&["run", "--rm", "busybox", "echo", "and again"]).text() == "and again").then_some(());
    knarr_e2e::command::eventually("space again", std::time::Duration::from_secs(20), again);
}

#[test]
fn bad_requests() {
    let e = Engine::start();
    let a = e.api();
    assert!(a.post("/containers/create", "{not json").expect(400).message().len() > 3);
    a.post("/containers/create", r#"{"Image":5}"#).expect(400);
    a.post("/containers/create", r#"{}"#).expect(400);
    assert_eq!(
        a.post("/containers/create", r#"{"Image":"nosuch"}"#).expect(404).message(),
        "No such image: nosuch:latest"
    );
    a.post("/containers/create?name=b@d", r#"{"Image":"busybox"}"#).expect(400);
    a.get("/containers/nosuch/json").unwrap().expect(404);
    let odd = a.get("/containers/..%2f..%2fetc/json").unwrap().status;
    assert!(matches!(odd, 301 | 400 | 404), "{odd}");
    a.get("/nosuch").unwrap().expect(404);
    a.get("/v9.99/info").unwrap().expect(400);
    a.get("/v1.1/info").unwrap().expect(400);
    a.post("/containers/nosuch/start", "").expect(404);
    a.get("/containers/json?filters=nonsense").unwrap().expect(400);
    a.get(r#"/containers/json?filters={"nosuch":["x"]}"#).unwrap().expect(400);
    a.get("/containers/json?limit=x").unwrap().expect(400);
    let id = a.post("/containers/create?name=cc", r#"{"Image":"busybox"}"#).expect(201).json()["Id"]
        .as_str()
        .unwrap()
        .to_owned();
    a.post("/containers/create?name=cc", r#"{"Image":"busybox"}"#).expect(409);
    a.post(&format!("/containers/{id}/kill?signal=NOSUCH"), "").expect(400);
    a.post(&format!("/containers/{id}/kill"), "").expect(409);
    a.post(&format!("/containers/{id}/pause"), "").expect(409);
    a.post(&format!("/containers/{id}/resize?h=x&w=1"), "").expect(400);
    a.post(&format!("/containers/{id}/rename?name="), "").expect(400);
    a.get(&format!("/containers/{id}/archive?path=/nosuch")).unwrap().expect(404);
    a.get(&format!("/containers/{id}/archive")).unwrap().expect(400);
    a.post(&format!("/containers/{id}/exec"), r#"{"Cmd":["true"]}"#).expect(409);
    a.post("/exec/nosuch/start", "{}").expect(404);
    a.delete("/images/nosuch").unwrap().expect(404);
    a.delete("/containers/nosuch").unwrap().expect(404);
    assert!(a.get("/_ping").unwrap().status == 200);
}

#[test]
fn broken_http_does_not_hurt() {
    let e = Engine::start();
    let a = e.api();
    let requests: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        [b"GET /".as_slice(), &vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n"].concat(),
        [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 1 << 20], b"\r\n\r\n"].concat(),
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n"
            .to_vec(),
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
    ];
    for r in &requests {
        let s = a.raw(r).expect("a connection");
        drop(s);
        assert_eq!(a.get("/_ping").unwrap().status, 200);
    }
    // A body without an end, 200 MiB of it: bounded, refused or cut, never kept.
    let mut s = a.raw(b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    for _ in 0..200 {
        if s.write_all(&chunk).is_err() {
            break;
        }
    }
    drop(s);
    assert_eq!(a.get("/_ping").unwrap().status, 200);
    if workspace::peer().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", e.pid())).unwrap();
        let rss: u64 = status
            .lines()
            .find(|l| l.starts_with("VmHWM"))
            .and_then(|l| l.split_whitespace().nth(1))
            .and_then(|n| n.parse().ok())
            .unwrap();
        assert!(rss < 150 * 1024, "peak {rss} KiB");
    }
}

#[test]
fn failures_of_run_leave_nothing() {
    let e = Engine::start();
    for c in e.clients() {
        c.fails(127, &["run", "--rm", "-v", "vv:/x", "busybox", "nosuch"]);
        c.fails(126, &["run", "--rm", "-p", "8088:80", "busybox", "/etc/passwd"]);
        c.run(&["run", "--rm", "-w", "/etc/passwd", "busybox", "true"]);
        c.run(&["run", "--rm", "--sysctl", "kernel.nosuch=1", "busybox", "true"]);
        c.run(&["run", "--rm", "--ulimit", "nofile=1:1", "busybox", "true"]);
        c.run(&["run", "--rm", "-v", "/proc:/proc", "busybox", "true"]);
        assert_eq!(c.ok(&["ps", "-aq"]), "");
    }
    if workspace::peer().is_none() {
        e.assert_no_leaks();
    }
}
