//! Why somebody is not let in. The words are AWS's where clients know them.

use axum::http::StatusCode;
use thiserror::Error;

use crate::api::outcome::FailureCode;
use crate::api::sigv4::SignatureError;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::api) enum AccessRefusal {
    #[error("Missing Authentication Token")]
    Missing,
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    UnknownAccessKey(String),
    #[error("{0}")]
    InvalidSignature(String),
    #[error("The security token included in the request is expired")]
    Expired,
    /// A bearer key that is not known, or one that cannot be read.
    #[error("Authentication failed: Please make sure your API Key is valid.")]
    InvalidKey,
}

impl AccessRefusal {
    pub(super) fn unknown_access_key() -> Self {
        Self::UnknownAccessKey("The security token included in the request is invalid.".to_owned())
    }

    pub(in crate::api) fn code(&self) -> FailureCode {
        FailureCode(match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Malformed(_) => "IncompleteSignatureException",
            Self::UnknownAccessKey(_) => "UnrecognizedClientException",
            Self::InvalidSignature(_) => "InvalidSignatureException",
            Self::Expired => "ExpiredTokenException",
            Self::InvalidKey => "AccessDeniedException",
        })
    }

    /// In Bedrock's words.
    pub(in crate::api) fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Missing
            | Self::UnknownAccessKey(_)
            | Self::InvalidSignature(_)
            | Self::Expired
            | Self::InvalidKey => StatusCode::FORBIDDEN,
        }
    }
}

impl From<SignatureError> for AccessRefusal {
    fn from(error: SignatureError) -> Self {
        let message = error.to_string();
        match error {
            SignatureError::Incomplete(_) => Self::Malformed(message),
            SignatureError::SessionToken => Self::UnknownAccessKey(message),
            SignatureError::WrongRegion
            | SignatureError::WrongService
            | SignatureError::NotYetCurrent { .. }
            | SignatureError::Expired { .. }
            | SignatureError::Mismatch
            | SignatureError::BodyMismatch => Self::InvalidSignature(message),
        }
    }
}
