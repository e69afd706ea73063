//! Single checks without a guardrail, as Bedrock's InvokeGuardrailChecks asks for them: how severe,
//! and what is where.

use std::ops::Range;

use crate::guardrail::block::Direction;
use crate::guardrail::definition::{
    Action, ContentFilter, Directions, GuardrailDefinition, PiiEntityConfig,
    SensitiveInformationPolicyConfig,
};
use crate::guardrail::detect::{Detector, Reading, Source};
use crate::guardrail::entities::EntityKind;
use crate::guardrail::fold::Folded;
use crate::guardrail::learned::{ContentScorer, ContentScores};
use crate::guardrail::report::category;
use crate::guardrail::rules::Rules;

/// How much a text is of what each content filter looks for.
#[derive(Debug, Clone)]
pub struct Severities(ContentScores);

impl Severities {
    pub fn of(text: &str) -> Self {
        Self(ContentScorer::built_in().score(Folded::skeleton(text).text()))
    }

    /// From 0 to 1; one half is where one ordinary prompt of a hundred would be flagged.
    pub fn of_filter(&self, filter: ContentFilter) -> f64 {
        let margin = f64::from(self.0.margin[category(filter) as usize]);
        1.0 / (1.0 + (-margin).exp())
    }
}

/// Sensitive information in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEntity {
    pub kind: EntityKind,
    /// Characters of the text.
    pub range: Range<usize>,
    /// From 0 to 1.
    pub confidence: f64,
}

/// Finds the kinds that it was made for.
#[derive(Debug)]
pub struct EntityFinder(Rules);

impl EntityFinder {
    pub fn new(kinds: impl IntoIterator<Item = EntityKind>) -> Self {
        let kinds = kinds.into_iter().map(|kind| PiiEntityConfig {
            r#type: kind,
            action: Action::None,
            directions: Directions::default(),
        });
        let config = SensitiveInformationPolicyConfig {
            pii_entities_config: kinds.collect(),
            regexes_config: Vec::new(),
        };
        let definition = GuardrailDefinition::with_sensitive_information("checks", config);
        Self(Rules::compile(&definition).expect("rules without expressions always compile"))
    }

    pub fn find(&self, text: &str) -> Vec<FoundEntity> {
        let detected =
            Detector::new(&self.0, Direction::Input).detect(&Reading::new(text), 0, None);
        let (mut chars, mut counted) = (0, 0);
        let found = detected.findings.into_iter().filter_map(|finding| {
            let Source::Entity(kind) = finding.source else { return None };
            chars += text[counted..finding.range.start].chars().count();
            counted = finding.range.start;
            let len = text[finding.range].chars().count();
            let confidence = f64::from(finding.confidence);
            Some(FoundEntity { kind, range: chars..chars + len, confidence })
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_told_with_characters_and_kinds() {
        let finder = EntityFinder::new([EntityKind::Phone, EntityKind::Email]);
        let found = finder.find("手机号15143010689，邮箱a@b.cn");
        let found: Vec<_> = found.into_iter().map(|it| (it.kind, it.range)).collect();
        assert_eq!(found, [(EntityKind::Phone, 3..14), (EntityKind::Email, 17..23)]);
    }
}
