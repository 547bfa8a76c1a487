//! Reads and checks the JSON files of a sentence-transformers folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{LoadError, kernels::Activation};

/// A BERT encoder, and how the vector of a text is made from its output.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// Width of the feed-forward block.
    pub(super) intermediate: usize,
    pub(super) vocabulary: usize,
    pub(super) positions: usize,
    pub(super) token_types: usize,
    pub(super) layer_norm_epsilon: f32,
    pub(super) activation: Activation,
    pub(super) pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub(super) normalize: bool,
    /// Maximum number of tokens that the model reads from a text, including [CLS] and [SEP].
    pub(super) max_tokens: usize,
    pub(super) lower_case: bool,
}

/// How the token vectors of a text become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    /// The vector of the first token.
    Cls,
}

/// `config.json`
#[derive(Deserialize)]
struct BertFile {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default = "default_epsilon")]
    layer_norm_eps: f32,
    #[serde(default = "default_position_type")]
    position_embedding_type: String,
}

// The defaults of transformers' BertConfig.
fn default_activation() -> String {
    "gelu".to_owned()
}
fn default_epsilon() -> f32 {
    1e-12
}
fn default_position_type() -> String {
    "absolute".to_owned()
}

/// `sentence_bert_config.json`
#[derive(Default, Deserialize)]
struct SentenceFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// An entry of `modules.json`
#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    r#type: String,
}

/// `1_Pooling/config.json`
#[derive(Deserialize)]
struct PoolingFile {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
}

impl Config {
    pub(super) fn read(dir: &Path) -> Result<Self, LoadError> {
        let file = dir.join("config.json");
        let bert: BertFile = required(&file)?;
        let unusable = |why: String| LoadError::Unusable { file: file.clone(), why };
        if bert.model_type != "bert" {
            return Err(unusable(format!("the model is a {:?}; only \"bert\" is supported", bert.model_type)));
        }
        if bert.position_embedding_type != "absolute" {
            return Err(unusable(format!(
                "position_embedding_type is {:?}; only \"absolute\" is supported",
                bert.position_embedding_type
            )));
        }
        let activation = match bert.hidden_act.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            other => return Err(unusable(format!("hidden_act {other:?} is not supported"))),
        };
        let sizes = [bert.hidden_size, bert.num_hidden_layers, bert.num_attention_heads, bert.intermediate_size];
        if sizes.contains(&0) || !bert.hidden_size.is_multiple_of(bert.num_attention_heads) {
            return Err(unusable(format!(
                "{} values cannot be split over {} attention heads",
                bert.hidden_size, bert.num_attention_heads
            )));
        }
        if !(bert.layer_norm_eps >= 0.0 && bert.layer_norm_eps < 1.0) {
            return Err(unusable(format!("layer_norm_eps is {}", bert.layer_norm_eps)));
        }
        let sentence = SentenceFile::read(dir)?;
        let (pooling, normalize) = read_modules(dir)?;
        Ok(Self {
            hidden: bert.hidden_size,
            layers: bert.num_hidden_layers,
            heads: bert.num_attention_heads,
            intermediate: bert.intermediate_size,
            vocabulary: bert.vocab_size,
            positions: bert.max_position_embeddings,
            token_types: bert.type_vocab_size,
            layer_norm_epsilon: bert.layer_norm_eps,
            activation,
            pooling,
            normalize,
            max_tokens: sentence.max_seq_length.unwrap_or(usize::MAX).min(bert.max_position_embeddings),
            lower_case: sentence.do_lower_case,
        })
    }
}

impl SentenceFile {
    fn read(dir: &Path) -> Result<Self, LoadError> {
        Ok(optional(&dir.join("sentence_bert_config.json"))?.unwrap_or_default())
    }
}

/// Reads pooling and normalization from `modules.json`. Without that file the vector is the normalized mean.
fn read_modules(dir: &Path) -> Result<(Pooling, bool), LoadError> {
    let file = dir.join("modules.json");
    let Some(modules) = optional::<Vec<Module>>(&file)? else {
        return Ok((read_pooling(&dir.join("1_Pooling/config.json"))?, true));
    };
    let (mut pooling, mut normalize) = (Pooling::Mean, false);
    for module in &modules {
        // In "sentence_transformers.models.Pooling" only the last part is the same in all versions.
        match module.r#type.rsplit('.').next() {
            Some("Transformer") => {}
            Some("Pooling") => pooling = read_pooling(&dir.join(&module.path).join("config.json"))?,
            Some("Normalize") => normalize = true,
            _ => {
                let why = format!("the module {} is not supported", module.r#type);
                return Err(LoadError::Unusable { file, why });
            }
        }
    }
    Ok((pooling, normalize))
}

fn read_pooling(file: &Path) -> Result<Pooling, LoadError> {
    let Some(modes) = optional::<PoolingFile>(file)? else {
        return Ok(Pooling::Mean);
    };
    let other = modes.pooling_mode_max_tokens
        || modes.pooling_mode_mean_sqrt_len_tokens
        || modes.pooling_mode_weightedmean_tokens
        || modes.pooling_mode_lasttoken;
    match (modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token, other) {
        (true, false, false) => Ok(Pooling::Mean),
        (false, true, false) => Ok(Pooling::Cls),
        _ => {
            let why = "only pooling by mean or by the [CLS] token alone is supported".to_owned();
            Err(LoadError::Unusable { file: file.to_owned(), why })
        }
    }
}

fn required<T: DeserializeOwned>(file: &Path) -> Result<T, LoadError> {
    optional(file)?.ok_or_else(|| LoadError::Read {
        file: file.to_owned(),
        source: io::Error::new(io::ErrorKind::NotFound, "no such file"),
    })
}

/// Reads a JSON file that may be missing.
fn optional<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, LoadError> {
    let json = match fs::read(file) {
        Ok(json) => json,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(LoadError::Read { file: PathBuf::from(file), source });
        }
    };
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|error| LoadError::Unusable { file: file.to_owned(), why: error.to_string() })
}
