//! How a request ended, in the words of metrics and logs.

/// The code of requests that ended well.
pub(super) const OK: &str = "OK";
/// The code of requests whose client went away.
pub(super) const DISCONNECTED: &str = "ClientDisconnected";

/// How a request failed: Bedrock's names whatever the protocol, so that one alert covers all. An
/// answer that is an error carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailureCode(pub(super) &'static str);
