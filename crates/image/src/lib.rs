//! Images: pull, push, unpack, load, save, import, commit, history, removal.
//!
//! [`Images`] owns the tables `images`, `references` and `layers`, the blobs (crate `content`) and the unpacked layers
//! (crate `snapshot`). An image id is the SHA-256 digest of the image's configuration. Invariants: a row is committed after
//! all data that it names is durable; what no row names is removed by collection, so a crash at any moment leaves garbage at
//! most; blobs of layers stay as they came, so that digests survive `save` and `push`.
mod archive;
mod collect;
mod error;
mod image;
mod load;
mod progress;
mod record;
mod resolve;
mod service;
mod unpack;

pub use error::Error;
pub use image::Image;
pub use progress::{Progress, Report};
pub use service::Images;
