//! What a transfer looks like on a terminal: a line for each layer and one for all of them, with rate and time left.
//!
//! Pure: messages and times in, lines out. Invariants: no line is wider than the terminal, and there are no more lines than
//! it has rows, so that whoever prints them can go back to the first; a rate is that of the last seconds, so it falls to
//! nothing when nothing comes.
use crate::format::units;
use knarr_docker_types::jsonmessage::Message;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What a rate is of.
const WINDOW: Duration = Duration::from_secs(5);
/// A rate of less time says nothing.
const MIN_WINDOW: Duration = Duration::from_millis(500);
/// Between two remembered states of one counter.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
const MIN_BAR: usize = 8;
const MAX_BAR: usize = 40;
/// Longer times left are no use to anybody.
const MAX_SECONDS: u64 = 100 * 3600;
/// Statuses of what is not moving, though bytes of it may have come before.
const PAUSED: [&str; 2] = ["Waiting", "Retrying"];

/// Room on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub columns: usize,
    pub rows: usize,
}

/// A counter of bytes, as it was in the last seconds.
#[derive(Debug, Default)]
struct Meter {
    bytes: u64,
    samples: VecDeque<(Duration, u64)>,
}

impl Meter {
    fn add(&mut self, bytes: u64, now: Duration) {
        if self.samples.is_empty() {
            self.samples.push_back((now, self.bytes));
        }
        self.bytes += bytes;
        if self.samples.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= SAMPLE_EVERY) {
            self.samples.push_back((now, self.bytes));
        }
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes per second; none before there is anything to judge by.
    fn rate(&self, now: Duration) -> Option<f64> {
        let since = now.saturating_sub(WINDOW);
        let (at, bytes) = self.samples.iter().rev().find(|(at, _)| *at <= since).or(self.samples.front())?;
        let time = now.saturating_sub((*at).max(since));
        #[allow(clippy::cast_precision_loss)]
        (time >= MIN_WINDOW).then(|| (self.bytes - bytes) as f64 / time.as_secs_f64())
    }
}

/// Bytes of one step of a layer's way.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Step {
    status: String,
    current: u64,
    total: u64,
}

#[derive(Debug, Default)]
struct Item {
    status: String,
    /// What is under way now, if its bytes are counted.
    now: Option<Step>,
    /// The first step whose bytes are counted: of a pull the download, of a push the upload.
    first: Option<Step>,
    /// Bytes that the engine announced before any came.
    announced: u64,
    meter: Meter,
    /// Nothing is left to do.
    done: bool,
}

impl Item {
    /// Bytes of the first step: those that are through, and all.
    fn bytes(&self) -> (u64, u64) {
        match &self.first {
            Some(step) => (step.current, step.total),
            None if self.done => (0, 0),
            None => (0, self.announced),
        }
    }
}

/// All layers of one transfer.
#[derive(Debug, Default)]
pub struct Board {
    order: Vec<String>,
    items: HashMap<String, Item>,
    all: Meter,
    began: Option<Duration>,
    last: Duration,
}

impl Board {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes in a message about one layer. `now` is the time since any fixed moment.
    pub fn apply(&mut self, message: &Message, now: Duration) {
        let id = clean(&message.id);
        if !self.items.contains_key(&id) {
            self.order.push(id.clone());
        }
        let item = self.items.entry(id).or_default();
        let status = clean(&message.status);
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        let detail = message.progress_detail.as_ref();
        let (current, total, announced) =
            detail.map_or((0, 0, 0), |p| (count(p.current), count(p.total), count(p.size)));
        item.announced = item.announced.max(announced);
        let counted = detail.is_some_and(|p| p.units.is_empty()) && (current > 0 || total > 0);
        if counted {
            let step = Step { status: status.clone(), current, total };
            let before = item.first.get_or_insert_with(|| step.clone());
            if before.status == status {
                // What is on the disk from an earlier attempt did not come now, and what has to come again comes again.
                let came = current.saturating_sub(before.current);
                self.began.get_or_insert(now);
                self.last = now;
                item.meter.add(came, now);
                self.all.add(came, now);
                *before = step.clone();
            } else if before.total > 0 {
                before.current = before.total;
            }
            item.now = Some(step);
        } else {
            let paused = PAUSED.iter().any(|word| status.starts_with(word));
            if let Some(first) = item.first.as_mut().filter(|first| !paused && first.total > 0) {
                // The last message before the end is seldom at the end.
                let came = first.total.saturating_sub(first.current);
                first.current = first.total;
                if came > 0 {
                    self.last = now;
                    self.all.add(came, now);
                }
            }
            item.now = None;
        }
        item.done = is_done(&status);
        item.status = status;
    }

    /// Layers, and how many of them are done.
    fn done(&self) -> (usize, usize) {
        (self.items.values().filter(|item| item.done).count(), self.items.len())
    }

    /// The lines of now, top first.
    pub fn draw(&self, now: Duration, room: Room) -> Vec<String> {
        let total = self.total(now, room.columns);
        let left = room.rows.saturating_sub(1 + usize::from(total.is_some())).max(1);
        let shown = self.chosen(left);
        let mut lines: Vec<String> =
            shown.iter().map(|(id, item)| layer_line(id, item, now, room.columns)).collect();
        let more = self.order.len() - shown.len();
        if more > 0 {
            let (done, _) = self.done();
            lines
                .push(fit(format!("and {more} more, {done} of {} complete", self.order.len()), room.columns));
        }
        lines.extend(total);
        lines
    }

    /// Those that there is room for, in their order: what is done goes first, then what has not begun.
    fn chosen(&self, room: usize) -> Vec<(&str, &Item)> {
        let all: Vec<(&str, &Item)> =
            self.order.iter().filter_map(|id| Some((id.as_str(), self.items.get(id)?))).collect();
        if all.len() <= room {
            return all;
        }
        let room = room.saturating_sub(1);
        let weight = |item: &Item| match (item.done, item.now.is_some()) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 0,
        };
        let mut places: Vec<usize> = (0..all.len()).collect();
        places.sort_by_key(|place| (all.get(*place).map_or(3, |(_, item)| weight(item)), *place));
        places.truncate(room);
        places.sort_unstable();
        places.into_iter().filter_map(|place| all.get(place).copied()).collect()
    }

    /// The line for all layers; none before there are bytes to count.
    fn total(&self, now: Duration, columns: usize) -> Option<String> {
        let began = self.began?;
        let (mut current, mut total, mut unknown) = (0u64, 0u64, false);
        for item in self.items.values() {
            let (part, whole) = item.bytes();
            current += part;
            total += whole;
            unknown |= whole == 0 && !item.done;
        }
        let (done, count) = self.done();
        let head = format!("Total: {done}/{count} layers");
        let (came, took) = (self.all.bytes, self.last.saturating_sub(began));
        if current >= total && !unknown {
            // Everything is here: what is left is work of this machine.
            #[allow(clippy::cast_precision_loss)]
            let rate = came as f64 / took.as_secs_f64().max(0.001);
            let rate = if took >= MIN_WINDOW { format!(" ({})", shown_rate(rate)) } else { String::new() };
            let text = format!("{head}  {} in {}{rate}", amount(came), shown_seconds(took));
            return Some(fit(text, columns));
        }
        // What is not known yet is at least nothing.
        let counts = format!("{}/{}{}", amount(current), amount(total), if unknown { "+" } else { "" });
        let left = (!unknown).then(|| total.saturating_sub(current));
        Some(composed(&head, (current, total), &counts, self.all.rate(now), left, columns))
    }
}

/// Docker's words for a layer with which nothing is left to do.
fn is_done(status: &str) -> bool {
    matches!(
        status,
        "Pull complete" | "Already exists" | "Pushed" | "Layer already exists" | "Skipped foreign layer"
    ) || status.starts_with("Mounted from ")
}

fn layer_line(id: &str, item: &Item, now: Duration, columns: usize) -> String {
    let head = format!("{id}: {}", item.status);
    let Some(step) = &item.now else { return fit(head, columns) };
    let is_first = item.first.as_ref().is_some_and(|first| first.status == step.status);
    let rate = if is_first && step.current < step.total { item.meter.rate(now) } else { None };
    let counts = match step.total {
        0 => amount(step.current),
        total => format!("{}/{}", amount(step.current.min(total)), amount(total)),
    };
    let left = (step.total > 0).then(|| step.total.saturating_sub(step.current));
    composed(&head, (step.current, step.total), &counts, rate, left, columns)
}

/// Head, bar, counts, rate, time left: as much of it as there is room for. The bar goes first.
fn composed(
    head: &str,
    (current, total): (u64, u64),
    counts: &str,
    rate: Option<f64>,
    left: Option<u64>,
    columns: usize,
) -> String {
    const HEAD: usize = 28;
    const COUNTS: usize = 17;
    let mut tail = format!("{counts:>COUNTS$}");
    if let Some(rate) = rate {
        tail.push_str(&format!("  {:>10}", shown_rate(rate)));
        if let Some(text) = left.and_then(|left| time_left(left, rate)) {
            tail.push_str(&format!("  {text} left"));
        }
    }
    let head = format!("{head:<HEAD$}");
    let room = columns.saturating_sub(1 + head.chars().count() + TAIL + 4).min(MAX_BAR);
    let bar =
        if room >= MIN_BAR && total > 0 { format!("  {}", bar(current, total, room)) } else { String::new() };
    fit(format!("{head}{bar}  {tail}").trim_end().to_owned(), columns)
}

/// Columns of counts, rate and time left.
const TAIL: usize = 42;

fn bar(current: u64, total: u64, width: usize) -> String {
    let filled = (u128::from(current.min(total)) * width as u128 / u128::from(total.max(1))) as usize;
    let filled = filled.min(width);
    let arrow = if filled < width { ">" } else { "" };
    format!("[{:<width$}]", format!("{}{arrow}", "=".repeat(filled)))
}

fn amount(bytes: u64) -> String {
    units::size_short(i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn shown_rate(rate: f64) -> String {
    format!("{}/s", units::size_of(rate))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn time_left(left: u64, rate: f64) -> Option<String> {
    if rate < 1.0 {
        return None;
    }
    let seconds = (left as f64 / rate).ceil() as u64;
    (left > 0 && seconds < MAX_SECONDS).then(|| clock(seconds))
}

/// `42s`, `3m05s`, `2h00m`.
fn clock(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

fn shown_seconds(time: Duration) -> String {
    if time < Duration::from_secs(10) { format!("{:.1}s", time.as_secs_f64()) } else { clock(time.as_secs()) }
}

/// What a registry or an engine says goes to a terminal: no control characters.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// One column stays free: some terminals begin a new line with the last one.
fn fit(text: String, columns: usize) -> String {
    let room = columns.saturating_sub(1).max(1);
    if text.chars().count() <= room { text } else { text.chars().take(room).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Room = Room { columns: 120, rows: 40 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }
    fn status(id: &str, text: &str) -> Message {
        Message { progress_detail: Some(Default::default()), ..Message::status(text).with_id(id) }
    }
    fn moved(id: &str, text: &str, current: i64, total: i64) -> Message {
        Message::status(text).with_id(id).with_progress(current, total)
    }
    fn announced(id: &str, size: i64) -> Message {
        let mut message = status(id, "Pulling fs layer");
        if let Some(detail) = &mut message.progress_detail {
            detail.size = size;
        }
        message
    }
    /// Lines with one space where there are several.
    fn squeezed(board: &Board, now: u64, room: Room) -> Vec<String> {
        let squeeze = |line: String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        board.draw(at(now), room).into_iter().map(squeeze).collect()
    }

    #[test]
    fn rate_and_time_left_of_each_layer_and_of_all() {
        let mut board = Board::default();
        for (id, size) in [("aaa", 100_000_000), ("bbb", 20_000_000), ("ccc", 80_000_000)] {
            board.apply(&announced(id, size), at(0));
        }
        assert_eq!(
            board.draw(at(0), WIDE),
            ["aaa: Pulling fs layer", "bbb: Pulling fs layer", "ccc: Pulling fs layer"]
        );
        board.apply(&moved("aaa", "Downloading", 0, 100_000_000), at(0));
        for step in 1..=20 {
            board.apply(&moved("aaa", "Downloading", step * 1_000_000, 100_000_000), at(100 * step as u64));
        }
        board.apply(&status("bbb", "Already exists"), at(2000));
        let narrow = Room { columns: 80, rows: 40 };
        assert_eq!(
            squeezed(&board, 2000, narrow),
            [
                "aaa: Downloading 20MB/100MB 10MB/s 8s left",
                "bbb: Already exists",
                "ccc: Pulling fs layer",
                "Total: 1/3 layers 20MB/180MB 10MB/s 16s left",
            ]
        );
        let line = &board.draw(at(2000), WIDE)[0];
        assert!(line.contains("[========>"), "{line}");
        // Nothing comes any more: the rate falls, and there is no time left to tell at last.
        assert_eq!(squeezed(&board, 4000, narrow)[0], "aaa: Downloading 20MB/100MB 5MB/s 16s left");
        assert_eq!(squeezed(&board, 60_000, narrow)[0], "aaa: Downloading 20MB/100MB 0B/s");
    }

    #[test]
    fn what_was_on_the_disk_is_no_rate_and_what_comes_again_does_not_count_twice() {
        let mut board = Board::default();
        board.apply(&moved("aaa", "Downloading", 90_000_000, 100_000_000), at(0));
        board.apply(&moved("aaa", "Downloading", 91_000_000, 100_000_000), at(1000));
        let narrow = Room { columns: 80, rows: 40 };
        assert_eq!(squeezed(&board, 1000, narrow)[0], "aaa: Downloading 91MB/100MB 1MB/s 9s left");
        board.apply(&status("aaa", "Retrying in 1 second"), at(1100));
        assert_eq!(
            squeezed(&board, 1100, narrow),
            ["aaa: Retrying in 1 second", "Total: 0/1 layers 91MB/100MB 909kB/s 10s left",]
        );
        board.apply(&moved("aaa", "Downloading", 50_000_000, 100_000_000), at(2000));
        assert_eq!(squeezed(&board, 2000, narrow)[0], "aaa: Downloading 50MB/100MB 500kB/s 1m40s left");
    }

    #[test]
    fn sizes_that_are_not_known_give_no_time_for_all() {
        let mut board = Board::default();
        board.apply(&status("aaa", "Pulling fs layer"), at(0));
        board.apply(&status("bbb", "Pulling fs layer"), at(0));
        board.apply(&moved("aaa", "Downloading", 0, 10_000_000), at(0));
        board.apply(&moved("aaa", "Downloading", 5_000_000, 10_000_000), at(1000));
        let lines = squeezed(&board, 1000, Room { columns: 80, rows: 40 });
        assert_eq!(lines[2], "Total: 0/2 layers 5MB/10MB+ 5MB/s");
    }

    #[test]
    fn unpacking_comes_after_and_the_end_says_how_long_it_took() {
        let mut board = Board::default();
        board.apply(&moved("aaa", "Downloading", 0, 10_000_000), at(0));
        board.apply(&moved("aaa", "Downloading", 9_000_000, 10_000_000), at(2000));
        board.apply(&status("aaa", "Verifying Checksum"), at(2000));
        board.apply(&status("aaa", "Download complete"), at(2000));
        board.apply(&moved("aaa", "Extracting", 5_000_000, 10_000_000), at(2500));
        let narrow = Room { columns: 80, rows: 40 };
        assert_eq!(
            squeezed(&board, 2500, narrow),
            ["aaa: Extracting 5MB/10MB", "Total: 0/1 layers 10MB in 2.0s (5MB/s)"]
        );
        board.apply(&status("aaa", "Pull complete"), at(3000));
        assert_eq!(
            squeezed(&board, 3000, narrow),
            ["aaa: Pull complete", "Total: 1/1 layers 10MB in 2.0s (5MB/s)"]
        );
    }

    #[test]
    fn pushes_and_loads_have_the_same_lines() {
        let mut board = Board::default();
        board.apply(&status("aaa", "Preparing"), at(0));
        board.apply(&status("bbb", "Mounted from team/base"), at(0));
        board.apply(&moved("aaa", "Pushing", 0, 4_000_000), at(0));
        board.apply(&moved("aaa", "Pushing", 1_000_000, 4_000_000), at(1000));
        assert_eq!(
            squeezed(&board, 1000, Room { columns: 80, rows: 40 }),
            [
                "aaa: Pushing 1MB/4MB 1MB/s 3s left",
                "bbb: Mounted from team/base",
                "Total: 1/2 layers 1MB/4MB 1MB/s 3s left",
            ]
        );
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut board = Board::default();
        for n in 0..100 {
            board.apply(&status(&format!("layer{n:02}"), "Already exists"), at(0));
        }
        for n in 100..110 {
            board.apply(&moved(&format!("layer{n}"), "Downloading", 1, 1_000_000_000), at(0));
        }
        for n in 110..130 {
            board.apply(&status(&format!("layer{n}"), "\x1b[31mWaiting"), at(0));
        }
        for (columns, rows) in [(80, 24), (20, 5), (1, 1), (300, 3)] {
            let lines = board.draw(at(1000), Room { columns, rows });
            assert!(lines.len() <= rows.max(3), "{rows}: {lines:?}");
            assert!(lines.iter().all(|line| line.chars().count() < columns.max(2)), "{columns}: {lines:?}");
            assert!(lines.iter().all(|line| !line.contains('\x1b')));
        }
        let lines = squeezed(&board, 1000, Room { columns: 80, rows: 24 });
        assert!(lines[0].starts_with("layer100: Downloading"), "{lines:?}");
        assert_eq!(lines[21], "and 109 more, 100 of 130 complete");
        assert!(lines[22].starts_with("Total: 100/130 layers"), "{lines:?}");
    }

    #[test]
    fn times() {
        let cases = [(5, "5s"), (60, "1m00s"), (185, "3m05s"), (7200, "2h00m"), (100_000, "27h46m")];
        for (seconds, text) in cases {
            assert_eq!(clock(seconds), text);
        }
        assert_eq!(time_left(u64::MAX, 1.0), None);
        assert_eq!(time_left(10, 0.0), None);
    }
}
