//! The metrics that Prometheus reads. Each is counted where it happens, with atomics; this module only collects them.

use std::{fmt, sync::Arc, time::Duration};

use pgfox::v1::{ErrorReason, FILE_DESCRIPTOR_SET};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, exemplar::Exemplar, gauge::ConstGauge},
};
use prost::Message as _;
use tonic::Code;

use crate::{
    embed::{self, Embedders},
    error::reason_name,
    layers::connections::Slots,
    stats::{Counter, Histogram},
    store::Store,
};

/// The names of the status codes as gRPC writes them, indexed by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

pub(super) fn code_name(code: Code) -> &'static str {
    CODES[code as usize]
}

/// How many values `ErrorReason` has.
const REASONS: usize = ErrorReason::SourceNotFollowed as usize + 1;

/// The duration of calls by RPC and status code, and their errors by reason. The RPCs come from the API, so callers cannot add any.
#[derive(Debug)]
pub(crate) struct Rpcs(Vec<Rpc>);

#[derive(Debug)]
struct Rpc {
    path: String,
    /// Length of the part of the path before the name.
    prefix: usize,
    by_code: [Histogram; CODES.len()],
    by_reason: [Counter; REASONS],
}

impl Rpcs {
    pub(super) fn new() -> Self {
        // The build encoded it, so it decodes completely.
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut rpcs = Vec::new();
        for file in &files.file {
            for service in &file.service {
                let prefix = format!("/{}.{}/", file.package(), service.name());
                rpcs.extend(service.method.iter().map(|method| Rpc {
                    path: format!("{prefix}{}", method.name()),
                    prefix: prefix.len(),
                    by_code: std::array::from_fn(|_| Histogram::default()),
                    by_reason: std::array::from_fn(|_| Counter::default()),
                }));
            }
        }
        rpcs.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Self(rpcs)
    }

    /// The index of the RPC at a path.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.0.binary_search_by(|rpc| rpc.path.as_str().cmp(path)).ok()
    }

    pub(super) fn name(&self, rpc: usize) -> &str {
        let Rpc { path, prefix, .. } = &self.0[rpc];
        &path[*prefix..]
    }

    pub(super) fn observe(&self, rpc: usize, code: Code, reason: Option<ErrorReason>, took: Duration) {
        let Rpc { by_code, by_reason, .. } = &self.0[rpc];
        by_code[code as usize].observe(took);
        if let Some(reason) = reason {
            by_reason[reason as usize].add(1);
        }
    }
}

/// Reads everything that a server counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) rpcs: Arc<Rpcs>,
    pub(crate) connections: Arc<Slots>,
    pub(crate) store: Store,
    pub(crate) embedders: Embedders,
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Out(encoder);
        self.encode_rpcs(&mut out)?;
        self.encode_connections(&mut out)?;
        self.encode_store(&mut out)?;
        self.encode_embedders(&mut out)
    }
}

impl Metrics {
    fn encode_rpcs(&self, out: &mut Out<'_>) -> fmt::Result {
        let help = "Time from the start of a call to the end of its answer, streams included";
        let mut metric = out.0.encode_descriptor("pgfox_rpc_duration_seconds", help, None, MetricType::Histogram)?;
        for (rpc, Rpc { by_code, .. }) in self.rpcs.0.iter().enumerate() {
            for (code, histogram) in CODES.iter().zip(by_code) {
                let labels = [("method", self.rpcs.name(rpc)), ("code", code)];
                // Each RPC uses few of the 17 codes.
                if histogram.snapshot().count > 0 {
                    encode_histogram(metric.encode_family(&labels)?, histogram)?;
                }
            }
        }
        let help = "Calls that ended with an error of the service, by its reason";
        let mut metric = out.0.encode_descriptor("pgfox_rpc_errors", help, None, MetricType::Counter)?;
        for (rpc, Rpc { by_reason, .. }) in self.rpcs.0.iter().enumerate() {
            for (number, counter) in (0..).zip(by_reason) {
                let Ok(reason) = ErrorReason::try_from(number) else { continue };
                let labels = [("method", self.rpcs.name(rpc)), ("reason", reason_name(reason))];
                if counter.get() > 0 {
                    ConstCounter::new(counter.get()).encode(metric.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_connections(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = &self.connections.stats;
        out.gauge("pgfox_connections", "Open connections of callers", self.connections.count() as u64)?;
        let ended = [
            ("refused", &stats.refused),
            ("replaced", &stats.replaced),
            ("silent", &stats.silent),
            ("idle", &stats.idle),
        ];
        let help = "Connections of callers that the server refused or closed, by reason";
        out.counters("pgfox_connections_closed", help, "reason", ended.map(|(reason, count)| (reason, count.get())))
    }

    fn encode_store(&self, out: &mut Out<'_>) -> fmt::Result {
        let pool = self.store.pool_status();
        out.gauge("pgfox_pool_max_connections", "Maximum number of connections to the database", pool.max)?;
        out.gauge("pgfox_pool_connections", "Open connections to the database", pool.open)?;
        out.gauge("pgfox_pool_connections_in_use", "Connections to the database that are in use", pool.in_use)?;
        out.gauge("pgfox_pool_waiting", "Calls that wait for a connection to the database", pool.waiting)?;
        let stats = self.store.stats();
        let help = "Time to get a connection to the database, including opening a new one";
        let metric = out.0.encode_descriptor("pgfox_pool_wait_seconds", help, None, MetricType::Histogram)?;
        encode_histogram(metric, &stats.pool_wait)?;

        let rows = [("inserted", &stats.inserted), ("updated", &stats.updated), ("unchanged", &stats.unchanged)];
        let help = "Documents in ingest requests, by result";
        out.counters("pgfox_ingested_rows", help, "result", rows.map(|(result, count)| (result, count.get())))?;

        let rows = [
            ("stored", &stats.followed_stored),
            ("deleted", &stats.followed_deleted),
            ("failed", &stats.followed_failed),
        ];
        let help = "Rows of followed tables, by result";
        out.counters("pgfox_followed_rows", help, "result", rows.map(|(result, count)| (result, count.get())))?;

        let builds = [
            ("started", &stats.builds_started),
            ("succeeded", &stats.builds_succeeded),
            ("failed", &stats.builds_failed),
        ];
        let help = "Index builds in this process, by event; an interrupted build starts again";
        out.counters("pgfox_index_builds", help, "event", builds.map(|(event, count)| (event, count.get())))?;
        out.gauge("pgfox_index_builds_running", "Running index builds in this process", stats.builds_running.get())?;
        let help = "Chunks stored by an older version whose words this process has made again";
        out.counter("pgfox_words_converted", help, stats.words_converted.get())
    }

    fn encode_embedders(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.embedders.stats();
        let mut counters = |name, help, count: fn(&embed::Stats) -> u64| {
            out.counters(name, help, "provider", stats.iter().map(|(provider, stats)| (*provider, count(stats))))
        };
        counters("pgfox_embed_calls", "Batches of texts sent to a model", |stats| stats.calls.get())?;
        counters("pgfox_embed_texts", "Texts embedded", |stats| stats.texts.get())?;
        counters("pgfox_embed_tokens", "Tokens read by models", |stats| stats.tokens.get())?;
        counters("pgfox_embed_retries", "Requests to a provider that were retried", |stats| stats.retries.get())?;
        counters("pgfox_embed_failures", "Batches that could not be embedded", |stats| stats.failures.get())?;
        let (hits, misses) = self.embedders.query_cache_hits_and_misses();
        let help = "Lookups of query texts in the cache of vectors, by result";
        out.counters("pgfox_query_cache", help, "result", [("hit", hits), ("miss", misses)])
    }
}

/// Writes metrics in the forms that this module uses.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            ConstCounter::new(count).encode(metric.encode_family(&[(label, value)])?)?;
        }
        Ok(())
    }
}

fn encode_histogram(mut metric: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    type NoExemplars = std::collections::HashMap<usize, Exemplar<[(&'static str, &'static str); 0], f64>>;
    let snapshot = histogram.snapshot();
    metric.encode_histogram(snapshot.seconds, snapshot.count, &snapshot.buckets, None::<&NoExemplars>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_names_of_the_protocol() {
        assert_eq!(CODES.len(), Code::Unauthenticated as usize + 1);
        assert_eq!(code_name(Code::DeadlineExceeded), "DEADLINE_EXCEEDED");
        assert_eq!(code_name(Code::Unauthenticated), "UNAUTHENTICATED");
    }

    #[test]
    fn every_reason_has_a_counter() {
        assert!((0..REASONS).all(|number| ErrorReason::try_from(number as i32).is_ok()));
        assert!(ErrorReason::try_from(REASONS as i32).is_err(), "a later reason is the last");
    }

    #[test]
    fn only_rpcs_of_the_api_are_counted() {
        let rpcs = Rpcs::new();
        let search = rpcs.find("/pgfox.v1.PgfoxService/Search").unwrap();
        assert_eq!(rpcs.name(search), "Search");
        for path in ["/pgfox.v1.PgfoxService/Nothing", "/grpc.health.v1.Health/Check", "/", ""] {
            assert_eq!(rpcs.find(path), None);
        }
    }
}
