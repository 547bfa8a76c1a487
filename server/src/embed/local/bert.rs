//! A BERT encoder for sentences of different lengths.
//!
//! The tokens of all sentences stand one after the other in one matrix, without padding and mask: linear layers see all of
//! them, attention runs per sentence and head. So no work is done for padding, and a vector does not depend on neighbours.

use std::path::Path;

use pulp::Arch;

use super::LoadError;
use super::config::{Config, Pooling};
use super::kernels::{activate, add_to_rows, layer_norm, normalize, softmax};
use super::matrix::{Matrix, Output, multiply};
use super::weights::Weights;

/// Tokens that go through a feed-forward block together: few enough that the wide layer between stays in the L2 cache.
const FEED_FORWARD_ROWS: usize = 256;

pub(super) struct Bert {
    config: Config,
    arch: Arch,
    /// A row per token of the vocabulary.
    words: Vec<f32>,
    /// A row per position, with the embedding of token type 0 added: other types only occur in pairs of texts.
    positions: Vec<f32>,
    embedding_norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    /// Query, key and value in one, the query scaled by 1/sqrt(head width).
    qkv: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

/// x * weight + bias
struct Linear {
    inputs: usize,
    outputs: usize,
    /// Row i holds the weights of input i. Files store it transposed, in which order products of few rows are slower.
    weight: Vec<f32>,
    bias: Vec<f32>,
}

struct LayerNorm {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Bert {
    pub(super) fn load(file: &Path, config: Config) -> Result<Self, LoadError> {
        let mut weights = Weights::open(file)?;
        let hidden = config.hidden;
        let words = weights.read("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?;
        let mut positions = weights.read("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
        let types = weights.read("embeddings.token_type_embeddings.weight", &[config.token_types, hidden])?;
        let Some(first_type) = types.get(..hidden) else {
            return Err(LoadError::Unusable { file: file.to_owned(), why: "it has no token types".to_owned() });
        };
        let arch = Arch::new();
        add_to_rows(arch, first_type, &mut positions);
        let embedding_norm = LayerNorm::load(&mut weights, "embeddings.LayerNorm", hidden)?;
        let mut layers = Vec::new();
        for index in 0..config.layers {
            layers.push(Layer::load(&mut weights, &format!("encoder.layer.{index}"), &config)?);
        }
        Ok(Self { config, arch, words, positions, embedding_norm, layers })
    }

    pub(super) fn dimensions(&self) -> usize {
        self.config.hidden
    }

    /// The vectors of sentences of 1 to `positions` token ids each, one after the other.
    pub(super) fn embed(&self, sentences: &[&[u32]]) -> Vec<f32> {
        let mut rows = self.embed_tokens(sentences);
        for layer in &self.layers {
            self.attend(layer, sentences, &mut rows);
            self.feed_forward(layer, &mut rows);
        }
        self.pool(sentences, &rows)
    }

    fn embed_tokens(&self, sentences: &[&[u32]]) -> Vec<f32> {
        let hidden = self.config.hidden;
        let tokens: usize = sentences.iter().map(|ids| ids.len()).sum();
        let mut rows = Vec::with_capacity(tokens * hidden);
        for ids in sentences {
            for (&id, position) in ids.iter().zip(self.positions.chunks_exact(hidden)) {
                let word = &self.words[id as usize * hidden..][..hidden];
                rows.extend(word.iter().zip(position).map(|(word, position)| word + position));
            }
        }
        self.embedding_norm.apply(self.arch, self.config.layer_norm_epsilon, &mut rows);
        rows
    }

    /// rows = norm(rows + attention(rows))
    fn attend(&self, layer: &Layer, sentences: &[&[u32]], rows: &mut [f32]) {
        let (hidden, head_width) = (self.config.hidden, self.config.hidden / self.config.heads);
        let qkv_width = 3 * hidden;
        let tokens = rows.len() / hidden;
        let mut qkv = vec![0.0; tokens * qkv_width];
        layer.qkv.apply(self.arch, rows, &mut qkv, Output::Overwrite);
        let mut context = vec![0.0; tokens * hidden];
        let longest = sentences.iter().map(|ids| ids.len()).max().unwrap_or(0);
        let mut scores = vec![0.0; longest * longest];
        let mut start = 0;
        for ids in sentences {
            let len = ids.len();
            let scores = &mut scores[..len * len];
            for head in 0..self.config.heads {
                let part = |which: usize| {
                    let offset = start * qkv_width + which * hidden + head * head_width;
                    Matrix::new(&qkv[offset..], len, head_width, qkv_width)
                };
                let (query, key, value) = (part(0), part(1), part(2));
                multiply(query, key.transposed(), scores, len, Output::Overwrite);
                softmax(self.arch, len, scores);
                let out = &mut context[start * hidden + head * head_width..];
                multiply(Matrix::new(scores, len, len, len), value, out, hidden, Output::Overwrite);
            }
            start += len;
        }
        layer.attention_output.apply(self.arch, &context, rows, Output::Add);
        layer.attention_norm.apply(self.arch, self.config.layer_norm_epsilon, rows);
    }

    /// rows = norm(rows + down(activation(up(rows))))
    fn feed_forward(&self, layer: &Layer, rows: &mut [f32]) {
        let block_len = FEED_FORWARD_ROWS * self.config.hidden;
        let mut wide = vec![0.0; FEED_FORWARD_ROWS.min(rows.len() / self.config.hidden) * self.config.intermediate];
        for block in rows.chunks_mut(block_len) {
            let wide = &mut wide[..block.len() / self.config.hidden * self.config.intermediate];
            layer.up.apply(self.arch, block, wide, Output::Overwrite);
            activate(self.arch, self.config.activation, wide);
            layer.down.apply(self.arch, wide, block, Output::Add);
            layer.output_norm.apply(self.arch, self.config.layer_norm_epsilon, block);
        }
    }

    /// One vector per sentence from the vectors of its tokens.
    fn pool(&self, sentences: &[&[u32]], rows: &[f32]) -> Vec<f32> {
        let hidden = self.config.hidden;
        let mut vectors = vec![0.0; sentences.len() * hidden];
        let mut rest = rows;
        for (ids, vector) in sentences.iter().zip(vectors.chunks_exact_mut(hidden)) {
            let (tokens, others) = rest.split_at(ids.len() * hidden);
            rest = others;
            match self.config.pooling {
                Pooling::Cls => vector.copy_from_slice(&tokens[..hidden]),
                Pooling::Mean => {
                    for token in tokens.chunks_exact(hidden) {
                        add_to_rows(self.arch, token, vector);
                    }
                    vector.iter_mut().for_each(|value| *value /= ids.len() as f32);
                }
            }
            if self.config.normalize {
                normalize(vector);
            }
        }
        vectors
    }
}

impl Layer {
    fn load(weights: &mut Weights, name: &str, config: &Config) -> Result<Self, LoadError> {
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        let attention = |part: &str| format!("{name}.attention.{part}");
        let mut query = Linear::load(weights, &attention("self.query"), hidden, hidden)?;
        let scale = 1.0 / ((hidden / config.heads) as f32).sqrt();
        query.weight.iter_mut().chain(&mut query.bias).for_each(|weight| *weight *= scale);
        let key = Linear::load(weights, &attention("self.key"), hidden, hidden)?;
        let value = Linear::load(weights, &attention("self.value"), hidden, hidden)?;
        Ok(Self {
            qkv: Linear::side_by_side(&[query, key, value]),
            attention_output: Linear::load(weights, &attention("output.dense"), hidden, hidden)?,
            attention_norm: LayerNorm::load(weights, &attention("output.LayerNorm"), hidden)?,
            up: Linear::load(weights, &format!("{name}.intermediate.dense"), hidden, intermediate)?,
            down: Linear::load(weights, &format!("{name}.output.dense"), intermediate, hidden)?,
            output_norm: LayerNorm::load(weights, &format!("{name}.output.LayerNorm"), hidden)?,
        })
    }
}

impl Linear {
    fn load(weights: &mut Weights, name: &str, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        let stored = weights.read(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = weights.read(&format!("{name}.bias"), &[outputs])?;
        let mut weight = vec![0.0; stored.len()];
        for (output, row) in stored.chunks_exact(inputs).enumerate() {
            for (input, &value) in row.iter().enumerate() {
                weight[input * outputs + output] = value;
            }
        }
        Ok(Self { inputs, outputs, weight, bias })
    }

    /// One layer that gives the outputs of several with the same inputs, one after the other.
    fn side_by_side(parts: &[Self]) -> Self {
        let inputs = parts[0].inputs;
        let row =
            |input: usize| parts.iter().flat_map(move |part| &part.weight[input * part.outputs..][..part.outputs]);
        Self {
            inputs,
            outputs: parts.iter().map(|part| part.outputs).sum(),
            weight: (0..inputs).flat_map(row).copied().collect(),
            bias: parts.iter().flat_map(|part| &part.bias).copied().collect(),
        }
    }

    /// out = x * weight + bias, or that added to `out`.
    fn apply(&self, arch: Arch, x: &[f32], out: &mut [f32], output: Output) {
        if output == Output::Overwrite {
            out.fill(0.0);
        }
        add_to_rows(arch, &self.bias, out);
        let x = Matrix::new(x, x.len() / self.inputs, self.inputs, self.inputs);
        let weight = Matrix::new(&self.weight, self.inputs, self.outputs, self.outputs);
        multiply(x, weight, out, self.outputs, Output::Add);
    }
}

impl LayerNorm {
    fn load(weights: &mut Weights, name: &str, width: usize) -> Result<Self, LoadError> {
        Ok(Self {
            scale: weights.read(&format!("{name}.weight"), &[width])?,
            shift: weights.read(&format!("{name}.bias"), &[width])?,
        })
    }

    fn apply(&self, arch: Arch, epsilon: f32, rows: &mut [f32]) {
        layer_norm(arch, &self.scale, &self.shift, epsilon, rows);
    }
}
