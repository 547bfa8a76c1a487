//! The progress of an ingest on stderr: a bar on a terminal, else a line every few seconds.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Time until the first line, so that the user soon sees that something happens.
const FIRST_LINE: Duration = Duration::from_secs(1);
/// Time between two lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The bar moves at least this often, so that the user sees that the command is alive.
const TICK: Duration = Duration::from_millis(250);

/// Whether progress can be drawn.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Lets a line through once in a while.
pub(crate) struct Throttle {
    due: Instant,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { due: Instant::now() + LINE_INTERVAL }
    }

    pub(crate) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.due;
        if is_due {
            self.due = now + LINE_INTERVAL;
        }
        is_due
    }
}

pub(crate) struct Progress {
    display: Display,
    started: Instant,
    /// Size of the input. `None`: not known before the end.
    bytes_total: Option<u64>,
}

/// The progress of an ingest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Done {
    /// Stored documents.
    pub(crate) documents: u64,
    /// Embedded chunks of the stored documents. `None`: the collection has no chunking.
    pub(crate) chunks: Option<u64>,
    /// Documents that were read but are not stored yet.
    pub(crate) waiting: u64,
    /// The bytes of input of the stored documents.
    pub(crate) bytes_read: u64,
}

enum Display {
    Bar(ProgressBar),
    Lines(Throttle),
    Off,
}

impl Progress {
    pub(crate) fn new(is_shown: bool, bytes_total: Option<u64>) -> Self {
        let display = if !is_shown {
            Display::Off
        } else if is_terminal() {
            let bar = ProgressBar::new(bytes_total.unwrap_or(0));
            let template = if bytes_total.is_some() { "{bar:30} {percent:>3}%  {msg}" } else { "{spinner} {msg}" };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            Display::Bar(bar)
        } else {
            Display::Lines(Throttle { due: Instant::now() + FIRST_LINE })
        };
        Self { display, started: Instant::now(), bytes_total }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Shows the progress if it is due. Call it every second.
    pub(crate) fn update(&mut self, done: Done) {
        let elapsed = self.started.elapsed();
        match &mut self.display {
            Display::Off => {}
            Display::Lines(throttle) => {
                if throttle.is_due() {
                    output::note(&(status(done, elapsed, self.bytes_total, true) + "\n"));
                }
            }
            Display::Bar(bar) => {
                bar.set_position(done.bytes_read);
                bar.set_message(status(done, elapsed, self.bytes_total, false));
            }
        }
    }

    /// Prints a message between updates of the progress.
    pub(crate) fn note(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| output::note(text)),
            Display::Lines(_) | Display::Off => output::note(text),
        }
    }

    /// Prints a message that is useless without progress.
    pub(crate) fn remark(&self, text: &str) {
        if !matches!(self.display, Display::Off) {
            self.note(text);
        }
    }

    pub(crate) fn clear(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

fn status(done: Done, elapsed: Duration, bytes_total: Option<u64>, with_percent: bool) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let rated = |count: u64, noun: &str| {
        format!("{}, {}/s", output::counted(count, noun), output::count((count as f64 / seconds) as u64))
    };
    let mut text = rated(done.documents, "document");
    if let Some(chunks) = done.chunks {
        text += &format!("; {}", rated(chunks, "chunk"));
    }
    if done.documents == 0 && done.waiting > 0 {
        text += &format!("; {} sent", output::counted(done.waiting, "document"));
    }
    if let Some(total) = bytes_total.filter(|total| *total > 0 && done.bytes_read > 0) {
        let fraction = (done.bytes_read as f64 / total as f64).min(1.0);
        if with_percent {
            text += &format!(", {:.0}%", fraction * 100.0);
        }
        text += &format!(", about {} left", output::seconds(seconds * (1.0 - fraction) / fraction));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_rate_and_remaining_time() {
        let done = Done { documents: 5_000, bytes_read: 250, ..Done::default() };
        let text = status(done, Duration::from_secs(10), Some(1_000), true);
        assert_eq!(text, "5,000 documents, 500/s, 25%, about 30 s left");
        let done = Done { documents: 1, chunks: Some(40), bytes_read: 250, waiting: 3 };
        assert_eq!(status(done, Duration::from_secs(2), None, true), "1 document, 0/s; 40 chunks, 20/s");
        let done = Done { waiting: 100, chunks: Some(0), ..Done::default() };
        let text = status(done, Duration::from_secs(1), Some(1_000), true);
        assert_eq!(text, "0 documents, 0/s; 0 chunks, 0/s; 100 documents sent");
    }
}
