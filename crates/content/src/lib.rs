//! Blobs by digest: resumable ingest, verification, leases, collection.
//!
//! Layout under `<data-root>/content`: `blobs/<algorithm>/<hex>` holds verified, immutable blobs; `ingest/<name>` holds
//! what is still being written. Invariants: a blob appears under its digest only when its bytes were hashed, counted
//! and synced to disk; the partial file of an interrupted ingest stays and is hashed anew when the ingest goes on, so
//! nothing is believed because a file says so; what a lease holds is not deleted.
mod error;
mod ingest;
mod lease;
mod store;

pub use error::Error;
pub use ingest::Ingest;
pub use lease::Lease;
pub use store::{Begin, Content};
