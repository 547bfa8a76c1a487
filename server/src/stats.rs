//! Counters of what the server does. Each is counted where it happens, with atomics, so that counting costs almost
//! nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The upper bounds of the buckets in microseconds: half a millisecond to 30 s.
const BOUNDS: [u64; 15] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// Counts how often something happened.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts how many of something are running.
#[derive(Debug, Default)]
pub(crate) struct Running(AtomicU64);

impl Running {
    /// Adds one, until the returned value is dropped.
    pub(crate) fn begin(&self) -> impl Drop + use<'_> {
        struct Begun<'r>(&'r Running);
        impl Drop for Begun<'_> {
            fn drop(&mut self) {
                self.0.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        Begun(self)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Measures how long something took, in buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One bucket for each bound, and one for everything above the largest bound.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The contents of a histogram.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The upper bound in seconds, and the count in this bucket alone.
    pub(crate) buckets: Vec<(f64, u64)>,
    pub(crate) count: u64,
    pub(crate) seconds: f64,
}

impl Histogram {
    pub(crate) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| Duration::from_micros(*bound) < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        // 64 bits of nanoseconds hold 584 years.
        self.nanoseconds.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let bounds = BOUNDS.iter().map(|micros| Duration::from_micros(*micros).as_secs_f64()).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Snapshot {
            count: buckets.iter().map(|(_, count)| count).sum(),
            seconds: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Snapshot { buckets, count, seconds } = histogram.snapshot();
        assert_eq!(count, 5);
        assert_eq!((buckets[0], buckets[1]), ((0.0005, 2), (0.001, 1)));
        assert_eq!((buckets[14], buckets[15]), ((30.0, 1), (f64::INFINITY, 1)));
        assert!((seconds - 60.001_002).abs() < 1e-9);
    }
}
