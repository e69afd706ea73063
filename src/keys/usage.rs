//! What keys have used today, in a file: a restart forgives nothing.
//!
//! Servers may share the file. Each adds what it has counted since it last did, and learns what all
//! of them have counted together.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::keys::file::{Replace, lock_changes, read_private, write_private};
use crate::keys::{Day, KeysError};
use crate::limits;

const VERSION: u32 = 1;

/// Tokens that keys have used in one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyUsage {
    pub day: Day,
    /// By the keys' ids; who is not in it has used none.
    pub tokens: BTreeMap<String, u64>,
}

impl DailyUsage {
    pub fn none(day: Day) -> Self {
        Self { day, tokens: BTreeMap::new() }
    }

    pub fn of(&self, key_id: &str) -> u64 {
        self.tokens.get(key_id).copied().unwrap_or(0)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUsage {
    version: u32,
    day: Day,
    #[serde(default)]
    tokens: BTreeMap<String, u64>,
}

/// Where the file is.
#[derive(Debug, Clone)]
pub struct UsageStore(PathBuf);

impl UsageStore {
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What all have used on this day so far. No file means nothing.
    pub fn read(&self, today: Day) -> Result<DailyUsage, KeysError> {
        let text = match read_private(&self.0, limits::KEY_USAGE_FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(KeysError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                return Ok(DailyUsage::none(today));
            }
            Err(error) => return Err(error),
        };
        let invalid = |reason| KeysError::Usage { path: self.0.clone(), reason };
        let StoredUsage { version, day, tokens } =
            toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?;
        if version != VERSION {
            return Err(KeysError::Version { path: self.0.clone(), version, known: VERSION });
        }
        // Around midnight another server's clock may be ahead.
        if Some(day) > today.next() {
            return Err(invalid(format!("it is of {day}, which is yet to come")));
        }
        match day >= today {
            true => Ok(DailyUsage { day, tokens }),
            false => Ok(DailyUsage::none(today)),
        }
    }

    /// Adds what was used, and returns what all have used. Whose day is over adds nothing.
    pub fn add(&self, used: &DailyUsage) -> Result<DailyUsage, KeysError> {
        if used.tokens.is_empty() {
            return self.read(used.day);
        }
        let _lock = lock_changes(&self.0)?;
        let mut usage = self.read(used.day)?;
        if usage.day == used.day {
            for (key_id, tokens) in &used.tokens {
                let total = usage.tokens.entry(key_id.clone()).or_default();
                // TOML's integers are signed.
                *total = total.saturating_add(*tokens).min(i64::MAX as u64);
            }
            write_private(&self.0, &write(&usage), Replace::Always)?;
        }
        Ok(usage)
    }
}

fn write(usage: &DailyUsage) -> String {
    let DailyUsage { day, tokens } = usage;
    let stored = StoredUsage { version: VERSION, day: *day, tokens: tokens.clone() };
    let text = toml::to_string(&stored).expect("strings and small numbers are TOML");
    format!("# Written by `outcrop serve`: the tokens that keys have used on this day.\n{text}")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::keys::Timestamp;

    fn day(text: &str) -> Day {
        Timestamp::from_rfc3339(&format!("{text}T12:00:00Z")).unwrap().day()
    }

    fn used(day: Day, key_id: &str, tokens: u64) -> DailyUsage {
        DailyUsage { day, tokens: BTreeMap::from([(key_id.to_owned(), tokens)]) }
    }

    fn store(folder: &TempDir) -> UsageStore {
        UsageStore::new(folder.path().join("new/usage.toml"))
    }

    #[test]
    fn servers_add_to_one_another_and_a_new_day_begins_at_nothing() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder);
        let (today, tomorrow) = (day("2026-12-31"), day("2027-01-01"));
        assert_eq!(store.read(today).unwrap(), DailyUsage::none(today));
        let add = || (0..50).for_each(|_| drop(store.add(&used(today, "a", 3)).unwrap()));
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(add))));
        let usage = store.add(&used(today, "b", 1)).unwrap();
        assert_eq!((usage.of("a"), usage.of("b"), usage.of("c")), (600, 1, 0));
        assert_eq!(store.read(today).unwrap(), usage);

        assert_eq!(store.read(tomorrow).unwrap(), DailyUsage::none(tomorrow));
        let usage = store.add(&used(tomorrow, "a", 5)).unwrap();
        assert_eq!(usage, used(tomorrow, "a", 5));
        // A server whose clock is behind takes nothing away.
        assert_eq!(store.add(&used(today, "a", 7)).unwrap(), usage);
        assert_eq!(store.read(tomorrow).unwrap(), usage);
    }

    #[test]
    fn no_sum_is_too_large() {
        let folder = TempDir::new().unwrap();
        let store = store(&folder);
        let today = day("2026-11-29");
        for _ in 0..3 {
            store.add(&used(today, "a", u64::MAX)).unwrap();
        }
        assert_eq!(store.read(today).unwrap().of("a"), i64::MAX as u64);
    }

    #[test]
    fn what_is_not_such_a_file_is_named() {
        let folder = TempDir::new().unwrap();
        let store = UsageStore::new(folder.path().join("usage.toml"));
        let today = day("2026-11-29");
        for (text, reason) in [
            ("version = 1\nday = \"2026-11-31\"", "`2026-11-31` is not a day"),
            ("version = 1\nday = \"2026-12-01\"", "2026-12-01, which is yet to come"),
            ("version = 1\nday = \"2026-11-29\"\n[tokens]\na = -1", "invalid value"),
            ("version = 1\nday = \"2026-11-29\"\nmore = 1", "unknown field `more`"),
            ("version = 2\nday = \"2026-11-29\"", "is of version 2"),
            ("", "missing field"),
        ] {
            fs::write(store.path(), text).unwrap();
            fs::set_permissions(store.path(), Permissions::from_mode(0o600)).unwrap();
            for result in [store.read(today), store.add(&used(today, "a", 1))] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(reason) && error.contains("usage.toml"), "{error}");
            }
            assert_eq!(fs::read_to_string(store.path()).unwrap(), text);
        }
    }
}
