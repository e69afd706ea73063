//! Files that nobody else may read, changed as a whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::keys::KeysError;

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
/// Only its owner may read it. Its folder is made if it is not there.
pub(super) fn write_private(path: &Path, text: &str, replace: Replace) -> Result<(), KeysError> {
    let failed = |cause| KeysError::Io { action: "write", path: path.to_owned(), cause };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder).map_err(failed)?;
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
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Held until it is dropped: whoever changes the file does so under this lock. The file itself
/// cannot be locked, since it is replaced.
pub(super) fn lock_changes(path: &Path) -> Result<File, KeysError> {
    let lock_path = path.with_added_extension("lock");
    let lock = || -> io::Result<File> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(&lock_path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|cause| KeysError::Io { action: "lock", path: lock_path.clone(), cause })
}
