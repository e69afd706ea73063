//! OpenAI's API: chat completions, completions, responses and models, under `/v1` and `/openai/v1`.
//!
//! Bedrock has the same operations under these prefixes. Everything is honoured or refused by its
//! name, as in Bedrock's own API.

mod answer;
mod call;
mod chat;
mod choices;
mod completions;
mod error;
mod fields;
mod guardrail;
mod models;
mod responses;
mod sse;
mod tools;
mod wire;

use axum::Router;
use axum::routing::{get, post};

use crate::api::app::App;
use crate::api::record::Operation;

pub(in crate::api) use chat::{ChatAnswer, embedded_chat, embedded_output_format};
pub(in crate::api) use error::OpenAiError;

/// Where the routes are: OpenAI's own prefix and Bedrock's.
const PREFIXES: [&str; 2] = ["/v1", "/openai/v1"];

pub(in crate::api) fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new();
    for prefix in PREFIXES {
        let operations = [
            (
                "/chat/completions",
                app.admitted(Operation::ChatCompletions, post(chat::chat_completions)),
            ),
            ("/completions", app.admitted(Operation::Completions, post(completions::completions))),
            ("/responses", app.admitted(Operation::Responses, post(responses::responses))),
            ("/models", app.admitted(Operation::ListModels, get(models::list))),
            ("/models/{*model_id}", app.admitted(Operation::RetrieveModel, get(models::retrieve))),
        ];
        for (path, operation) in operations {
            routes = routes.route(&format!("{prefix}{path}"), operation);
        }
    }
    routes
}

/// Whether a path belongs to this API, so that an error before any route is told in its shape.
pub(in crate::api) fn owns(path: &str) -> bool {
    PREFIXES.iter().any(|&prefix| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
