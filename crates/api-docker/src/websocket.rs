//! WebSocket (RFC 6455, <https://www.rfc-editor.org/rfc/rfc6455>) for `attach/ws`: stdin in data frames, output in
//! binary frames (text before API 1.28), both outputs as one stream.
//!
//! Invariant: a frame of a client is at most [`MAX_PAYLOAD`] long and masked; anything else closes the connection.
use crate::hijack::Stream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderValue};
use knarr_docker_types::stdcopy::{self, HEADER_LEN};
use sha1::{Digest, Sha1};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Longest frame that is read.
const MAX_PAYLOAD: usize = 1 << 20;
/// Bytes that are read at once from the session.
const CHUNK: usize = 32 * 1024;
/// Frames on their way to the client.
const DEPTH: usize = 8;
/// What the standard adds to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// "Normal closure".
const NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// The value of `Sec-WebSocket-Accept`; `None` when the request is no handshake.
pub fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let websocket = text("upgrade")?.eq_ignore_ascii_case("websocket");
    let key =
        text("sec-websocket-key").filter(|_| websocket && text("sec-websocket-version") == Some("13"))?;
    HeaderValue::from_str(&STANDARD.encode(Sha1::digest(format!("{key}{GUID}")))).ok()
}

/// One frame of a client.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    payload: Vec<u8>,
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Takes a frame from what has arrived; `None` when more is needed.
fn decode(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let [first, second, ..] = **buffer else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(invalid("extensions were not agreed on"));
    }
    if second & 0x80 == 0 {
        return Err(invalid("a client's frame is not masked"));
    }
    let (length, head) = match (second & 0x7f, buffer.get(2..4), buffer.get(2..10)) {
        (126, Some(&[a, b]), _) => (u64::from(u16::from_be_bytes([a, b])), 4),
        (127, _, Some(&[a, b, c, d, e, f, g, h])) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
        (126 | 127, ..) => return Ok(None),
        (short, ..) => (u64::from(short), 2),
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= MAX_PAYLOAD);
    let length = length.ok_or_else(|| invalid("a frame is too long"))?;
    if buffer.len() < head + 4 + length {
        return Ok(None);
    }
    buffer.advance(head);
    let mask = buffer.split_to(4);
    let payload = buffer.split_to(length);
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Ok(Some(Frame { opcode: first & 0x0f, payload }))
}

/// A frame of a server: whole, not masked.
fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// Copies between a client's frames and a session's bytes until one side ends.
pub async fn serve<S>(client: Box<dyn Stream>, session: S, multiplexed: bool, opcode: u8)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (from_client, mut to_client) = tokio::io::split(client);
    let (from_session, to_session) = tokio::io::split(session);
    let (frames, mut outgoing) = mpsc::channel::<Vec<u8>>(DEPTH);
    let input = tokio::spawn(read_client(from_client, to_session, frames.clone()));
    let output = tokio::spawn(async move {
        let _ = read_session(from_session, multiplexed, opcode, &frames).await;
        let _ = frames.send(encode(CLOSE, &NORMAL)).await;
    });
    while let Some(frame) = outgoing.recv().await {
        let last = frame.first() == Some(&(0x80 | CLOSE));
        if to_client.write_all(&frame).await.is_err() || last {
            break;
        }
    }
    let _ = to_client.shutdown().await;
    input.abort();
    output.abort();
}

/// Data frames are stdin; a close frame is its end.
async fn read_client(
    mut client: impl AsyncRead + Unpin,
    mut session: impl AsyncWrite + Unpin,
    frames: mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some(frame) = decode(&mut buffer)? {
            match frame.opcode {
                CONTINUATION | TEXT | BINARY => session.write_all(&frame.payload).await?,
                PING => {
                    let _ = frames.send(encode(PONG, &frame.payload)).await;
                }
                CLOSE => {
                    session.shutdown().await?;
                    let _ = frames.send(encode(CLOSE, &NORMAL)).await;
                    return Ok(());
                }
                _ => {}
            }
        }
        if client.read_buf(&mut buffer).await? == 0 {
            return session.shutdown().await;
        }
    }
}

async fn read_session(
    mut session: impl AsyncRead + Unpin,
    multiplexed: bool,
    opcode: u8,
    frames: &mpsc::Sender<Vec<u8>>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut left = if multiplexed {
            let mut header = [0; HEADER_LEN];
            session.read_exact(&mut header).await?;
            let (_, length) = stdcopy::parse_header(header).ok_or_else(|| invalid("unknown stream"))?;
            length as usize
        } else {
            CHUNK
        };
        while left > 0 {
            let wanted = left.min(CHUNK);
            let read = session.read(&mut chunk[..wanted]).await?;
            if read == 0 || frames.send(encode(opcode, &chunk[..read])).await.is_err() {
                return Ok(());
            }
            left = if multiplexed { left - read } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(opcode, payload);
        frame[1] |= 0x80;
        let head = frame.len() - payload.len();
        let mask = [1, 2, 3, 4];
        frame[head..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        frame.splice(head..head, mask);
        frame
    }

    #[test]
    fn the_handshake_of_the_standard() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.remove("upgrade");
        assert_eq!(accept(&headers), None);
    }

    #[test]
    fn frames_of_every_length_and_in_pieces() {
        for length in [0, 5, 125, 126, 65_535, 65_536, MAX_PAYLOAD] {
            let payload = vec![7; length];
            let bytes = masked(BINARY, &payload);
            let mut partial = BytesMut::from(&bytes[..bytes.len() - 1]);
            assert_eq!(decode(&mut partial).unwrap(), None);
            let mut whole = BytesMut::from(bytes.as_slice());
            assert_eq!(decode(&mut whole).unwrap(), Some(Frame { opcode: BINARY, payload }));
            assert!(whole.is_empty());
        }
    }

    #[test]
    fn bad_frames_are_errors() {
        let mut too_long = masked(BINARY, &vec![0; 65_536]);
        too_long[2..10].copy_from_slice(&u64::MAX.to_be_bytes());
        for bad in [encode(TEXT, b"not masked"), too_long, vec![0xf1, 0x80]] {
            assert!(decode(&mut BytesMut::from(bad.as_slice())).is_err());
        }
    }

    #[tokio::test]
    async fn both_directions_until_the_session_ends() {
        let (client, mut peer) = tokio::io::duplex(1024);
        let (session, mut container) = tokio::io::duplex(1024);
        let serving = tokio::spawn(serve(Box::new(client), session, true, BINARY));
        peer.write_all(&masked(BINARY, b"in")).await.unwrap();
        let mut input = [0; 2];
        container.read_exact(&mut input).await.unwrap();
        assert_eq!(&input, b"in");
        for (stream, text) in [(stdcopy::Stream::Stdout, b"out"), (stdcopy::Stream::Stderr, b"err")] {
            container.write_all(&stdcopy::header(stream, 3)).await.unwrap();
            container.write_all(text).await.unwrap();
        }
        drop(container);
        let mut seen = Vec::new();
        peer.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, [encode(BINARY, b"out"), encode(BINARY, b"err"), encode(CLOSE, &NORMAL)].concat());
        serving.await.unwrap();
    }
}
