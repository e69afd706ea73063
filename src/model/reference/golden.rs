//! The decoder on whole checkpoints: tiny ones with the logits of Hugging Face transformers
//! (`scripts/make-golden-models`), and real ones where the test models are present.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;

use super::{input, kv_cache, run};
use crate::model::weights::LoadOptions;
use crate::model::{CausalLm, Checkpoint, Decoder, KvDtype};

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model")
}

fn load(path: &Path) -> Decoder {
    let checkpoint = Checkpoint::open(path).unwrap();
    let mut tensors = checkpoint.load(&LoadOptions::plain()).unwrap();
    Decoder::new(checkpoint.config().clone(), &mut tensors).unwrap()
}

#[test]
fn logits_equal_those_of_transformers_in_both_formats() {
    for name in ["llama", "qwen2", "qwen3", "qwen3-yarn"] {
        let directory = golden_dir().join(name);
        let golden =
            candle_core::safetensors::load(directory.join("logits.safetensors"), &Device::Cpu)
                .unwrap();
        let token_ids = golden["token_ids"].to_vec1::<u32>().unwrap();
        let expected = golden["logits"].to_vec2::<f32>().unwrap();
        for path in [directory, golden_dir().join(format!("{name}.gguf"))] {
            let mut decoder = load(&path);
            let mut cache = kv_cache(decoder.config(), KvDtype::F32);
            let input = input(&[(&token_ids, 0, &(0..8).collect())]);
            let found = run(&mut decoder, &mut cache, &input);
            assert_eq!(found.len(), expected.len());
            let worst = worst_difference(&found, &expected);
            assert!(worst < 1e-4, "{}: logits differ by {worst}", path.display());
        }
    }
}

/// Quantized products are Candle's, which computes one row by other kernels than several, so here
/// runs are equal within a tolerance only.
#[test]
fn real_checkpoints_answer_alike_alone_and_in_chunks() {
    for file in ["smollm2-135m-instruct-q4_1.gguf", "qwen2.5-coder-0.5b-q4_k_m.gguf"] {
        let Some(path) = test_model(file) else { continue };
        let mut decoder = load(&path);
        let token_ids: Vec<u32> = (0..14).map(|i| i * i * 13 % 5000 + 300).collect();
        let blocks: Arc<[u32]> = (0..8).rev().collect();
        let mut cache = kv_cache(decoder.config(), KvDtype::F16);
        let alone = run(&mut decoder, &mut cache, &input(&[(&token_ids, 0, &blocks)]));
        let mut chunked = Vec::new();
        for chunk in [1, 6, 1, 1, 5] {
            let done = chunked.len();
            let rows = [(&token_ids[done..done + chunk], done, &blocks)];
            chunked.extend(run(&mut decoder, &mut cache, &input(&rows)));
        }
        let spread = alone.concat().iter().fold(0f32, |max, logit| max.max(logit.abs()));
        let worst = worst_difference(&chunked, &alone);
        eprintln!("{file}: chunks differ by {worst} of {spread}");
        assert!(worst < 0.02 * spread, "{file}: chunks differ by {worst}");
    }
}

fn worst_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    pairs.map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max)
}

/// A downloaded model in the cache of the test models.
fn test_model(file: &str) -> Option<PathBuf> {
    let directory = std::env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/outcrop-test-models"))
    });
    let path = directory.map(|directory| directory.join(file)).filter(|path| path.exists());
    if path.is_none() {
        eprintln!("skipped: {file} is not in $OUTCROP_TEST_MODELS or ~/.cache/outcrop-test-models");
    }
    path
}
