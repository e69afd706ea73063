//! Ids, aliases and ARNs.
//!
//! An id is looked up as it is, then without what says where or in what form Bedrock would serve
//! it: the resource of an ARN, and the prefix of a geography before an inference profile's id.
//! A name with `*` is tried last, so it never hides one that was given in full.

use std::collections::HashMap;

use crate::api::models::{Alias, ModelsError};

/// Ids by which applications name DeepSeek-R1 on Bedrock. Where one model is served these mean it,
/// whatever it is: an application moves here by changing its endpoint and nothing else.
const DEFAULT_ALIASES: [&str; 2] = ["deepseek.r1-v1:0", "us.deepseek.r1-v1:0"];

/// What stands before the first dot of the id of a system-defined inference profile.
const GEOGRAPHIES: [&str; 12] =
    ["us", "us-gov", "eu", "apac", "global", "cn", "jp", "au", "ca", "sa", "me", "af"];

/// Resources of Bedrock by which a request may name a model.
const RESOURCES: [&str; 9] = [
    "foundation-model",
    "inference-profile",
    "application-inference-profile",
    "imported-model",
    "provisioned-model",
    "custom-model",
    "custom-model-deployment",
    "prompt-router",
    "default-prompt-router",
];

/// A resource of an ARN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct Arn<'a> {
    pub(in crate::api) kind: &'a str,
    pub(in crate::api) id: &'a str,
}

impl<'a> Arn<'a> {
    /// `arn:PARTITION:SERVICE:REGION:ACCOUNT:KIND/ID` of a model, in any partition: a model of
    /// Bedrock, or an endpoint of SageMaker that serves one.
    pub(in crate::api) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") {
            return None;
        }
        let (partition, service) = (parts.next()?, parts.next()?);
        let (_region, _account) = (parts.next()?, parts.next()?);
        let (kind, id) = parts.next()?.split_once('/')?;
        let is_model = match service {
            "bedrock" => RESOURCES.contains(&kind),
            "sagemaker" => kind == "endpoint",
            _ => false,
        };
        let is_aws = partition == "aws" || partition.starts_with("aws-");
        (is_aws && is_model && !id.is_empty()).then_some(Self { kind, id })
    }
}

/// From names to the positions of models.
#[derive(Debug)]
pub(super) struct Names {
    /// Ids and aliases in the order in which they were given.
    listed: Vec<(String, usize)>,
    exact: HashMap<String, usize>,
    /// The same without geographies; a name that is also given in full is not here.
    bare: HashMap<String, usize>,
    /// Beginnings of names, the longest first.
    prefixes: Vec<(String, usize)>,
}

impl Names {
    pub(super) fn new(ids: &[String], aliases: &[Alias]) -> Result<Self, ModelsError> {
        let mut names = Self {
            listed: Vec::new(),
            exact: HashMap::new(),
            bare: HashMap::new(),
            prefixes: Vec::new(),
        };
        for (index, id) in ids.iter().enumerate() {
            if id.is_empty() {
                return Err(ModelsError::EmptyId);
            }
            if !names.insert(id, index) {
                return Err(ModelsError::DuplicateId(id.clone()));
            }
        }
        for alias in aliases {
            let index = meant(alias, ids)?;
            let is_new = match alias.name.split_once('*') {
                None => names.insert(&alias.name, index),
                Some((prefix, "")) => names.insert_prefix(prefix, index),
                Some(_) => return Err(ModelsError::StarWithin(alias.name.clone())),
            };
            if !is_new {
                return Err(ModelsError::DuplicateAlias(alias.name.clone()));
            }
        }
        if ids.len() == 1 {
            for name in DEFAULT_ALIASES {
                // What was said about this name counts.
                let _ = names.insert(name, 0);
            }
        }
        names.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(names)
    }

    fn insert(&mut self, name: &str, index: usize) -> bool {
        if self.exact.contains_key(name) {
            return false;
        }
        self.exact.insert(name.to_owned(), index);
        self.listed.push((name.to_owned(), index));
        let _ = self.bare.entry(without_geography(name).to_owned()).or_insert(index);
        true
    }

    fn insert_prefix(&mut self, prefix: &str, index: usize) -> bool {
        let is_new = self.prefixes.iter().all(|(known, _)| known != prefix);
        if is_new {
            self.prefixes.push((prefix.to_owned(), index));
        }
        is_new
    }

    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let resource = Arn::parse(id).map(|arn| arn.id);
        let forms = [Some(id), resource];
        let forms = || forms.into_iter().flatten();
        forms()
            .find_map(|form| self.exact.get(form))
            .or_else(|| forms().find_map(|form| self.bare.get(without_geography(form))))
            .or_else(|| forms().find_map(|form| self.by_prefix(form)))
            .or_else(|| forms().find_map(|form| self.by_prefix(without_geography(form))))
            .copied()
    }

    fn by_prefix(&self, id: &str) -> Option<&usize> {
        let found = self.prefixes.iter().find(|(prefix, _)| id.starts_with(prefix.as_str()));
        found.map(|(_, index)| index)
    }

    pub(super) fn listed(&self) -> impl Iterator<Item = (&str, usize)> {
        self.listed.iter().map(|(name, index)| (name.as_str(), *index))
    }
}

fn meant(alias: &Alias, ids: &[String]) -> Result<usize, ModelsError> {
    let name = || alias.name.clone();
    if alias.name.is_empty() {
        return Err(ModelsError::EmptyId);
    }
    let known = || quoted(ids.iter().map(String::as_str));
    match &alias.model_id {
        None if ids.len() == 1 => Ok(0),
        None => Err(ModelsError::AliasWithoutModel { alias: name(), known: known() }),
        Some(id) => ids.iter().position(|it| it == id).ok_or_else(|| {
            let model_id = id.clone();
            ModelsError::AliasOfUnknown { alias: name(), model_id, known: known() }
        }),
    }
}

pub(super) fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// `us.deepseek.r1-v1:0` is `deepseek.r1-v1:0`, served in some place.
pub(in crate::api) fn without_geography(id: &str) -> &str {
    match id.split_once('.') {
        Some((geography, rest)) if GEOGRAPHIES.contains(&geography) && !rest.is_empty() => rest,
        _ => id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    fn alias(name: &str, model_id: &str) -> Alias {
        let model_id = (!model_id.is_empty()).then(|| model_id.to_owned());
        Alias { name: name.to_owned(), model_id }
    }

    #[test]
    fn an_id_means_a_model_in_every_form_that_bedrock_knows() {
        let aliases = [
            alias("us.anthropic.claude-x-v1:0", "b"),
            alias("arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkl", "b"),
            alias("meta.*", "a/b"),
            alias("meta.llama4*", "b"),
        ];
        let names = Names::new(&ids(&["a/b", "b"]), &aliases).unwrap();
        for (id, expected) in [
            ("a/b", Some(0)),
            ("b", Some(1)),
            ("us.b", Some(1)),
            ("B", None),
            ("us.anthropic.claude-x-v1:0", Some(1)),
            // Clients leave the geography out, or name another.
            ("anthropic.claude-x-v1:0", Some(1)),
            ("cn.anthropic.claude-x-v1:0", Some(1)),
            ("xx.anthropic.claude-x-v1:0", None),
            ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0", Some(1)),
            ("arn:aws:bedrock:r:1:inference-profile/us.anthropic.claude-x-v1:0", Some(1)),
            ("arn:aws-cn:bedrock:cn-north-1:1:application-inference-profile/b", Some(1)),
            ("arn:aws-us-gov:bedrock:r:1:provisioned-model/b", Some(1)),
            ("arn:aws:sagemaker:r:1:endpoint/b", Some(1)),
            ("arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkl", Some(1)),
            ("arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkm", None),
            ("arn:aws:bedrock:r:1:imported-model/a/b", Some(0)),
            ("arn:aws:s3:r:1:imported-model/b", None),
            ("arn:aws:bedrock:r:1:guardrail/b", None),
            ("arn:azure:bedrock:r:1:imported-model/b", None),
            ("arn:aws:bedrock:r:1:imported-model/", None),
            ("meta.llama3", Some(0)),
            ("meta.llama4-70b", Some(1)),
            ("us.meta.llama3", Some(0)),
            ("deepseek.r1-v1:0", None),
            ("", None),
        ] {
            assert_eq!(names.find(id), expected, "{id}");
        }
    }

    #[test]
    fn one_model_answers_to_the_ids_of_deepseek_unless_told_otherwise() {
        let names = Names::new(&ids(&["toy"]), &[]).unwrap();
        assert_eq!(names.find("deepseek.r1-v1:0"), Some(0));
        assert_eq!(names.find("apac.deepseek.r1-v1:0"), Some(0));
        assert_eq!(names.find("gpt"), None);
        let names = Names::new(&ids(&["toy"]), &[alias("*", "")]).unwrap();
        assert_eq!(names.find("gpt"), Some(0));
        assert_eq!(names.listed().count(), 3);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let two = ids(&["a", "b"]);
        let refused = |aliases: &[Alias]| Names::new(&two, aliases).unwrap_err().to_string();
        assert!(refused(&[alias("x", "")]).contains("several are served: `a`, `b`"));
        assert!(refused(&[alias("x", "c")]).contains("means `c`"));
        assert!(refused(&[alias("b", "a")]).contains("two aliases"));
        assert!(refused(&[alias("x*y", "a")]).contains("at the end"));
        assert!(refused(&[alias("*", "a"), alias("*", "b")]).contains("two aliases"));
        let error = Names::new(&ids(&["a", "a"]), &[]).unwrap_err();
        assert_eq!(error, ModelsError::DuplicateId("a".to_owned()));
    }
}
