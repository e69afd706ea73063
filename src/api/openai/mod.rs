//! OpenAI's API: chat completions, completions, responses and models, under `/v1` and `/openai/v1`.
//!
//! Bedrock has the same operations under these prefixes. Everything is honoured or refused by its
//! name, as in Bedrock's own API.

mod answer;
mod call;
mod chat;
mod choices;
mod completions;
pub(in crate::api) mod error;
mod fields;
mod guardrail;
mod models;
mod responses;
mod sse;
mod tools;
mod wire;

use axum::Router;
use axum::routing::{get, post};

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::operation::{OPENAI_PREFIXES, Operation};

pub(in crate::api) use chat::{ChatAnswer, embedded_chat, embedded_output_format};

pub(in crate::api) fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new();
    for prefix in OPENAI_PREFIXES {
        let operations = [
            (
                "/chat/completions",
                admitted(app, Operation::ChatCompletions, post(chat::chat_completions)),
            ),
            ("/completions", admitted(app, Operation::Completions, post(completions::completions))),
            ("/responses", admitted(app, Operation::Responses, post(responses::responses))),
            ("/models", admitted(app, Operation::ListModels, get(models::list))),
            ("/models/{*model_id}", admitted(app, Operation::RetrieveModel, get(models::retrieve))),
        ];
        for (path, operation) in operations {
            routes = routes.route(&format!("{prefix}{path}"), operation);
        }
    }
    routes
}
