//! Limits log lines that an outage would repeat with every call.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long the same line is not written again.
const QUIET: Duration = Duration::from_secs(10);
/// Maximum number of remembered lines. If there are more, those that may be written again are forgotten.
const MAX_REMEMBERED: usize = 256;

/// Writes a warning, unless the same line was written recently.
pub(crate) fn warn(line: String) {
    if let Some(line) = admit(&RECENT, line, Instant::now()) {
        tracing::warn!("{line}");
    }
}

/// Writes an error, unless the same line was written recently.
pub(crate) fn error(line: String) {
    if let Some(line) = admit(&RECENT, line, Instant::now()) {
        tracing::error!("{line}");
    }
}

/// When a line was last written, and how often it was left out since.
type Recent = Mutex<HashMap<String, (Instant, u64)>>;

static RECENT: LazyLock<Recent> = LazyLock::new(Recent::default);

/// The line to write, including how often it was left out before.
fn admit(recent: &Recent, line: String, now: Instant) -> Option<String> {
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((written, left_out)) = recent.get_mut(&line) {
        if now.duration_since(*written) < QUIET {
            *left_out += 1;
            return None;
        }
        let times = std::mem::take(left_out);
        *written = now;
        return Some(if times == 0 { line } else { format!("{line} (and {times} times more since)") });
    }
    if recent.len() >= MAX_REMEMBERED {
        recent.retain(|_, (written, _)| now.duration_since(*written) < QUIET);
    }
    // A flood of different lines is written unchanged.
    if recent.len() < MAX_REMEMBERED {
        recent.insert(line.clone(), (now, 0));
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_once_in_a_while_and_counted() {
        let recent = Recent::default();
        let began = Instant::now();
        let admit = |line: &str, after: Duration| admit(&recent, line.into(), began + after);
        assert_eq!(admit("lost", Duration::ZERO).as_deref(), Some("lost"));
        for second in 1..4 {
            assert_eq!(admit("lost", Duration::from_secs(second)), None);
        }
        assert_eq!(admit("other", Duration::from_secs(4)).as_deref(), Some("other"));
        assert_eq!(admit("lost", QUIET).as_deref(), Some("lost (and 3 times more since)"));
        assert_eq!(admit("lost", QUIET * 2).as_deref(), Some("lost"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let recent = Recent::default();
        let now = Instant::now();
        for line in 0..3 * MAX_REMEMBERED {
            assert!(admit(&recent, line.to_string(), now).is_some());
        }
        assert_eq!(recent.lock().unwrap().len(), MAX_REMEMBERED);
    }
}
