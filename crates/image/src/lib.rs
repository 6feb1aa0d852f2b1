//! Images: pull, push, unpack, load, save, import, commit, history, removal.
//!
//! [`Images`] owns the tables `images`, `references` and `layers`, the blobs (crate `content`) and the unpacked layers
//! (crate `snapshot`). An image id is the SHA-256 digest of the image's configuration. Invariants: a row is committed after
//! all data that it names is durable; what no row names is removed by collection, so a crash at any moment leaves garbage at
//! most; blobs of layers stay as they came, so that digests survive `save` and `push`.
mod archive;
mod base_layer;
mod check;
mod clean;
mod collect;
mod create;
mod early;
mod error;
mod gate;
mod image;
mod index;
pub mod instruction;
mod layer_blob;
mod layer_job;
mod load;
mod names;
mod parallel;
mod progress;
mod publish;
mod pull;
mod push;
mod push_index;
mod query;
mod record;
mod repair;
mod resolve;
mod save;
mod service;
mod standing;
mod transfers;
mod unpack;
mod usage;
mod whole;

pub use knarr_distribution::{
    Access, Client, Credentials, Found, Login, Proxies, RegistryConfig, Repository, Search, Select, lookup,
};

pub use check::{CheckOptions, CheckReport, Finding, Outcome, Subject};
pub use clean::{CleanPolicy, CleanStep, Disk, PIN_LABEL, Reason};
pub use create::{CommitOptions, ImportOptions};
pub use error::Error;
pub use image::Image;
pub use index::{Index, Listed};
pub use names::{ImageUse, InUse, Removed};
pub use progress::{Progress, Report, SharedReport};
pub use pull::PullOptions;
pub use push::{MAX_UPLOADS, PushOptions};
pub use query::{HistoryLine, ImageFilter};
pub use service::Images;
pub use standing::Standing;
pub use usage::Usage;
