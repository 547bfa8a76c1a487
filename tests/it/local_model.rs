//! The local model with its real weights, compared with vectors from onnxruntime (`tests/data/all-MiniLM-L6-v2`).

use std::path::Path;

use pgfox_server::LocalModel;
use serde_json::Value;

/// The maximum deviation of a vector: 1 - cosine.
const MAX_DISTANCE: f64 = 1e-5;

#[tokio::test]
async fn vectors_are_those_of_the_reference() {
    let folder = crate::support::cache().model().await.unwrap();
    tokio::task::spawn_blocking(move || check_golden_vectors(&folder)).await.unwrap();
}

/// Checks dimensions, token counts, truncation and vectors of the model in the folder.
fn check_golden_vectors(model_dir: &Path) {
    let model = LocalModel::load(model_dir).unwrap();
    assert_eq!((model.dimensions(), model.max_tokens()), (384, 256));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/all-MiniLM-L6-v2/golden.json");
    let golden: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts: Vec<&str> = golden.iter().map(|entry| entry["text"].as_str().unwrap()).collect();
    let together = model.embed_blocking(&texts).unwrap();
    for (index, entry) in golden.iter().enumerate() {
        let alone = model.embed_blocking(&[texts[index]]).unwrap();
        let text = &entry["text"];
        assert_eq!(alone.tokens, entry["tokens"].as_u64().unwrap(), "{text}");
        assert_eq!(alone.truncated[0], entry["truncated"].as_bool().unwrap(), "{text}");
        let expected: Vec<f64> = entry["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        for vector in [&alone.values[..], &together.values[index * 384..][..384]] {
            // Both have length 1.
            let cosine: f64 = vector.iter().zip(&expected).map(|(&a, b)| f64::from(a) * b).sum();
            assert!(1.0 - cosine <= MAX_DISTANCE, "{text}: 1 - cosine is {}", 1.0 - cosine);
        }
    }
}
