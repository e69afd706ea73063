//! Checks of rope parameters, and the parts of YaRN that both readers share.

use super::{ConfigError, RopeConfig, RopeScaling};
use crate::limits::MAX_POSITION_EMBEDDINGS_MAX;

/// Defaults of the paper's authors, which Hugging Face and llama.cpp share.
pub(super) const YARN_BETA_FAST: f32 = 32.0;
pub(super) const YARN_BETA_SLOW: f32 = 1.0;

/// The paper's equation 22, times the correction that a checkpoint may bring as `attn_factor`.
pub(in crate::model) fn yarn_attention_factor(factor: f32, attn_factor: f32) -> f32 {
    (0.1 * factor.max(1.0).ln() + 1.0) * attn_factor
}

impl RopeConfig {
    pub(super) fn check(&self, head_dim: usize) -> Result<(), ConfigError> {
        positive("rope theta", self.theta)?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope scaling factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context_len,
            } => {
                positive("rope scaling factor", *factor)?;
                positive("rope scaling low_freq_factor", *low_freq_factor)?;
                positive("rope scaling high_freq_factor", *high_freq_factor)?;
                if high_freq_factor <= low_freq_factor {
                    return Err(ConfigError::value(
                        "rope scaling high_freq_factor",
                        high_freq_factor,
                        format!("it must be greater than low_freq_factor, {low_freq_factor}"),
                    ));
                }
                context_len(*original_context_len)
            }
            RopeScaling::Factors(factors) => check_factors(factors, head_dim),
            RopeScaling::Yarn {
                factor,
                original_context_len,
                beta_fast,
                beta_slow,
                attention_factor,
            } => {
                positive("rope scaling factor", *factor)?;
                positive("rope scaling beta_fast", *beta_fast)?;
                positive("rope scaling beta_slow", *beta_slow)?;
                positive("rope scaling attention_factor", *attention_factor)?;
                context_len(*original_context_len)
            }
        }
    }
}

fn check_factors(factors: &[f32], head_dim: usize) -> Result<(), ConfigError> {
    if factors.len() != head_dim / 2 {
        return Err(ConfigError::value(
            "number of rope factors",
            factors.len(),
            format!("half the head dimension is {}", head_dim / 2),
        ));
    }
    factors.iter().try_for_each(|&factor| positive("rope factor", factor))
}

fn positive(field: &str, found: f32) -> Result<(), ConfigError> {
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(ConfigError::value(field, found, "it must be positive and finite"))
}

fn context_len(found: usize) -> Result<(), ConfigError> {
    if (1..=MAX_POSITION_EMBEDDINGS_MAX).contains(&(found as u64)) {
        return Ok(());
    }
    let expected = format!("it must be between 1 and {MAX_POSITION_EMBEDDINGS_MAX}");
    Err(ConfigError::value("rope scaling original context length", found, expected))
}
