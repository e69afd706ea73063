//! The embedder against a plain one, with random weights, and what folders it refuses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Embedder;
use crate::guardrail::Embed;

const HIDDEN: usize = 8;
const HEADS: usize = 2;
const INNER: usize = 12;
const POSITIONS: usize = 10;
const WORDS: [&str; 7] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "red", "fox"];

type Weights = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn weights() -> Weights {
    let mut state = 7_u32;
    let mut draw = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut weights = Weights::new();
    let mut add = |name: &str, shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| draw()).collect();
        weights.insert(name.to_owned(), (shape.to_vec(), values));
    };
    add("embeddings.word_embeddings.weight", &[WORDS.len(), HIDDEN]);
    add("embeddings.position_embeddings.weight", &[POSITIONS, HIDDEN]);
    add("embeddings.token_type_embeddings.weight", &[2, HIDDEN]);
    let layer = "encoder.layer.0.";
    for (name, rows, columns) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", INNER, HIDDEN),
        ("output.dense", HIDDEN, INNER),
    ] {
        add(&format!("{layer}{name}.weight"), &[rows, columns]);
        add(&format!("{layer}{name}.bias"), &[rows]);
    }
    for name in ["attention.output", "output"] {
        add(&format!("{layer}{name}.LayerNorm.weight"), &[HIDDEN]);
        add(&format!("{layer}{name}.LayerNorm.bias"), &[HIDDEN]);
    }
    add("embeddings.LayerNorm.weight", &[HIDDEN]);
    add("embeddings.LayerNorm.bias", &[HIDDEN]);
    weights
}

fn config() -> Value {
    json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN,
        "num_attention_heads": HEADS, "num_hidden_layers": 1, "intermediate_size": INNER,
        "vocab_size": WORDS.len(), "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "layer_norm_eps": 1e-6, "hidden_dropout_prob": 0.1, "initializer_range": 0.02,
        "pad_token_id": 0,
    })
}

fn tokenizer() -> Value {
    let vocab: serde_json::Map<String, Value> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let known = |token: &str, id: u32| json!({ "id": token, "ids": [id], "tokens": [token] });
    let single =
        [special("[CLS]"), json!({"Sequence": {"id": "A", "type_id": 0}}), special("[SEP]")];
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": { "type": "WhitespaceSplit" }, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing", "single": single, "pair": single,
            "special_tokens": { "[CLS]": known("[CLS]", 2), "[SEP]": known("[SEP]", 3) },
        },
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
    })
}

fn write(folder: &Path, config: &Value, weights: &Weights) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, (shape, values)) in weights {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::from(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    fs::write(folder.join("model.safetensors"), file).unwrap();
}

/// What each token takes from the others, head by head.
fn attend(query: &[Vec<f64>], key: &[Vec<f64>], value: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let width = HIDDEN / HEADS;
    let mut attended = vec![vec![0.0; HIDDEN]; query.len()];
    for (at, row) in attended.iter_mut().enumerate() {
        for head in 0..HEADS {
            let dims = head * width..(head + 1) * width;
            let score = |other: usize| {
                let products = dims.clone().map(|dim| query[at][dim] * key[other][dim]);
                (products.sum::<f64>() / (width as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (0..key.len()).map(score).collect();
            let sum: f64 = scores.iter().sum();
            for dim in dims {
                row[dim] = (0..key.len()).map(|it| scores[it] / sum * value[it][dim]).sum();
            }
        }
    }
    attended
}

/// BERT as its paper has it, one number at a time.
fn plain(weights: &Weights, ids: &[usize]) -> Vec<f64> {
    let weight = |name: &str, at: usize| f64::from(weights[name].1[at]);
    let linear = |rows: &[Vec<f64>], name: &str| -> Vec<Vec<f64>> {
        let shape = &weights[&format!("{name}.weight")].0;
        let output = |row: &Vec<f64>, to: usize| {
            let products = row.iter().enumerate().map(|(from, value)| {
                value * weight(&format!("{name}.weight"), to * shape[1] + from)
            });
            products.sum::<f64>() + weight(&format!("{name}.bias"), to)
        };
        rows.iter().map(|row| (0..shape[0]).map(|to| output(row, to)).collect()).collect()
    };
    let norm = |rows: &[Vec<f64>], name: &str| -> Vec<Vec<f64>> {
        let one = |row: &Vec<f64>| {
            let mean = row.iter().sum::<f64>() / HIDDEN as f64;
            let spread = row.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / HIDDEN as f64;
            let scaled = row.iter().map(|it| (it - mean) / (spread + 1e-6).sqrt());
            let scaled = scaled.enumerate().map(|(at, it)| {
                it * weight(&format!("{name}.weight"), at) + weight(&format!("{name}.bias"), at)
            });
            scaled.collect()
        };
        rows.iter().map(one).collect()
    };
    let add = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
        a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
    };
    let embedded: Vec<Vec<f64>> = ids
        .iter()
        .enumerate()
        .map(|(place, id)| {
            let at = |dim: usize| {
                weight("embeddings.word_embeddings.weight", id * HIDDEN + dim)
                    + weight("embeddings.position_embeddings.weight", place * HIDDEN + dim)
                    + weight("embeddings.token_type_embeddings.weight", dim)
            };
            (0..HIDDEN).map(at).collect()
        })
        .collect();
    let hidden = norm(&embedded, "embeddings.LayerNorm");
    let layer = |name: &str| format!("encoder.layer.0.{name}");
    let [query, key, value] = ["query", "key", "value"]
        .map(|it| linear(&hidden, &layer(&format!("attention.self.{it}"))));
    let attended = attend(&query, &key, &value);
    let attended = linear(&attended, &layer("attention.output.dense"));
    let hidden = norm(&add(&attended, &hidden), &layer("attention.output.LayerNorm"));
    let mut inner = linear(&hidden, &layer("intermediate.dense"));
    for value in inner.iter_mut().flatten() {
        *value *= 0.5 * (1.0 + candle_core::cpu::erf::erf_f64(*value / 2.0_f64.sqrt()));
    }
    let inner = linear(&inner, &layer("output.dense"));
    let hidden = norm(&add(&inner, &hidden), &layer("output.LayerNorm"));
    let sums: Vec<f64> = (0..HIDDEN).map(|dim| hidden.iter().map(|row| row[dim]).sum()).collect();
    let length = sums.iter().map(|it| it * it).sum::<f64>().sqrt();
    sums.into_iter().map(|it| it / length).collect()
}

#[test]
fn texts_in_a_batch_have_the_vectors_of_the_plain_model() {
    let folder = tempfile::tempdir().unwrap();
    let weights = weights();
    write(folder.path(), &config(), &weights);
    let embedder = Embedder::load(folder.path()).unwrap();
    // The last has more tokens than the model has positions, and so comes in two pieces.
    let long = "the red fox the red fox the red fox";
    let found = embedder.embed(&["the fox", "red", "the blue fox", long]).unwrap();
    let pieces: [&[usize]; 5] =
        [&[2, 4, 6, 3], &[2, 5, 3], &[2, 4, 1, 6, 3], &[2, 4, 5, 6, 4, 5, 6, 4, 5, 3], &[2, 6, 3]];
    assert_eq!(found.len(), pieces.len());
    for (vector, ids) in found.iter().zip(pieces) {
        let expected = plain(&weights, ids);
        for (found, expected) in vector.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{ids:?}: {found} {expected}");
        }
    }
    // What the model is told to see before a text is there.
    let prompts = json!({"prompts": {"query": "the "}, "default_prompt_name": "query"});
    let path = folder.path().join("config_sentence_transformers.json");
    fs::write(path, prompts.to_string()).unwrap();
    let prefixed = Embedder::load(folder.path()).unwrap().embed(&["fox"]).unwrap();
    // Batches of other sizes round otherwise.
    for (prefixed, found) in prefixed[0].iter().zip(&found[0]) {
        assert!((prefixed - found).abs() < 1e-5);
    }
}

#[test]
fn a_folder_that_holds_none_is_refused_by_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |config: &Value, weights: &Weights| {
        write(folder.path(), config, weights);
        Embedder::load(folder.path()).unwrap_err().to_string()
    };
    let mut weights = weights();
    for (field, value) in [
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(3)),
        ("hidden_size", json!(0)),
        ("num_hidden_layers", json!(1_000_000)),
        ("layer_norm_eps", json!(-1.0)),
        ("model_type", json!("t5")),
    ] {
        let mut config = config();
        config[field] = value;
        let error = refused(&config, &weights);
        assert!(error.contains("config.json") && error.contains(field), "{error}");
    }
    let mut larger = config();
    larger["hidden_size"] = json!(1 << 20);
    assert!(refused(&larger, &weights).contains("model.safetensors"));
    let mut fewer = config();
    fewer["vocab_size"] = json!(3);
    assert!(refused(&fewer, &weights).contains("it has 7 tokens, and the model knows 3"));
    weights.remove("encoder.layer.0.output.dense.bias");
    assert!(refused(&config(), &weights).contains("output.dense.bias"));
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Embedder::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("model.safetensors"), "{error}");
}
