//! Whether what is here of an image is whole.
use crate::error::Error;
use crate::record::LayerRef;
use crate::service::Images;

impl Images {
    /// Whether a layer's blob and tree are here as they came. A blob that is damaged goes, and so does a tree.
    pub(crate) fn layer_is_whole(&self, layer: &LayerRef) -> Result<bool, Error> {
        let blob = self.content.is_whole(&layer.blob.digest, layer.blob.size)?;
        let tree = self.layers.exists(&layer.diff_id);
        Ok(blob && tree)
    }
}
