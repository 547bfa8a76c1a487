//! Reports slow steps to a person on stderr.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written during a download.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The receiver of messages about slow steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// To stderr: a bar on a terminal, else a line every few seconds.
    #[default]
    Stderr,
    /// Nowhere.
    Silent,
}

impl Progress {
    /// Writes one line.
    pub(super) fn say(self, message: impl std::fmt::Display) {
        if self == Progress::Stderr {
            eprintln!("pgfox: {message}");
        }
    }

    /// Starts to report a download of about `total` bytes.
    pub(super) fn download(self, what: &str, total: u64) -> Download {
        let bar = (self == Progress::Stderr && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("pgfox: {msg} {bar:30} {bytes}/{total_bytes}");
            ProgressBar::new(total)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_message(format!("fetching {what}"))
        });
        if bar.is_none() {
            self.say(format_args!("fetching {what}, {} MB", total.div_ceil(1_000_000)));
        }
        Download { progress: self, what: what.to_owned(), total, bar, last_line: Instant::now() }
    }
}

/// A download in progress.
pub(super) struct Download {
    progress: Progress,
    what: String,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Download {
    /// Reports that `bytes` have arrived.
    pub(super) fn at(&mut self, bytes: u64) {
        let bytes = bytes.min(self.total);
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let megabytes = |bytes: u64| bytes / 1_000_000;
            self.progress.say(format_args!(
                "fetching {}, {} of {} MB",
                self.what,
                megabytes(bytes),
                megabytes(self.total)
            ));
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
