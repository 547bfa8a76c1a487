//! How to search: the options that `search` and `evaluate` share.

use clap::{Args, ValueEnum};
use pgfox_client::v1;

use crate::cli::{failure::Failure, filter::Where};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Vector,
    FullText,
    Hybrid,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FusionMethod {
    ReciprocalRank,
    RelativeScore,
}

/// How to search. For a missing option the server uses its default.
#[derive(Args)]
#[command(next_help_heading = "How to search")]
pub(crate) struct Method {
    #[command(flatten)]
    filter: Where,
    /// Search by the distance of vectors, by words, or by both [server's default: vector]
    #[arg(long)]
    mode: Option<Mode>,
    /// Compare with every vector instead of using the index
    #[arg(long, conflicts_with_all = ["ef_search", "probes", "rerank_candidates"])]
    exact: bool,
    /// Candidates that an HNSW search keeps, 1 to 1,000: a larger number finds more but takes longer [server's default:
    /// 40, with --where 200, at least --limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    ef_search: Option<i32>,
    /// Lists that an IVFFlat search reads, 1 to 32,768: a larger number finds more but takes longer [server's default:
    /// square root of the number of lists, with --where 4 times as many]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_768))]
    probes: Option<i32>,
    /// With a filter by declared fields, or with vectors that have too many dimensions for an index: codes whose vectors
    /// are compared, 1 to 10,000; a larger number finds more but takes longer [server's default: measured when the codes
    /// were made]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    rerank_candidates: Option<i32>,
    /// Leave out results of the vector search with a larger distance [default: none]
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true)]
    max_distance: Option<f32>,
    /// Hybrid: join the results by their ranks or by their scores [server's default: relative-score]
    #[arg(long, value_name = "METHOD")]
    fusion: Option<FusionMethod>,
    /// Hybrid: weight of the vector search, 0 to 1,000 [server's default: 1]
    #[arg(long, value_name = "WEIGHT")]
    vector_weight: Option<f32>,
    /// Hybrid: weight of the full-text search, 0 to 1,000 [server's default: 1]
    #[arg(long, value_name = "WEIGHT")]
    full_text_weight: Option<f32>,
    /// With --fusion reciprocal-rank: number added to every rank, 1 to 1,000; with a larger one the first ranks count
    /// less [server's default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    rank_constant: Option<i32>,
    /// Number of results of each search that hybrid search fuses, or that --diversity chooses from, 1 to 1,000
    /// [server's default: 200 for hybrid, 50 or 4 times --limit for --diversity]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    candidates: Option<i32>,
    /// Make the results differ from each other; with weight 1 only the query counts, with 0 only the difference
    /// [default weight: 0.5]
    #[arg(long, value_name = "WEIGHT", num_args = 0..=1, require_equals = true)]
    diversity: Option<Option<f32>>,
    /// In a collection with chunks, return each document once with its best chunk
    #[arg(long)]
    group_by_document: bool,
}

impl Method {
    pub(crate) fn filter(&self) -> &Where {
        &self.filter
    }

    /// Whether the search compares words.
    pub(crate) fn has_words(&self) -> bool {
        matches!(self.mode, Some(Mode::FullText | Mode::Hybrid))
    }

    /// A request without a query.
    pub(crate) fn request(&self, collection: &str, limit: i32) -> Result<v1::SearchRequest, Failure> {
        let is_hybrid = self.mode == Some(Mode::Hybrid);
        let fusion = v1::Fusion {
            vector_weight: self.vector_weight,
            full_text_weight: self.full_text_weight,
            rank_constant: self.rank_constant,
            candidates: self.candidates.filter(|_| is_hybrid),
            method: match self.fusion {
                None => v1::FusionMethod::Unspecified,
                Some(FusionMethod::ReciprocalRank) => v1::FusionMethod::ReciprocalRank,
                Some(FusionMethod::RelativeScore) => v1::FusionMethod::RelativeScore,
            }
            .into(),
        };
        let has_fusion = fusion != v1::Fusion::default();
        if has_fusion && !is_hybrid {
            return Err(Failure::usage("--fusion, weights and --rank-constant are for hybrid search")
                .with_hint("add --mode hybrid"));
        }
        if self.rank_constant.is_some() && self.fusion != Some(FusionMethod::ReciprocalRank) {
            return Err(
                Failure::usage("--rank-constant has an effect on ranks only").with_hint("add --fusion reciprocal-rank")
            );
        }
        if self.candidates.is_some() && !is_hybrid && self.diversity.is_none() {
            return Err(Failure::usage("--candidates is for --mode hybrid and --diversity"));
        }
        Ok(v1::SearchRequest {
            collection: collection.to_owned(),
            limit,
            filter: self.filter.filter()?,
            mode: match self.mode {
                None => v1::SearchMode::Unspecified,
                Some(Mode::Vector) => v1::SearchMode::Vector,
                Some(Mode::FullText) => v1::SearchMode::FullText,
                Some(Mode::Hybrid) => v1::SearchMode::Hybrid,
            }
            .into(),
            params: Some(v1::SearchParams {
                exact: self.exact,
                ef_search: self.ef_search,
                probes: self.probes,
                rerank_candidates: self.rerank_candidates,
            }),
            max_distance: self.max_distance,
            group_by_document: self.group_by_document,
            fusion: has_fusion.then_some(fusion),
            diversity: self.diversity.map(|weight| v1::Diversity { weight, candidates: self.candidates }),
            ..Default::default()
        })
    }
}
