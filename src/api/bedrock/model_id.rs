//! The model that a path names.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::api::bedrock::error::BedrockError;
use crate::limits;

/// The segment `{model_id}` of the path, decoded once.
pub(super) struct ModelId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ModelId {
    type Rejection = BedrockError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, BedrockError> {
        let invalid =
            |reason: String| BedrockError::Validation(format!("The value at `modelId` {reason}."));
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("is not UTF-8".to_owned()))?;
        let id = params.iter().find(|(name, _)| *name == "model_id").map_or("", |(_, id)| id);
        if id.is_empty() {
            return Err(invalid("is empty".to_owned()));
        }
        let limit = limits::MODEL_ID_CHARS_MAX;
        if id.chars().count() > limit {
            return Err(invalid(format!("is longer than {limit} characters")));
        }
        Ok(Self(id.to_owned()))
    }
}
