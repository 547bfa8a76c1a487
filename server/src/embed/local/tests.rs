//! Tests the whole model with the tiny BERT in `tests/data/tiny-bert`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;

use super::*;

const DIMENSIONS: usize = 32;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    truncated: bool,
    vector: Vec<f32>,
}

fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-bert")
}

fn load() -> LocalModel {
    LocalModel::load(&tiny_bert()).unwrap()
}

fn golden() -> Vec<Golden> {
    serde_json::from_slice(&fs::read(tiny_bert().join("golden.json")).unwrap()).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A copy of the tiny BERT to break.
fn copy() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    for file in FILES {
        fs::copy(tiny_bert().join(file), dir.path().join(file)).unwrap();
    }
    dir
}

const FILES: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
];

/// Replaces text in a file of a model.
fn edit(dir: &TempDir, file: &str, from: &str, to: &str) {
    let path = dir.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} holds no {from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// The message of the loading error, which must name the file.
fn refusal(dir: &TempDir, file: &str) -> String {
    let message = LocalModel::load(dir.path()).unwrap_err().to_string();
    assert!(message.contains(&*dir.path().join(file).to_string_lossy()), "{message}");
    message
}

#[test]
fn golden_vectors_tokens_and_lengths() {
    let model = load();
    assert_eq!((model.dimensions(), model.max_tokens()), (DIMENSIONS, 64));
    for golden in golden() {
        let tokenized = model.model.tokens.tokenize(readable(&golden.text)).unwrap();
        assert_eq!(tokenized, Tokenized { ids: golden.ids, truncated: golden.truncated }, "{:?}", golden.text);
        let embeddings = model.embed_blocking(&[&golden.text]).unwrap();
        assert_eq!(embeddings.tokens, tokenized.ids.len() as u64);
        assert_eq!(embeddings.truncated, [golden.truncated]);
        let difference = largest_difference(&embeddings.values, &golden.vector);
        assert!(difference < 1e-6, "{:?} is off by {difference}", golden.text);
    }
}

#[tokio::test]
async fn a_batch_gives_the_vectors_of_its_texts_alone() {
    let model = load();
    let golden = golden();
    // Several batches, whose vectors must come back in order.
    let texts: Vec<&str> = (0..500).map(|i| golden[i * 7 % golden.len()].text.as_str()).collect();
    assert!(model.model.batches(&texts).len() > 4);
    let batch = model.embed(&texts, Purpose::Document).await.unwrap();
    assert_eq!(batch, model.embed(&texts, Purpose::Document).await.unwrap());
    let mut tokens = 0;
    for (index, text) in texts.iter().enumerate() {
        let alone = model.embed_blocking(&[text]).unwrap();
        let vector = &batch.values[index * DIMENSIONS..][..DIMENSIONS];
        assert!(largest_difference(&alone.values, vector) < 1e-6, "text {index}");
        assert_eq!(batch.truncated[index], alone.truncated[0]);
        tokens += alone.tokens;
    }
    assert_eq!(batch.tokens, tokens);
    assert_eq!(model.embed(&[], Purpose::Document).await.unwrap(), Embeddings::default());
}

#[tokio::test]
async fn every_text_is_in_one_batch() {
    let model = load();
    let long = "word ".repeat(1000);
    for texts in [vec![""; 3], vec![&*long; 9], [vec!["short text"; 99], vec![&*long; 3]].concat()] {
        let batches = model.model.batches(&texts);
        assert_eq!(batches.first().unwrap().start, 0);
        assert_eq!(batches.last().unwrap().end, texts.len());
        assert!(batches.windows(2).all(|pair| pair[0].end == pair[1].start && !pair[0].is_empty()));
    }
}

/// A query that comes while many callers ingest is next, wherever they are in the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_does_not_wait_for_documents() {
    const CALLS: usize = 200;
    let model = load();
    let text = "the quick brown fox ".repeat(12);
    let embedded = Arc::new(AtomicUsize::new(0));
    let mut ingests = JoinSet::new();
    for _ in 0..CALLS {
        let (model, text, embedded) = (model.clone(), text.clone(), Arc::clone(&embedded));
        ingests.spawn(async move {
            model.embed(&[text.as_str(); 8], Purpose::Document).await.unwrap();
            embedded.fetch_add(1, Ordering::SeqCst);
        });
    }
    while embedded.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = embedded.load(Ordering::SeqCst);
    model.embed(&["how many sounds can foxes make?"], Purpose::Query).await.unwrap();
    let after = embedded.load(Ordering::SeqCst);
    assert!(after - before < CALLS / 4, "{} of {CALLS} calls came first", after - before);
    ingests.abort_all();
}

#[tokio::test]
async fn a_text_of_8_mib_costs_as_much_as_its_beginning() {
    let model = load();
    let words = "fox ".repeat(2 << 20);
    let start = Instant::now();
    let embeddings = model.embed(&[&words], Purpose::Document).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!((embeddings.tokens, &*embeddings.truncated), (64, &[true][..]));
    assert_eq!(embeddings.values, model.embed_blocking(&[&"fox ".repeat(100)]).unwrap().values);

    // One word, and a word surrounded by spaces: read up to the limit and no further.
    for (text, tokens, truncated) in [
        ("a".repeat(8 << 20), 3, true),
        (" ".repeat(8 << 20) + "fox" + &"\n".repeat(1 << 20), 3, false),
        ("fox".to_owned() + &" ".repeat(8 << 20) + "fox", 3, true),
        ("fox".to_owned() + &" ".repeat(100_000) + "fox", 4, false),
    ] {
        let embeddings = model.embed(&[&text], Purpose::Document).await.unwrap();
        assert_eq!((embeddings.tokens, &*embeddings.truncated), (tokens, &[truncated][..]));
    }
}

/// Wherever the beginning of a long text is cut, the model reads the same tokens as from the whole text.
#[test]
fn cuts_do_not_change_the_tokens() {
    let model = load();
    let tokens = &model.model.tokens;
    let mut whole = tokenizers::Tokenizer::from_file(tiny_bert().join("tokenizer.json")).unwrap();
    whole.with_padding(None).with_truncation(None).unwrap();
    for word in ["fox ", "xylophone ", "ä", "狐", "a", "?!", "\u{300}", "[MASK]"] {
        for lead in 0..5 {
            let text = format!("{}{} and the end", "x".repeat(lead), word.repeat(40_000 / word.len()));
            let all = whole.encode_fast(text.as_str(), true).unwrap();
            let tokenized = tokens.tokenize(readable(&text)).unwrap();
            let len = tokenized.ids.len();
            assert_eq!(tokenized.ids[..len - 1], all.get_ids()[..len - 1], "{word:?} after {lead}");
            assert_eq!(tokenized.truncated, all.len() > 64, "{word:?} after {lead}");
        }
    }
}

#[test]
fn a_bare_folder_uses_every_position_mean_and_normalizing() {
    let dir = copy();
    for file in &FILES[3..] {
        fs::remove_file(dir.path().join(file)).unwrap();
    }
    let model = LocalModel::load(dir.path()).unwrap();
    assert_eq!(model.max_tokens(), 128);
    let golden = &golden()[2];
    let embeddings = model.embed_blocking(&[&golden.text]).unwrap();
    assert!(largest_difference(&embeddings.values, &golden.vector) < 1e-6);
}

#[test]
fn modules_decide_on_pooling_and_normalizing() {
    let dir = copy();
    let text = &golden()[2].text;
    let mean = load().embed_blocking(&[text]).unwrap().values;
    edit(&dir, "1_Pooling/config.json", "\"pooling_mode_cls_token\": false", "\"pooling_mode_cls_token\": true");
    assert!(refusal(&dir, "1_Pooling/config.json").contains("mean or by the [CLS] token alone"));
    edit(&dir, "1_Pooling/config.json", "\"pooling_mode_mean_tokens\": true", "\"pooling_mode_mean_tokens\": false");
    let cls = LocalModel::load(dir.path()).unwrap().embed_blocking(&[text]).unwrap().values;
    assert!(largest_difference(&mean, &cls) > 0.01);

    let dir = copy();
    let modules = fs::read_to_string(dir.path().join("modules.json")).unwrap();
    let mut modules: Vec<serde_json::Value> = serde_json::from_str(&modules).unwrap();
    modules.pop();
    fs::write(dir.path().join("modules.json"), serde_json::to_vec(&modules).unwrap()).unwrap();
    let raw = LocalModel::load(dir.path()).unwrap().embed_blocking(&[text]).unwrap().values;
    let length = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
    assert!((length - 1.0).abs() > 0.01, "not normalized");
    let scaled: Vec<f32> = raw.iter().map(|value| value / length).collect();
    assert!(largest_difference(&scaled, &mean) < 1e-6);
}

#[test]
fn half_precision_weights_and_the_bert_prefix_are_read() {
    let (golden, bytes) = (golden(), fs::read(tiny_bert().join("model.safetensors")).unwrap());
    let header_len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    type Narrow = fn(f32) -> [u8; 2];
    let narrow: [(&str, Narrow, f32); 2] = [
        ("F16", |value| half::f16::from_f32(value).to_le_bytes(), 2e-3),
        ("BF16", |value| half::bf16::from_f32(value).to_le_bytes(), 2e-2),
    ];
    for (dtype, narrow, tolerance) in narrow {
        let (mut narrow_header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, entry) in &header {
            let offset = |i: usize| usize::try_from(entry["data_offsets"][i].as_u64().unwrap()).unwrap();
            let values = &bytes[8 + header_len..][offset(0)..offset(1)];
            let start = data.len();
            for value in values.as_chunks().0 {
                data.extend(narrow(f32::from_le_bytes(*value)));
            }
            let entry = serde_json::json!({
                "dtype": dtype, "shape": entry["shape"], "data_offsets": [start, data.len()],
            });
            narrow_header.insert(format!("bert.{name}"), entry);
        }
        let header = serde_json::to_vec(&narrow_header).unwrap();
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        let dir = copy();
        fs::write(dir.path().join("model.safetensors"), file).unwrap();
        let model = LocalModel::load(dir.path()).unwrap();
        let vector = model.embed_blocking(&[&golden[2].text]).unwrap().values;
        let difference = largest_difference(&vector, &golden[2].vector);
        assert!(difference > 0.0 && difference < tolerance, "{dtype}: {difference}");
    }
}

#[test]
fn other_models_are_refused_by_name() {
    for (file, from, to, why) in [
        ("config.json", "\"bert\"", "\"xlm-roberta\"", "xlm-roberta"),
        ("config.json", "\"gelu\"", "\"silu\"", "silu"),
        ("config.json", "\"layer_norm_eps\": 1e-12", "\"position_embedding_type\": \"relative_key\"", "relative_key"),
        ("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5", "5 attention heads"),
        ("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "0 attention heads"),
        ("config.json", "\"hidden_size\": 32", "\"hidden_size\": -1", "invalid value"),
        ("config.json", "\"vocab_size\"", "\"vocabulary\"", "vocab_size"),
        ("config.json", "}", "", "EOF"),
        ("sentence_bert_config.json", "64", "\"64\"", "invalid type"),
        ("modules.json", "models.Normalize", "models.Dense", "models.Dense"),
        ("tokenizer.json", "\"WordPiece\"", "\"Bogus\"", ""),
        ("tokenizer.json", "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[NONE]\"", "unknown words"),
    ] {
        let dir = copy();
        edit(&dir, file, from, to);
        let message = refusal(&dir, file);
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn sizes_that_disagree_are_refused() {
    for (from, to, why) in [
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "no tensor encoder.layer.2."),
        ("\"intermediate_size\": 64", "\"intermediate_size\": 65", "the shape [64, 32], not [65, 32]"),
        ("\"max_position_embeddings\": 128", "\"max_position_embeddings\": 512", "the shape [128, 32], not [512, 32]"),
        ("\"type_vocab_size\": 2", "\"type_vocab_size\": 0", "the shape [2, 32], not [0, 32]"),
        ("\"hidden_size\": 32", "\"hidden_size\": 18446744073709551612", "the shape"),
    ] {
        let dir = copy();
        edit(&dir, "config.json", from, to);
        let message = refusal(&dir, "model.safetensors");
        assert!(message.contains(why), "{message}");
    }
    let dir = copy();
    edit(&dir, "config.json", "\"vocab_size\": 4", "\"vocab_size\": 3");
    assert!(refusal(&dir, "tokenizer.json").contains("the model has only 3"));
    let dir = copy();
    edit(&dir, "sentence_bert_config.json", "64", "2");
    assert!(refusal(&dir, "tokenizer.json").contains("the model reads only 2"));
}

#[test]
fn missing_files_are_named() {
    for file in &FILES[..3] {
        let dir = copy();
        fs::remove_file(dir.path().join(file)).unwrap();
        assert!(refusal(&dir, file).starts_with("cannot read"));
    }
}

#[test]
fn broken_weights_are_refused() {
    let whole = fs::read(tiny_bert().join("model.safetensors")).unwrap();
    let header_len = u64::from_le_bytes(whole[..8].try_into().unwrap());
    let header = String::from_utf8(whole[8..].iter().take(header_len as usize).copied().collect()).unwrap();
    let with_header = |header: &str| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &whole[8 + header_len as usize..]].concat()
    };
    assert_eq!(with_header(&header), whole);
    let nan = [&whole[..whole.len() - 4], &f32::NAN.to_le_bytes()].concat();
    for (bytes, why) in [
        (vec![], "shorter than 8 bytes"),
        (whole[..7].to_vec(), "shorter than 8 bytes"),
        (vec![0xff; 100], "not a safetensors file"),
        (whole[..1000].to_vec(), "not a safetensors file, or only a part of one"),
        (whole[..whole.len() - 1].to_vec(), "cut off or broken"),
        (with_header("{}"), "no tensor embeddings.word_embeddings.weight"),
        (with_header("[1]"), "header is broken"),
        (with_header(&header.replace("\"F32\"", "\"I64\"")), "is I64"),
        (with_header(&header.replace("[0, ", "[4, ")), "cut off or broken"),
        (with_header(&header.replace("[0, ", "[18446744073709551615, ")), "cut off or broken"),
        (with_header(&header.replace("[0, ", "[-1, ")), "header is broken at tensor embeddings.word_embeddings.weight"),
        (nan, "not finite"),
    ] {
        let dir = copy();
        fs::write(dir.path().join("model.safetensors"), bytes).unwrap();
        let message = refusal(&dir, "model.safetensors");
        assert!(message.contains(why), "{message} instead of {why}");
    }
    // A file that is cut off anywhere gives an error and does not panic.
    for len in (0..whole.len()).step_by(4999) {
        let dir = copy();
        fs::write(dir.path().join("model.safetensors"), &whole[..len]).unwrap();
        refusal(&dir, "model.safetensors");
    }
}
