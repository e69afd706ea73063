//! Synthetic checkpoints written, opened and loaded again; the mixtures against a real file's.

use std::path::PathBuf;

use super::*;
use crate::format::gguf::GgufHeader;
use crate::model::{
    Checkpoint,
    config::{Architecture, RopeConfig, RopeLayout, RopeScaling},
    weights::LoadOptions,
};

fn tiny(architecture: Architecture, scaling: RopeScaling) -> ModelConfig {
    let layout = match architecture {
        Architecture::Llama => RopeLayout::Adjacent,
        Architecture::Qwen2 | Architecture::Qwen3 => RopeLayout::Halves,
    };
    ModelConfig {
        architecture,
        vocab_size: 300,
        hidden_size: 256,
        intermediate_size: 512,
        num_layers: 3,
        num_attention_heads: 4,
        num_kv_heads: 2,
        head_dim: 64,
        rms_norm_eps: 1e-6,
        rope: RopeConfig { theta: 10_000.0, layout, scaling },
        max_position_embeddings: 4096,
        tie_word_embeddings: architecture == Architecture::Qwen3,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
    }
}

fn yarn() -> RopeScaling {
    RopeScaling::Yarn {
        factor: 4.0,
        original_context_len: 1024,
        beta_fast: 32.0,
        beta_slow: 1.0,
        attention_factor: 1.0,
    }
}

#[test]
fn a_written_checkpoint_opens_with_the_same_configuration_and_weights() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let configs = [
        tiny(Architecture::Llama, RopeScaling::Factors(vec![2.0; 32])),
        tiny(Architecture::Qwen2, RopeScaling::Linear { factor: 2.0 }),
        tiny(Architecture::Qwen3, yarn()),
    ];
    for config in configs {
        for quantization in Quantization::ALL {
            let synthetic = Synthetic::new(config.clone(), quantization, 1).unwrap();
            let file = std::fs::File::create(&path).unwrap();
            synthetic.write_gguf(file, "tiny", &|_, _| {}).unwrap();
            let checkpoint = Checkpoint::open(&path).unwrap();
            assert_eq!(checkpoint.config(), &config);
            let mut loaded = checkpoint.load(&LoadOptions::plain()).unwrap();
            let mut made = synthetic.tensor_map(&Device::Cpu, &|_, _| {}).unwrap();
            for slot in slots(&config) {
                let loaded = loaded.take(&slot.name, &slot.shape).unwrap();
                let made = made.take(&slot.name, &slot.shape).unwrap();
                assert_eq!(loaded.dtype(), made.dtype());
                let elements = |weight: &Weight| {
                    weight.dequantize().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
                };
                assert!(elements(&loaded) == elements(&made), "{}", slot.name);
            }
        }
    }
}

#[test]
fn llama3_scaling_becomes_factors_of_each_frequency() {
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context_len: 8192,
    };
    let mut config = tiny(Architecture::Llama, scaling);
    config.rope.theta = 500_000.0;
    let factors = metadata::rope_factors(&config).unwrap();
    assert_eq!((factors[0], factors[31]), (1.0, 8.0));
    assert!(factors.is_sorted());
}

#[test]
fn progress_ends_at_the_total() {
    let config = tiny(Architecture::Llama, RopeScaling::None);
    let synthetic = Synthetic::new(config, Quantization::Q8_0, 1).unwrap();
    let last = AtomicU64::new(0);
    let progress = |done, total| {
        assert!(done <= total && total == synthetic.num_bytes());
        last.fetch_max(done, Ordering::Relaxed);
    };
    synthetic.write_gguf(io::sink(), "tiny", &progress).unwrap();
    assert_eq!(last.load(Ordering::Relaxed), synthetic.num_bytes());
}

#[test]
fn rows_that_are_not_whole_blocks_take_smaller_ones() {
    let mut config = tiny(Architecture::Llama, RopeScaling::None);
    config.hidden_size = 96;
    config.intermediate_size = 40;
    let dtypes = |quantization: Quantization| {
        let slots = slots(&config);
        let of = |name: &str| {
            let slot = slots.iter().find(|slot| slot.name == name).unwrap();
            quantization.dtype(slot, &config)
        };
        [of("output.weight"), of("blk.1.attn_q.weight"), of("blk.1.ffn_down.weight")]
    };
    let expected = [GgmlType::Q8_0, GgmlType::Q5_0, GgmlType::F16];
    assert_eq!(dtypes(Quantization::Q4KM), expected);
    assert_eq!(dtypes(Quantization::Q6K), [GgmlType::Q8_0, GgmlType::Q8_0, GgmlType::F16]);
    assert_eq!(dtypes(Quantization::Bf16), [GgmlType::Bf16; 3]);
}

/// Types of every tensor of R1-Distill-Qwen-7B as `llama-quantize` chose them for Q4_K_M.
#[test]
fn the_mixture_is_that_of_a_real_file() {
    let dir = std::env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).or_else(|| {
        Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/outcrop-test-models"))
    });
    let path = dir.map(|dir| dir.join("r1-distill-qwen-7b-q4_k_m.head.gguf"));
    let Some(bytes) = path.and_then(|path| std::fs::read(path).ok()) else {
        eprintln!("skipped: needs r1-distill-qwen-7b-q4_k_m.head.gguf in OUTCROP_TEST_MODELS");
        return;
    };
    let header = GgufHeader::parse(&bytes, u64::MAX).unwrap();
    let shapes = Shapes(&header);
    let config = ModelConfig::from_gguf(&header.metadata, &shapes, None).unwrap();
    let synthetic = Synthetic::new(config, Quantization::Q4KM, 0).unwrap();
    let made = synthetic.tensors();
    assert_eq!(made.len(), header.tensors.len());
    for (_, spec) in made {
        let found = header.tensors.iter().find(|tensor| tensor.name == spec.name).unwrap();
        assert_eq!((found.dtype, &found.dims), (spec.dtype, &spec.dims), "{}", spec.name);
    }
}

struct Shapes<'a>(&'a GgufHeader);

impl crate::model::config::TensorShapes for Shapes<'_> {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        let mut tensors = self.0.tensors.iter();
        tensors.find(|tensor| tensor.name == name).map(|tensor| tensor.dims.as_slice())
    }
}
