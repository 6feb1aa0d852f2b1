//! Copies a hijacked connection from and to the terminal.
use crate::failure::{Failure, Outcome};
use crate::term::escape::Detector;
use crate::term::output::{Output, Target};
use crate::term::raw::RawMode;
use crate::term::{input, signals};
use bytes::{Buf, Bytes, BytesMut};
use knarr_docker_client::{HijackReader, HijackWriter, Hijacked};
use knarr_docker_types::stdcopy;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const READ_BYTES: usize = 64 * 1024;

/// What to copy and how.
#[derive(Debug, Clone, Default)]
pub struct Streaming {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
    /// Empty: the default keys.
    pub detach_keys: String,
    /// Signals reach the container by another way; otherwise they end us.
    pub signals_proxied: bool,
}

/// Why the copying ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The container's output is over.
    Output,
    /// The user typed the detach keys.
    Detached,
}

impl Streaming {
    fn wants_output(&self) -> bool {
        self.stdout || self.stderr
    }

    /// Copies until the output ends or the user detaches. The terminal is raw meanwhile, if there is one.
    pub async fn run(&self, hijacked: Hijacked) -> Outcome<Ended> {
        let raw = if self.stdin && self.tty && super::stdin_is_terminal() {
            Some(
                RawMode::enter()
                    .map_err(|e| Failure::new(format!("unable to set IO streams as raw terminal: {e}")))?,
            )
        } else {
            None
        };
        // not by the media type: engines before API 1.42 give the same one for both
        let multiplexed = !self.tty;
        let (reader, writer) = hijacked.into_parts();
        let stdin = self.copy_input(writer);
        let output = copy_output(reader, multiplexed, self);
        tokio::pin!(stdin, output);
        let mut stdin_done = false;
        let ended = loop {
            tokio::select! {
                result = &mut output => {
                    if let Some(raw) = &raw { raw.restore(); }
                    break result.map(|()| Ended::Output)?;
                }
                detached = &mut stdin, if !stdin_done => {
                    stdin_done = true;
                    if detached {
                        break Ended::Detached;
                    }
                    if !self.wants_output() {
                        break Ended::Output;
                    }
                }
                number = signals::ended(), if !self.signals_proxied => {
                    drop(raw);
                    return Err(Failure::status(128 + number));
                }
            }
        };
        Ok(ended)
    }

    /// Copies standard input; true when the user detached.
    async fn copy_input(&self, mut writer: HijackWriter) -> bool {
        if self.stdin {
            let mut detector = self.tty.then(|| Detector::new(&self.detach_keys));
            let mut chunks = input::read();
            while let Some(chunk) = chunks.recv().await {
                let (bytes, detached) = match &mut detector {
                    Some(detector) => detector.pass(&chunk),
                    None => (chunk, false),
                };
                // a container that does not read any more is seen on its output
                if !bytes.is_empty() && writer.write_all(&bytes).await.is_err() {
                    break;
                }
                if detached {
                    return true;
                }
            }
        }
        let _ = writer.close().await;
        // the write half must live as long as the read half
        if self.wants_output() {
            std::future::pending::<()>().await;
        }
        false
    }
}

async fn copy_output(reader: HijackReader, multiplexed: bool, streaming: &Streaming) -> Outcome {
    let output = Output::default();
    let copied = if multiplexed {
        copy_frames(reader, &output).await
    } else {
        copy_raw(reader, &output, streaming).await
    };
    // a reader of ours that went away ends the command as SIGPIPE would
    output.finish().await?;
    copied.map_err(|error| Failure::new(format!("error reading the container's output: {error}")))
}

async fn copy_raw<R: AsyncRead + Unpin>(
    mut reader: R,
    output: &Output,
    streaming: &Streaming,
) -> io::Result<()> {
    let target = if streaming.stdout || streaming.tty { Target::Stdout } else { Target::Stderr };
    loop {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let count = match reader.read_buf(&mut buffer).await {
            Ok(count) => count,
            // an engine that dies in the middle closes like an ended container
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        if count == 0 || !output.write(target, buffer.freeze()).await {
            return Ok(());
        }
    }
}

async fn copy_frames<R: AsyncRead + Unpin>(mut reader: R, output: &Output) -> io::Result<()> {
    let mut demux = Demux::default();
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        buffer.reserve(READ_BYTES);
        let count = match reader.read_buf(&mut buffer).await {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        if count == 0 {
            return Ok(());
        }
        while let Some((target, bytes)) = demux.next(&mut buffer)? {
            if !output.write(target, bytes).await {
                return Ok(());
            }
        }
    }
}

/// Takes frames apart as their bytes arrive; a frame may come in pieces.
#[derive(Default)]
pub struct Demux {
    current: Option<(Target, usize)>,
    system_error: bool,
}

impl Demux {
    pub fn next(&mut self, buffer: &mut BytesMut) -> io::Result<Option<(Target, Bytes)>> {
        loop {
            if let Some((target, left)) = self.current {
                if buffer.is_empty() && left > 0 {
                    return Ok(None);
                }
                let count = left.min(buffer.len());
                let bytes = buffer.split_to(count).freeze();
                self.current = (left > count).then_some((target, left - count));
                if bytes.is_empty() {
                    continue;
                }
                if self.system_error {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    return Err(io::Error::other(format!("error from daemon in stream: {text}")));
                }
                return Ok(Some((target, bytes)));
            }
            let Some(header) = buffer.first_chunk::<{ stdcopy::HEADER_LEN }>() else { return Ok(None) };
            let Some((stream, length)) = stdcopy::parse_header(*header) else {
                return Err(io::Error::other(format!("unrecognized input header: {}", header[0])));
            };
            buffer.advance(stdcopy::HEADER_LEN);
            let target = match stream {
                stdcopy::Stream::Stdin | stdcopy::Stream::Stdout => Target::Stdout,
                stdcopy::Stream::Stderr => Target::Stderr,
                stdcopy::Stream::SystemErr => {
                    self.system_error = true;
                    Target::Stderr
                }
            };
            self.current = Some((target, length as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_however_they_are_cut() {
        let mut wire = Vec::new();
        for (stream, text) in [(1u8, "out"), (2, "error"), (1, "")] {
            wire.extend_from_slice(&[stream, 0, 0, 0, 0, 0, 0, text.len() as u8]);
            wire.extend_from_slice(text.as_bytes());
        }
        for cut in 1..wire.len() {
            let (mut demux, mut buffer, mut seen) =
                (Demux::default(), BytesMut::new(), (Vec::new(), Vec::new()));
            for piece in wire.chunks(cut) {
                buffer.extend_from_slice(piece);
                while let Some((target, bytes)) = demux.next(&mut buffer).unwrap() {
                    if target == Target::Stdout {
                        seen.0.extend_from_slice(&bytes)
                    } else {
                        seen.1.extend_from_slice(&bytes)
                    }
                }
            }
            assert_eq!(seen, (b"out".to_vec(), b"error".to_vec()), "cut at {cut}");
        }
        let mut bad = BytesMut::from(&[9u8, 0, 0, 0, 0, 0, 0, 0][..]);
        assert!(Demux::default().next(&mut bad).is_err());
    }
}
