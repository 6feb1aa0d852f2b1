//! One blob over several connections: the first goes through it from where the store is, others, if that takes long, take
//! pieces further on.
//!
//! Standard: RFC 9110, 14 (range requests). Invariants: at most [`LANES`] requests for one blob and [`QUEUE`] pieces in
//! memory, the rest is on disk; the bytes in order come first, since they are unpacked while the others arrive; a server that
//! cannot do ranges is asked once and serves the whole over the first connection; a lane that fails gives its piece back.
use crate::Progress;
use crate::error::{Error, Result};
use crate::repository::Session;
use crate::transport::{self, without_secrets};
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{CONTENT_RANGE, RANGE};
use http::{Method, StatusCode};
use knarr_content::Ingest;
use knarr_oci::image::Descriptor;
use reqwest::Response;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Requests for one blob at the same time.
const LANES: usize = 4;
/// Bytes of one piece. Pieces begin at multiples of it.
const SEGMENT: u64 = 4 << 20;
/// A transfer that is done by then needs no more connections.
const LANES_AFTER: Duration = Duration::from_millis(400);
/// Pieces (of up to a few hundred KiB each) that wait to be written.
const QUEUE: usize = 16;

/// Some bytes of a segment.
struct Piece {
    segment: u64,
    at: u64,
    bytes: Bytes,
}

/// What the lanes of one blob share.
struct Plan<'a> {
    session: &'a Session,
    blob: &'a Descriptor,
    progress: Progress<'a>,
    sender: mpsc::Sender<Piece>,
    state: Mutex<State>,
    /// The segment where the first lane began.
    from: u64,
    /// Where its answer ends before the end of the blob.
    until: Option<u64>,
    /// No piece is left to take.
    all_taken: CancellationToken,
}

/// Who takes care of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Care {
    /// It is there, or bytes of it come.
    Sure,
    /// This lane has asked for it. The first lane does not wait for that.
    Asked(usize),
}

struct State {
    taken: BTreeMap<u64, Care>,
    /// How much of a segment was there from the start.
    begun: Vec<(u64, u64)>,
    received: u64,
    /// The server answered a range with something else.
    whole_only: bool,
}

/// What came of a piece that was asked for.
enum Got {
    Piece,
    /// The first lane was there before the answer.
    NotWanted,
    /// The server does not answer ranges.
    Whole,
}

/// Fetches what is missing, as far as it goes. The ingest comes back with whatever arrived; the outer error is the disk's.
pub(crate) async fn transfer(
    session: &Session,
    blob: &Descriptor,
    mut ingest: Ingest,
    progress: Progress<'_>,
) -> Result<(Ingest, Result<()>)> {
    // Up to what an earlier transfer had taken further on.
    let until = ingest.ahead().iter().map(|(start, _)| *start).filter(|start| *start > ingest.offset()).min();
    let response = match first_request(session, blob, ingest.offset(), until).await {
        Ok(response) => response,
        Err(error) => return Ok((ingest, Err(error))),
    };
    let partial = content_range(&response);
    let asked = ingest.offset() > 0 || until.is_some();
    let whole_only = asked && partial.map(|(start, _)| start) != Some(ingest.offset());
    if whole_only {
        // The server begins at the beginning.
        ingest.restart()?;
    }
    let (offset, received) = (ingest.offset(), ingest.received());
    let begun = ingest.ahead();
    let full = begun.iter().filter(|(start, len)| {
        start % SEGMENT == 0 && start.saturating_add(*len) >= segment_end(*start, blob.size)
    });
    let mut taken: BTreeMap<u64, Care> = full.map(|(start, _)| (start / SEGMENT, Care::Sure)).collect();
    taken.insert(offset / SEGMENT, Care::Sure);
    let (sender, receiver) = mpsc::channel::<Piece>(QUEUE);
    let writer = tokio::task::spawn_blocking(move || write(ingest, receiver));
    let plan = Plan {
        session,
        blob,
        progress,
        sender,
        state: Mutex::new(State { taken, begun, received, whole_only }),
        from: offset / SEGMENT,
        until: until.filter(|_| !whole_only),
        all_taken: CancellationToken::new(),
    };
    let result = plan.run(response, offset).await;
    drop(plan);
    let ingest = writer.await.map_err(|_| Error::Cancelled)??;
    Ok((ingest, result))
}

/// Where the segment of this offset ends.
fn segment_end(offset: u64, size: u64) -> u64 {
    ((offset / SEGMENT + 1) * SEGMENT).min(size)
}

impl Plan<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(&self, response: Response, offset: u64) -> Result<()> {
        let mut lanes: Vec<Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>> =
            vec![Box::pin(self.first_lane(response, offset))];
        for lane in 1..LANES {
            lanes.push(Box::pin(self.further_lane(lane)));
        }
        join_all(lanes).await.into_iter().collect()
    }

    /// Goes through the blob until it comes to a segment that another lane has taken.
    async fn first_lane(&self, mut response: Response, mut at: u64) -> Result<()> {
        let outcome = self.go_through(&mut response, &mut at).await;
        drop(response);
        match outcome {
            Ok(true) => {}
            Ok(false) if self.until == Some(at) => {}
            done => {
                // At the end, or cut: those that only wait for their turn need not.
                if done.is_err() {
                    self.lock().taken.remove(&(at / SEGMENT));
                }
                self.all_taken.cancel();
                return done.map(drop);
            }
        }
        self.further_pieces(0).await
    }

    /// Whether it ended at another lane's segment.
    async fn go_through(&self, response: &mut Response, at: &mut u64) -> Result<bool> {
        let mut current = self.from;
        loop {
            let Some(mut bytes) = next(response).await? else { return Ok(false) };
            while !bytes.is_empty() {
                let number = *at / SEGMENT;
                if current != number && *at < self.blob.size {
                    if self.lock().taken.insert(number, Care::Sure) == Some(Care::Sure) {
                        return Ok(true);
                    }
                    current = number;
                }
                // What is more than announced goes to the store, which refuses it.
                let room = segment_end(*at, self.blob.size).saturating_sub(*at);
                let len = if room == 0 { bytes.len() } else { room.min(bytes.len() as u64) as usize };
                let piece = bytes.split_to(len);
                self.pass_on(*at, piece).await?;
                *at += len as u64;
            }
        }
    }

    /// Begins when the transfer takes long.
    async fn further_lane(&self, lane: usize) -> Result<()> {
        tokio::select! {
            () = self.all_taken.cancelled() => return Ok(()),
            () = tokio::time::sleep(LANES_AFTER) => {}
        }
        // What fails here is the first lane's to fetch.
        if let Err(error) = self.further_pieces(lane).await {
            tracing::debug!(digest = %self.blob.digest, error = error.to_string(), "a range failed");
        }
        Ok(())
    }

    async fn further_pieces(&self, lane: usize) -> Result<()> {
        while let Some((start, end)) = self.take(lane) {
            let number = start / SEGMENT;
            let mut at = start;
            match self.piece(lane, &mut at, end).await {
                Ok(Got::Piece | Got::NotWanted) => {}
                Ok(Got::Whole) => {
                    self.give_back(lane, number, at > start);
                    let mut state = self.lock();
                    state.whole_only = true;
                }
                Err(error) => {
                    self.give_back(lane, number, at > start);
                    return Err(error);
                }
            }
        }
        let whole_only = self.lock().whole_only;
        if lane == 0 && whole_only {
            // It answered ranges before.
            let url = without_secrets(&self.session.url(&format!("blobs/{}", self.blob.digest))?);
            let cause = "no more ranges are answered".to_owned();
            return Err(Error::Transport {
                method: Method::GET,
                url,
                cause,
                temporary: true,
                connected: true,
                refused: false,
            });
        }
        Ok(())
    }

    /// A segment that did not come. One that the first lane has taken over is its own.
    fn give_back(&self, lane: usize, number: u64, begun: bool) {
        let mut state = self.lock();
        if begun || state.taken.get(&number) == Some(&Care::Asked(lane)) {
            state.taken.remove(&number);
        }
    }

    /// The next piece that nobody has, from where it was left.
    fn take(&self, lane: usize) -> Option<(u64, u64)> {
        if self.all_taken.is_cancelled() {
            return None;
        }
        let mut state = self.lock();
        let number =
            (self.from..self.blob.size.div_ceil(SEGMENT)).find(|number| !state.taken.contains_key(number));
        let Some(number) = number.filter(|_| !state.whole_only) else {
            drop(state);
            self.all_taken.cancel();
            return None;
        };
        state.taken.insert(number, Care::Asked(lane));
        let begun =
            state.begun.iter().find(|(start, _)| *start == number * SEGMENT).map_or(0, |(_, len)| *len);
        Some((number * SEGMENT + begun, segment_end(number * SEGMENT, self.blob.size)))
    }

    /// Fetches one piece, from `at` on.
    async fn piece(&self, lane: usize, at: &mut u64, end: u64) -> Result<Got> {
        let url = self.session.url(&format!("blobs/{}", self.blob.digest))?;
        let range = format!("bytes={at}-{}", end - 1);
        let number = *at / SEGMENT;
        let mut response =
            self.session.send(None, |http| http.get(url.clone()).header(RANGE, range.as_str())).await?;
        let right =
            |(start, total): (u64, Option<u64>)| start == *at && total.is_none_or(|t| t == self.blob.size);
        if !content_range(&response).is_some_and(right) {
            if response.status() == StatusCode::OK || response.status() == StatusCode::PARTIAL_CONTENT {
                return Ok(Got::Whole);
            }
            return Err(transport::failure(Method::GET, response).await);
        }
        {
            let mut state = self.lock();
            if state.taken.get(&number) != Some(&Care::Asked(lane)) {
                return Ok(Got::NotWanted);
            }
            state.taken.insert(number, Care::Sure);
        }
        while *at < end {
            let Some(bytes) = next(&mut response).await? else {
                let what = "a range ended early".to_owned();
                return Err(Error::Protocol { url: without_secrets(response.url()), what });
            };
            let len = bytes.len().min(usize::try_from(end - *at).unwrap_or(usize::MAX));
            self.pass_on(*at, bytes.slice(..len)).await?;
            *at += len as u64;
        }
        Ok(Got::Piece)
    }

    async fn pass_on(&self, at: u64, bytes: Bytes) -> Result<()> {
        let len = bytes.len() as u64;
        // A writer that is gone has failed; its error is the one that counts.
        let segment = at / SEGMENT * SEGMENT;
        self.sender.send(Piece { segment, at, bytes }).await.map_err(|_| Error::Cancelled)?;
        let received = {
            let mut state = self.lock();
            state.received = (state.received + len).min(self.blob.size);
            state.received
        };
        (self.progress)(received, self.blob.size);
        Ok(())
    }
}

async fn next(response: &mut Response) -> Result<Option<Bytes>> {
    let chunk = response.chunk().await;
    chunk.map_err(|error| transport::transport_error(Method::GET, without_secrets(response.url()), &error))
}

/// Everything from where the store is, or up to what is there further on.
async fn first_request(
    session: &Session,
    blob: &Descriptor,
    offset: u64,
    until: Option<u64>,
) -> Result<Response> {
    let url = session.url(&format!("blobs/{}", blob.digest))?;
    let request = |http: &reqwest::Client| {
        let request = http.get(url.clone());
        match until {
            Some(until) => request.header(RANGE, format!("bytes={offset}-{}", until - 1)),
            None if offset > 0 => request.header(RANGE, format!("bytes={offset}-")),
            None => request,
        }
    };
    let response = session.send(None, request).await?;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 || until.is_some() => {
            // What is there is not the beginning of this blob for the server: begin again.
            let whole = session.send(None, |http| http.get(url.clone())).await?;
            if whole.status() == StatusCode::OK {
                Ok(whole)
            } else {
                Err(transport::failure(Method::GET, whole).await)
            }
        }
        _ => Err(transport::failure(Method::GET, response).await),
    }
}

/// Where a partial answer begins, and how long the whole is if the server knows.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    parse_content_range(response.headers().get(CONTENT_RANGE)?.to_str().ok()?)
}

fn parse_content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) =
        text.strip_prefix("bytes ")?.split_once('/').unwrap_or((text.strip_prefix("bytes ")?, "*"));
    Some((range.split('-').next()?.trim().parse().ok()?, total.trim().parse().ok()))
}

fn write(mut ingest: Ingest, mut receiver: mpsc::Receiver<Piece>) -> Result<Ingest> {
    while let Some(Piece { segment, at, bytes }) = receiver.blocking_recv() {
        ingest.put_at(segment, at, &bytes)?;
    }
    Ok(ingest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_servers_write_them() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_content_range("bytes 5-9"), Some((5, None)));
        for bad in ["5-9/10", "bytes */10", "bytes -9/10", ""] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn segments_end_at_multiples_and_at_the_end() {
        assert_eq!(segment_end(0, 10), 10);
        assert_eq!(segment_end(0, SEGMENT * 2), SEGMENT);
        assert_eq!(segment_end(SEGMENT, SEGMENT * 2), SEGMENT * 2);
        assert_eq!(segment_end(SEGMENT + 1, SEGMENT + 2), SEGMENT + 2);
    }
}
