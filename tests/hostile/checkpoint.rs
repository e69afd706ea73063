//! Checkpoints whose containers are right, but whose content is not what the model needs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use outcrop::format::gguf::{Array, GgmlType, GgufHeader, GgufWriter, Metadata, TensorSpec, Value};
use outcrop::model::checkpoint::{Checkpoint, CheckpointError};
use outcrop::model::config::{Architecture, ModelConfig, RopeConfig, RopeLayout, RopeScaling};
use outcrop::model::synthetic::Synthetic;
use outcrop::model::weights::{LoadOptions, Quantization, slots};
use serde_json::{Value as Json, json};

use crate::bounded;

fn config() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 300,
        hidden_size: 32,
        intermediate_size: 64,
        num_layers: 2,
        num_attention_heads: 2,
        num_kv_heads: 1,
        head_dim: 16,
        rms_norm_eps: 1e-6,
        rope: RopeConfig {
            theta: 10_000.0,
            layout: RopeLayout::Adjacent,
            scaling: RopeScaling::Factors(vec![1.0; 8]),
        },
        max_position_embeddings: 64,
        tie_word_embeddings: false,
        qkv_bias: false,
        qk_norm: false,
    }
}

/// A right checkpoint, taken apart to be written with a change.
struct Parts {
    metadata: Metadata,
    tensors: Vec<TensorSpec>,
}

impl Parts {
    fn new() -> Self {
        let mut bytes = Vec::new();
        let synthetic = Synthetic::new(config(), Quantization::Q8_0, 1).unwrap();
        synthetic.write_gguf(&mut bytes, "tiny", &|_, _| {}).unwrap();
        let header = GgufHeader::parse(&bytes, bytes.len() as u64).unwrap();
        let spec = |tensor: outcrop::format::gguf::TensorInfo| TensorSpec {
            name: tensor.name,
            dims: tensor.dims,
            dtype: tensor.dtype,
        };
        let tensors = header.tensors.into_iter().map(spec).collect();
        Self { metadata: header.metadata, tensors }
    }

    fn set(&mut self, key: &str, value: Value) {
        self.metadata.insert(key, value);
    }

    fn tensor(&mut self, name: &str) -> &mut TensorSpec {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    fn write(&self, path: &Path) {
        let file = fs::File::create(path).unwrap();
        let mut writer = GgufWriter::new(file, &self.metadata, &self.tensors).unwrap();
        for tensor in &self.tensors {
            // Ones of F32, so that rope factors are right.
            let data = 1f32.to_le_bytes().repeat(tensor.num_bytes() as usize / 4 + 1);
            writer.write_data(&data[..tensor.num_bytes() as usize]).unwrap();
        }
        writer.finish().unwrap();
    }
}

fn refused(name: &str, path: &Path, message: &str) {
    let bytes = fs::metadata(path).map_or(0, |metadata| metadata.len() as usize);
    let error = match bounded(name, bytes, || Checkpoint::open(path)) {
        Ok(_) => panic!("{name}: it was accepted"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(message), "{name}: `{error}` lacks `{message}`");
}

type Change = fn(&mut Parts);

#[test]
fn gguf_files_that_are_not_the_model_they_claim() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    Parts::new().write(&path);
    Checkpoint::open(&path).unwrap().load(&LoadOptions::plain()).unwrap();
    let cases: [(&str, Change, &str); 24] = [
        ("no architecture", |p| p.set("general.architecture", Value::U32(1)), "architecture"),
        ("other", |p| p.set("general.architecture", Value::String("bert".into())), "`bert`"),
        ("no heads", |p| p.set("llama.attention.head_count", Value::U32(0)), "heads"),
        ("odd heads", |p| p.set("llama.attention.head_count_kv", Value::U32(3)), "kv heads"),
        ("negative", |p| p.set("llama.block_count", Value::I32(-1)), "llama.block_count"),
        ("layers", |p| p.set("llama.block_count", Value::U32(u32::MAX)), "number of layers"),
        ("one layer more", |p| p.set("llama.block_count", Value::U32(3)), "blk.2.attn_norm.weight"),
        ("one layer less", |p| p.set("llama.block_count", Value::U32(1)), "blk.1."),
        (
            "per layer",
            |p| {
                p.set("llama.block_count", Value::Array(Array::Integers(vec![2])));
            },
            "llama.block_count",
        ),
        ("width", |p| p.set("llama.embedding_length", Value::U32(64)), "token_embd.weight"),
        ("2^64 - 1", |p| p.set("llama.embedding_length", Value::U64(u64::MAX)), "hidden size"),
        ("ffn", |p| p.set("llama.feed_forward_length", Value::U32(96)), "ffn_gate.weight"),
        ("context", |p| p.set("llama.context_length", Value::U64(1 << 40)), "context length"),
        ("theta", |p| p.set("llama.rope.freq_base", Value::F32(-1.0)), "theta"),
        (
            "epsilon",
            |p| {
                p.set("llama.attention.layer_norm_rms_epsilon", Value::F32(f32::NAN));
            },
            "epsilon",
        ),
        ("experts", |p| p.set("llama.expert_count", Value::U32(8)), "llama.expert_count"),
        ("missing tensor", |p| p.tensors.retain(|t| t.name != "blk.1.ffn_up.weight"), {
            "`blk.1.ffn_up.weight` is missing"
        }),
        ("unknown tensor", |p| p.tensor("output_norm.weight").name.push('s'), "output_norm.weight"),
        (
            "additional tensor",
            |p| {
                let dims = vec![32];
                let name = "blk.0.attn_q.scale".to_owned();
                p.tensors.push(TensorSpec { name, dims, dtype: GgmlType::F32 });
            },
            "`blk.0.attn_q.scale` is not part of a llama model",
        ),
        ("shape", |p| p.tensor("blk.0.attn_k.weight").dims = vec![32, 32], "blk.0.attn_k.weight"),
        ("flat embedding", |p| p.tensor("token_embd.weight").dims = vec![9600], "token_embd"),
        ("quantized norm", |p| p.tensor("blk.1.ffn_norm.weight").dtype = GgmlType::Q8_0, {
            "`blk.1.ffn_norm.weight` has type Q8_0"
        }),
        ("rope factors", |p| p.tensor("rope_freqs.weight").dims = vec![4], "rope factors"),
        ("vocabulary", |p| p.tensor("token_embd.weight").dims = vec![299, 32], "tokens"),
    ];
    for (name, change, message) in cases {
        let mut parts = Parts::new();
        change(&mut parts);
        parts.write(&path);
        refused(name, &path, message);
    }
}

#[test]
fn split_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let part = |number: usize| dir.path().join(format!("tiny-{number:05}-of-00002.gguf"));
    let write = |total: i32| {
        let mut parts = Parts::new();
        let mut second = parts.tensors.split_off(5);
        parts.set("split.no", Value::U16(0));
        parts.set("split.count", Value::U16(2));
        parts.set("split.tensors.count", Value::I32(total));
        parts.write(&part(1));
        std::mem::swap(&mut parts.tensors, &mut second);
        parts.metadata = Metadata::default();
        parts.set("split.no", Value::U16(1));
        parts.set("split.count", Value::U16(2));
        parts.write(&part(2));
    };
    let total = Parts::new().tensors.len() as i32;
    write(total);
    for path in [part(1), part(2), dir.path().to_owned()] {
        Checkpoint::open(&path).unwrap().load(&LoadOptions::plain()).unwrap();
    }
    write(total + 1);
    refused("count of tensors", &part(1), "split.tensors.count");
    write(total);
    fs::copy(part(1), part(2)).unwrap();
    refused("the first part twice", &part(1), "split.no is 0, but 1 was expected");
    fs::remove_file(part(2)).unwrap();
    refused("a missing part", &part(1), "tiny-00002-of-00002.gguf");
    let renamed = dir.path().join("renamed.gguf");
    fs::rename(part(1), &renamed).unwrap();
    refused("a part of another name", &renamed, "renamed.gguf");
}

/// A right checkpoint of two files.
fn write_hugging_face(dir: &Path) {
    let mut config = self::config();
    config.rope.layout = RopeLayout::Halves;
    let slots = slots(&config);
    let (first, second) = slots.split_at(9);
    let mut weight_map = serde_json::Map::new();
    for (number, slots) in [(1, first), (2, second)] {
        let file = format!("model-{number:05}-of-00002.safetensors");
        let mut table = serde_json::Map::new();
        let mut offset = 0;
        for slot in slots {
            let end = offset + slot.num_elements() * 2;
            let entry = json!({
                "dtype": "BF16", "shape": slot.shape, "data_offsets": [offset, end]
            });
            table.insert(slot.hf_name.clone(), entry);
            weight_map.insert(slot.hf_name.clone(), json!(file));
            offset = end;
        }
        let header = Json::Object(table).to_string();
        let data = vec![0x3c; offset];
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        fs::write(dir.join(file), bytes).unwrap();
    }
    let index = json!({"weight_map": weight_map}).to_string();
    fs::write(dir.join("model.safetensors.index.json"), index).unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 64,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("tokenizer.json"), "{}").unwrap();
}

fn edit(path: PathBuf, from: &str, to: &str) {
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

type Edit = fn(&Path);

#[test]
fn hugging_face_directories_that_are_not_the_model_they_claim() {
    let right = tempfile::tempdir().unwrap();
    write_hugging_face(right.path());
    let checkpoint = Checkpoint::open(right.path()).unwrap();
    for quantize in [None, Some(Quantization::Q4KM), Some(Quantization::Q8_0)] {
        checkpoint.load(&LoadOptions { quantize, ..LoadOptions::plain() }).unwrap();
    }
    const INDEX: &str = "model.safetensors.index.json";
    const SECOND: &str = "model-00002-of-00002.safetensors";
    let cases: [(&str, Edit, &str); 13] = [
        ("no configuration", |d| fs::remove_file(d.join("config.json")).unwrap(), "config.json"),
        ("no tokenizer", |d| fs::remove_file(d.join("tokenizer.json")).unwrap(), "tokenizer.json"),
        ("a part missing", |d| fs::remove_file(d.join(SECOND)).unwrap(), SECOND),
        (
            "a directory for a part",
            |d| {
                fs::remove_file(d.join(SECOND)).unwrap();
                fs::create_dir(d.join(SECOND)).unwrap();
            },
            "not a regular file",
        ),
        ("an empty part", |d| fs::write(d.join(SECOND), "").unwrap(), SECOND),
        ("an absolute path", |d| edit(d.join(INDEX), SECOND, "/etc/passwd"), "/etc/passwd"),
        ("a path upwards", |d| edit(d.join(INDEX), SECOND, "../x.safetensors"), "plain file name"),
        (
            "a tensor in the wrong part",
            |d| {
                edit(d.join(INDEX), SECOND, "model-00001-of-00002.safetensors");
            },
            "though the index says so",
        ),
        ("no index", |d| fs::write(d.join(INDEX), "[]").unwrap(), "index is not valid"),
        ("no files", |d| fs::write(d.join(INDEX), r#"{"weight_map":{}}"#).unwrap(), "0 files"),
        (
            "a tensor twice",
            |d| {
                let copy = "model-00003-of-00002.safetensors";
                fs::copy(d.join(SECOND), d.join(copy)).unwrap();
                edit(d.join(INDEX), SECOND, copy);
            },
            "also in another file",
        ),
        ("another shape", |d| edit(d.join("config.json"), "64", "96"), "mlp.gate_proj.weight"),
        (
            "large configuration",
            |d| {
                fs::write(d.join("config.json"), vec![b' '; (1 << 20) + 1]).unwrap();
            },
            "more than 1048576 bytes",
        ),
    ];
    for (name, change, message) in cases {
        let dir = tempfile::tempdir().unwrap();
        write_hugging_face(dir.path());
        change(dir.path());
        refused(name, dir.path(), message);
    }
}

#[test]
fn what_is_no_checkpoint_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    refused("nothing", &path("absent.gguf"), "absent.gguf");
    refused("an empty directory", dir.path(), "neither config.json");
    fs::write(path("weights.bin"), "x").unwrap();
    refused("another kind of file", &path("weights.bin"), "neither a .gguf file nor a directory");
    refused("a device", Path::new("/dev/null"), "neither a .gguf file nor a directory");
    fs::write(path("a.gguf"), "").unwrap();
    refused("an empty file", &path("a.gguf"), "magic");
    fs::write(path("b.gguf"), "").unwrap();
    refused("two models", dir.path(), "a.gguf, b.gguf");
}

#[test]
fn quantized_weights_are_not_quantized_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    Parts::new().write(&path);
    let options = LoadOptions { quantize: Some(Quantization::Q4KM), ..LoadOptions::plain() };
    let error = Checkpoint::open(&path).unwrap().load(&options).unwrap_err();
    assert!(matches!(error, CheckpointError::Weights(_)));
    assert!(error.to_string().contains("has type Q8_0"), "{error}");
}
