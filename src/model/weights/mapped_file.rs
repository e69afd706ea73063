//! A file mapped into memory, read only.

use std::{
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::{Mmap, UncheckedAdvice};

use super::WeightsError;

/// Pages come from the page cache when they are touched. The file must not be changed or truncated
/// while it is mapped, on pain of a signal: downloads therefore arrive under another name and are
/// renamed when they are complete.
#[derive(Debug)]
pub struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

impl MappedFile {
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let failed = |source| WeightsError::Io { path: path.to_owned(), source };
        // Asked before it is opened, since opening a named pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(WeightsError::NotAFile { path: path.to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        // SAFETY: the mapping is read-only and shared. That nobody writes to a checkpoint in use is
        // the operator's promise, stated above; every reader of its bytes accepts any bytes.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self { path: path.to_owned(), map })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Takes the pages of `range` out of this process; they are mapped again if they are read.
    pub(super) fn release(&self, range: Range<usize>) {
        /// Linux maps the pages around one that is read, which brings back some that were released
        /// with what lies before.
        const AROUND: usize = 64 * 1024;
        let start = range.start / AROUND * AROUND;
        // SAFETY: the mapping is shared, read-only and backed by a file, so a dropped page is read
        // back with the same content; concurrent readers of neighbouring tensors see no change.
        let advised = unsafe {
            self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, range.end - start)
        };
        if let Err(error) = advised {
            tracing::debug!(path = %self.path.display(), %error, "pages were not released");
        }
    }
}
