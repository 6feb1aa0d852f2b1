//! Progress of image operations as Docker's JSON messages.
use knarr_docker_types::jsonmessage::{Message, Progress as Detail};
use knarr_image::Progress;
use tokio::sync::mpsc;

/// Where messages go, from threads that may block.
#[derive(Clone)]
pub(crate) struct Sender(pub mpsc::Sender<Message>);

impl Sender {
    /// A client that is gone does not stop the work.
    pub fn send(&self, message: Message) {
        let _ = self.0.blocking_send(message);
    }
}

pub(crate) fn message(progress: Progress) -> Message {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    match progress {
        Progress::Status { id: Some(id), status } => {
            Message { progress_detail: Some(Default::default()), ..Message::status(status).with_id(id) }
        }
        Progress::Status { id: None, status } => Message::status(status),
        Progress::Heading { id, status } => Message::status(status).with_id(id),
        Progress::Coming { id, status, size } => {
            let detail = Detail { size: number(size), ..Detail::default() };
            Message { progress_detail: Some(detail), ..Message::status(status).with_id(id) }
        }
        Progress::Transfer { id, status, current, total } => {
            let bar = bar(current, total);
            Message {
                progress: bar,
                ..Message::status(status).with_id(id).with_progress(number(current), number(total))
            }
        }
        Progress::Stream(line) => Message::stream(line),
        Progress::Pushed { tag, digest, size } => Message {
            progress_detail: Some(Default::default()),
            aux: Some(serde_json::json!({ "Tag": tag, "Digest": digest, "Size": size })),
            ..Message::default()
        },
        Progress::InsteadOfIndex { index, manifest } => Message {
            aux: Some(serde_json::json!({
                "manifestPushedInsteadOfIndex": true, "originalIndex": index, "selectedManifest": manifest
            })),
            ..Message::default()
        },
    }
}

/// The text of the bar, for clients that do not draw one.
fn bar(current: u64, total: u64) -> String {
    const WIDTH: u64 = 50;
    if total == 0 {
        return human(current);
    }
    let done = usize::try_from((current.min(total) * WIDTH) / total).unwrap_or(0);
    let left = usize::try_from(WIDTH).unwrap_or(0).saturating_sub(done);
    format!("[{}>{}] {:>8}/{}", "=".repeat(done), " ".repeat(left), human(current), human(total))
}

/// go-units' `HumanSize`: four significant digits, powers of 1000.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    #[allow(clippy::cast_precision_loss)]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (28_123_456, "28.12MB"),
            (5_000_000_000, "5GB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
