//! From what was asked for to a checkpoint on this machine, and to a model that answers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::chat::SamplingDefaults;
use crate::cli::{machine, progress, report};
use crate::engine::EngineConfig;
use crate::hub::{Hub, Selection};
use crate::model::{KvDtype, weights::Quantization};
use crate::ops::DeviceChoice;
use crate::pipeline::load::{KvBudget, LoadOptions, Loaded};

#[derive(Debug, Clone)]
pub(super) struct ModelOptions {
    pub source: ModelSource,
    /// Applied at load to weights that the files hold as floats.
    pub quantize: Option<Quantization>,
}

#[derive(Debug, Clone)]
pub(super) enum ModelSource {
    Path(PathBuf),
    Catalogue(Selection),
}

impl ModelSource {
    /// The name under which a model is known to people: the catalogue's id, or the file's name.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Catalogue(selection) => selection.to_string(),
            Self::Path(path) => {
                let name = path.file_stem().unwrap_or(path.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
    }

    /// A GGUF file does not say what its makers recommend; the catalogue does.
    fn recommended_sampling(&self) -> SamplingDefaults {
        match self {
            Self::Path(_) => SamplingDefaults::default(),
            Self::Catalogue(selection) => SamplingDefaults {
                temperature: Some(selection.model.sampling.temperature),
                top_p: Some(selection.model.sampling.top_p),
                ..SamplingDefaults::default()
            },
        }
    }

    /// Where the checkpoint lies; downloads it first where need be.
    pub(super) fn locate(&self, hub: &Hub) -> anyhow::Result<PathBuf> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Catalogue(selection) => {
                hub.pull(selection).with_context(|| format!("cannot get {selection}"))
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct EngineOptions {
    /// Guesses what the model will write.
    pub draft: Option<ModelSource>,
    pub config: EngineConfig,
    /// In place of the configuration's; `None`: what suits the device.
    pub max_num_batched_tokens: Option<usize>,
    pub kv_cache_dtype: KvDtype,
    /// Of all models together. `None`: [`KV_CACHE_SHARE`] of the memory that the weights leave.
    pub kv_cache_bytes: Option<u64>,
    pub device: DeviceChoice,
    /// Of a GPU's memory, all models together.
    pub gpu_memory_fraction: f64,
}

/// Keys and values take memory as they are used, and other programs want some as well.
const KV_CACHE_SHARE: f64 = 0.5;

/// Where the system does not say how much memory there is.
const KV_CACHE_BYTES_UNKNOWN: u64 = 2 << 30;

/// One model, which has the machine's memory to itself.
pub(super) fn load(
    model: &ModelOptions,
    engine: &EngineOptions,
    hub: &Hub,
) -> anyhow::Result<Loaded> {
    let mut only = None;
    load_all(std::slice::from_ref(model), engine, hub, &mut |_, loaded| only = Some(loaded))?;
    only.context("no model was loaded")
}

/// One after another, for each takes all threads while it loads. `publish` is told each model's
/// position as soon as it is ready. All are on this machine before the first is loaded, so that
/// the memory for keys and values is divided knowing what all weights take.
pub(super) fn load_all(
    models: &[ModelOptions],
    engine: &EngineOptions,
    hub: &Hub,
    publish: &mut dyn FnMut(usize, Loaded),
) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    for model in models {
        paths.push(model.source.locate(hub)?);
    }
    let draft = engine.draft.as_ref().map(|draft| draft.locate(hub)).transpose()?;
    let sizes: Vec<_> = paths.iter().map(|path| size_on_disk(path)).collect();
    let draft_bytes = draft.as_ref().map_or(0, |path| size_on_disk(path));
    let num_models = models.len().max(1) as u64;
    let all_weights = sizes.iter().sum::<u64>() + draft_bytes;
    let on_cpu = default_kv_cache_bytes(machine::available_memory(), all_weights);
    for (index, ((model, path), &weight_bytes)) in models.iter().zip(&paths).zip(&sizes).enumerate()
    {
        let files = Files { model: path, draft: draft.as_deref(), num_bytes: weight_bytes };
        let budget = KvBudget {
            bytes: engine.kv_cache_bytes.map(|bytes| bytes / num_models),
            on_cpu: on_cpu / num_models,
            gpu_fraction: engine.gpu_memory_fraction,
            gpu_reserved: sizes[index + 1..].iter().sum(),
            models_left: models.len() - index,
        };
        publish(index, load_one(model, &files, engine, budget)?);
    }
    Ok(())
}

/// Where the weights lie.
struct Files<'a> {
    model: &'a Path,
    draft: Option<&'a Path>,
    num_bytes: u64,
}

fn load_one(
    model: &ModelOptions,
    files: &Files<'_>,
    engine: &EngineOptions,
    kv_budget: KvBudget,
) -> anyhow::Result<Loaded> {
    let bar = progress::bytes("loading", files.num_bytes);
    let options = LoadOptions {
        path: files.model,
        draft: files.draft,
        quantize: model.quantize,
        kv_cache_dtype: engine.kv_cache_dtype,
        kv_budget,
        device: engine.device,
        engine: &engine.config,
        max_num_batched_tokens: engine.max_num_batched_tokens,
        recommended_sampling: model.source.recommended_sampling(),
        progress: &|done, total| {
            bar.set_length(total);
            bar.set_position(done);
        },
    };
    let loaded = crate::pipeline::load::load(&options);
    bar.finish_and_clear();
    let loaded = loaded.with_context(|| format!("cannot load {}", model.source.name()))?;
    machine::warn_of_distrusted_kernels();
    let facts = &loaded.facts;
    tracing::info!(
        "loaded {} in {:.2} s: {:?}, {:.2}B parameters, {} ({}), context {}, cache for {} tokens, \
         {}",
        model.source.name(),
        facts.load_time.as_secs_f64(),
        facts.architecture,
        facts.num_parameters as f64 / 1e9,
        report::bytes(facts.weight_bytes),
        facts.quantization,
        facts.max_model_len,
        facts.kv_cache_tokens,
        facts.device,
    );
    Ok(loaded)
}

fn default_kv_cache_bytes(available: Option<u64>, weight_bytes: u64) -> u64 {
    match available {
        Some(bytes) => (bytes.saturating_sub(weight_bytes) as f64 * KV_CACHE_SHARE) as u64,
        None => KV_CACHE_BYTES_UNKNOWN,
    }
}

/// Of a file, or of the weights in a directory; what cannot be read is left to the loader.
fn size_on_disk(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    if path.is_file() {
        return size(path);
    }
    let is_weights = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "safetensors" || extension == "gguf")
    };
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_weights).map(|path| size(&path)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_model_is_sampled_as_its_makers_recommend_and_a_file_as_it_says_itself() {
        let selection = crate::hub::select("smollm2-135m").unwrap();
        let recommended = ModelSource::Catalogue(selection).recommended_sampling();
        assert_eq!((recommended.temperature, recommended.top_p), (Some(0.2), Some(0.9)));
        let of_the_file = SamplingDefaults { temperature: Some(0.7), ..Default::default() };
        assert_eq!(of_the_file.or(recommended).temperature, Some(0.7));
        assert_eq!(of_the_file.or(recommended).top_p, Some(0.9));
        let path = ModelSource::Path("model.gguf".into());
        assert_eq!(path.recommended_sampling(), SamplingDefaults::default());
    }

    #[test]
    fn the_cache_takes_half_of_what_the_weights_leave() {
        assert_eq!(default_kv_cache_bytes(Some(10 << 30), 4 << 30), 3 << 30);
        assert_eq!(default_kv_cache_bytes(Some(1 << 30), 4 << 30), 0);
        assert_eq!(default_kv_cache_bytes(None, 4 << 30), KV_CACHE_BYTES_UNKNOWN);
    }
}
