//! What Prometheus reads. Everything is counted where it happens, by atomics; here it is only collected.

use std::{fmt, sync::Arc, time::Duration};

use pgfox::v1::FILE_DESCRIPTOR_SET;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, exemplar::Exemplar, gauge::ConstGauge},
};
use prost::Message as _;
use tonic::Code;

use crate::{
    embed::{self, Embedders},
    layers::connections::Slots,
    stats::Histogram,
    store::Store,
};

/// The names of the codes as gRPC writes them, by their numbers.
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

/// How long the calls of each RPC took, by their codes. The RPCs are those of the API, so that no caller can add to them.
#[derive(Debug)]
pub(crate) struct Rpcs(Vec<Rpc>);

#[derive(Debug)]
struct Rpc {
    path: String,
    /// Length of what is before the name in the path.
    prefix: usize,
    by_code: [Histogram; CODES.len()],
}

impl Rpcs {
    pub(super) fn new() -> Self {
        // It was encoded when this was built, and is read whole or not at all.
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
        let mut rpcs = Vec::new();
        for file in &files.file {
            for service in &file.service {
                let prefix = format!("/{}.{}/", file.package(), service.name());
                rpcs.extend(service.method.iter().map(|method| Rpc {
                    path: format!("{prefix}{}", method.name()),
                    prefix: prefix.len(),
                    by_code: std::array::from_fn(|_| Histogram::default()),
                }));
            }
        }
        rpcs.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Self(rpcs)
    }

    /// The number of the RPC at a path.
    pub(super) fn find(&self, path: &str) -> Option<usize> {
        self.0.binary_search_by(|rpc| rpc.path.as_str().cmp(path)).ok()
    }

    pub(super) fn name(&self, rpc: usize) -> &str {
        let Rpc { path, prefix, .. } = &self.0[rpc];
        &path[*prefix..]
    }

    pub(super) fn observe(&self, rpc: usize, code: Code, took: Duration) {
        self.0[rpc].by_code[code as usize].observe(took);
    }
}

/// Reads all that is counted in a server.
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
        let help = "Time from a call to the end of its answer, of streams too";
        let mut metric = out.0.encode_descriptor("pgfox_rpc_duration_seconds", help, None, MetricType::Histogram)?;
        for (rpc, Rpc { by_code, .. }) in self.rpcs.0.iter().enumerate() {
            for (code, histogram) in CODES.iter().zip(by_code) {
                let labels = [("method", self.rpcs.name(rpc)), ("code", code)];
                // Of 17 codes for each RPC few ever come.
                if histogram.snapshot().count > 0 {
                    encode_histogram(metric.encode_family(&labels)?, histogram)?;
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
        out.gauge("pgfox_pool_max_connections", "Most connections to the database", pool.max)?;
        out.gauge("pgfox_pool_connections", "Open connections to the database", pool.open)?;
        out.gauge("pgfox_pool_connections_in_use", "Connections to the database that are in use", pool.in_use)?;
        out.gauge("pgfox_pool_waiting", "Waiting for a connection to the database", pool.waiting)?;
        let stats = self.store.stats();
        let help = "Time to get a connection to the database, opening it where there is none";
        let metric = out.0.encode_descriptor("pgfox_pool_wait_seconds", help, None, MetricType::Histogram)?;
        encode_histogram(metric, &stats.pool_wait)?;

        let rows = [("inserted", &stats.inserted), ("updated", &stats.updated), ("unchanged", &stats.unchanged)];
        let help = "Documents that ingest requests brought, by what became of them";
        out.counters("pgfox_ingested_rows", help, "result", rows.map(|(result, count)| (result, count.get())))?;

        let builds = [
            ("started", &stats.builds_started),
            ("succeeded", &stats.builds_succeeded),
            ("failed", &stats.builds_failed),
        ];
        let help = "Index builds in this process; one that is interrupted starts again";
        out.counters("pgfox_index_builds", help, "event", builds.map(|(event, count)| (event, count.get())))?;
        out.gauge("pgfox_index_builds_running", "Index builds that run in this process", stats.builds_running.get())
    }

    fn encode_embedders(&self, out: &mut Out<'_>) -> fmt::Result {
        let stats = self.embedders.stats();
        let mut counters = |name, help, count: fn(&embed::Stats) -> u64| {
            out.counters(name, help, "provider", stats.iter().map(|(provider, stats)| (*provider, count(stats))))
        };
        counters("pgfox_embed_calls", "Batches of texts that a model was asked for", |stats| stats.calls.get())?;
        counters("pgfox_embed_texts", "Texts that were embedded", |stats| stats.texts.get())?;
        counters("pgfox_embed_tokens", "Tokens that models read", |stats| stats.tokens.get())?;
        counters("pgfox_embed_retries", "Requests that were sent again", |stats| stats.retries.get())?;
        counters("pgfox_embed_failures", "Batches that were not embedded", |stats| stats.failures.get())?;
        let (hits, misses) = self.embedders.query_cache_hits_and_misses();
        let help = "Query texts by whether their vector was remembered";
        out.counters("pgfox_query_cache", help, "result", [("hit", hits), ("miss", misses)])
    }
}

/// Writes metrics in the shapes that are used here.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
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
    fn only_rpcs_of_the_api_are_counted() {
        let rpcs = Rpcs::new();
        let search = rpcs.find("/pgfox.v1.PgfoxService/Search").unwrap();
        assert_eq!(rpcs.name(search), "Search");
        for path in ["/pgfox.v1.PgfoxService/Nothing", "/grpc.health.v1.Health/Check", "/", ""] {
            assert_eq!(rpcs.find(path), None);
        }
    }
}
