//! The Bedrock Runtime protocol.
