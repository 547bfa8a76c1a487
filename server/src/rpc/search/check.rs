//! The rules of a search request.

use std::time::Instant;

use pgfox::v1::{self, SearchMode, search_request::Query};

use super::diversity::Diversity;
use crate::{
    app::App,
    error::Error,
    rules::{MAX_EXAMPLES, MAX_LIMIT, Violation, Violations, fields::Fields, filter},
    store::{
        self, Excluded, Filter, Fusion, FusionMethod, MAX_EF_SEARCH, MAX_RERANK_CANDIDATES, SearchSettings, Words,
    },
    words::Syntax,
};

/// Default number of results.
const DEFAULT_LIMIT: i32 = 10;
/// The maximum number of lists in pgvector, and so of probes.
const MAX_PROBES: i32 = 32_768;
/// Maximum number of candidates of a fusion or of diversity.
const MAX_CANDIDATES: i32 = 1_000;
const MAX_WEIGHT: f32 = 1_000.0;
/// Defaults of a fusion.
const DEFAULT_VECTOR_WEIGHT: f32 = 1.0;
const DEFAULT_FULL_TEXT_WEIGHT: f32 = 1.0;
const DEFAULT_RANK_CONSTANT: i32 = 10;
const DEFAULT_FUSED: usize = 200;
/// The default number of candidates for diversity is the larger of `DEFAULT_CHOICE` and `DEFAULT_CHOICE_PER_RESULT`
/// times `limit`.
const DEFAULT_CHOICE: usize = 50;
const DEFAULT_CHOICE_PER_RESULT: usize = 4;
const DEFAULT_DIVERSITY: f32 = 0.5;

/// A search that follows the rules. The rules of its collection are checked later.
#[derive(Debug)]
pub(super) struct Search {
    /// The name or alias that the caller uses.
    pub(super) collection: String,
    pub(super) query: Query,
    pub(super) mode: SearchMode,
    pub(super) words: Words,
    fusion: Fusion,
    pub(super) diversity: Option<Diversity>,
    /// Whether to return the passages that contain the words.
    pub(super) highlight: bool,
    pub(super) fields: Fields,
    /// All settings except the documents to leave out.
    pub(super) settings: SearchSettings,
}

impl Search {
    /// Reads a request. Collects violations. Returns `None` if the request names no collection or has no query.
    pub(super) fn check(
        violations: &mut Violations,
        request: v1::SearchRequest,
        app: &App,
        deadline: Instant,
    ) -> Option<Self> {
        let mode = SearchMode::try_from(request.mode);
        violations.check(mode.is_ok(), "mode", "must be a SearchMode");
        let mode = match mode.unwrap_or_default() {
            SearchMode::Unspecified => SearchMode::Vector,
            mode => mode,
        };
        let plausible = violations.name("collection", &request.collection);
        violations.range("limit", request.limit, 0, MAX_LIMIT);
        let limit = if request.limit == 0 { DEFAULT_LIMIT } else { request.limit }.clamp(1, MAX_LIMIT) as usize;
        let params = request.params.unwrap_or_default();
        check_params(violations, &params);
        check_query(violations, mode, request.query.as_ref());
        let words = check_words(violations, mode, request.query.as_ref(), &request.full_text);
        let fusion = check_fusion(violations, mode, request.fusion, limit);
        let filter = request.filter.and_then(|filter| filter::read(violations, "filter", filter));
        let filter = filter.filter(|filter| *filter != Filter::Everything);
        if let Some(most) = request.max_distance {
            violations.check(!most.is_nan(), "max_distance", "must be a number");
            let compares = mode != SearchMode::FullText;
            violations.check(
                compares,
                "max_distance",
                "cannot be used in SEARCH_MODE_FULL_TEXT, which has no distances",
            );
        }
        let diversity = request
            .diversity
            .map(|diversity| check_diversity(violations, mode, diversity, limit, request.group_by_document));
        let highlight = request.highlight;
        let rule = "cannot be used in SEARCH_MODE_VECTOR, which does not search for words";
        violations.check(!highlight || mode != SearchMode::Vector, "highlight", rule);
        let fields = Fields::read(violations, request.read_mask);
        let (Some(query), true) = (request.query, plausible) else {
            return None;
        };
        let settings = SearchSettings {
            limit,
            exact: params.exact,
            ef_search: params.ef_search,
            probes: params.probes,
            rerank_candidates: params.rerank_candidates.and_then(|candidates| usize::try_from(candidates).ok()),
            filter,
            exclude: Excluded::default(),
            max_distance: request.max_distance.map(f64::from),
            group_by_document: request.group_by_document,
            with_text: fields.text,
            with_metadata: fields.with_metadata(),
            include_vector: request.include_vector,
            include_full_text: request.include_full_text,
            explain: request.explain,
            deadline,
            fill_up: app.limits.fill_up,
            max_bytes: app.limits.max_response_bytes,
        };
        Some(Self {
            collection: request.collection,
            query,
            mode,
            words,
            fusion,
            diversity,
            highlight,
            fields,
            settings,
        })
    }

    /// Whether both searches select the same documents.
    pub(super) fn selects_as(&self, other: &Self) -> bool {
        self.collection == other.collection && self.settings.filter == other.settings.filter
    }

    /// The text that has to be embedded, if any.
    pub(super) fn text_to_embed(&self) -> Option<&str> {
        match &self.query {
            Query::Text(text) if self.mode != SearchMode::FullText => Some(text),
            _ => None,
        }
    }

    /// The query for the store, with its vector.
    pub(super) fn query(&self, vector: Option<Vec<f32>>) -> Result<store::Query, Error> {
        Ok(match (self.mode, vector) {
            (SearchMode::FullText, _) => store::Query::Words(self.words.clone()),
            (SearchMode::Hybrid, Some(vector)) => {
                store::Query::Both { vector, words: self.words.clone(), fusion: self.fusion }
            }
            (_, Some(vector)) => store::Query::Nearest(vector),
            (_, None) => return Err(Error::Internal("a query without its vector".into())),
        })
    }
}

fn check_params(violations: &mut Violations, params: &v1::SearchParams) {
    if let Some(ef_search) = params.ef_search {
        violations.range("params.ef_search", ef_search, 1, MAX_EF_SEARCH);
    }
    if let Some(probes) = params.probes {
        violations.range("params.probes", probes, 1, MAX_PROBES);
    }
    if let Some(candidates) = params.rerank_candidates {
        violations.range("params.rerank_candidates", candidates, 1, MAX_RERANK_CANDIDATES);
    }
}

fn check_query(violations: &mut Violations, mode: SearchMode, query: Option<&Query>) {
    let field = match query {
        None => {
            violations.check(false, "query", "is required: one of text, vector, document_id and examples");
            return;
        }
        Some(Query::Text(text)) => {
            check_text(violations, "text", text);
            return;
        }
        Some(Query::Vector(_)) => "vector",
        Some(Query::DocumentId(id)) => {
            violations.id("document_id", id);
            "document_id"
        }
        Some(Query::Examples(examples)) => {
            let v1::Examples { positive_ids, negative_ids } = examples;
            violations.check(!positive_ids.is_empty(), "examples.positive_ids", "is required");
            for (name, ids) in [("positive_ids", positive_ids), ("negative_ids", negative_ids)] {
                let field = format!("examples.{name}");
                if ids.len() > MAX_EXAMPLES {
                    let rule = format!("must have at most {MAX_EXAMPLES} entries, not {}", ids.len());
                    violations.push(Violation::new(field, rule));
                    continue;
                }
                for (i, id) in ids.iter().enumerate() {
                    violations.id(&format!("{field}[{i}]"), id);
                }
            }
            "examples"
        }
    };
    let rule = "cannot be used in SEARCH_MODE_FULL_TEXT, which needs a text";
    violations.check(mode != SearchMode::FullText, field, rule);
}

fn check_text(violations: &mut Violations, field: &str, text: &str) {
    violations.text(field, text);
    violations.check(!text.trim().is_empty(), field, "must not be empty");
}

/// The words of a full-text search.
fn check_words(violations: &mut Violations, mode: SearchMode, query: Option<&Query>, full_text: &str) -> Words {
    let is_hybrid = mode == SearchMode::Hybrid;
    violations.check(is_hybrid || full_text.is_empty(), "full_text", "can be used in SEARCH_MODE_HYBRID only");
    let words = match query {
        _ if is_hybrid && !full_text.is_empty() => {
            check_text(violations, "full_text", full_text);
            full_text
        }
        Some(Query::Text(text)) => text,
        _ => {
            let rule = "is required in SEARCH_MODE_HYBRID if the query is not a text";
            violations.check(!is_hybrid || query.is_none(), "full_text", rule);
            ""
        }
    };
    // If the same text is also embedded, it is a question and not a list of words with operators.
    let syntax = if is_hybrid && full_text.is_empty() { Syntax::Plain } else { Syntax::Operators };
    if mode == SearchMode::Vector { Words::default() } else { Words::parse(words, syntax) }
}

fn check_fusion(violations: &mut Violations, mode: SearchMode, fusion: Option<v1::Fusion>, limit: usize) -> Fusion {
    let allowed = mode == SearchMode::Hybrid || fusion.is_none();
    violations.check(allowed, "fusion", "can be used in SEARCH_MODE_HYBRID only");
    let fusion = fusion.unwrap_or_default();
    let mut weight = |field: &str, given: Option<f32>, default: f32| {
        let weight = given.unwrap_or(default);
        violations.check((0.0..=MAX_WEIGHT).contains(&weight), field, "must be 0 to 1,000");
        f64::from(weight)
    };
    let vector_weight = weight("fusion.vector_weight", fusion.vector_weight, DEFAULT_VECTOR_WEIGHT);
    let full_text_weight = weight("fusion.full_text_weight", fusion.full_text_weight, DEFAULT_FULL_TEXT_WEIGHT);
    let counts = vector_weight != 0.0 || full_text_weight != 0.0;
    violations.check(counts, "fusion", "must have at least one weight above 0");
    let rank_constant = fusion.rank_constant.unwrap_or(DEFAULT_RANK_CONSTANT);
    violations.range("fusion.rank_constant", rank_constant, 1, 1_000);
    if let Some(candidates) = fusion.candidates {
        violations.range("fusion.candidates", candidates, 1, MAX_CANDIDATES);
    }
    let candidates = fusion.candidates.map_or(DEFAULT_FUSED, |candidates| candidates.max(0) as usize).max(limit);
    let method = match v1::FusionMethod::try_from(fusion.method) {
        Ok(v1::FusionMethod::ReciprocalRank) => FusionMethod::ReciprocalRank { constant: rank_constant },
        Ok(v1::FusionMethod::RelativeScore | v1::FusionMethod::Unspecified) => FusionMethod::RelativeScore,
        Err(_) => {
            violations.check(false, "fusion.method", "must be a FusionMethod");
            FusionMethod::RelativeScore
        }
    };
    Fusion { method, vector_weight, full_text_weight, candidates }
}

fn check_diversity(
    violations: &mut Violations,
    mode: SearchMode,
    diversity: v1::Diversity,
    limit: usize,
    is_grouped: bool,
) -> Diversity {
    let rule = "cannot be used in SEARCH_MODE_FULL_TEXT, which does not compare vectors";
    violations.check(mode != SearchMode::FullText, "diversity", rule);
    violations.check(!is_grouped, "diversity", "cannot be used together with group_by_document");
    let weight = diversity.weight.unwrap_or(DEFAULT_DIVERSITY);
    violations.check((0.0..=1.0).contains(&weight), "diversity.weight", "must be 0 to 1");
    if let Some(candidates) = diversity.candidates {
        violations.range("diversity.candidates", candidates, 1, MAX_CANDIDATES);
    }
    let default = DEFAULT_CHOICE.max(DEFAULT_CHOICE_PER_RESULT * limit).min(MAX_CANDIDATES as usize);
    let candidates = diversity.candidates.map_or(default, |candidates| candidates.max(0) as usize).max(limit);
    Diversity { weight: f64::from(weight), candidates }
}
