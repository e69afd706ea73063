//! The tensors that a configuration implies: names in either format, shapes and roles.

use super::source::Naming;
use crate::model::config::ModelConfig;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    Embedding,
    Output,
    Norm,
    AttentionQuery,
    AttentionKey,
    AttentionValue,
    AttentionOutput,
    Bias,
    FfnGate,
    FfnUp,
    FfnDown,
}

/// A place in the model that a tensor has to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub name: String,
    /// As Hugging Face checkpoints call it.
    pub hf_name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub role: Role,
    /// 0 for tensors outside the layers.
    pub layer_id: usize,
}

impl Slot {
    pub fn name_in(&self, naming: Naming) -> &str {
        match naming {
            Naming::Gguf => &self.name,
            Naming::HuggingFace => &self.hf_name,
        }
    }

    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Every tensor of the model, in the order in which a step uses them.
pub fn slots(config: &ModelConfig) -> Vec<Slot> {
    let hidden = config.hidden_size;
    let outside = |name: &str, hf_name: &str, shape: &[usize], role| Slot {
        name: name.to_owned(),
        hf_name: hf_name.to_owned(),
        shape: shape.to_vec(),
        role,
        layer_id: 0,
    };
    let vocabulary = [config.vocab_size, hidden];
    let embedding = "model.embed_tokens.weight";
    let mut slots = vec![outside("token_embd.weight", embedding, &vocabulary, Role::Embedding)];
    let in_layer = layer_slots(config);
    for layer_id in 0..config.num_layers {
        slots.extend(in_layer.iter().map(|(name, hf_name, shape, role)| Slot {
            name: format!("blk.{layer_id}.{name}"),
            hf_name: format!("model.layers.{layer_id}.{hf_name}"),
            shape: shape.clone(),
            role: *role,
            layer_id,
        }));
    }
    slots.push(outside("output_norm.weight", "model.norm.weight", &[hidden], Role::Norm));
    if !config.tie_word_embeddings {
        slots.push(outside("output.weight", "lm_head.weight", &vocabulary, Role::Output));
    }
    slots
}

type LayerSlot = (&'static str, &'static str, Vec<usize>, Role);

fn layer_slots(config: &ModelConfig) -> Vec<LayerSlot> {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let (query, kv) = (config.query_size(), config.kv_size());
    let mut slots = vec![
        ("attn_norm.weight", "input_layernorm.weight", vec![hidden], Role::Norm),
        ("attn_q.weight", "self_attn.q_proj.weight", vec![query, hidden], Role::AttentionQuery),
        ("attn_k.weight", "self_attn.k_proj.weight", vec![kv, hidden], Role::AttentionKey),
        ("attn_v.weight", "self_attn.v_proj.weight", vec![kv, hidden], Role::AttentionValue),
    ];
    if config.qkv_bias {
        slots.push(("attn_q.bias", "self_attn.q_proj.bias", vec![query], Role::Bias));
        slots.push(("attn_k.bias", "self_attn.k_proj.bias", vec![kv], Role::Bias));
        slots.push(("attn_v.bias", "self_attn.v_proj.bias", vec![kv], Role::Bias));
    }
    if config.qk_norm {
        let shape = vec![config.head_dim];
        slots.push(("attn_q_norm.weight", "self_attn.q_norm.weight", shape.clone(), Role::Norm));
        slots.push(("attn_k_norm.weight", "self_attn.k_norm.weight", shape, Role::Norm));
    }
    let output = vec![hidden, query];
    slots.extend([
        ("attn_output.weight", "self_attn.o_proj.weight", output, Role::AttentionOutput),
        ("ffn_norm.weight", "post_attention_layernorm.weight", vec![hidden], Role::Norm),
        ("ffn_gate.weight", "mlp.gate_proj.weight", vec![ffn, hidden], Role::FfnGate),
        ("ffn_up.weight", "mlp.up_proj.weight", vec![ffn, hidden], Role::FfnUp),
        ("ffn_down.weight", "mlp.down_proj.weight", vec![hidden, ffn], Role::FfnDown),
    ]);
    slots
}

/// Tensors that a file may bring although the decoder does not take them from a [`Slot`].
pub(super) fn is_ignored(name: &str, naming: Naming, config: &ModelConfig) -> bool {
    match naming {
        // Read into the configuration.
        Naming::Gguf => name == "rope_freqs.weight",
        // Computed from theta; and a copy of the embedding, which transformers drops too.
        Naming::HuggingFace => {
            name.ends_with(".rotary_emb.inv_freq")
                || (config.tie_word_embeddings && name == "lm_head.weight")
        }
    }
}
