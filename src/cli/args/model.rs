//! Which model is meant.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::values;
use crate::cli::load::{ModelOptions, ModelSource};
use crate::hub;
use crate::model::weights::Quantization;

#[derive(Debug, Clone, Args)]
pub(super) struct ModelArgs {
    /// The model: a catalogue id (see `outcrop models list`), a .gguf file, or a directory
    #[arg(long, short, env = "OUTCROP_MODEL", value_name = "MODEL")]
    pub model: String,
    /// Quantize weights that the files hold as floats: q8_0, q6_k, q4_k_m or q4_0
    #[arg(long, value_name = "Q")]
    pub quantize: Option<Quantization>,
}

impl ModelArgs {
    pub(super) fn into_options(self) -> Result<ModelOptions, clap::Error> {
        Ok(ModelOptions { source: model_source("--model", &self.model)?, quantize: self.quantize })
    }
}

/// Something that looks like a path is one; everything else is an id first, so that a stray file
/// cannot take a model's place.
pub(super) fn model_source(flag: &str, text: &str) -> Result<ModelSource, clap::Error> {
    let path = PathBuf::from(text);
    let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let looks_like_path = is_gguf || text.contains('/') || text.starts_with('.');
    if looks_like_path {
        return match path.exists() {
            true => Ok(ModelSource::Path(path)),
            false => Err(values::invalid(flag, text, "there is no such file or directory")),
        };
    }
    match hub::select(text) {
        Ok(selection) => Ok(ModelSource::Catalogue(selection)),
        Err(_) if path.exists() => Ok(ModelSource::Path(path)),
        Err(error) => Err(values::invalid(flag, text, &error.to_string())),
    }
}
