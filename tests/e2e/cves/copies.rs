//! `cp`, the archive endpoints and `export` against containers that change their tree meanwhile, or that have programs and
//! libraries lying in wait: the host is neither read nor written, and nothing of a container's runs outside of it.
//! CVE-2018-15664, CVE-2019-10152, CVE-2019-14271, CVE-2023-0778, CVE-2026-41567, CVE-2026-41568, CVE-2026-42306.

use knarr_e2e::attack::{self, SECRET};
use knarr_e2e::command::{self, eventually};
use knarr_e2e::pack::{self, Compression, Form};
use knarr_e2e::tarball::{Entry, archive};
use knarr_e2e::trap::Trap;
use knarr_e2e::{Cli, Engine};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Requests per race; the exchange happens some hundred thousand times a second.
const ROUNDS: usize = 60;

struct Copies {
    e: Engine,
    c: Cli,
    t: Trap,
}

impl Copies {
    fn new() -> Copies {
        let (e, _) = attack::engine();
        let (c, t) = (e.knarr(), Trap::new(&e));
        Copies { e, c, t }
    }

    /// Waits until a container's exchanger runs.
    fn ready(&self, name: &str) {
        eventually("the exchanger", Duration::from_secs(20), || {
            self.c.ok(&["logs", name]).contains("READY").then_some(())
        });
    }

    fn get(&self, name: &str, path: &str) -> Vec<u8> {
        self.e
            .api()
            .get(&format!("/containers/{name}/archive?path={path}"))
            .map(|r| r.body)
            .unwrap_or_default()
    }

    fn put(&self, name: &str, path: &str, tar: &[u8]) -> u16 {
        let path = format!("/containers/{name}/archive?path={path}");
        self.e.api().send("PUT", &path, &[("Content-Type", "application/x-tar")], tar).map_or(0, |r| r.status)
    }

    /// Copies both ways, over and over.
    fn race(&self, name: &str, paths: &[&str]) {
        let payload = archive(&[
            Entry::file("marker", 0o777, b"overwritten"),
            Entry::dir("etc", 0o777).owner(5, 5),
            Entry::file("etc/shadow", 0o777, b"overwritten"),
            Entry::file("made", 0o4777, b"made"),
            Entry::hardlink("passwd", "made"),
            Entry::symlink("link", "made"),
            Entry::char_device("device", 0o666, 1, 3),
        ]);
        for round in 0..ROUNDS {
            let path = paths[round % paths.len()];
            let read = self.get(name, path);
            assert!(!String::from_utf8_lossy(&read).contains(SECRET), "{name} {path}: the host was read");
            let head = self.e.api().send(
                "HEAD",
                &format!("/containers/{name}/archive?path={path}/marker"),
                &[],
                b"",
            );
            drop(head);
            self.put(name, path, &payload);
            self.t.untouched(&format!("{name} {path} in round {round}"));
        }
    }
}

/// CVE-2018-15664: a directory of the container's own tree is exchanged for a link to the host while copies go both ways.
#[test]
fn copies_race_with_links_in_the_container() {
    let r = Copies::new();
    for way in r.t.ways() {
        let script =
            format!("mkdir -p /x/a/etc; echo in >/x/a/marker; ln -s {way} /x/b; exec /attack swap /x/a /x/b");
        r.c.ok(&["run", "-d", "--name", "flip", "attack:1", "sh", "-c", &script]);
        r.ready("flip");
        r.race("flip", &["/x/a", "/x/a/etc", "/x/b", "/x/a/marker", "/x"]);
        r.c.ok(&["rm", "-f", "flip"]);
    }
    r.t.untouched("the end");
}

/// CVE-2026-41568, CVE-2026-42306: another container exchanges what lies below the volumes of one that does not run, whose mounts
/// are put together for each copy.
#[test]
fn copies_race_with_links_in_volumes() {
    let r = Copies::new();
    let volume = r.e.fresh_dir("volume");
    let bind = format!("{}:/v", volume.display());
    let file = r.e.fresh("file");
    std::fs::write(&file, "a file").unwrap();
    for way in r.t.ways() {
        for name in ["a", "b"] {
            let path = volume.join(name);
            let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
        }
        std::fs::create_dir(volume.join("a")).unwrap();
        symlink(&way, volume.join("b")).unwrap();
        let below = format!("{}:/v/a/made/file", file.display());
        r.c.ok(&[
            "create",
            "--name",
            "still",
            "-v",
            &bind,
            "-v",
            "named:/v/a/made/dir",
            "-v",
            &below,
            "-v",
            "/v/a/etc",
            "attack:1",
            "true",
        ]);
        r.c.ok(&["run", "-d", "--name", "flip", "-v", &bind, "attack:1", "/attack", "swap", "/v/a", "/v/b"]);
        r.ready("flip");
        r.race("still", &["/v/a", "/v/a/made", "/v/a/etc", "/v/b", "/v"]);
        r.c.ok(&["rm", "-f", "-v", "flip", "still"]);
    }
    r.t.untouched("the end");
}

/// CVE-2019-10152, CVE-2023-0778: `export`, `commit` and `diff` while files become links to the host's and back.
#[test]
fn exports_race_with_links() {
    let r = Copies::new();
    let marker = format!("{}/marker", r.t.absolute());
    for way in [marker.clone(), format!("{}/marker", r.t.from_below()), r.t.absolute()] {
        let script = format!("mkdir /x; echo in >/x/a; ln -s {way} /x/b; exec /attack swap /x/a /x/b");
        r.c.ok(&["run", "-d", "--name", "flip", "attack:1", "sh", "-c", &script]);
        r.ready("flip");
        for _ in 0..8 {
            let o = command::run(&mut r.c.command(&["export", "flip"]), None, Duration::from_secs(60));
            assert!(!String::from_utf8_lossy(&o.stdout).contains(SECRET), "the host was read");
        }
        if r.c.run(&["commit", "flip", "committed:1"]).code == 0 {
            let tar = r.c.bytes(&["save", "committed:1"]);
            let o = r.c.run(&["run", "--rm", "committed:1", "cat", "/x/a", "/x/b"]);
            assert!(!String::from_utf8_lossy(&tar).contains(SECRET) && !o.stdout.contains(SECRET), "{o:?}");
            r.c.ok(&["rmi", "-f", "committed:1"]);
        }
        r.c.ok(&["rm", "-f", "flip"]);
        r.t.untouched("export");
    }
}

/// A shared object whose constructor leaves a mark, wherever it is loaded.
fn trojan_library(e: &Engine, marks: &[String]) -> Vec<u8> {
    let dir = e.fresh_dir("library");
    let lines: String =
        marks.iter().map(|m| format!("close(open(\"{m}\", O_CREAT | O_WRONLY, 0644));")).collect();
    let source = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void mark(void) {{ {lines} }}\n"
    );
    std::fs::write(dir.join("l.c"), source).unwrap();
    let out = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(dir.join("l.so"))
        .arg(dir.join("l.c"))
        .output()
        .expect("cc");
    assert!(out.status.success(), "{out:?}");
    std::fs::read(dir.join("l.so")).unwrap()
}

/// Programs that leave the same marks, under every name that an engine might look for.
fn trojan_programs(marks: &[String]) -> Vec<Entry> {
    let touch: String = marks.iter().map(|m| format!("echo x >{m}\n")).collect();
    let script = format!("#!/bin/sh\n{touch}exec /bin/busybox cat\n");
    let names = [
        "unpigz",
        "pigz",
        "igzip",
        "gzip",
        "gunzip",
        "zcat",
        "xz",
        "unxz",
        "zstd",
        "unzstd",
        "bzip2",
        "bunzip2",
        "lbzip2",
        "tar",
        "bsdtar",
        "docker-untar",
        "docker-applyLayer",
        "chroot",
        "ps",
        "id",
        "getent",
    ];
    let mut all = Vec::new();
    for dir in ["bin", "usr/bin", "usr/local/bin", "sbin", "usr/sbin", "usr/local/sbin"] {
        all.extend(names.iter().map(|name| Entry::file(&format!("{dir}/{name}"), 0o755, script.as_bytes())));
    }
    all
}

/// CVE-2019-14271 and CVE-2026-41567: neither libraries nor programs of an image serve the engine, for whatever it does with its
/// tree, in any compression.
#[test]
fn nothing_of_an_image_is_run_or_loaded() {
    let (e, _) = attack::engine();
    let (c, t) = (e.knarr(), Trap::new(&e));
    let marks = ["/owned".to_owned(), format!("{}/owned", t.absolute())];
    let library = trojan_library(&e, &marks);
    let mut entries = trojan_programs(&marks);
    let machine = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };
    for dir in [
        "lib".to_owned(),
        "lib64".to_owned(),
        "usr/lib".to_owned(),
        format!("lib/{machine}"),
        format!("usr/lib/{machine}"),
    ] {
        for name in [
            "libnss_files.so.2",
            "libnss_dns.so.2",
            "libnss_compat.so.2",
            "libc.so.6",
            "libgcc_s.so.1",
            "libz.so.1",
            "liblzma.so.5",
            "libselinux.so.1",
        ] {
            entries.push(Entry::file(&format!("{dir}/{name}"), 0o755, &library));
        }
        entries.push(Entry::file(
            &format!("{dir}/gconv/gconv-modules"),
            0o644,
            b"module INTERNAL X// EVIL 1\n",
        ));
    }
    entries.push(Entry::file(
        "etc/nsswitch.conf",
        0o644,
        b"passwd: files dns\ngroup: files dns\nhosts: files dns\n",
    ));
    entries.push(Entry::file("etc/ld.so.preload", 0o644, b"/lib/libnss_files.so.2\n"));
    let image = attack::image("trojan:1", &entries).config(
        "Env",
        serde_json::json!(["PATH=/bin", "LD_PRELOAD=/lib/libnss_files.so.2", "LD_LIBRARY_PATH=/lib"]),
    );
    drop(c.run_with_stdin(&["load", "-q"], &image.archive(Form::Both)).code(0));
    c.ok(&["run", "-d", "--name", "live", "trojan:1", "/attack", "sleep"]);
    c.ok(&["create", "--name", "still", "trojan:1", "/attack", "sleep"]);
    let payload = archive(&[Entry::file("in", 0o644, b"payload").owner(1000, 1000)]);
    let compressed = |program: &str| {
        command::run(Command::new(program).arg("-c"), Some(&payload), Duration::from_secs(60)).stdout
    };
    let streams = [
        payload.clone(),
        pack::compress(&payload, Compression::Gzip),
        pack::compress(&payload, Compression::Zstd),
        compressed("bzip2"),
        compressed("xz"),
    ];
    let clean = |what: &str| {
        t.untouched(what);
        assert!(!PathBuf::from("/owned").exists(), "{what}: something ran on the host");
        for name in ["live", "still"] {
            let names = knarr_e2e::tree::listing(&c.bytes(&["export", name]));
            assert!(!names.contains_key("owned"), "{what}: something ran in the tree of {name}");
        }
    };
    for name in ["live", "still"] {
        for (n, stream) in streams.iter().enumerate() {
            let path = format!("/containers/{name}/archive?path=/tmp&copyUIDGID=1");
            e.api().send("PUT", &path, &[("Content-Type", "application/x-tar")], stream).unwrap().expect(200);
            let back = c.bytes(&["cp", &format!("{name}:/tmp/in"), "-"]);
            assert!(String::from_utf8_lossy(&back).contains("payload"), "{name} {n}");
        }
        c.ok(&["cp", "-a", &format!("{name}:/etc"), e.fresh("etc").to_str().unwrap()]);
        clean(&format!("cp with {name}"));
        drop(c.run(&["diff", name]));
        drop(c.run(&["top", name]));
        drop(c.run(&["stats", "--no-stream", name]));
        drop(c.run(&["commit", name, "again:1"]));
        drop(c.run(&["save", "-o", e.fresh("saved").to_str().unwrap(), "again:1"]));
        drop(c.run(&["rmi", "-f", "again:1"]));
        clean(&format!("diff, top, stats, commit, save with {name}"));
    }
    // Members of archives that are such programs, beside what is loaded.
    for stream in &streams {
        drop(c.run_with_stdin(&["import", "-", "imported:1"], stream).code(0));
        c.ok(&["rmi", "imported:1"]);
    }
    clean("import");
    c.ok(&["rm", "-f", "live", "still"]);
}
