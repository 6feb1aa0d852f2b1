//! The images that the tests use, as layers: a small real system (busybox), and one with everything awkward in it.

use crate::pack::{Compression, Form, Image, tree};
use crate::tarball::{Entry, archive};
use std::path::Path;
use std::process::Command;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nbin:x:2:2:bin:/bin:/bin/false\n\
    www-data:x:33:33:www-data:/var/www:/bin/false\ntester:x:1000:1000:a user:/home/tester:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\ntty:x:5:\nwww-data:x:33:\nextra:x:44:tester\ntester:x:1000:\nnogroup:x:65534:\n";

/// The busybox system as one layer.
///
/// # Panics
/// Where `busybox` is missing or no static program.
pub fn busybox_layer(busybox: &Path) -> Vec<u8> {
    let program = std::fs::read(busybox).expect("busybox (Debian's busybox-static)");
    let list = Command::new(busybox).arg("--list").output().expect("busybox --list");
    let mut e = vec![Entry::dir("bin", 0o755), Entry::file("bin/busybox", 0o755, &program)];
    for applet in String::from_utf8_lossy(&list.stdout).lines().filter(|a| *a != "busybox") {
        e.push(Entry { mode: 0o755, ..Entry::hardlink(&format!("bin/{applet}"), "bin/busybox") });
    }
    for (dir, mode) in
        [("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("root", 0o700), ("tmp", 0o1777), ("usr", 0o755)]
    {
        e.push(Entry::dir(dir, mode));
    }
    e.push(Entry::dir("home/tester", 0o755).owner(1000, 1000));
    for dir in ["usr/bin", "usr/sbin", "var", "var/www", "var/spool"] {
        e.push(Entry::dir(dir, 0o755));
    }
    e.push(Entry::dir("var/spool/mail", 0o755).owner(8, 8));
    e.push(Entry::symlink("usr/bin/env", "../../bin/env"));
    e.push(Entry::file("etc/passwd", 0o644, PASSWD.as_bytes()));
    e.push(Entry::file("etc/group", 0o644, GROUP.as_bytes()));
    archive(&e)
}

pub fn busybox(busybox: &Path) -> Image {
    Image::new("busybox:latest", vec![busybox_layer(busybox)])
}

/// Three layers on busybox: whiteouts, opaque directories, hard links, xattrs, devices, setuid, odd names, owners, times.
pub fn awkward(busybox: &Path) -> Image {
    let long = format!("odd/{}", "long-name-".repeat(12));
    let below = archive(&[
        Entry::dir("w", 0o755),
        Entry::file("w/stays", 0o644, b"stays"),
        Entry::file("w/goes", 0o644, b"goes"),
        Entry::dir("w/godir", 0o755),
        Entry::file("w/godir/inside", 0o644, b"x"),
        Entry::dir("o", 0o755),
        Entry::file("o/hidden", 0o644, b"hidden"),
        Entry::dir("o/sub", 0o755),
        Entry::file("o/sub/hidden", 0o644, b"hidden"),
        Entry::file("changes", 0o644, b"first version"),
        Entry::file("becomes-dir", 0o644, b"a file"),
        Entry::dir("becomes-file", 0o755),
        Entry::file("becomes-file/x", 0o644, b"x"),
        Entry::dir("becomes-link", 0o755),
        Entry::file("becomes-link/x", 0o644, b"x"),
        Entry::dir("mode", 0o755),
        Entry::file("link/a", 0o640, b"one inode").owner(1, 2),
        Entry { mode: 0o640, ..Entry::hardlink("link/b", "link/a") }.owner(1, 2),
        Entry { mode: 0o640, ..Entry::hardlink("link/c", "link/a") }.owner(1, 2),
    ]);
    let middle = archive(&[
        Entry::whiteout("w/goes"),
        Entry::whiteout("w/godir"),
        Entry::opaque("o"),
        Entry::file("o/shown", 0o644, b"shown"),
        Entry::file("changes", 0o600, b"second version").owner(33, 33),
        Entry::dir("becomes-dir", 0o711),
        Entry::file("becomes-dir/y", 0o644, b"y"),
        Entry::file("becomes-file", 0o644, b"a file now"),
        Entry::symlink("becomes-link", "w"),
        Entry::dir("mode", 0o700).owner(1000, 1000).mtime(1_000_000_000),
    ]);
    let upper = archive(&[
        Entry::file("suid", 0o4755, b"#!/bin/sh\n"),
        Entry::file("sgid", 0o2755, b"#!/bin/sh\n"),
        Entry::dir("sticky", 0o1777),
        Entry::dir("odd", 0o755),
        Entry::file("odd/space and\ttab", 0o644, b"1"),
        Entry::file("odd/-dash", 0o644, b"2"),
        Entry::file("odd/ünïcode", 0o644, b"3"),
        Entry::file("odd/new\nline", 0o644, b"4"),
        Entry::file(&long, 0o644, b"5"),
        Entry::file("odd/empty", 0o000, b""),
        Entry::file("odd/old", 0o644, b"old").mtime(1),
        Entry::file("odd/precise", 0o644, b"p").pax("mtime", b"1234567890.123456789"),
        Entry::file("odd/rich", 0o644, b"rich").owner(2_000_000, 2_000_001),
        Entry::symlink("odd/dangling", "/no/such/file"),
        Entry::symlink("odd/absolute", "/etc/passwd"),
        Entry::symlink("odd/up", "../../../../etc/group"),
        Entry::file("xattr", 0o644, b"x").xattr("user.colour", b"blue").xattr("user.bin", &[0, 1, 255]),
        // Version 2 of vfs_cap_data: cap_net_bind_service, permitted and effective.
        Entry::file("capable", 0o755, b"#!/bin/sh\n")
            .xattr("security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Entry::fifo("fifo", 0o640),
        Entry::char_device("null", 0o666, 1, 3),
        Entry::block_device("loop", 0o660, 7, 0).owner(0, 6),
        Entry::file("wh.not-a-whiteout", 0o644, b"plain"),
    ]);
    Image::new("awkward:latest", vec![busybox_layer(busybox), below, middle, upper])
}

/// Write every image file into `dir`; `debian` is a debootstrap'ed root where there is one.
///
/// # Panics
/// Where something cannot be read or written.
pub fn write_all(dir: &Path, busybox_program: &Path, debian: Option<&Path>) {
    std::fs::create_dir_all(dir).expect("image directory");
    let b = busybox(busybox_program);
    let plain = b.clone().compression(Compression::None);
    let zstd = b.clone().compression(Compression::Zstd);
    plain.write(&dir.join("busybox.tar"), Form::DockerSave);
    b.write(&dir.join("busybox-oci-gzip.tar"), Form::OciLayout);
    zstd.write(&dir.join("busybox-oci-zstd.tar"), Form::OciLayout);
    plain.write(&dir.join("busybox-oci-plain.tar"), Form::OciLayout);
    b.write(&dir.join("busybox-both.tar"), Form::Both);
    b.write(&dir.join("busybox-save-gzip.tar"), Form::DockerSave);
    awkward(busybox_program).write(&dir.join("awkward.tar"), Form::Both);
    awkward(busybox_program)
        .compression(Compression::None)
        .write(&dir.join("awkward-save.tar"), Form::DockerSave);
    if let Some(root) = debian {
        let image = Image::new("debian:bookworm-slim", vec![archive(&tree(root))])
            .config("Cmd", serde_json::json!(["bash"]));
        image.write(&dir.join("debian-bookworm-slim.tar"), Form::Both);
    }
}
