//! Guardrails by name and version, read from files.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

use crate::guardrail::definition::{DefinitionError, GuardrailDefinition};
use crate::guardrail::experts::{ExpertFailed, Experts};
use crate::guardrail::guard::{Guardrail, Identity};
use crate::limits;

/// The version that a definition has before it has a number.
pub const DRAFT: &str = "DRAFT";
/// The guardrail that ships with the program.
const DEFAULT: &str = include_str!("../../models/guardrail/default.toml");
/// Where guardrails say they are: there is no account and no region here.
const ARN_PREFIX: &str = "arn:aws-cn:bedrock:cn-north-1:000000000000:guardrail/";

/// One guardrail in a file: a definition, which is then the draft, or versions of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Versions {
    guardrail_id: Option<String>,
    draft: GuardrailDefinition,
    #[serde(default)]
    versions: Vec<NumberedVersion>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NumberedVersion {
    version: u32,
    #[serde(default, rename = "description")]
    _description: Option<String>,
    definition: GuardrailDefinition,
}

#[derive(Debug, Error)]
pub enum RegistryError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` has {bytes} bytes, and the limit is {limit}", path.display())]
    TooLarge { path: PathBuf, bytes: u64, limit: u64 },
    #[error("`{}` is no guardrail: {reason}", path.display())]
    Syntax { path: PathBuf, reason: String },
    #[error("version `{version}` in `{}` is no guardrail: {source}", path.display())]
    Definition { path: PathBuf, version: String, source: DefinitionError },
    #[error(
        "`{}` gives the id `{id}`; ids are 1 to {} lower-case letters and digits", path.display(),
        limits::GUARDRAIL_ID_CHARS_MAX
    )]
    Id { path: PathBuf, id: String },
    #[error("`{}` and another file both define `{id}`", path.display())]
    Twice { path: PathBuf, id: String },
    #[error("`{}` has version {version} twice, or a version 0", path.display())]
    Version { path: PathBuf, version: u32 },
    #[error("{count} {what}, and the limit is {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    #[error("there is no guardrail `{identifier}`")]
    Unknown { identifier: String },
    #[error("the guardrail `{identifier}` has no version `{version}`")]
    NoVersion { identifier: String, version: String },
}

/// All guardrails that a program has.
#[derive(Debug, Default, Clone)]
pub struct Guardrails {
    by_id: HashMap<String, HashMap<String, Arc<Guardrail>>>,
}

impl Guardrails {
    /// The one that ships with the program, as `default`.
    pub fn built_in() -> Self {
        let mut guardrails = Self::default();
        let read = guardrails.add(Path::new("default.toml"), DEFAULT);
        read.expect("the guardrail in the program was checked by a test");
        guardrails
    }

    /// The files `*.toml` and `*.json` of a folder, beside what there is.
    pub fn read_folder(&mut self, folder: &Path) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::Read { path: folder.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            if matches!(extension, Some("toml" | "json")) && path.is_file() {
                paths.push(path);
            }
        }
        paths.sort();
        let (count, limit) = (paths.len(), limits::GUARDRAILS_MAX);
        if count > limit {
            return Err(RegistryError::TooMany { what: "guardrails", count, limit });
        }
        paths.iter().try_for_each(|path| self.read_file(path))
    }

    pub fn read_file(&mut self, path: &Path) -> Result<(), RegistryError> {
        let failed = |source| RegistryError::Read { path: path.to_owned(), source };
        let bytes = fs::metadata(path).map_err(failed)?.len();
        let limit = limits::GUARDRAIL_FILE_BYTES_MAX;
        if bytes > limit {
            return Err(RegistryError::TooLarge { path: path.to_owned(), bytes, limit });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        self.add(path, &text)
    }

    /// Finds a guardrail by its id, its name, or an ARN with its id; the empty version is the
    /// draft.
    pub fn resolve(&self, identifier: &str, version: &str) -> Result<Arc<Guardrail>, ResolveError> {
        let id = match identifier.starts_with("arn:") {
            true => identifier.rsplit_once(":guardrail/").map_or(identifier, |(_, id)| id),
            false => identifier,
        };
        let by_name = || {
            let mut all = self.by_id.values();
            all.find(|it| it.get(DRAFT).is_some_and(|draft| draft.definition().name == id))
        };
        let versions = self.by_id.get(id).or_else(by_name);
        let unknown = || ResolveError::Unknown { identifier: identifier.to_owned() };
        let version = if version.is_empty() { DRAFT } else { version };
        versions.ok_or_else(unknown)?.get(version).cloned().ok_or_else(|| ResolveError::NoVersion {
            identifier: identifier.to_owned(),
            version: version.to_owned(),
        })
    }

    /// Has all of them ask bigger models, before any is in use.
    pub fn equip(&mut self, experts: &Arc<Experts>) -> Result<(), ExpertFailed> {
        for guardrail in self.by_id.values_mut().flat_map(HashMap::values_mut) {
            let own = Arc::get_mut(guardrail).expect("nobody uses a guardrail that is being read");
            own.equip(experts)?;
        }
        Ok(())
    }

    /// Every version of every guardrail, in order.
    pub fn all(&self) -> Vec<Arc<Guardrail>> {
        let mut all: Vec<_> = self.by_id.values().flat_map(|it| it.values().cloned()).collect();
        all.sort_by_key(|it| {
            let identity = it.identity();
            (identity.id.clone(), identity.version.parse::<u32>().unwrap_or(0))
        });
        all
    }

    fn add(&mut self, path: &Path, text: &str) -> Result<(), RegistryError> {
        let Versions { guardrail_id, draft, versions } = parse(path, text)?;
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let id = guardrail_id.unwrap_or_else(|| stem.to_owned());
        let is_id = !id.is_empty()
            && id.len() <= limits::GUARDRAIL_ID_CHARS_MAX
            && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_id {
            return Err(RegistryError::Id { path: path.to_owned(), id });
        }
        let (count, limit) = (versions.len(), limits::GUARDRAIL_VERSIONS_MAX);
        if count > limit {
            return Err(RegistryError::TooMany { what: "versions", count, limit });
        }
        let mut compiled = HashMap::new();
        let numbered = versions.into_iter().map(|it| (it.version, it.definition));
        for (number, definition) in std::iter::once((0, draft)).chain(numbered) {
            let version = if compiled.is_empty() { DRAFT.to_owned() } else { number.to_string() };
            let arn = format!("{ARN_PREFIX}{id}");
            let identity = Identity { id: id.clone(), arn, version: version.clone() };
            let guardrail = Guardrail::new(identity, definition).map_err(|source| {
                RegistryError::Definition {
                    path: path.to_owned(),
                    version: version.clone(),
                    source,
                }
            })?;
            let is_taken = compiled.insert(version.clone(), Arc::new(guardrail)).is_some();
            if is_taken || (number == 0 && version != DRAFT) {
                return Err(RegistryError::Version { path: path.to_owned(), version: number });
            }
        }
        match self.by_id.insert(id.clone(), compiled) {
            Some(_) => Err(RegistryError::Twice { path: path.to_owned(), id }),
            None => Ok(()),
        }
    }
}

/// Reads TOML, or JSON by the file's name. A file without `draft` is a definition.
fn parse(path: &Path, text: &str) -> Result<Versions, RegistryError> {
    let syntax = |reason: String| RegistryError::Syntax { path: path.to_owned(), reason };
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let value: serde_json::Value = match is_json {
        true => serde_json::from_str(text).map_err(|error| syntax(error.to_string()))?,
        false => toml::from_str(text).map_err(|error| syntax(error.to_string()))?,
    };
    let at = |error: serde_path_to_error::Error<serde_json::Error>| {
        syntax(format!("`{}`: {}", error.path(), error.inner()))
    };
    match value.get("draft").is_some() {
        true => serde_path_to_error::deserialize(value).map_err(at),
        false => {
            let draft = serde_path_to_error::deserialize(value).map_err(at)?;
            Ok(Versions { guardrail_id: None, draft, versions: Vec::new() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Guardrails, ResolveError};

    const FILE: &str = r#"
        guardrailId = "gr7"
        [draft]
        name = "house-rules"
        blockedInputMessaging = "no"
        blockedOutputsMessaging = "no"
        wordPolicyConfig.wordsConfig = [{ text = "xyzzy" }]
        [[versions]]
        version = 1
        [versions.definition]
        name = "house-rules"
        blockedInputMessaging = "no"
        blockedOutputsMessaging = "no"
        wordPolicyConfig.wordsConfig = [{ text = "plugh", inputEnabled = false }]
    "#;

    fn add(name: &str, text: &str) -> Result<Guardrails, String> {
        let mut guardrails = Guardrails::default();
        guardrails.add(Path::new(name), text).map_err(|error| error.to_string())?;
        Ok(guardrails)
    }

    #[test]
    fn a_version_is_found_by_id_name_and_arn() {
        let guardrails = add("rules.toml", FILE).unwrap();
        for identifier in
            ["gr7", "house-rules", "arn:aws:bedrock:us-east-1:123456789012:guardrail/gr7"]
        {
            let found = guardrails.resolve(identifier, "1").unwrap();
            assert_eq!(
                (found.identity().id.as_str(), found.identity().version.as_str()),
                ("gr7", "1")
            );
        }
        assert_eq!(guardrails.resolve("gr7", "").unwrap().identity().version, "DRAFT");
        let missing = guardrails.resolve("gr7", "2").unwrap_err();
        assert_eq!(missing.to_string(), "the guardrail `gr7` has no version `2`");
        assert!(matches!(guardrails.resolve("gr", "1"), Err(ResolveError::Unknown { .. })));
        Guardrails::built_in().resolve("default", "1").unwrap();
    }

    #[test]
    fn a_definition_that_is_none_is_refused_by_its_field() {
        let with = |member: &str| {
            let base = r#"{"name":"a","blockedInputMessaging":"n","blockedOutputsMessaging":"n","#;
            add("a.json", &format!("{base}{member}}}")).unwrap_err()
        };
        for (member, said) in [
            (
                r#""wordPolicyConfig":{"wordsConfig":[{"text":""}]}"#,
                "wordsConfig[0].text` is empty",
            ),
            (
                r#""wordPolicyConfig":{"wordsConfig":[{"text":"a","test":"b"}]}"#,
                "unknown field `test`",
            ),
            (
                r#""sensitiveInformationPolicyConfig":{"piiEntitiesConfig":[
                    {"type":"CAT","action":"BLOCK"}]}"#,
                "`CAT` is none of",
            ),
            (
                r#""sensitiveInformationPolicyConfig":{"regexesConfig":[
                    {"name":"a","pattern":"(?=a)","action":"BLOCK"}]}"#,
                "regexesConfig[0].pattern` is no regular expression that can be used: look-around",
            ),
            (
                r#""contextualGroundingPolicyConfig":{"filtersConfig":[
                    {"type":"GROUNDING","threshold":1.0}]}"#,
                "threshold` is 1, and must be from 0 to 0.99",
            ),
            (
                r#""contentPolicyConfig":{"filtersConfig":[
                    {"type":"PROMPT_ATTACK","inputStrength":"LOW","outputStrength":"LOW"}]}"#,
                "filtersConfig[0].outputStrength",
            ),
        ] {
            let error = with(member);
            assert!(error.contains(said), "{error}");
        }
        let words: Vec<String> =
            (0..10_001).map(|word| format!(r#"{{"text":"w{word}"}}"#)).collect();
        let error = with(&format!(r#""wordPolicyConfig":{{"wordsConfig":[{}]}}"#, words.join(",")));
        assert!(error.contains("has 10001 entries, and the limit is 10000"), "{error}");
    }
}
