//! What can be wrong with the files of keys, and with what is asked of them.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
pub enum KeysError {
    #[error("cannot {action} `{}`: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    #[error("`{}` has {bytes} bytes, the limit is {limit}", path.display())]
    TooLong { path: PathBuf, bytes: u64, limit: u64 },
    #[error("`{}` is not a file of keys: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("`{}` is not a record of what keys have used: {reason}", path.display())]
    Usage { path: PathBuf, reason: String },
    #[error("`{}` is of version {version}; this program knows version {known}", path.display())]
    Version { path: PathBuf, version: u32, known: u32 },
    #[error("`{}`: key `{id}`: {reason}", path.display())]
    Key { path: PathBuf, id: String, reason: String },
    #[error(
        "the key file `{}` does not exist, and the secrets of access keys cannot be read without \
         it", .0.display()
    )]
    NoKeyFile(PathBuf),
    #[error("`{}` is not a key file: it must hold 64 hexadecimal digits", .0.display())]
    NotAKeyFile(PathBuf),
    #[error(
        "others than its owner and group may read or write `{}` (mode {mode:03o}): take that away \
         with chmod o= (a Kubernetes secret: defaultMode 0440)", path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{field}: {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("there is no key `{0}`")]
    Unknown(String),
    #[error("the key `{0}` is revoked")]
    Revoked(String),
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}
