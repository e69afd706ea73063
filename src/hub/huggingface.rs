//! The hub's protocol and its cache, as every Hugging Face tool lays it out:
//!
//! ```text
//! models--<org>--<name>/refs/main              the commit that `main` was when last asked
//! models--<org>--<name>/blobs/<etag>           contents; the etag of a large file is its SHA-256
//! models--<org>--<name>/snapshots/<commit>/…   links into blobs, under the repository's names
//! ```
//!
//! What another tool has downloaded is found, and what is downloaded here is found by others.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{
    Cache,
    api::tokio::{Api, ApiBuilder, ApiError},
};
use tokio::time::timeout;

use crate::format::safetensors::ShardIndex;
use crate::hub::{
    HubError, HubOptions, progress, store,
    transfer::{self, Patience, RemoteFile, Trouble},
};
use crate::limits::{HUB_STALL_MS, SHARD_INDEX_BYTES_MAX};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const NEEDED_TEXTS: &[&str] = &["config.json", "tokenizer.json"];
const OPTIONAL_TEXTS: &[&str] =
    &["tokenizer_config.json", "generation_config.json", "chat_template.jinja"];

/// The first of `files` when all of them are in the cache.
pub(super) fn cached_files(options: &HubOptions, repo: &str, files: &[String]) -> Option<PathBuf> {
    let cache = Cache::new(options.hf_cache_dir.clone()).model(repo.to_owned());
    let paths: Option<Vec<_>> = files.iter().map(|file| cache.get(file)).collect();
    paths?.into_iter().next()
}

/// The directory of a safetensors checkpoint when all that it needs is in the cache.
pub(super) fn cached_snapshot(options: &HubOptions, repo: &str) -> Option<PathBuf> {
    let cache = Cache::new(options.hf_cache_dir.clone()).model(repo.to_owned());
    for text in NEEDED_TEXTS {
        cache.get(text)?;
    }
    let shards = match cache.get(INDEX) {
        Some(index) => shards_of(&index, repo).ok()?,
        None => vec![SINGLE.to_owned()],
    };
    for shard in &shards {
        cache.get(shard)?;
    }
    Some(cache.get(NEEDED_TEXTS[0])?.parent()?.to_owned())
}

pub(super) struct HuggingFace<'a> {
    options: &'a HubOptions,
    api: Api,
    cache: Cache,
}

impl<'a> HuggingFace<'a> {
    pub(super) fn new(options: &'a HubOptions) -> Result<Self, HubError> {
        let cache = Cache::new(options.hf_cache_dir.clone());
        let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
        }
        if let Some(token) = &options.token {
            builder = builder.with_token(Some(token.0.clone()));
        }
        let api = builder.build().map_err(|error| HubError::Unreachable {
            endpoint: options.endpoint.clone().unwrap_or_default(),
            file: "anything".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { options, api, cache })
    }

    pub(super) fn pull_files(&self, repo: &str, files: &[String]) -> Result<PathBuf, HubError> {
        self.block_on(async {
            for file in files {
                self.pull_file(repo, file).await?;
            }
            Ok(())
        })?;
        let whole = cached_files(self.options, repo, files);
        whole.ok_or_else(|| HubError::Changed { repo: repo.to_owned() })
    }

    pub(super) fn pull_snapshot(&self, repo: &str) -> Result<PathBuf, HubError> {
        self.block_on(async {
            for text in NEEDED_TEXTS {
                self.pull_file(repo, text).await?;
            }
            for text in OPTIONAL_TEXTS {
                self.pull_optional(repo, text).await?;
            }
            let shards = match self.pull_optional(repo, INDEX).await? {
                Some(index) => shards_of(&index, repo)?,
                None => vec![SINGLE.to_owned()],
            };
            for shard in &shards {
                self.pull_file(repo, shard).await?;
            }
            Ok(())
        })?;
        let whole = cached_snapshot(self.options, repo);
        whole.ok_or_else(|| HubError::Changed { repo: repo.to_owned() })
    }

    fn block_on(&self, work: impl Future<Output = Result<(), HubError>>) -> Result<(), HubError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                HubError::io("start a runtime for", &self.options.hf_cache_dir, error)
            })?
            .block_on(work)
    }

    async fn pull_optional(&self, repo: &str, file: &str) -> Result<Option<PathBuf>, HubError> {
        match self.pull_file(repo, file).await {
            Ok(path) => Ok(Some(path)),
            Err(HubError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn pull_file(&self, repo: &str, file: &str) -> Result<PathBuf, HubError> {
        let cached = self.cache.model(repo.to_owned());
        if let Some(path) = cached.get(file) {
            return Ok(path);
        }
        let remote = self.remote(repo, file);
        let facts = self.facts(&remote).await?;
        let blob = cached.blob_path(&facts.etag);
        let _lock = store::PullLock::acquire(&blob)?;
        if !blob.exists() {
            self.download(&remote, &facts, &blob).await?;
        }
        let pointer = cached.pointer_path(&facts.commit).join(file);
        link(&pointer, file, &facts.etag)?;
        let commit = &facts.commit;
        cached.create_ref(commit).map_err(|error| HubError::io("name", &pointer, error))?;
        Ok(pointer)
    }

    fn remote(&self, repo: &str, file: &str) -> RemoteFile {
        let url = self.api.model(repo.to_owned()).url(file);
        let endpoint = url.split(&format!("/{repo}/")).next().unwrap_or(&url).to_owned();
        RemoteFile { endpoint, repo: repo.to_owned(), file: file.to_owned(), url }
    }

    /// What the hub says of a file before it is downloaded.
    async fn facts(&self, remote: &RemoteFile) -> Result<FileFacts, HubError> {
        let mut patience = Patience::new();
        loop {
            let asked =
                timeout(Duration::from_millis(HUB_STALL_MS), self.api.metadata(&remote.url));
            let trouble = match asked.await {
                Ok(Ok(metadata)) => {
                    let (commit, etag) = (metadata.commit_hash(), metadata.etag());
                    return FileFacts::checked(commit, etag, metadata.size() as u64)
                        .map_err(|reason| remote.protocol(reason));
                }
                Ok(Err(ApiError::RequestError(error))) => match error.status() {
                    Some(status) => remote.trouble(status.as_u16(), None),
                    None => Trouble::passing(&error),
                },
                Ok(Err(error)) => Trouble::Final(remote.protocol(error.to_string())),
                Err(_) => Trouble::Passing { reason: "no answer".to_owned(), pause: None },
            };
            patience.wait(trouble, remote).await?;
        }
    }

    async fn download(
        &self,
        remote: &RemoteFile,
        facts: &FileFacts,
        blob: &Path,
    ) -> Result<(), HubError> {
        let partial = store::with_suffix(blob, ".outcrop-part");
        let directory = blob.parent().unwrap_or(blob);
        let present = partial.metadata().map_or(0, |metadata| metadata.len());
        store::check_room(directory, facts.size.saturating_sub(present))?;
        tracing::info!("downloading {} of {} ({} bytes)", remote.file, remote.repo, facts.size);
        let bar = progress::bytes(&remote.file, facts.size);
        transfer::fetch(&self.api, remote, &partial, facts.size, &bar).await?;
        if let Some(expected) = facts.sha256() {
            bar.set_message("checking");
            bar.set_position(0);
            let found = store::sha256_of(&partial, |len| bar.inc(len))?;
            if found != expected {
                fs::remove_file(&partial)
                    .map_err(|error| HubError::io("remove", &partial, error))?;
                let (file, expected) = (remote.file.clone(), expected.to_owned());
                return Err(HubError::Checksum { file, expected, found });
            }
        }
        bar.finish_and_clear();
        store::publish(&partial, blob)
    }
}

/// Commit and etag become parts of paths, so they must be plain names.
#[derive(Debug, PartialEq, Eq)]
struct FileFacts {
    commit: String,
    etag: String,
    size: u64,
}

impl FileFacts {
    fn checked(commit: &str, etag: &str, size: u64) -> Result<Self, String> {
        let etag = etag.strip_prefix("W/").unwrap_or(etag);
        for (header, value) in [("X-Repo-Commit", commit), ("ETag", etag)] {
            let plain = value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if value.is_empty() || value.len() > 128 || !plain {
                return Err(format!("{header} `{}` is not a plain name", value.escape_debug()));
            }
        }
        Ok(Self { commit: commit.to_owned(), etag: etag.to_owned(), size })
    }

    /// Files in large-file storage are addressed by their SHA-256, others by a Git object id.
    fn sha256(&self) -> Option<&str> {
        let hexadecimal =
            self.etag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (self.etag.len() == 64 && hexadecimal).then_some(self.etag.as_str())
    }
}

/// Points `pointer` at the blob, by a relative link so that the cache can be moved.
fn link(pointer: &Path, file: &str, etag: &str) -> Result<(), HubError> {
    store::create_parent(pointer)?;
    let up = "../".repeat(file.split('/').count() + 1);
    let fresh = store::with_suffix(pointer, ".outcrop-link");
    let make = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(format!("{up}blobs/{etag}"), &fresh)?;
        fs::rename(&fresh, pointer)
    };
    make().map_err(|error| HubError::io("link", pointer, error))
}

/// The files that an index names, which are names within its own directory.
fn shards_of(index: &Path, repo: &str) -> Result<Vec<String>, HubError> {
    let limit = SHARD_INDEX_BYTES_MAX;
    let mut json = Vec::new();
    File::open(index)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut json))
        .map_err(|error| HubError::io("read", index, error))?;
    let parsed = match json.len() as u64 > limit {
        true => Err(format!("it is larger than {limit} bytes")),
        false => ShardIndex::parse(&json).map_err(|error| error.to_string()),
    };
    match parsed {
        Ok(index) => Ok(index.files().into_iter().map(str::to_owned).collect()),
        Err(reason) => {
            let (repo, file) = (repo.to_owned(), INDEX.to_owned());
            Err(HubError::Index { repo, file, reason })
        }
    }
}

#[cfg(test)]
#[path = "huggingface_tests.rs"]
mod tests;
