//! The layer in front of every closed route.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::access::credentials;
use crate::api::app::App;
use crate::api::operation::Protocol;
use crate::api::outcome::FailureCode;
use crate::api::record::RequestId;

/// Lets a request pass with its [`Principal`], or without one where nobody needs any.
pub(in crate::api) async fn authenticate(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response {
    let shared = app.shared();
    let access = &shared.access;
    let Some(keys) = access.keys.as_ref().filter(|keys| keys.is_required()) else {
        return next.run(request).await;
    };
    let protocol = Protocol::of(request.uri().path());
    let request_id = request.extensions().get::<RequestId>().cloned();
    match credentials::check(&shared.bodies, keys, access.options.region.as_deref(), request).await
    {
        Ok((principal, mut request)) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(refusal) => {
            let response = protocol.refuse(refusal);
            let code = response.extensions().get::<FailureCode>().map_or("", |code| code.0);
            shared.metrics.observe_refused(code);
            let request_id = request_id.map_or_else(|| "".into(), |id| id.0);
            tracing::info!(%request_id, code, "a request was not let in");
            response
        }
    }
}
