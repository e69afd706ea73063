//! The AWS SDK for Rust as an unmodified client. A package of its own, so that the SDK is not
//! compiled by every `cargo test`; `tests/clients/run` starts the server that it talks to.
