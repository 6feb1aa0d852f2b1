//! Which layers processes stand on, for whoever wants to replace one.
//!
//! Invariant: a container counts from before its root is mounted until it is published as running, and from then on because it
//! runs: there is no moment in between.
use crate::engine::Inner;
use crate::record::Container;
use knarr_base::ContainerId;
use knarr_image::Standing;
use knarr_oci::digest::Digest;
use knarr_oci::rootfs::RootfsMount;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Containers = HashMap<ContainerId, Arc<Container>>;

/// Containers whose start is under way. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Starting(Arc<Mutex<Containers>>);

/// One of them, until it is dropped.
pub(crate) struct StartGuard {
    all: Starting,
    id: ContainerId,
}

impl Starting {
    fn lock(&self) -> MutexGuard<'_, Containers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, for a moment, while a layer is being replaced.
    pub(crate) fn enter(&self, container: &Arc<Container>) -> StartGuard {
        self.lock().insert(container.id.clone(), Arc::clone(container));
        StartGuard { all: self.clone(), id: container.id.clone() }
    }
}

impl Drop for StartGuard {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

/// For the images: keeps out who makes or starts a container, and tells what may not be touched.
pub(crate) fn standing(engine: &Arc<Inner>) -> Standing {
    let engine = Arc::clone(engine);
    Standing::new(move |work| {
        let _creating = engine.image_use.blocking_write();
        let starting = engine.starting.lock();
        let live = engine.containers.all();
        let live = live.iter().filter(|snapshot| snapshot.is_live()).map(|snapshot| &snapshot.container);
        let layers = engine.paths.data_root.join("layers");
        let busy =
            live.chain(starting.values()).flat_map(|container| layers_of(container, &layers)).collect();
        work(&busy);
    })
}

fn layers_of(container: &Container, layers: &Path) -> HashSet<Digest> {
    let of = |path: &std::path::PathBuf| {
        let hex = path.strip_prefix(layers).ok()?.components().next()?.as_os_str().to_str()?.to_owned();
        Digest::parse(&format!("sha256:{hex}")).ok()
    };
    // Images that are mounted count like its own.
    let mounted = container.mounts.iter().filter_map(|mount| mount.tree.as_ref());
    let lower = std::iter::once(&container.rootfs).chain(mounted).flat_map(|tree| match tree {
        RootfsMount::Overlay { lower, .. } => lower.as_slice(),
        // A copy needs its layers no more.
        RootfsMount::Directory { .. } | RootfsMount::Copy { .. } => &[],
    });
    lower.filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_stands_on_its_lower_directories() {
        let digest = Digest::sha256(b"layer");
        let layers = Path::new("/data/layers");
        let mut container = crate::spec::tests::container();
        container.rootfs = RootfsMount::Overlay {
            lower: vec![layers.join(digest.hex()).join("fs"), "/elsewhere/fs".into()],
            upper: "/data/containers/x/upper".into(),
            work: "/data/containers/x/work".into(),
            volatile: false,
        };
        assert_eq!(layers_of(&container, layers), HashSet::from([digest.clone()]));
        let mounted = Digest::sha256(b"mounted");
        let mut mount = crate::record::MountRow::new(crate::record::MountKind::Image, "/image");
        mount.tree = Some(RootfsMount::Overlay {
            lower: vec![layers.join(mounted.hex()).join("fs")],
            upper: "/data/containers/x/images/0/upper".into(),
            work: "/data/containers/x/images/0/work".into(),
            volatile: false,
        });
        container.mounts.push(mount);
        assert_eq!(layers_of(&container, layers), HashSet::from([digest, mounted]));
        let (starting, container) = (Starting::default(), Arc::new(container));
        let guard = starting.enter(&container);
        assert!(starting.lock().contains_key(&container.id));
        drop(guard);
        assert!(starting.lock().is_empty());
    }
}
