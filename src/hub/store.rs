//! Files on their way to their place: locks, room on the disk, checksums, atomic renames.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::hub::HubError;
use crate::limits::HUB_DISK_SPARE_BYTES;

/// Held while a file is being brought, so that two pullers do not write the same one. The lock is
/// the kernel's and goes with the process; the empty file stays.
#[derive(Debug)]
pub(super) struct PullLock {
    _file: File,
}

impl PullLock {
    /// Waits for another puller of `target`, telling so.
    pub(super) fn acquire(target: &Path) -> Result<Self, HubError> {
        let path = with_suffix(target, ".lock");
        create_parent(&path)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| HubError::io("open the lock file", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting for another process that downloads {}", target.display());
                file.lock().map_err(|error| HubError::io("lock", &path, error))?;
            }
            Err(TryLockError::Error(error)) => return Err(HubError::io("lock", &path, error)),
        }
        Ok(Self { _file: file })
    }
}

/// `path` with `suffix` appended to its file name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn create_parent(path: &Path) -> Result<(), HubError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|error| HubError::io("create the folder", parent, error))
}

/// Refuses to start what cannot end: `bytes` more must fit beside what every download spares.
pub(super) fn check_room(directory: &Path, bytes: u64) -> Result<(), HubError> {
    let free = free_bytes(directory)?;
    let needed = bytes.saturating_add(HUB_DISK_SPARE_BYTES);
    if free < needed {
        return Err(HubError::DiskFull { directory: directory.to_owned(), needed, free });
    }
    Ok(())
}

fn free_bytes(directory: &Path) -> Result<u64, HubError> {
    let stat = rustix::fs::statvfs(directory)
        .map_err(|error| HubError::io("ask the free space of", directory, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// SHA-256 of a file in lower-case hexadecimal; `tick` hears of every piece read.
pub(super) fn sha256_of(path: &Path, mut tick: impl FnMut(u64)) -> Result<String, HubError> {
    let mut file = File::open(path).map_err(|error| HubError::io("open", path, error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(len) => {
                hasher.update(&buffer[..len]);
                tick(len as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(HubError::io("read", path, error)),
        }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a finished file appear under its name, all at once and for good.
pub(super) fn publish(partial: &Path, target: &Path) -> Result<(), HubError> {
    let sync = || -> io::Result<()> {
        File::open(partial)?.sync_all()?;
        fs::rename(partial, target)?;
        match target.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    sync().map_err(|error| HubError::io("write", target, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_larger_than_the_disk_is_refused_before_it_starts() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        check_room(directory.path(), 1).expect("a byte fits");
        let error = check_room(directory.path(), 1 << 60).expect_err("an exabyte does not");
        let HubError::DiskFull { needed, free, .. } = error else { panic!("{error}") };
        assert!(needed > free);
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("abc");
        fs::write(&path, "abc").expect("written");
        let mut read = 0;
        let sum = sha256_of(&path, |bytes| read += bytes).expect("readable");
        // FIPS 180-2, appendix B.1.
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(read, 3);
    }

    #[test]
    fn the_second_puller_waits_for_the_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let target = directory.path().join("model.gguf");
        let first = PullLock::acquire(&target).expect("free");
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = target.clone();
        let thread = std::thread::spawn(move || {
            let lock = PullLock::acquire(&waiting);
            sender.send(()).expect("the test listens");
            drop(lock);
        });
        let early = receiver.recv_timeout(std::time::Duration::from_millis(100));
        assert!(early.is_err(), "the lock was given twice");
        drop(first);
        receiver.recv_timeout(std::time::Duration::from_secs(30)).expect("given after release");
        thread.join().expect("no panic");
    }
}
