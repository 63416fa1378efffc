//! How far a long command is, on standard error.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressStyle};

use super::text::duration;

/// Counts objects and pages, and shows them: on a terminal all the time, elsewhere in a line from
/// time to time if that is asked for, and otherwise not at all.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// When the next line is due; `None` for no lines.
    next_line: Option<Instant>,
    start: Instant,
    objects: u64,
    pages: u64,
}

impl Progress {
    /// Begins to count; `always` asks for lines where there is no terminal.
    pub(super) fn new(always: bool) -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let start = Instant::now();
        Self {
            next_line: (always && bar.is_hidden()).then_some(start),
            bar,
            start,
            objects: 0,
            pages: 0,
        }
    }

    /// Takes note of a page.
    pub(super) fn page(&mut self, objects: usize) {
        self.pages += 1;
        self.objects += objects as u64;
        self.show();
    }

    /// Takes note of an object that came alone.
    pub(super) fn object(&mut self) {
        self.objects += 1;
        if self.objects.is_multiple_of(OBJECTS_BETWEEN) {
            self.show();
        }
    }

    fn show(&mut self) {
        let now = Instant::now();
        let is_due = self.next_line.is_some_and(|due| due <= now);
        if self.bar.is_hidden() && !is_due {
            return;
        }
        let seconds = now.duration_since(self.start).as_secs().max(1);
        let mut text = format!("{} objects", self.objects);
        if self.pages > 0 {
            text.push_str(&format!(", {} pages", self.pages));
        }
        text.push_str(&format!(", {} objects/s", self.objects / seconds));
        if is_due {
            self.next_line = Some(now + BETWEEN_LINES);
            // Nobody reads it; the work goes on.
            _ = writeln!(io::stderr(), "{text}");
        }
        self.bar.set_message(text);
        self.bar.tick();
    }
}

/// Shows how many of a known number of bytes are done, how fast that goes, and when it will have ended:
/// on a terminal all the time, elsewhere in a line from time to time if that is asked for, and
/// otherwise not at all. Any thread may count.
#[derive(Debug)]
pub(super) struct Bytes {
    bar: ProgressBar,
    /// When the next line is due; `None` for no lines.
    next_line: Option<Mutex<Instant>>,
    start: Instant,
}

impl Bytes {
    /// Begins to count up to `total`; `always` asks for lines where there is no terminal.
    pub(super) fn new(total: u64, always: bool) -> Self {
        let bar = ProgressBar::new(total);
        let template =
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(BETWEEN_TICKS);
        let start = Instant::now();
        Self {
            next_line: (always && bar.is_hidden()).then(|| Mutex::new(start + BETWEEN_LINES)),
            bar,
            start,
        }
    }

    /// Takes note that so many more are done.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        let Some(next_line) = &self.next_line else {
            return;
        };
        let now = Instant::now();
        let mut due = next_line.lock().unwrap_or_else(PoisonError::into_inner);
        if *due <= now {
            *due = now + BETWEEN_LINES;
            drop(due);
            self.line(now);
        }
    }

    fn line(&self, now: Instant) {
        let done = self.bar.position();
        let total = self.bar.length().unwrap_or(done);
        let seconds = now.duration_since(self.start).as_secs().max(1);
        let rate = done / seconds;
        let left = total.saturating_sub(done).checked_div(rate);
        let left = left.map_or_else(String::new, |left| {
            format!(", {} left", duration(Duration::from_secs(left)))
        });
        let (done, total, rate) = (BinaryBytes(done), BinaryBytes(total), BinaryBytes(rate));
        // Nobody reads it; the work goes on.
        _ = writeln!(io::stderr(), "{done} of {total}, {rate}/s{left}");
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.next_line.is_some() {
            self.line(Instant::now());
        }
        self.bar.finish_and_clear();
    }
}

/// Shows on a terminal that work goes on whose end cannot be seen, and for how long it has, until this is
/// dropped.
#[derive(Debug)]
pub(super) struct Waiting(ProgressBar);

impl Waiting {
    /// Begins to wait for `what`.
    pub(super) fn new(what: String) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(BETWEEN_TICKS);
        Self(bar)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const BETWEEN_TICKS: Duration = Duration::from_millis(100);
const BETWEEN_LINES: Duration = Duration::from_secs(5);
const OBJECTS_BETWEEN: u64 = 1000;
