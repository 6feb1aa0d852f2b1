//! A real layer, compared file by file with what GNU tar makes of it. Needs root, GNU tar and an image's layer in
//! `KNARR_TEST_LAYER` (any compression); skipped with a message when there is none.
use knarr_snapshot::{Layers, Limits, Whiteouts};
use std::path::Path;
use std::process::Command;

#[test]
fn a_real_layer_is_the_same_as_gnu_tar_makes_it() {
    let Some(layer) = std::env::var_os("KNARR_TEST_LAYER") else {
        eprintln!("skipped: KNARR_TEST_LAYER is not set");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let layers = Layers::open(dir.path()).unwrap();
    let file = std::fs::File::open(&layer).unwrap();
    let staged = layers.stage(file, None, Whiteouts::Overlay, Limits::default()).unwrap();
    let meta = layers.commit(vec![staged]).unwrap().remove(0);
    let theirs = dir.path().join("tar");
    std::fs::create_dir(&theirs).unwrap();
    let status = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "--delay-directory-restore", "-xpf"])
        .arg(&layer)
        .arg("-C")
        .arg(&theirs)
        .status()
        .unwrap();
    assert!(status.success());
    let ours = layers.path(&meta.diff_id);
    let (ours, theirs) = (listing(&ours), listing(&theirs));
    let different: Vec<_> = ours.iter().zip(&theirs).filter(|(a, b)| a != b).take(5).collect();
    assert!(different.is_empty(), "ours and theirs: {different:#?}");
    assert_eq!(ours.len(), theirs.len());
}

/// Every fact about every file, by another program.
fn listing(root: &Path) -> Vec<String> {
    let script = "find . -mindepth 1 -printf '%P %y %m %U %G %T@ %l %n\\n' | sort; \
                  find . -type f -print0 | sort -z | xargs -0 sha256sum; \
                  find . \\( -type b -o -type c \\) -print0 | sort -z | xargs -0 -r stat -c '%n %t %T'; \
                  getfattr -R -h -d -m - . 2>/dev/null | sort";
    let out = Command::new("sh").arg("-c").arg(script).current_dir(root).output().unwrap();
    assert!(out.status.success());
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}
