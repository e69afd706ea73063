//! A checkpoint on disk, opened and checked: configuration, text files and where its weights lie.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    config::{ConfigError, ModelConfig},
    weights::{
        LoadOptions, MappedFile, Naming, Slot, TensorMap, TensorSource, WeightsError, load, slots,
    },
};
use crate::format::{
    gguf::{GgufHeader, Metadata, split},
    safetensors::{self, ShardIndex},
};
use crate::limits::{
    CHECKPOINT_DIR_ENTRIES_MAX, CONFIG_JSON_BYTES_MAX, SHARD_INDEX_BYTES_MAX,
    TOKENIZER_CONFIG_BYTES_MAX, TOKENIZER_JSON_BYTES_MAX,
};

#[derive(Debug, Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("{}: {source}", path.display())]
    Config { path: PathBuf, source: ConfigError },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: the file has more than {limit} bytes", path.display())]
    FileTooLarge { path: PathBuf, limit: u64 },
    #[error("{}: the text is not valid UTF-8", path.display())]
    Utf8 { path: PathBuf },
    #[error("{}: neither a .gguf file nor a directory", path.display())]
    UnknownKind { path: PathBuf },
    #[error("{}: the directory has more than {limit} entries", path.display())]
    DirectoryTooLarge { path: PathBuf, limit: usize },
    #[error(
        "{}: the directory has neither config.json with .safetensors nor a .gguf",
        path.display()
    )]
    NoCheckpoint { path: PathBuf },
    #[error(
        "{}: the directory has several checkpoints, name one: {}",
        path.display(),
        found.join(", ")
    )]
    Ambiguous { path: PathBuf, found: Vec<String> },
}

/// What the checkpoint says about text, for whoever builds a tokenizer and a template of it.
#[derive(Debug)]
pub enum TextSource {
    Gguf(Metadata),
    HuggingFace(HuggingFaceText),
}

/// The text files of a Hugging Face checkpoint directory, as read.
#[derive(Debug)]
pub struct HuggingFaceText {
    pub tokenizer_json: Vec<u8>,
    pub tokenizer_config_json: Option<Vec<u8>>,
    pub generation_config_json: Option<Vec<u8>>,
    pub chat_template_jinja: Option<String>,
}

#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: ModelConfig,
    slots: Vec<Slot>,
    source: TensorSource,
    text: TextSource,
}

impl Checkpoint {
    /// Opens a `.gguf` file (any part, if it is split), a directory of safetensors with its
    /// `config.json`, or a directory with one GGUF checkpoint. Weights are not read yet, but their
    /// table has been checked against the configuration.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let kind = fs::metadata(path).map_err(|source| io_error(path, source))?;
        if kind.is_dir() {
            return open_directory(path);
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return open_gguf(path);
        }
        Err(CheckpointError::UnknownKind { path: path.to_owned() })
    }

    /// The file or directory that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn text(&self) -> &TextSource {
        &self.text
    }

    /// Bytes of all tensors in the files.
    pub fn num_bytes(&self) -> u64 {
        self.source.bytes_by_type().iter().map(|(_, bytes)| bytes).sum()
    }

    pub fn num_parameters(&self) -> u64 {
        self.slots.iter().map(|slot| slot.num_elements() as u64).sum()
    }

    /// The element types with their share of the bytes, as "Q4_K 84%, Q6_K 16%".
    pub fn quantization(&self) -> String {
        let total = self.num_bytes().max(1);
        let shares = self.source.bytes_by_type().into_iter().map(|(dtype, bytes)| {
            (dtype.name(), (bytes as f64 * 100.0 / total as f64).round() as u64)
        });
        let shares = shares.filter(|&(_, percent)| percent > 0);
        let shares: Vec<_> = shares.map(|(name, percent)| format!("{name} {percent}%")).collect();
        shares.join(", ")
    }

    pub fn load(&self, options: &LoadOptions<'_>) -> Result<TensorMap, CheckpointError> {
        Ok(load(&self.source, &self.config, &self.slots, options)?)
    }

    fn new(
        path: &Path,
        config: ModelConfig,
        source: TensorSource,
        text: TextSource,
    ) -> Result<Self, CheckpointError> {
        let slots = slots(&config);
        source.check(&config, &slots).map_err(WeightsError::from)?;
        Ok(Self { path: path.to_owned(), config, slots, source, text })
    }
}

fn open_gguf(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let (file, header) = map_gguf(path)?;
    let paths = split::part_paths(path, &header.metadata).map_err(WeightsError::from)?;
    let mut source = TensorSource::new(Naming::Gguf);
    let metadata = if let [_] = paths.as_slice() {
        source.add_gguf(file, header.tensors)?;
        header.metadata
    } else {
        // The named part may be any, and the first one has the metadata, so all are opened anew.
        drop((file, header));
        add_parts(&mut source, &paths)?
    };
    let factors = source.floats("rope_freqs.weight").map_err(WeightsError::from)?;
    let config = ModelConfig::from_gguf(&metadata, &source, factors)
        .map_err(|source| CheckpointError::Config { path: path.to_owned(), source })?;
    Checkpoint::new(path, config, source, TextSource::Gguf(metadata))
}

/// Returns the first part's metadata.
fn add_parts(source: &mut TensorSource, paths: &[PathBuf]) -> Result<Metadata, WeightsError> {
    let mut first = None;
    let mut num_tensors = 0;
    for (index, path) in paths.iter().enumerate() {
        let (file, header) = map_gguf(path)?;
        split::check_part(path, &header.metadata, index, paths.len())?;
        num_tensors += header.tensors.len() as u64;
        source.add_gguf(file, header.tensors)?;
        first.get_or_insert(header.metadata);
    }
    let metadata = first.expect("a split checkpoint has at least two parts");
    split::check_tensor_count(&metadata, num_tensors)?;
    Ok(metadata)
}

fn map_gguf(path: &Path) -> Result<(MappedFile, GgufHeader), WeightsError> {
    let file = MappedFile::open(path)?;
    let bytes = file.bytes();
    let header = GgufHeader::parse(bytes, bytes.len() as u64)
        .map_err(|source| WeightsError::Gguf { path: path.to_owned(), source })?;
    Ok((file, header))
}

fn open_directory(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let names = file_names(path)?;
    let has = |name: &str| names.iter().any(|found| found == name);
    let is_safetensors = |name: &&String| name.ends_with(".safetensors");
    let safetensors: Vec<String> = names.iter().filter(is_safetensors).cloned().collect();
    let is_gguf = |name: &&String| {
        name.ends_with(".gguf") && split::part_number(name).is_none_or(|number| number == 1)
    };
    let gguf: Vec<String> = names.iter().filter(is_gguf).cloned().collect();
    let shards = has("model.safetensors.index.json");
    match (gguf.as_slice(), safetensors.as_slice()) {
        ([file], []) => open_gguf(&path.join(file)),
        ([], [_, ..]) if shards => open_hugging_face(path, None),
        ([], [_, ..]) if has("model.safetensors") => {
            open_hugging_face(path, Some("model.safetensors"))
        }
        ([], [file]) => open_hugging_face(path, Some(file)),
        ([], []) => Err(CheckpointError::NoCheckpoint { path: path.to_owned() }),
        _ => {
            let found = [gguf, safetensors].concat();
            Err(CheckpointError::Ambiguous { path: path.to_owned(), found })
        }
    }
}

/// Sorted; names that are not UTF-8 belong to no checkpoint.
fn file_names(path: &Path) -> Result<Vec<String>, CheckpointError> {
    let failed = |source| io_error(path, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        if names.len() == CHECKPOINT_DIR_ENTRIES_MAX {
            let limit = CHECKPOINT_DIR_ENTRIES_MAX;
            return Err(CheckpointError::DirectoryTooLarge { path: path.to_owned(), limit });
        }
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// `file` is the only safetensors file; without it the index says which there are.
fn open_hugging_face(dir: &Path, file: Option<&str>) -> Result<Checkpoint, CheckpointError> {
    let config_path = dir.join("config.json");
    let config = ModelConfig::from_hf(&read(&config_path, CONFIG_JSON_BYTES_MAX)?)
        .map_err(|source| CheckpointError::Config { path: config_path, source })?;
    let mut source = TensorSource::new(Naming::HuggingFace);
    match file {
        Some(file) => add_safetensors(&mut source, &dir.join(file), &[])?,
        None => add_shards(&mut source, dir)?,
    }
    let text = read_text(dir)?;
    Checkpoint::new(dir, config, source, TextSource::HuggingFace(text))
}

fn add_shards(source: &mut TensorSource, dir: &Path) -> Result<(), CheckpointError> {
    let path = dir.join("model.safetensors.index.json");
    let index = ShardIndex::parse(&read(&path, SHARD_INDEX_BYTES_MAX)?)
        .map_err(|source| WeightsError::Safetensors { path, source })?;
    for file in index.files() {
        let promised = index.weight_map.iter().filter(|(_, holder)| *holder == file);
        let promised: Vec<&str> = promised.map(|(name, _)| name.as_str()).collect();
        add_safetensors(source, &dir.join(file), &promised)?;
    }
    Ok(())
}

fn add_safetensors(
    source: &mut TensorSource,
    path: &Path,
    promised: &[&str],
) -> Result<(), WeightsError> {
    let file = MappedFile::open(path)?;
    let bytes = file.bytes();
    let tensors = safetensors::parse_header(bytes, bytes.len() as u64)
        .map_err(|source| WeightsError::Safetensors { path: path.to_owned(), source })?;
    source.add_safetensors(file, tensors)?;
    match promised.iter().find(|name| !source.contains(name)) {
        Some(name) => {
            let name = (*name).to_owned();
            Err(WeightsError::NotInShard { path: path.to_owned(), name })
        }
        None => Ok(()),
    }
}

fn read_text(dir: &Path) -> Result<HuggingFaceText, CheckpointError> {
    let template_path = dir.join("chat_template.jinja");
    let template = read_optional(&template_path, TOKENIZER_CONFIG_BYTES_MAX)?;
    let utf8 = |bytes| {
        String::from_utf8(bytes).map_err(|_| CheckpointError::Utf8 { path: template_path.clone() })
    };
    Ok(HuggingFaceText {
        tokenizer_json: read(&dir.join("tokenizer.json"), TOKENIZER_JSON_BYTES_MAX)?,
        tokenizer_config_json: read_optional(
            &dir.join("tokenizer_config.json"),
            TOKENIZER_CONFIG_BYTES_MAX,
        )?,
        generation_config_json: read_optional(
            &dir.join("generation_config.json"),
            CONFIG_JSON_BYTES_MAX,
        )?,
        chat_template_jinja: template.map(utf8).transpose()?,
    })
}

fn read_optional(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    match fs::exists(path) {
        Ok(true) => read(path, bytes_max).map(Some),
        Ok(false) => Ok(None),
        Err(source) => Err(io_error(path, source)),
    }
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, CheckpointError> {
    let failed = |source| io_error(path, source);
    // Asked before it is opened, since opening a named pipe would wait for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(WeightsError::NotAFile { path: path.to_owned() }.into());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), limit: bytes_max });
    }
    Ok(bytes)
}

fn io_error(path: &Path, source: std::io::Error) -> CheckpointError {
    CheckpointError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::Architecture;

    fn real_model(file: &str) -> Option<PathBuf> {
        let dir = std::env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).or_else(|| {
            Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/outcrop-test-models"))
        })?;
        let path = dir.join(file);
        if !path.exists() {
            eprintln!("skipped: needs {file} in OUTCROP_TEST_MODELS");
            return None;
        }
        Some(path)
    }

    #[test]
    fn real_checkpoints_open_and_load() {
        let models = [
            ("smollm2-135m-instruct-q4_1.gguf", Architecture::Llama, 49_152, true),
            ("qwen2.5-coder-0.5b-q4_k_m.gguf", Architecture::Qwen2, 151_936, false),
        ];
        for (file, architecture, vocab_size, tied) in models {
            let Some(path) = real_model(file) else { continue };
            let checkpoint = Checkpoint::open(&path).unwrap();
            let config = checkpoint.config();
            assert_eq!((config.architecture, config.vocab_size), (architecture, vocab_size));
            assert_eq!(config.tie_word_embeddings, tied);
            let tensors = checkpoint.load(&LoadOptions::plain()).unwrap();
            assert_eq!(tensors.num_bytes() as u64, checkpoint.num_bytes());
            eprintln!("{file}: {}, {}", checkpoint.num_parameters(), checkpoint.quantization());
        }
    }
}
