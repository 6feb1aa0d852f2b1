//! The three threads of unpacking: one reads and inflates, one hashes, the caller's own writes.
//!
//! Invariant: at most `DEPTH` chunks wait for either consumer; when a consumer goes away the reading thread ends.
use crate::decompress::Decompressor;
use crate::error::Error;
use knarr_oci::digest::{Digest, Hasher};
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

const CHUNK_LEN: usize = 256 << 10;
const DEPTH: usize = 8;

type Chunk = Arc<(Vec<u8>, usize)>;

/// Runs `consume` on the uncompressed stream while it is inflated and hashed beside it. Returns what `consume` returns
/// and the digest of the whole uncompressed stream; `consume` reads to its end.
pub(crate) fn run<T, R: Read + Send>(
    source: R,
    consume: impl FnOnce(Chunks) -> Result<T, Error>,
) -> Result<(T, Digest), Error> {
    thread::scope(|scope| {
        let (to_writer, from_inflate) = sync_channel(DEPTH);
        let (to_hasher, hash_input) = sync_channel::<Chunk>(DEPTH);
        let (give_back, used) = sync_channel(2 * DEPTH);
        let hash_give_back = give_back.clone();
        scope.spawn(move || inflate(source, &to_writer, &to_hasher, &used));
        let hasher = scope.spawn(move || {
            let mut hasher = Hasher::sha256();
            for chunk in hash_input {
                hasher.update(&chunk.0[..chunk.1]);
                recycle(chunk, &hash_give_back);
            }
            hasher.finish()
        });
        let outcome = consume(Chunks { input: from_inflate, current: None, at: 0, give_back });
        let digest = hasher.join().map_err(|_| Error::Source(io::Error::other("hashing thread failed")))?;
        Ok((outcome?, digest))
    })
}

fn recycle(chunk: Chunk, give_back: &SyncSender<Vec<u8>>) {
    if let Some((buffer, _)) = Arc::into_inner(chunk) {
        let _ = give_back.try_send(buffer);
    }
}

fn inflate<R: Read>(
    source: R,
    to_writer: &SyncSender<Result<Chunk, Error>>,
    to_hasher: &SyncSender<Chunk>,
    used: &Receiver<Vec<u8>>,
) {
    let mut source = match Decompressor::new(source) {
        Ok(source) => source,
        Err(e) => {
            let _ = to_writer.send(Err(e));
            return;
        }
    };
    loop {
        let mut buffer = used.try_recv().unwrap_or_else(|_| vec![0; CHUNK_LEN]);
        let mut len = 0;
        while len < buffer.len() {
            match source.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let _ = to_writer.send(Err(Error::Source(e)));
                    return;
                }
            }
        }
        if len == 0 {
            return;
        }
        let chunk = Arc::new((buffer, len));
        if to_hasher.send(Arc::clone(&chunk)).is_err() || to_writer.send(Ok(chunk)).is_err() {
            return;
        }
    }
}

/// The uncompressed stream, chunk by chunk, without copying.
pub(crate) struct Chunks {
    input: Receiver<Result<Chunk, Error>>,
    current: Option<Chunk>,
    at: usize,
    give_back: SyncSender<Vec<u8>>,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.current.as_ref().is_some_and(|chunk| self.at == chunk.1)
            && let Some(chunk) = self.current.take()
        {
            recycle(chunk, &self.give_back);
        }
        if self.current.is_none() {
            self.at = 0;
            match self.input.recv() {
                Ok(Ok(chunk)) => self.current = Some(chunk),
                Ok(Err(Error::Source(e))) => return Err(e),
                Ok(Err(e)) => return Err(io::Error::new(io::ErrorKind::InvalidData, e.to_string())),
                Err(_) => {}
            }
        }
        Ok(self.current.as_ref().map_or(&[][..], |chunk| &chunk.0[self.at..chunk.1]))
    }
    fn consume(&mut self, len: usize) {
        self.at += len;
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        self.consume(len);
        Ok(len)
    }
}
