//! Checkpoints split over several files, as `gguf-split` names them.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::metadata::{Metadata, MetadataError};
use crate::limits::GGUF_SPLITS_MAX;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum SplitError {
    #[error(
        "{}: it is part of a split checkpoint, but not named NAME-00001-of-0000N.gguf",
        path.display()
    )]
    Name { path: PathBuf },
    #[error("split.count is {found}; it must be between 1 and {limit}")]
    Count { found: u64, limit: u64 },
    #[error("{}: split.{key} is {found}, but {expected} was expected", path.display())]
    Mismatch { path: PathBuf, key: &'static str, found: u64, expected: u64 },
    #[error("the parts have {found} tensors, but split.tensors.count is {expected}")]
    TensorCount { found: u64, expected: u64 },
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// All parts of the checkpoint that `path` belongs to, in order; just `path` if it is not split.
pub fn part_paths(path: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, SplitError> {
    let count = metadata.unsigned("split.count")?.unwrap_or(1);
    if !(1..=GGUF_SPLITS_MAX).contains(&count) {
        return Err(SplitError::Count { found: count, limit: GGUF_SPLITS_MAX });
    }
    if count == 1 {
        return Ok(vec![path.to_owned()]);
    }
    let stem = path
        .file_name()
        .and_then(|name| split_stem(name.to_str()?, count))
        .ok_or_else(|| SplitError::Name { path: path.to_owned() })?;
    let paths = (1..=count).map(|no| path.with_file_name(part_name(stem, no, count)));
    Ok(paths.collect())
}

/// Checks that the part which ought to be number `index` (from 0) says so itself.
pub fn check_part(
    path: &Path,
    metadata: &Metadata,
    index: usize,
    count: usize,
) -> Result<(), SplitError> {
    let expect = |key: &'static str, found: u64, expected: u64| match found == expected {
        true => Ok(()),
        false => Err(SplitError::Mismatch { path: path.to_owned(), key, found, expected }),
    };
    expect("count", metadata.unsigned("split.count")?.unwrap_or(1), count as u64)?;
    expect("no", metadata.unsigned("split.no")?.unwrap_or(0), index as u64)
}

/// Checks the number of tensors over all parts, where the first part tells it.
pub fn check_tensor_count(metadata: &Metadata, found: u64) -> Result<(), SplitError> {
    match metadata.unsigned("split.tensors.count")? {
        Some(expected) if expected != found => Err(SplitError::TensorCount { found, expected }),
        _ => Ok(()),
    }
}

/// The number, from 1, that a file's name gives it among the parts of a split checkpoint.
pub fn part_number(file_name: &str) -> Option<u64> {
    let stem = file_name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (_, number) = rest.rsplit_once('-')?;
    five_digits(count)?;
    five_digits(number)
}

fn split_stem(file_name: &str, count: u64) -> Option<&str> {
    let number = part_number(file_name)?;
    let suffix = part_name("", number, count);
    file_name.strip_suffix(&suffix)
}

fn part_name(stem: &str, number: u64, count: u64) -> String {
    format!("{stem}-{number:05}-of-{count:05}.gguf")
}

fn five_digits(text: &str) -> Option<u64> {
    let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::gguf::Value;

    fn metadata(count: u16) -> Metadata {
        Metadata::from_iter([("split.count".to_owned(), Value::U16(count))])
    }

    #[test]
    fn any_part_names_all_parts() {
        let paths = part_paths(Path::new("/m/R1-Q4-00002-of-00003.gguf"), &metadata(3));
        let expected = [1, 2, 3].map(|n| PathBuf::from(format!("/m/R1-Q4-0000{n}-of-00003.gguf")));
        assert_eq!(paths, Ok(expected.to_vec()));
    }

    #[test]
    fn an_unsplit_file_is_its_own_only_part() {
        let path = Path::new("model.gguf");
        assert_eq!(part_paths(path, &Metadata::default()), Ok(vec![path.to_owned()]));
    }

    #[test]
    fn a_split_file_of_another_name_or_count_is_refused() {
        for name in ["renamed.gguf", "x-00001-of-00004.gguf", "x-1-of-3.gguf"] {
            let error = part_paths(Path::new(name), &metadata(3)).unwrap_err();
            assert_eq!(error, SplitError::Name { path: name.into() });
        }
        let error = part_paths(Path::new("x-00001-of-00003.gguf"), &metadata(0)).unwrap_err();
        assert_eq!(error, SplitError::Count { found: 0, limit: GGUF_SPLITS_MAX });
    }

    #[test]
    fn a_part_in_the_wrong_place_is_refused() {
        let entries = [("split.count", 3), ("split.no", 2)];
        let metadata = Metadata::from_iter(entries.map(|(key, n)| (key.to_owned(), Value::U16(n))));
        let path = Path::new("p");
        assert_eq!(check_part(path, &metadata, 2, 3), Ok(()));
        let error = check_part(path, &metadata, 1, 3).unwrap_err();
        assert!(matches!(error, SplitError::Mismatch { key: "no", found: 2, expected: 1, .. }));
    }
}
