//! New secrets, and the encryption of those that must be kept.
//!
//! A secret is sealed with XChaCha20-Poly1305 under the key file's 256 bits, with a nonce of its
//! own, and bound to the id of its key: one key's sealed secret is worthless in another's place.
//! Written, it is base64 of the nonce and the ciphertext.

use std::io::ErrorKind;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};

use crate::keys::file::{Replace, read_private, write_private};
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
