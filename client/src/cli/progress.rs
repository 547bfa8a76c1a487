//! The progress of an ingest on stderr: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The bar moves at least this often, so that one sees that it lives.
const TICK: Duration = Duration::from_millis(250);

/// Whether progress can be drawn.
pub(crate) fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Lets a line through now and then.
pub(crate) struct Throttle {
    last: Instant,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now() }
    }

    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.last.elapsed() >= LINE_INTERVAL;
        if is_due {
            self.last = Instant::now();
        }
        is_due
    }
}

pub(crate) struct Progress {
    display: Display,
    started: Instant,
    /// Size of the input. None: it is not known before the end.
    bytes_total: Option<u64>,
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
            Display::Lines(Throttle::new())
        };
        Self { display, started: Instant::now(), bytes_total }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// `documents` are stored, which `bytes_read` of the input led to.
    pub(crate) fn update(&mut self, documents: u64, bytes_read: u64) {
        match &mut self.display {
            Display::Off => {}
            Display::Lines(throttle) => {
                if throttle.is_due() {
                    output::note(
                        &(status(documents, self.started.elapsed(), bytes_read, self.bytes_total, true) + "\n"),
                    );
                }
            }
            Display::Bar(bar) => {
                bar.set_position(bytes_read);
                bar.set_message(status(documents, self.started.elapsed(), bytes_read, self.bytes_total, false));
            }
        }
    }

    /// A message in between.
    pub(crate) fn note(&self, text: &str) {
        match &self.display {
            Display::Bar(bar) => bar.suspend(|| output::note(text)),
            Display::Lines(_) | Display::Off => output::note(text),
        }
    }

    /// A message that nobody needs who wants no progress.
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

fn status(documents: u64, elapsed: Duration, bytes_read: u64, bytes_total: Option<u64>, with_percent: bool) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mut text =
        format!("{}, {}/s", output::counted(documents, "document"), output::count((documents as f64 / seconds) as u64));
    if let Some(total) = bytes_total.filter(|total| *total > 0 && bytes_read > 0) {
        let fraction = (bytes_read as f64 / total as f64).min(1.0);
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
        let text = status(5_000, Duration::from_secs(10), 250, Some(1_000), true);
        assert_eq!(text, "5,000 documents, 500/s, 25%, about 30 s left");
        assert_eq!(status(1, Duration::from_secs(1), 250, None, true), "1 document, 1/s");
    }
}
