//! Configuration from GGUF metadata, whose keys begin with the architecture's name.

use super::{
    Architecture, ConfigError, ModelConfig, RopeConfig, RopeLayout, RopeScaling,
    rope::{YARN_BETA_FAST, YARN_BETA_SLOW, yarn_attention_factor},
};
use crate::format::gguf::{Metadata, MetadataError, Required};

const SUPPORTED_SCALING: &str = "none, linear and yarn";

/// What the tensor table adds to the metadata.
pub trait TensorShapes {
    /// Outermost dimension first; `None` when there is no such tensor.
    fn shape(&self, name: &str) -> Option<&[usize]>;
}

impl ModelConfig {
    /// `rope_factors` is the content of `rope_freqs.weight`, where the file has it.
    ///
    /// The embedding has as many rows as the head gives logits, so the vocabulary size is read from
    /// it: the metadata's own counts leave out rows that were added as padding.
    pub fn from_gguf(
        metadata: &Metadata,
        tensors: &dyn TensorShapes,
        rope_factors: Option<Vec<f32>>,
    ) -> Result<Self, ConfigError> {
        let architecture = Architecture::from_name(
            metadata.string("general.architecture").required("general.architecture")?,
        )?;
        let keys = Keys { metadata, prefix: architecture.name() };
        keys.refuse_unsupported()?;
        let hidden_size = keys.required_size("embedding_length")?;
        let num_attention_heads = keys.required_size("attention.head_count")?;
        let head_dim = keys.head_dim(hidden_size, num_attention_heads)?;
        let config = Self {
            architecture,
            vocab_size: vocab_size(metadata, tensors)?,
            hidden_size,
            intermediate_size: keys.required_size("feed_forward_length")?,
            num_layers: keys.required_size("block_count")?,
            num_attention_heads,
            num_kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: keys.required_float("attention.layer_norm_rms_epsilon")?,
            rope: RopeConfig {
                theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
                layout: match architecture {
                    Architecture::Llama => RopeLayout::Adjacent,
                    Architecture::Qwen2 | Architecture::Qwen3 => RopeLayout::Halves,
                },
                scaling: keys.rope_scaling(rope_factors)?,
            },
            max_position_embeddings: keys.required_size("context_length")?,
            tie_word_embeddings: tensors.shape("output.weight").is_none(),
            qkv_bias: match architecture {
                Architecture::Qwen2 => true,
                Architecture::Llama => tensors.shape("blk.0.attn_q.bias").is_some(),
                Architecture::Qwen3 => false,
            },
            qk_norm: architecture == Architecture::Qwen3,
        };
        config.check()?;
        Ok(config)
    }
}

fn vocab_size(metadata: &Metadata, tensors: &dyn TensorShapes) -> Result<usize, ConfigError> {
    let Some(&[vocab_size, _]) = tensors.shape("token_embd.weight") else {
        let found = match tensors.shape("token_embd.weight") {
            Some(shape) => format!("{shape:?}"),
            None => "missing".to_owned(),
        };
        let expected = "a matrix with a row for each token is needed";
        return Err(ConfigError::value("token_embd.weight", found, expected));
    };
    let key = "tokenizer.ggml.tokens";
    let num_tokens = metadata.strings(key)?.map_or(0, <[String]>::len);
    if num_tokens > vocab_size {
        let expected = format!("the embedding has {vocab_size} rows");
        return Err(ConfigError::value(format!("length of {key}"), num_tokens, expected));
    }
    Ok(vocab_size)
}

struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
}

impl Keys<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.prefix)
    }

    fn size(&self, suffix: &str) -> Result<Option<usize>, ConfigError> {
        let key = self.key(suffix);
        let Some(found) = self.metadata.unsigned(&key)? else { return Ok(None) };
        match usize::try_from(found) {
            Ok(size) => Ok(Some(size)),
            Err(_) => Err(ConfigError::value(key, found, "it does not fit in memory")),
        }
    }

    fn required_size(&self, suffix: &str) -> Result<usize, ConfigError> {
        self.size(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    fn float(&self, suffix: &str) -> Result<Option<f32>, ConfigError> {
        Ok(self.metadata.float(&self.key(suffix))?.map(|value| value as f32))
    }

    fn required_float(&self, suffix: &str) -> Result<f32, ConfigError> {
        self.float(suffix)?.ok_or_else(|| self.missing(suffix))
    }

    fn missing(&self, suffix: &str) -> ConfigError {
        MetadataError::Missing { key: self.key(suffix) }.into()
    }

    /// Variants of the architectures that would otherwise load and answer nonsense.
    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let zero = [
            ("expert_count", "mixtures of experts are not supported"),
            ("attention.sliding_window", "sliding windows are not supported"),
        ];
        for (suffix, expected) in zero {
            let found = self.size(suffix)?.unwrap_or(0);
            if found != 0 {
                return Err(ConfigError::value(self.key(suffix), found, expected));
            }
        }
        let plain = [
            ("rope.scaling.yarn_log_multiplier", 0.0),
            ("rope.scaling.yarn_ext_factor", 1.0),
            ("attention.scale", 0.0),
        ];
        for (suffix, plain) in plain {
            let found = self.float(suffix)?.unwrap_or(plain);
            if found != plain {
                let expected = format!("only {plain} is supported");
                return Err(ConfigError::value(self.key(suffix), found, expected));
            }
        }
        Ok(())
    }

    fn head_dim(&self, hidden_size: usize, num_heads: usize) -> Result<usize, ConfigError> {
        let head_dim = match self.size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if num_heads == 0 || !hidden_size.is_multiple_of(num_heads) => {
                let expected = format!("it must divide the embedding length, {hidden_size}");
                let key = self.key("attention.head_count");
                return Err(ConfigError::value(key, num_heads, expected));
            }
            None => hidden_size / num_heads,
        };
        for suffix in ["attention.value_length", "rope.dimension_count"] {
            let found = self.size(suffix)?.unwrap_or(head_dim);
            if found != head_dim {
                let expected = format!("only the head dimension, {head_dim}, is supported");
                return Err(ConfigError::value(self.key(suffix), found, expected));
            }
        }
        Ok(head_dim)
    }

    fn rope_scaling(&self, factors: Option<Vec<f32>>) -> Result<RopeScaling, ConfigError> {
        let kind = self.metadata.string(&self.key("rope.scaling.type"))?;
        // Files from before `rope.scaling.type` have a linear factor under this key.
        let linear = self.float("rope.scale_linear")?.filter(|&factor| factor != 1.0);
        let kind = kind.or(linear.is_some().then_some("linear")).unwrap_or("none");
        match (kind, factors) {
            ("none", None) => Ok(RopeScaling::None),
            ("none", Some(factors)) => Ok(RopeScaling::Factors(factors)),
            ("linear", None) => {
                let factor = match linear {
                    Some(factor) => factor,
                    None => self.required_float("rope.scaling.factor")?,
                };
                Ok(RopeScaling::Linear { factor })
            }
            ("yarn", None) => self.yarn(),
            ("linear" | "yarn", Some(_)) => Err(ConfigError::RopeScaling {
                found: format!("{kind} with rope_freqs.weight"),
                supported: SUPPORTED_SCALING,
            }),
            (kind, _) => Err(ConfigError::RopeScaling {
                found: kind.to_owned(),
                supported: SUPPORTED_SCALING,
            }),
        }
    }

    fn yarn(&self) -> Result<RopeScaling, ConfigError> {
        let factor = self.required_float("rope.scaling.factor")?;
        let beta = |name, default| {
            Ok::<_, ConfigError>(self.float(&format!("rope.scaling.{name}"))?.unwrap_or(default))
        };
        let attn_factor = match self.float("rope.scaling.yarn_attn_factor")? {
            Some(attn_factor) => attn_factor,
            None => self.float("rope.scaling.attn_factor")?.unwrap_or(1.0),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_context_len: self.required_size("rope.scaling.original_context_length")?,
            beta_fast: beta("yarn_beta_fast", YARN_BETA_FAST)?,
            beta_slow: beta("yarn_beta_slow", YARN_BETA_SLOW)?,
            attention_factor: yarn_attention_factor(factor, attn_factor),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::format::gguf::Value;

    impl TensorShapes for BTreeMap<&str, Vec<usize>> {
        fn shape(&self, name: &str) -> Option<&[usize]> {
            self.get(name).map(Vec::as_slice)
        }
    }

    fn metadata(architecture: &str, extra: &[(&str, Value)]) -> Metadata {
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", Value::String(architecture.into()));
        let sizes = [
            ("context_length", 4096),
            ("embedding_length", 64),
            ("block_count", 2),
            ("feed_forward_length", 128),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
        ];
        for (suffix, n) in sizes {
            metadata.insert(&format!("{architecture}.{suffix}"), Value::U32(n));
        }
        let eps = format!("{architecture}.attention.layer_norm_rms_epsilon");
        metadata.insert(&eps, Value::F32(1e-5));
        for (suffix, value) in extra {
            metadata.insert(&format!("{architecture}.{suffix}"), value.clone());
        }
        metadata
    }

    fn tensors() -> BTreeMap<&'static str, Vec<usize>> {
        BTreeMap::from([("token_embd.weight", vec![100, 64])])
    }

    fn read(architecture: &str, extra: &[(&str, Value)]) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_gguf(&metadata(architecture, extra), &tensors(), None)
    }

    #[test]
    fn llama_has_adjacent_pairs_and_its_factors() {
        let factors = vec![1.0; 8];
        let config =
            ModelConfig::from_gguf(&metadata("llama", &[]), &tensors(), Some(factors.clone()));
        let config = config.unwrap();
        assert_eq!(config.rope.layout, RopeLayout::Adjacent);
        assert_eq!(config.rope.scaling, RopeScaling::Factors(factors));
        assert_eq!((config.vocab_size, config.head_dim, config.num_kv_heads), (100, 16, 2));
        assert!(config.tie_word_embeddings && !config.qkv_bias && !config.qk_norm);
    }

    #[test]
    fn qwen_has_halves_and_its_biases_or_norms() {
        let qwen2 = read("qwen2", &[]).unwrap();
        assert!(qwen2.qkv_bias && !qwen2.qk_norm);
        let qwen3 = read(
            "qwen3",
            &[("attention.key_length", Value::U32(32)), ("attention.value_length", Value::U32(32))],
        )
        .unwrap();
        assert!(!qwen3.qkv_bias && qwen3.qk_norm);
        assert_eq!((qwen3.rope.layout, qwen3.head_dim), (RopeLayout::Halves, 32));
    }

    #[test]
    fn yarn_of_the_qwen3_distill_leaves_attention_as_it_is() {
        let scaling = read(
            "qwen3",
            &[
                ("rope.scaling.type", Value::String("yarn".into())),
                ("rope.scaling.factor", Value::F32(4.0)),
                ("rope.scaling.original_context_length", Value::U32(32_768)),
                ("rope.scaling.attn_factor", Value::F32(0.878_248_9)),
            ],
        );
        let RopeScaling::Yarn { attention_factor, beta_fast, .. } = scaling.unwrap().rope.scaling
        else {
            panic!("not yarn");
        };
        assert!((attention_factor - 1.0).abs() < 1e-6, "{attention_factor}");
        assert_eq!(beta_fast, 32.0);
    }

    #[test]
    fn unsupported_variants_are_refused_by_name() {
        let refused = [
            ("expert_count", Value::U32(8)),
            ("attention.sliding_window", Value::U32(4096)),
            ("rope.dimension_count", Value::U32(8)),
            ("attention.value_length", Value::U32(8)),
            ("rope.scaling.yarn_log_multiplier", Value::F32(0.1)),
        ];
        for (suffix, value) in refused {
            let error = read("llama", &[(suffix, value)]).unwrap_err();
            assert!(error.to_string().contains(suffix), "{error}");
        }
        let scaling = ("rope.scaling.type", Value::String("longrope".into()));
        let error = read("llama", &[scaling]).unwrap_err().to_string();
        assert!(error.contains("longrope"), "{error}");
        let error = read("gpt-oss", &[]).unwrap_err().to_string();
        assert!(error.contains("gpt-oss") && error.contains("qwen3"), "{error}");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let refused = [
            ("attention.head_count", 0, "head_count"),
            ("attention.head_count", 5, "head_count"),
            ("attention.head_count_kv", 3, "kv heads"),
            ("attention.head_count_kv", 0, "kv heads"),
            ("block_count", 1025, "layers"),
            ("embedding_length", 131_076, "hidden size"),
            ("context_length", 0, "context length"),
        ];
        for (suffix, n, named) in refused {
            let error = read("llama", &[(suffix, Value::U32(n))]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let nan = read("llama", &[("rope.freq_base", Value::F32(f32::NAN))]).unwrap_err();
        assert!(nan.to_string().contains("theta"), "{nan}");
        let odd = ModelConfig::from_gguf(&metadata("llama", &[]), &tensors(), Some(vec![1.0; 7]));
        assert!(odd.unwrap_err().to_string().contains("rope factors"));
    }

    #[test]
    fn more_tokens_than_embeddings_are_refused() {
        let mut metadata = metadata("llama", &[]);
        let tokens = vec![String::new(); 101];
        metadata.insert(
            "tokenizer.ggml.tokens",
            Value::Array(crate::format::gguf::Array::Strings(tokens)),
        );
        let error = ModelConfig::from_gguf(&metadata, &tensors(), None).unwrap_err();
        assert!(error.to_string().contains("tokenizer.ggml.tokens` is 101"), "{error}");
    }
}
