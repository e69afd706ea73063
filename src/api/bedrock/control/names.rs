//! What a name says of itself.

use crate::api::models::{Arn, without_geography};

/// Neither the whole of an ARN nor the id of an inference profile.
pub(super) fn is_foundation_model(name: &str) -> bool {
    Arn::parse(name).is_none() && without_geography(name) == name
}

/// Not an ARN, and with the prefix of a geography.
pub(super) fn is_profile(name: &str) -> bool {
    Arn::parse(name).is_none() && without_geography(name) != name
}

/// The id within an ARN, without a geography.
pub(super) fn bare_id(name: &str) -> &str {
    without_geography(Arn::parse(name).map_or(name, |arn| arn.id))
}

/// As Bedrock spells the providers whose ids applications ask for. An id without a provider is
/// DeepSeek's if it says so.
pub(super) fn provider(id: &str) -> String {
    const SPELLED: [(&str, &str); 8] = [
        ("deepseek", "DeepSeek"),
        ("anthropic", "Anthropic"),
        ("amazon", "Amazon"),
        ("meta", "Meta"),
        ("mistral", "Mistral AI"),
        ("qwen", "Qwen"),
        ("openai", "OpenAI"),
        ("cohere", "Cohere"),
    ];
    let (provider, is_stated) = match id.split_once('.') {
        Some((provider, _)) if !provider.contains(|c: char| c.is_ascii_digit()) => (provider, true),
        Some(_) | None => (id, false),
    };
    let spelled = SPELLED.iter().find(|(name, _)| match is_stated {
        true => *name == provider,
        false => id.starts_with(name),
    });
    match spelled {
        Some((_, spelled)) => (*spelled).to_owned(),
        None if is_stated => provider.chars().take(20).collect(),
        None => "Outcrop".to_owned(),
    }
}
