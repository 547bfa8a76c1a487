//! The findings of the soak: violations, the worst allowed values, and counts.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// Number of violations after which nothing new can be learnt.
const MAX_VIOLATIONS: usize = 20;

/// The kind of a violation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// Something acknowledged is not there.
    Lost,
    /// Something was done twice, or is stored twice.
    Doubled,
    /// Parts of two states of a document are together.
    Torn,
    /// Health reported something untrue.
    Health,
    /// The service was not back in time, or a call failed while nothing was wrong.
    Service,
    /// An error that no fault explains.
    Error,
    /// Memory, connections or descriptors grew.
    Growth,
}

#[derive(Debug)]
struct Violation {
    kind: Kind,
    /// Since the start.
    at: Duration,
    what: String,
}

#[derive(Debug, Default)]
struct Found {
    violations: Vec<Violation>,
    counts: BTreeMap<String, u64>,
    worst: BTreeMap<&'static str, (Duration, String)>,
    figures: BTreeMap<String, f64>,
}

/// Everything that is noted in a run.
#[derive(Debug)]
pub(crate) struct Report {
    began: Instant,
    seed: u64,
    found: Mutex<Found>,
}

impl Report {
    pub(crate) fn new(seed: u64) -> Self {
        Self { began: Instant::now(), seed, found: Mutex::default() }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line of progress.
    pub(crate) fn say(&self, what: impl fmt::Display) {
        eprintln!("{:>7.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    pub(crate) fn violation(&self, kind: Kind, what: String) {
        let mut found = self.found();
        if found.violations.len() < MAX_VIOLATIONS {
            self.say(format_args!("VIOLATION, {kind:?}: {what}"));
            found.violations.push(Violation { kind, at: self.began.elapsed(), what });
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.found().violations.len() >= MAX_VIOLATIONS
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.found().violations.is_empty()
    }

    pub(crate) fn count(&self, what: &str, more: u64) {
        let mut found = self.found();
        match found.counts.get_mut(what) {
            Some(count) => *count += more,
            None => drop(found.counts.insert(what.to_owned(), more)),
        }
    }

    /// Records how long something took, if nothing took longer so far.
    pub(crate) fn worst(&self, what: &'static str, time: Duration, when: impl fmt::Display) {
        let mut found = self.found();
        let worst = found.worst.entry(what).or_default();
        if time >= worst.0 {
            *worst = (time, when.to_string());
        }
    }

    pub(crate) fn figure(&self, what: String, value: f64) {
        self.found().figures.insert(what, value);
    }

    /// For people.
    pub(crate) fn print(&self) {
        let found = self.found();
        println!("seed {}, {:.0} s", self.seed, self.began.elapsed().as_secs_f64());
        for (what, count) in &found.counts {
            println!("{count:>10}  {what}");
        }
        for (what, value) in &found.figures {
            println!("{value:>10.1}  {what}");
        }
        for (what, (time, when)) in &found.worst {
            println!("{:>8.2} s  {what}, at most ({when})", time.as_secs_f64());
        }
        for kind in [Kind::Lost, Kind::Doubled, Kind::Torn] {
            let count = found.violations.iter().filter(|violation| violation.kind == kind).count();
            println!("{count:>10}  {}", format!("{kind:?}").to_lowercase());
        }
        for violation in &found.violations {
            println!("VIOLATION after {:.1} s, {:?}: {}", violation.at.as_secs_f64(), violation.kind, violation.what);
        }
    }

    /// For programs: one line.
    pub(crate) fn print_json(&self) {
        let found = self.found();
        let violations: Vec<Value> = found
            .violations
            .iter()
            .map(|violation| {
                let kind = format!("{:?}", violation.kind).to_lowercase();
                json!({ "kind": kind, "at": violation.at.as_secs_f64(), "what": violation.what })
            })
            .collect();
        let worst: BTreeMap<&str, Value> = found
            .worst
            .iter()
            .map(|(what, (time, when))| (*what, json!({ "seconds": time.as_secs_f64(), "when": when })))
            .collect();
        let report = json!({
            "seed": self.seed,
            "seconds": self.began.elapsed().as_secs_f64(),
            "counts": found.counts,
            "figures": found.figures,
            "worst": worst,
            "violations": violations,
        });
        println!("{report}");
    }
}
