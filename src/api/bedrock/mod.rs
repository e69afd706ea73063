//! The Bedrock protocol: the runtime's operations on models, and what the control plane says of
//! the models that there are.

mod answer;
mod apply_guardrail;
mod chat;
mod control;
mod converse;
mod count_tokens;
mod document;
pub(in crate::api) mod error;
mod frame;
mod guardrail;
mod guardrail_checks;
mod invoke;
mod json;
mod model_id;
mod service;
mod stream;

use axum::Router;

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::operation::Operation;

pub(in crate::api) fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new();
    for (path, operation, route) in [
        ("converse", Operation::Converse, converse::converse()),
        ("converse-stream", Operation::ConverseStream, converse::converse_stream()),
        ("invoke", Operation::InvokeModel, invoke::invoke()),
        (
            "invoke-with-response-stream",
            Operation::InvokeModelWithResponseStream,
            invoke::invoke_with_response_stream(),
        ),
        ("count-tokens", Operation::CountTokens, count_tokens::count_tokens()),
    ] {
        let path = format!("/model/{{model_id}}/{path}");
        routes = routes.route(&path, admitted(app, operation, route));
    }
    routes
        .merge(apply_guardrail::routes(app))
        .merge(guardrail_checks::routes(app))
        .merge(control::routes(app))
}

#[cfg(test)]
pub(in crate::api) mod tests {
    //! What the tests of the protocol share with those of its parts.

    pub(in crate::api) use crate::api::bedrock::document::tests::docx_of;
}
