//! Pull and push against a real registry (Debian's docker-registry, plain HTTP on loopback).

use knarr_e2e::registry::Registry;
use knarr_e2e::{Engine, Options, workspace};
use std::process::Command;

/// A registry is reached through the engine's network namespace: here it is the machine's own.
pub fn engine() -> Engine {
    Options::new().host_network().start()
}

pub fn skopeo(args: &[&str]) -> String {
    let out = Command::new("skopeo").args(args).output().expect("skopeo");
    assert!(out.status.success(), "skopeo {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub fn publish(r: &Registry, file: &str, source_tag: &str, name: &str) {
    let from = format!("docker-archive:{}:{source_tag}", workspace::image(file).display());
    skopeo(&["copy", "-q", "--dest-tls-verify=false", &from, &format!("docker://{}", r.reference(name))]);
}

#[test]
fn pull_run_push() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::start();
    publish(&r, "busybox-both.tar", "busybox:latest", "team/bb:v1");
    let e = engine();
    for c in e.clients() {
        let name = r.reference("team/bb:v1");
        let o = c.run(&["pull", &name]).code(0);
        assert!(
            o.stdout.contains("Digest: sha256:")
                && o.stdout.contains(&format!("Status: Downloaded newer image for {name}")),
            "{}",
            o.stdout
        );
        assert_eq!(o.stdout.lines().last(), Some(name.as_str()));
        assert!(c.ok(&["pull", &name]).contains("Status: Image is up to date"));
        assert_eq!(c.ok(&["run", "--rm", &name, "echo", "pulled"]), "pulled");
        let digest = c.field(&name, "{{index .RepoDigests 0}}");
        assert!(digest.starts_with(&format!("{}@sha256:", r.reference("team/bb"))), "{digest}");
        c.ok(&["rmi", &name]);
        c.ok(&["pull", "-q", &digest]);
        assert_eq!(c.ok(&["run", "--rm", &digest, "echo", "by digest"]), "by digest");
        assert_eq!(
            c.ok(&["run", "--rm", &r.reference("team/bb:v1"), "echo", "pulled by run"]),
            "pulled by run"
        );

        let pushed = r.reference(&format!("pushed/{}:x", c.name));
        c.ok(&["tag", "busybox", &pushed]);
        let o = c.ok(&["push", &pushed]);
        assert!(o.contains("x: digest: sha256:"), "{o}");
        let seen = skopeo(&[
            "inspect",
            "--tls-verify=false",
            "--format",
            "{{.Digest}}",
            &format!("docker://{pushed}"),
        ]);
        assert!(o.contains(seen.trim()), "{seen} in {o}");
        c.ok(&["rmi", &pushed]);
        c.ok(&["pull", "-q", &pushed]);
        assert_eq!(c.field(&pushed, "{{.Id}}"), c.field("busybox", "{{.Id}}"));
        c.ok(&["rmi", &pushed]);
        for i in c.ok(&["images", "-q", &r.reference("team/bb")]).lines() {
            drop(c.run(&["rmi", "-f", i]));
        }
        e.load(&workspace::image("busybox.tar"));
    }
}

#[test]
fn a_manifest_list_gives_this_platform() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::start();
    publish(&r, "awkward.tar", "awkward:latest", "library/awk:latest");
    let e = engine();
    e.docker().ok(&["pull", "-q", &r.reference("library/awk")]);
    assert_eq!(e.docker().ok(&["run", "--rm", &r.reference("library/awk"), "cat", "/o/shown"]), "shown");
}

#[test]
fn failures_are_told() {
    if workspace::peer().is_some() {
        return;
    }
    let r = Registry::start();
    publish(&r, "busybox-both.tar", "busybox:latest", "team/bb:v1");
    let e = engine();
    for c in e.clients() {
        c.fails(1, &["pull", &r.reference("team/bb:nosuch")]).says("manifest");
        c.fails(1, &["pull", &r.reference("no/such")]).says("not found");
        c.fails(1, &["pull", "127.0.0.1:1/x/y"]).says("connection refused");
        c.fails(125, &["run", "--rm", &r.reference("team/bb:nosuch"), "true"]);
        c.fails(1, &["push", &r.reference("never/tagged")])
            .says("An image does not exist locally with the tag");
        // A blob that is damaged in the registry is refused.
        let blobs = r.dir.join("data/docker/registry/v2/blobs/sha256");
        let largest = walk(&blobs)
            .into_iter()
            .max_by_key(|p| p.metadata().map(|m| m.len()).unwrap_or(0))
            .expect("a blob");
        let whole = std::fs::read(&largest).unwrap();
        let mut bad = whole.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 0xff;
        std::fs::write(&largest, &bad).unwrap();
        assert_ne!(c.run(&["pull", &r.reference("team/bb:v1")]).code, 0);
        assert_ne!(
            c.run(&["image", "inspect", &r.reference("team/bb:v1")]).code,
            0,
            "nothing of it is listed"
        );
        std::fs::write(&largest, &whole).unwrap();
        drop(c.run(&["rmi", "-f", "busybox"]));
        c.ok(&["pull", "-q", &r.reference("team/bb:v1")]);
        c.ok(&["rmi", &r.reference("team/bb:v1")]);
        e.load(&workspace::image("busybox.tar"));
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut v = Vec::new();
    for f in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if f.path().is_dir() {
            v.extend(walk(&f.path()));
        } else {
            v.push(f.path());
        }
    }
    v
}
