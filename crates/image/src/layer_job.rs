//! One layer of a pull: downloaded, and unpacked while it arrives.
//!
//! Invariant: the tree gets its name only after the blob's digest and the layer's diff id were right, and both are on disk.
//! What was unpacked of a blob that had to be begun again is thrown away, and unpacked once more from the verified blob.
use crate::error::Error;
use crate::publish::Ready;
use crate::pull::Pull;
use crate::record::LayerRef;
use crate::service::Images;
use crate::transfers::{Phase, Reporter};
use crate::unpack::Metered;
use knarr_content::{Follower, Ingest};
use knarr_snapshot::{Claim, Staged, Whiteouts};
use std::io::Read;
use std::sync::Arc;

/// The right to a layer, and its tree; none if it is there already.
type Unpacked = Option<(Claim, Staged)>;

/// Fetches and unpacks one layer.
pub(crate) async fn run(pull: Pull, layer: LayerRef, reporter: Reporter) -> Result<(), Error> {
    let slot = match Arc::clone(&pull.slots).try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            reporter.phase(Phase::Waiting);
            let acquired = Arc::clone(&pull.slots).acquire_owned().await;
            acquired.map_err(|e| Error::Task(e.to_string()))?
        }
    };
    let whole = Arc::clone(&pull.images.transfers.slots).acquire_owned().await;
    let whole = whole.map_err(|e| Error::Task(e.to_string()))?;
    let begun = pull.begin_blob(&layer.blob).await?;
    let Some(ingest) = begun else {
        drop(slot);
        reporter.phase(Phase::Downloaded);
        return unpack(&pull, layer, reporter).await;
    };
    let (follower, verified, unpacked) = transfer(&pull, &layer, ingest, &reporter).await?;
    drop((slot, whole));
    let unpacked = match unpacked {
        Ok(unpacked) => Some(unpacked),
        // What it had read was not what the blob is in the end.
        Err(_) if follower.is_broken() => None,
        Err(error) => return Err(error),
    };
    let again = unpacked.is_none();
    let (images, lease) = (pull.images.clone(), Arc::clone(&pull.lease));
    pull.blocking(move || {
        let (claim, staged) = unpacked.flatten().unzip();
        knarr_base::failpoint!("pull.verified", Error::Failpoint("pull.verified"));
        let ready = Ready { blobs: vec![verified], layers: staged.into_iter().collect() };
        images.publisher.publish(&lease, ready)?;
        drop(claim);
        Ok(())
    })
    .await?;
    if again { unpack(&pull, layer, reporter).await } else { Ok(()) }
}

/// Downloads and unpacks side by side.
async fn transfer(
    pull: &Pull,
    layer: &LayerRef,
    ingest: Ingest,
    reporter: &Reporter,
) -> Result<(knarr_content::Watch, knarr_content::Verified, Result<Unpacked, Error>), Error> {
    let follower = ingest.follow()?;
    let watch = follower.watch();
    let staging = {
        let (images, layer, reporter) = (pull.images.clone(), layer.clone(), reporter.clone());
        pull.on_thread(move || images.unpack_arriving(&layer, follower, reporter))
    };
    let downloading = async {
        let progress = |current: u64, _: u64| reporter.downloaded(current);
        let done = pull.repository.fetch_into(&layer.blob, ingest, &progress).await;
        let verified = done?;
        reporter.phase(Phase::Downloaded);
        // The disk takes it while the rest is unpacked.
        pull.blocking(move || {
            verified.sync()?;
            Ok(verified)
        })
        .await
    };
    let (verified, unpacked) = tokio::join!(downloading, staging);
    Ok((watch, verified?, unpacked))
}

/// Unpacks a layer whose blob is there.
async fn unpack(pull: &Pull, layer: LayerRef, reporter: Reporter) -> Result<(), Error> {
    let images = pull.images.clone();
    pull.blocking(move || {
        let Some(claim) = images.layers.claim(&layer.diff_id) else { return Ok(()) };
        let blob = images.content.open_blob(&layer.blob.digest)?;
        let staged = images.stage_from(&layer, blob, reporter)?;
        images
            .publisher
            .publish(&images.content.lease(), Ready { blobs: Vec::new(), layers: vec![staged] })?;
        drop(claim);
        Ok(())
    })
    .await
}

impl Images {
    fn unpack_arriving(
        &self,
        layer: &LayerRef,
        follower: Follower,
        reporter: Reporter,
    ) -> Result<Unpacked, Error> {
        let Some(claim) = self.layers.claim(&layer.diff_id) else { return Ok(None) };
        let staged = self.stage_from(layer, follower, reporter)?;
        knarr_base::failpoint!("unpack.staged", Error::Failpoint("unpack.staged"));
        Ok(Some((claim, staged)))
    }

    fn stage_from(
        &self,
        layer: &LayerRef,
        source: impl Read + Send,
        reporter: Reporter,
    ) -> Result<Staged, Error> {
        let source = Metered::new(source, |read, _| reporter.extracted(read));
        Ok(self.layers.stage(source, Some(&layer.diff_id), Whiteouts::Overlay, self.limits)?)
    }
}
