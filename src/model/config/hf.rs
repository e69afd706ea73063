//! Configuration from `config.json` as Hugging Face transformers writes it.

use serde_json::{Map, Value};

use super::{
    Architecture, ConfigError, ModelConfig, RopeConfig, RopeLayout, RopeScaling,
    rope::{YARN_BETA_FAST, YARN_BETA_SLOW, yarn_attention_factor},
};

const SUPPORTED_SCALING: &str = "default, linear, llama3 and yarn";

/// transformers' default where a Qwen3 configuration does not say.
const QWEN3_HEAD_DIM: usize = 128;

impl ModelConfig {
    pub fn from_hf(config_json: &[u8]) -> Result<Self, ConfigError> {
        let object: Map<String, Value> = serde_json::from_slice(config_json)
            .map_err(|error| ConfigError::Json { reason: error.to_string() })?;
        let fields = Fields { object: &object, prefix: "" };
        let architecture = Architecture::from_name(fields.required_string("model_type")?)?;
        fields.refuse_unsupported(architecture)?;
        let hidden_size = fields.required_size("hidden_size")?;
        let num_attention_heads = fields.required_size("num_attention_heads")?;
        let max_position_embeddings = fields.required_size("max_position_embeddings")?;
        let (theta, scaling) = fields.rope(max_position_embeddings)?;
        let config = Self {
            architecture,
            vocab_size: fields.required_size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size")?,
            num_layers: fields.required_size("num_hidden_layers")?,
            num_attention_heads,
            num_kv_heads: fields.size("num_key_value_heads")?.unwrap_or(num_attention_heads),
            head_dim: fields.head_dim(architecture, hidden_size, num_attention_heads)?,
            rms_norm_eps: fields.required_float("rms_norm_eps")?,
            max_position_embeddings: match scaling {
                // Here `max_position_embeddings` may be the length before scaling.
                RopeScaling::Yarn { factor, original_context_len, .. } => {
                    let scaled = (original_context_len as f32 * factor) as usize;
                    max_position_embeddings.max(scaled)
                }
                _ => max_position_embeddings,
            },
            rope: RopeConfig { theta, layout: RopeLayout::Halves, scaling },
            tie_word_embeddings: fields.boolean("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: architecture == Architecture::Qwen2,
            qk_norm: architecture == Architecture::Qwen3,
        };
        config.check()?;
        Ok(config)
    }
}

#[derive(Clone, Copy)]
struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// Of the names in errors, for nested objects.
    prefix: &'static str,
}

impl<'a> Fields<'a> {
    fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// `null` counts as absent, as transformers has it.
    fn present(&self, field: &str) -> Option<&'a Value> {
        self.object.get(field).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        field: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.present(field) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(ConfigError::value(self.name(field), shortened(value), expected)),
        }
    }

    fn required<T>(&self, field: &str, read: Option<T>) -> Result<T, ConfigError> {
        read.ok_or_else(|| ConfigError::Missing { field: self.name(field) })
    }

    fn size(&self, field: &str) -> Result<Option<usize>, ConfigError> {
        self.typed(field, "it must be a non-negative integer", |value| {
            usize::try_from(value.as_u64()?).ok()
        })
    }

    fn required_size(&self, field: &str) -> Result<usize, ConfigError> {
        self.required(field, self.size(field)?)
    }

    fn float(&self, field: &str) -> Result<Option<f32>, ConfigError> {
        self.typed(field, "it must be a number", |value| value.as_f64().map(|x| x as f32))
    }

    fn required_float(&self, field: &str) -> Result<f32, ConfigError> {
        self.required(field, self.float(field)?)
    }

    fn boolean(&self, field: &str) -> Result<Option<bool>, ConfigError> {
        self.typed(field, "it must be true or false", Value::as_bool)
    }

    fn string(&self, field: &str) -> Result<Option<&'a str>, ConfigError> {
        self.typed(field, "it must be a string", Value::as_str)
    }

    fn required_string(&self, field: &str) -> Result<&'a str, ConfigError> {
        self.required(field, self.string(field)?)
    }

    fn nested(&self, field: &str, prefix: &'static str) -> Result<Option<Fields<'a>>, ConfigError> {
        let object = self.typed(field, "it must be an object", Value::as_object)?;
        Ok(object.map(|object| Fields { object, prefix }))
    }

    /// Variants of the architectures that would otherwise load and answer nonsense.
    fn refuse_unsupported(&self, architecture: Architecture) -> Result<(), ConfigError> {
        let mut off = vec!["use_sliding_window", "mlp_bias"];
        if architecture != Architecture::Qwen2 {
            off.push("attention_bias");
        }
        for field in off {
            if self.boolean(field)?.unwrap_or(false) {
                return Err(ConfigError::value(field, true, "only false is supported"));
            }
        }
        if let Some(found) = self.present("quantization_config") {
            let expected = "only checkpoints in BF16, F16 or F32 are supported";
            return Err(ConfigError::value("quantization_config", shortened(found), expected));
        }
        let activation = self.string("hidden_act")?.unwrap_or("silu");
        if activation != "silu" {
            return Err(ConfigError::value("hidden_act", activation, "only silu is supported"));
        }
        let partial = self.float("partial_rotary_factor")?.unwrap_or(1.0);
        if partial != 1.0 {
            let expected = "only 1 is supported";
            return Err(ConfigError::value("partial_rotary_factor", partial, expected));
        }
        let classes = self.typed("architectures", "it must be a list", Value::as_array)?;
        let is_causal =
            |class: &Value| class.as_str().is_some_and(|class| class.ends_with("ForCausalLM"));
        match classes {
            Some(classes) if !classes.is_empty() && !classes.iter().any(is_causal) => {
                let found = shortened(&classes[0]);
                Err(ConfigError::value("architectures", found, "a causal language model is needed"))
            }
            _ => Ok(()),
        }
    }

    fn head_dim(
        &self,
        architecture: Architecture,
        hidden_size: usize,
        num_heads: usize,
    ) -> Result<usize, ConfigError> {
        if let Some(head_dim) = self.size("head_dim")? {
            return Ok(head_dim);
        }
        if architecture == Architecture::Qwen3 {
            return Ok(QWEN3_HEAD_DIM);
        }
        if num_heads == 0 || !hidden_size.is_multiple_of(num_heads) {
            let expected = format!("it must divide the hidden size, {hidden_size}");
            return Err(ConfigError::value("num_attention_heads", num_heads, expected));
        }
        Ok(hidden_size / num_heads)
    }

    /// Newer files have one object `rope_parameters`, with theta in it; older ones `rope_scaling`.
    fn rope(&self, context_len: usize) -> Result<(f32, RopeScaling), ConfigError> {
        let parameters = match self.nested("rope_parameters", "rope_parameters.")? {
            Some(parameters) => Some(parameters),
            None => self.nested("rope_scaling", "rope_scaling.")?,
        };
        let own_theta = match parameters {
            Some(parameters) => parameters.float("rope_theta")?,
            None => None,
        };
        let theta = match own_theta {
            Some(theta) => theta,
            None => self.float("rope_theta")?.unwrap_or(10_000.0),
        };
        let scaling = match parameters {
            Some(parameters) => parameters.rope_scaling(context_len)?,
            None => RopeScaling::None,
        };
        Ok((theta, scaling))
    }

    fn rope_scaling(&self, context_len: usize) -> Result<RopeScaling, ConfigError> {
        let kind = match self.string("rope_type")? {
            Some(kind) => Some(kind),
            None => self.string("type")?,
        };
        let original = self.size("original_max_position_embeddings")?;
        match kind.unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: self.required_float("factor")? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: self.required_float("factor")?,
                low_freq_factor: self.required_float("low_freq_factor")?,
                high_freq_factor: self.required_float("high_freq_factor")?,
                original_context_len: self
                    .required("original_max_position_embeddings", original)?,
            }),
            "yarn" => self.yarn(original.unwrap_or(context_len)),
            found => Err(ConfigError::RopeScaling {
                found: found.to_owned(),
                supported: SUPPORTED_SCALING,
            }),
        }
    }

    fn yarn(&self, original_context_len: usize) -> Result<RopeScaling, ConfigError> {
        for field in ["mscale", "mscale_all_dim"] {
            if let Some(found) = self.float(field)? {
                let expected = "only attention_factor and attn_factor are supported";
                return Err(ConfigError::value(self.name(field), found, expected));
            }
        }
        if !self.boolean("truncate")?.unwrap_or(true) {
            let field = self.name("truncate");
            return Err(ConfigError::value(field, false, "only true is supported"));
        }
        let factor = self.required_float("factor")?;
        // `attn_factor` corrects the formula's result, `attention_factor` takes its place.
        let attention_factor = match self.float("attention_factor")? {
            Some(attention_factor) => attention_factor,
            None => yarn_attention_factor(factor, self.float("attn_factor")?.unwrap_or(1.0)),
        };
        Ok(RopeScaling::Yarn {
            factor,
            original_context_len,
            beta_fast: self.float("beta_fast")?.unwrap_or(YARN_BETA_FAST),
            beta_slow: self.float("beta_slow")?.unwrap_or(YARN_BETA_SLOW),
            attention_factor,
        })
    }
}

/// A value as it may stand in an error message.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(model_type: &str, changes: Value) -> Value {
        let mut config = json!({
            "model_type": model_type, "architectures": ["XForCausalLM"], "hidden_act": "silu",
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100,
            "rms_norm_eps": 1e-6, "rope_theta": 10000, "max_position_embeddings": 131072,
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    }

    fn read(model_type: &str, changes: Value) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_hf(config(model_type, changes).to_string().as_bytes())
    }

    #[test]
    fn each_architecture_has_its_biases_and_norms() {
        let llama = read("llama", json!({})).unwrap();
        assert!(!llama.qkv_bias && !llama.qk_norm && !llama.tie_word_embeddings);
        assert_eq!((llama.rope.layout, llama.head_dim), (RopeLayout::Halves, 16));
        let qwen2 = read("qwen2", json!({"tie_word_embeddings": true, "head_dim": null})).unwrap();
        assert!(qwen2.qkv_bias && !qwen2.qk_norm && qwen2.tie_word_embeddings);
        let qwen3 = read("qwen3", json!({})).unwrap();
        assert!(!qwen3.qkv_bias && qwen3.qk_norm);
        assert_eq!(qwen3.head_dim, QWEN3_HEAD_DIM);
    }

    #[test]
    fn llama3_scaling_is_read_from_old_and_new_layouts() {
        let parameters = json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"});
        let expected = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_len: 8192,
        };
        let old = read("llama", json!({"rope_scaling": parameters, "rope_theta": 5e5})).unwrap();
        let mut parameters = parameters;
        parameters["rope_theta"] = json!(500_000.0);
        let changes = json!({"rope_parameters": parameters, "rope_theta": null});
        let new = read("llama", changes).unwrap();
        for config in [old, new] {
            assert_eq!((config.rope.theta, config.rope.scaling), (500_000.0, expected.clone()));
        }
    }

    /// The published `rope_scaling` of DeepSeek-R1-0528-Qwen3-8B: `attn_factor` undoes the formula.
    #[test]
    fn yarn_attention_factor_follows_either_key() {
        let yarn = |extra: Value| {
            let mut scaling = json!({"rope_type": "yarn", "factor": 4.0,
                "original_max_position_embeddings": 32768});
            for (key, value) in extra.as_object().unwrap() {
                scaling[key] = value.clone();
            }
            let config = read("qwen3", json!({"rope_scaling": scaling})).unwrap();
            assert_eq!(config.max_position_embeddings, 131_072);
            match config.rope.scaling {
                RopeScaling::Yarn { attention_factor, .. } => attention_factor,
                other => panic!("{other:?}"),
            }
        };
        assert!((yarn(json!({"attn_factor": 0.8782488562869419})) - 1.0).abs() < 1e-6);
        assert!((yarn(json!({})) - 1.138_629_4).abs() < 1e-6);
        assert_eq!(yarn(json!({"attention_factor": 1.5, "attn_factor": 0.5})), 1.5);
    }

    #[test]
    fn older_type_key_and_linear_scaling_are_read() {
        let changes = json!({"rope_scaling": {"type": "linear", "factor": 2}});
        let scaling = read("llama", changes).unwrap().rope.scaling;
        assert_eq!(scaling, RopeScaling::Linear { factor: 2.0 });
        let changes = json!({"rope_scaling": {"rope_type": "default"}});
        assert_eq!(read("llama", changes).unwrap().rope.scaling, RopeScaling::None);
    }

    #[test]
    fn unsupported_variants_are_refused_by_name() {
        let refused = [
            ("qwen2", json!({"use_sliding_window": true}), "use_sliding_window"),
            ("llama", json!({"attention_bias": true}), "attention_bias"),
            ("llama", json!({"mlp_bias": true}), "mlp_bias"),
            ("llama", json!({"hidden_act": "gelu"}), "gelu"),
            ("llama", json!({"quantization_config": {"quant_method": "fp8"}}), "fp8"),
            ("llama", json!({"partial_rotary_factor": 0.5}), "partial_rotary_factor"),
            ("llama", json!({"architectures": ["LlamaForSequenceClassification"]}), "Sequence"),
            ("llama", json!({"rope_scaling": {"rope_type": "dynamic"}}), "dynamic"),
            (
                "qwen3",
                json!({"rope_scaling": {"type": "yarn", "factor": 4, "mscale": 1}}),
                "mscale",
            ),
            ("mixtral", json!({}), "mixtral"),
        ];
        for (model_type, changes, named) in refused {
            let error = read(model_type, changes).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn wrong_types_and_missing_fields_are_named() {
        let refused = [
            (json!({"hidden_size": "64"}), "hidden_size"),
            (json!({"hidden_size": -64}), "hidden_size"),
            (json!({"hidden_size": null}), "hidden_size"),
            (json!({"rope_scaling": []}), "rope_scaling"),
            (json!({"rope_scaling": {"rope_type": "linear"}}), "rope_scaling.factor"),
            (json!({"rms_norm_eps": 0}), "epsilon"),
            (json!({"num_key_value_heads": 3}), "kv heads"),
            (json!({"head_dim": 15}), "head dimension"),
            (json!({"vocab_size": 1u64 << 40}), "vocabulary size"),
        ];
        for (changes, named) in refused {
            let error = read("llama", changes).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let error = ModelConfig::from_hf(b"[]").unwrap_err();
        assert!(matches!(error, ConfigError::Json { .. }));
    }
}
