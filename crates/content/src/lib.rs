//! Blobs by digest: resumable ingest, verification, leases, collection.
//!
//! Layout under `<data-root>/content`: `blobs/<algorithm>/<hex>` holds verified, immutable blobs; `ingest/<name>` holds
//! what is still being written, `ingest/<name>.<offset>` pieces of it that arrived early. Invariants: a blob appears under its digest only when its bytes were hashed, counted
//! and synced to disk; the partial file of an interrupted ingest stays and is hashed anew when the ingest goes on, so
//! nothing is believed because a file says so; what a lease holds is not deleted.
mod ahead;
mod error;
mod growth;
mod ingest;
mod lease;
mod store;

pub use error::Error;
pub use growth::{Follower, Watch};
pub use ingest::{Ingest, Verified};
pub use lease::Lease;
pub use store::{Begin, Content};
