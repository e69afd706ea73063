//! New secrets, and the encryption of those that must be kept.
//!
//! A secret is sealed with XChaCha20-Poly1305 under the key file's 256 bits, with a nonce of its
//! own, and bound to the id of its key: one key's sealed secret is worthless in another's place.
//! Written, it is base64 of the nonce and the ciphertext.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::keys::{Digest, KeyKind, KeysError, Secret, hex};

const NONCE_BYTES: usize = 24;
/// Holds 64 hexadecimal digits and a line break; more is something else.
const KEY_FILE_BYTES_MAX: u64 = 128;
/// What a sealed secret is bound to beside the id, so that another format can never be mistaken.
const PURPOSE: &str = "outcrop access key secret 1:";
/// Tells tools that look for leaked secrets what they have found.
const BEARER_PREFIX: &str = "outcrop-key-";

/// Opens and seals the secrets of access keys.
pub(super) struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// `None` if there is no such file.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, KeysError> {
        let text = match read_private(path, KEY_FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(KeysError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(KeysError::TooLong { .. } | KeysError::Syntax { .. }) => {
                return Err(KeysError::NotAKeyFile(path.to_owned()));
            }
            Err(error) => return Err(error),
        };
        let key = hex::decode(text.trim_end());
        let key = key.ok_or_else(|| KeysError::NotAKeyFile(path.to_owned()))?;
        Ok(Some(Self(XChaCha20Poly1305::new(&key.into()))))
    }

    /// Makes the file if it is not there.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, KeysError> {
        if let Some(sealer) = Self::open(path)? {
            return Ok(sealer);
        }
        let key: [u8; 32] = random()?;
        write_private(path, &format!("{}\n", hex::encode(&key)), Replace::Never)?;
        // Another program may have been faster: what the file holds counts.
        Self::open(path)?.ok_or_else(|| KeysError::NoKeyFile(path.to_owned()))
    }

    pub(super) fn seal(&self, id: &str, secret: &Secret) -> Result<String, KeysError> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let purpose = format!("{PURPOSE}{id}");
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: purpose.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("a short text is far below the cipher's limit");
        Ok(STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    /// `None` if it was not sealed with this key and for this id.
    pub(super) fn unseal(&self, id: &str, sealed: &str) -> Option<Secret> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let purpose = format!("{PURPOSE}{id}");
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        let secret = self.0.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(secret).ok().map(Secret::new)
    }
}

/// Looks like AWS's, which clients may expect, with a beginning of its own: 16 characters of
/// base 32, so that ids never meet by chance.
pub(super) fn new_id(kind: KeyKind) -> Result<String, KeysError> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let prefix = match kind {
        KeyKind::Access => "OCAK",
        KeyKind::Bearer => "OCBK",
    };
    let random: [u8; 16] = random()?;
    let character = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    Ok(prefix.chars().chain(random.into_iter().map(character)).collect())
}

/// 40 characters, as long as AWS's: 240 bits.
pub(super) fn new_signing_secret() -> Result<Secret, KeysError> {
    Ok(Secret::new(STANDARD.encode(random::<30>()?)))
}

/// 256 bits.
pub(super) fn new_bearer_secret() -> Result<Secret, KeysError> {
    Ok(Secret::new(format!("{BEARER_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()?))))
}

/// A plain digest is enough for a secret that nobody can guess.
pub(super) fn digest(secret: &Secret) -> Digest {
    Sha256::digest(secret.reveal().as_bytes()).into()
}

fn random<const N: usize>() -> Result<[u8; N], KeysError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(KeysError::Random)?;
    Ok(bytes)
}

/// Text of a file that others than owner and group can neither read nor write.
pub(super) fn read_private(path: &Path, limit: u64) -> Result<String, KeysError> {
    let failed = |cause| KeysError::Io { action: "read", path: path.to_owned(), cause };
    let metadata = fs::metadata(path).map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(KeysError::Exposed { path: path.to_owned(), mode });
    }
    // A device or a pipe says nothing about how much it will bring.
    if !metadata.is_file() {
        let reason = "it is not a regular file".to_owned();
        return Err(KeysError::Syntax { path: path.to_owned(), reason });
    }
    if metadata.len() > limit {
        return Err(KeysError::TooLong { path: path.to_owned(), bytes: metadata.len(), limit });
    }
    let bytes = fs::read(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| {
        let reason = "it is not UTF-8".to_owned();
        KeysError::Syntax { path: path.to_owned(), reason }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    Always,
    /// A file that is there stays as it is.
    Never,
}

/// Whole or not at all, whatever happens: a new file is flushed to the disk and takes the name.
/// Only its owner may read it.
pub(super) fn write_private(path: &Path, text: &str, replace: Replace) -> Result<(), KeysError> {
    let failed = |cause| KeysError::Io { action: "write", path: path.to_owned(), cause };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let mut file = NamedTempFile::new_in(folder).map_err(failed)?;
    let owner_only = fs::Permissions::from_mode(0o600);
    file.as_file().set_permissions(owner_only).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match replace {
        Replace::Always => drop(file.persist(path).map_err(|error| failed(error.error))?),
        Replace::Never => match file.persist_noclobber(path) {
            Ok(file) => drop(file),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.error)),
        },
    }
    // The name is in the folder's own data.
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
