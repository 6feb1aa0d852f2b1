//! One contract for all storage drivers, on real file systems: whatever a container is made with, it looks the same, its changes
//! are the same list, layer and image, nothing of it reaches a layer, and it goes without a trace.
//!
//! What overlayfs does on the file system of the temporary directory is the reference.
mod contract;
mod crash;
mod place;
mod sample;
mod tree;

use contract::Subject;
use knarr_snapshot::driver::Kind;
use place::{FileSystem, Place};

fn all(kind: Kind, system: FileSystem) {
    let Some(place) = Place::make(system) else { return };
    for (name, contract) in contract::ALL {
        eprintln!("{} on {system:?}: {name}", kind.name());
        let subject = Subject::new(&place, kind, name);
        contract(&subject);
    }
    crash::whole_or_absent(&Subject::new(&place, kind, "crash"));
}

macro_rules! suite {
    ($($name:ident: $kind:ident on $system:ident;)*) => {
        $(#[test] fn $name() { all(Kind::$kind, FileSystem::$system); })*
    };
}

suite! {
    overlay_here: Overlay on Here;
    overlay_on_btrfs: Overlay on Btrfs;
    overlay_on_xfs: Overlay on Xfs;
    btrfs: Btrfs on Btrfs;
    copy_here: Copy on Here;
    copy_on_xfs_shares_blocks: Copy on Xfs;
    copy_on_btrfs_shares_blocks: Copy on Btrfs;
    copy_on_tmpfs: Copy on Tmpfs;
    copy_on_an_overlay: Copy on Overlay;
}

#[test]
fn the_best_that_works_is_chosen() {
    let chosen = |system| {
        let place = Place::make(system)?;
        let images = contract::open(&place.path().join("chosen"), None).unwrap();
        Some(images.driver().kind())
    };
    assert_eq!(chosen(FileSystem::Tmpfs), Some(Kind::Overlay));
    assert_eq!(chosen(FileSystem::Overlay), Some(Kind::Copy), "no overlay over an overlay");
    let Some(place) = Place::make(FileSystem::Overlay) else { return };
    let refused = |kind| contract::open(&place.path().join("asked"), Some(kind)).err().unwrap().to_string();
    let text = refused(Kind::Overlay);
    assert!(text.starts_with("storage driver overlay2 cannot be used: "), "{text}");
    let text = refused(Kind::Btrfs);
    assert!(
        text.starts_with("storage driver btrfs cannot be used: ") && text.ends_with("is not on btrfs"),
        "{text}"
    );
}
