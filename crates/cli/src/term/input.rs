//! Standard input as a bounded queue, read by a thread of its own (a read of a terminal cannot be cancelled).
use std::io::Read;
use tokio::sync::mpsc::{Receiver, channel};

const CHUNK_BYTES: usize = 32 * 1024;
const QUEUE_CHUNKS: usize = 8;

/// Chunks until end-of-file.
pub fn read() -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel(QUEUE_CHUNKS);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match stdin.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}
