//! What must not lose its layers: whoever replaces a layer asks first.
use crate::error::Error;
use knarr_oci::digest::Digest;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Calls its argument once, while no container is made or begins to start, with the layers that processes run on.
type Alone = dyn Fn(&mut dyn FnMut(&HashSet<Digest>)) + Send + Sync;

/// How to have layers alone. Cheap to clone. Without anybody who uses layers: [`Standing::default`].
#[derive(Clone)]
pub struct Standing(Arc<Alone>);

impl Standing {
    pub fn new(alone: impl Fn(&mut dyn FnMut(&HashSet<Digest>)) + Send + Sync + 'static) -> Self {
        Self(Arc::new(alone))
    }

    /// Runs `work`, which is to be short, with the layers that are not to be touched. On a thread that may block.
    pub(crate) fn alone<T>(
        &self,
        work: impl FnOnce(&HashSet<Digest>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (mut work, mut result) = (Some(work), None);
        (self.0)(&mut |busy| result = work.take().map(|work| work(busy)));
        result.unwrap_or_else(|| Err(Error::Task("layers could not be had alone".to_owned())))
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new(|work| work(&HashSet::new()))
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}
