//! How to search: what `search` and `evaluate` have in common.

use clap::{Args, ValueEnum};
use pgfox_client::v1;

use crate::cli::{failure::Failure, filter::Where};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Vector,
    FullText,
    Hybrid,
}

/// How to search. What is not given is the server's choice.
#[derive(Args)]
#[command(next_help_heading = "How to search")]
pub(crate) struct Method {
    #[command(flatten)]
    filter: Where,
    /// By the distance of vectors, by words, or by both [server's default: vector]
    #[arg(long)]
    mode: Option<Mode>,
    /// Compare with every vector instead of using the index
    #[arg(long, conflicts_with_all = ["ef_search", "probes"])]
    exact: bool,
    /// Candidates that an HNSW search keeps, 1 to 1,000: more finds more and takes longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    ef_search: Option<i32>,
    /// Lists that an IVFFlat search reads, 1 to 32,768: more finds more and takes longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_768))]
    probes: Option<i32>,
    /// Leave out what the vector search finds with a larger distance
    #[arg(long, value_name = "DISTANCE", allow_negative_numbers = true)]
    max_distance: Option<f32>,
    /// Hybrid: weight of the vector search, 0 to 1,000 [server's default: 1.5]
    #[arg(long, value_name = "WEIGHT")]
    vector_weight: Option<f32>,
    /// Hybrid: weight of the full-text search, 0 to 1,000 [server's default: 1]
    #[arg(long, value_name = "WEIGHT")]
    full_text_weight: Option<f32>,
    /// Hybrid: what is added to every rank: the larger, the less the first ranks stand out [server's default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    rank_constant: Option<i32>,
    /// Results that hybrid search fuses of each kind, or that --diversity chooses from, 1 to 1,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1_000))]
    candidates: Option<i32>,
    /// Make the results differ from each other: 1 is only the query, 0 only the difference [default weight: 0.5]
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

    /// A request that lacks the query alone.
    pub(crate) fn request(&self, collection: &str, limit: i32) -> Result<v1::SearchRequest, Failure> {
        let is_hybrid = self.mode == Some(Mode::Hybrid);
        let fusion = v1::Fusion {
            vector_weight: self.vector_weight,
            full_text_weight: self.full_text_weight,
            rank_constant: self.rank_constant,
            candidates: self.candidates.filter(|_| is_hybrid),
        };
        let has_fusion = fusion != v1::Fusion::default();
        if has_fusion && !is_hybrid {
            return Err(
                Failure::usage("weights and --rank-constant are for hybrid search").with_hint("add --mode hybrid")
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
            params: Some(v1::SearchParams { exact: self.exact, ef_search: self.ef_search, probes: self.probes }),
            max_distance: self.max_distance,
            group_by_document: self.group_by_document,
            fusion: has_fusion.then_some(fusion),
            diversity: self.diversity.map(|weight| v1::Diversity { weight, candidates: self.candidates }),
            ..Default::default()
        })
    }
}
