//! Blobs by digest: resumable ingest, verification, leases, collection
