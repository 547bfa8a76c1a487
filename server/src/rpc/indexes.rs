//! The RPCs of indexes.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use pgfox::v1::{self, index_spec::Kind};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};
use tracing::Instrument as _;

use super::{RESPONSES_QUEUED, client_deadline, messages::to_duration, within};
use crate::{
    app::App,
    error::Error,
    rules::{Violation, Violations},
    store::{Build, BuildProgress, Index, IndexKind, Phase, StoreError},
};

/// Minimum number of rows per list for useful centres of an IVFFlat index. Its k-means samples this many.
const ROWS_PER_LIST: i64 = 50;

/// pgvector's defaults and ranges.
const DEFAULT_M: i32 = 16;
const DEFAULT_EF_CONSTRUCTION: i32 = 64;
const MAX_LISTS: i32 = 32_768;

/// Maximum time between two messages of the stream.
const MAX_SILENCE: Duration = Duration::from_secs(1);

/// Starts or finds the build, then streams its progress until the deadline of the client.
pub(super) async fn build(
    app: &App,
    request: Request<v1::BuildIndexRequest>,
) -> Result<ReceiverStream<Result<v1::BuildIndexResponse, Status>>, Error> {
    let stream_deadline = client_deadline(request.extensions());
    let deadline = stream_deadline.min(Instant::now() + app.limits.call_timeout);
    let index_id = within(deadline, begin(app, request.into_inner())).await?;
    let (responses, stream) = mpsc::channel(RESPONSES_QUEUED);
    let app = app.clone();
    let following = async move {
        let followed = tokio::select! {
            followed = within(stream_deadline, follow(&app, index_id, &responses)) => followed,
            () = app.draining.cancelled() => Err(Error::ShuttingDown),
        };
        if let Err(error) = followed {
            // If the client is gone, nobody reads it.
            let _ = responses.send(Err(error.into())).await;
        }
    };
    tokio::spawn(following.in_current_span());
    Ok(ReceiverStream::new(stream))
}

/// Starts or finds the build. [`follow`] reports its progress.
async fn begin(app: &App, request: v1::BuildIndexRequest) -> Result<i64, Error> {
    let v1::BuildIndexRequest { collection: name, spec, rebuild } = request;
    let spec = spec.unwrap_or_default();
    let mut violations = Violations::default();
    violations.name("collection", &name);
    check_spec(&mut violations, &spec);
    violations.finish()?;

    // An alias can move meanwhile, so use the collection itself from here on.
    let collection = app.store.current_collection(&name).await?;
    let name = &collection.definition.name;
    let kind = match spec.kind {
        None => IndexKind::Hnsw { m: DEFAULT_M, ef_construction: DEFAULT_EF_CONSTRUCTION },
        Some(Kind::Hnsw(hnsw)) => {
            let m = or_default(hnsw.m, DEFAULT_M);
            let ef_construction = or_default(hnsw.ef_construction, DEFAULT_EF_CONSTRUCTION.max(2 * m));
            IndexKind::Hnsw { m, ef_construction }
        }
        Some(Kind::IvfFlat(ivf_flat)) => {
            let rows = app.store.count_vectors(name).await?;
            let lists = or_default(ivf_flat.lists, default_lists(rows));
            let wanted = i64::from(lists) * ROWS_PER_LIST;
            if rows < wanted && !spec.allow_few_rows {
                return Err(Error::TooFewRows { rows, lists, wanted });
            }
            IndexKind::IvfFlat { lists }
        }
    };
    if let Some(why) = kind.unsupported(&collection) {
        return Err(Error::IndexUnsupported(why));
    }
    let index_id = match app.store.begin_build(name, kind, rebuild).await? {
        Build::Running { index_id } => {
            app.store.spawn_build(index_id);
            index_id
        }
        Build::Ready { index_id } => index_id,
    };
    Ok(index_id)
}

/// Sends progress until the index is ready, the build fails, or the caller leaves. The build continues without the
/// caller.
async fn follow(
    app: &App,
    index_id: i64,
    responses: &mpsc::Sender<Result<v1::BuildIndexResponse, Status>>,
) -> Result<(), Error> {
    let mut known_warnings = HashSet::new();
    let mut furthest = 0.0_f64;
    let mut last: Option<(v1::BuildIndexResponse, Instant)> = None;
    let mut watch = app.store.watch_build(index_id);
    loop {
        let progress = tokio::select! {
            progress = watch.next() => progress?,
            () = responses.closed() => return Ok(()),
        };
        let ready = matches!(progress, BuildProgress::Ready { .. });
        let mut response = to_response(progress)?;
        furthest = furthest.max(response.fraction_done);
        response.fraction_done = furthest;
        response.warnings.retain(|warning| known_warnings.insert(warning.clone()));

        let news = last.as_ref().is_none_or(|(last, sent_at)| {
            last.phase != response.phase
                || last.fraction_done < response.fraction_done
                || !response.warnings.is_empty()
                || sent_at.elapsed() >= MAX_SILENCE
        });
        if news {
            if responses.send(Ok(response.clone())).await.is_err() {
                return Ok(());
            }
            last = Some((response, Instant::now()));
        }
        if ready {
            return Ok(());
        }
    }
}

pub(super) async fn list(
    app: &App,
    request: v1::ListIndexesRequest,
    _deadline: Instant,
) -> Result<v1::ListIndexesResponse, Error> {
    let mut violations = Violations::default();
    violations.name("collection", &request.collection);
    violations.finish()?;
    let indexes = app.store.list_indexes(&request.collection).await?;
    Ok(v1::ListIndexesResponse { indexes: indexes.into_iter().map(to_message).collect() })
}

pub(super) async fn drop(
    app: &App,
    request: v1::DropIndexRequest,
    _deadline: Instant,
) -> Result<v1::DropIndexResponse, Error> {
    let mut violations = Violations::default();
    violations.name("collection", &request.collection);
    violations.finish()?;
    let name = Some(request.name.as_str()).filter(|name| !name.is_empty());
    app.store.drop_index(&request.collection, name).await?;
    Ok(v1::DropIndexResponse {})
}

fn check_spec(violations: &mut Violations, spec: &v1::IndexSpec) {
    let mut range = |field: &str, value: i32, least: i32, most: i32| {
        if value != 0 {
            violations.range(field, value, least, most);
        }
    };
    match &spec.kind {
        None => {}
        Some(Kind::Hnsw(hnsw)) => {
            range("spec.hnsw.m", hnsw.m, 2, 100);
            range("spec.hnsw.ef_construction", hnsw.ef_construction, 4, 1_000);
            let m = or_default(hnsw.m, DEFAULT_M);
            if hnsw.ef_construction != 0 && hnsw.ef_construction < m.saturating_mul(2) {
                let rule = format!("must be at least 2 * m, which is {}", m.saturating_mul(2));
                violations.push(Violation::new("spec.hnsw.ef_construction", rule));
            }
        }
        Some(Kind::IvfFlat(ivf_flat)) => range("spec.ivf_flat.lists", ivf_flat.lists, 1, MAX_LISTS),
    }
}

fn or_default(value: i32, default: i32) -> i32 {
    if value == 0 { default } else { value }
}

/// The recommendation of pgvector's README: rows / 1,000 up to a million rows, then the square root.
fn default_lists(rows: i64) -> i32 {
    let lists = if rows <= 1_000_000 { rows / 1_000 } else { (rows as f64).sqrt() as i64 };
    lists.clamp(1, i64::from(MAX_LISTS)) as i32
}

fn to_response(progress: BuildProgress) -> Result<v1::BuildIndexResponse, Error> {
    let (phase, fraction_done, began, index, warnings) = match progress {
        BuildProgress::Failed { why } => return Err(StoreError::BuildFailed(why).into()),
        BuildProgress::Ready { began, index, warnings } => (v1::IndexPhase::Ready, 1.0, began, index, warnings),
        BuildProgress::Running { phase, fraction, began, index, warnings } => {
            let phase = match phase {
                Phase::Queued => v1::IndexPhase::Queued,
                Phase::Waiting => v1::IndexPhase::Waiting,
                Phase::Training => v1::IndexPhase::Training,
                Phase::Building => v1::IndexPhase::Building,
                Phase::Validating => v1::IndexPhase::Validating,
                Phase::Finishing => v1::IndexPhase::Finishing,
            };
            (phase, fraction, began, index, warnings)
        }
    };
    Ok(v1::BuildIndexResponse {
        phase: phase.into(),
        fraction_done,
        // If the database's clock is ahead, the time counts as zero.
        elapsed: Some(to_duration(began.elapsed().unwrap_or_default())),
        index: Some(to_message(index)),
        warnings,
    })
}

fn to_message(index: Index) -> v1::Index {
    let kind = match index.kind {
        IndexKind::Hnsw { m, ef_construction } => Kind::Hnsw(v1::Hnsw { m, ef_construction }),
        IndexKind::IvfFlat { lists } => Kind::IvfFlat(v1::IvfFlat { lists }),
    };
    let state = if index.ready { v1::IndexState::Ready } else { v1::IndexState::Building };
    v1::Index {
        name: index.name,
        spec: Some(v1::IndexSpec { kind: Some(kind), allow_few_rows: false }),
        state: state.into(),
        size_bytes: index.size_bytes,
        scan_count: index.scan_count,
        create_time: Some(index.created_at.into()),
        made_by_sql: index.made_by_sql,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_follow_the_rows() {
        assert_eq!([4, 20_000, 1_000_000, 4_000_000].map(default_lists), [1, 20, 1_000, 2_000]);
    }

    #[test]
    fn ef_construction_must_allow_for_m() {
        let hnsw = v1::Hnsw { m: 40, ef_construction: 64 };
        let mut violations = Violations::default();
        check_spec(&mut violations, &v1::IndexSpec { kind: Some(Kind::Hnsw(hnsw)), allow_few_rows: false });
        assert!(violations.finish().unwrap_err().to_string().contains("at least 2 * m, which is 80"));
    }
}
