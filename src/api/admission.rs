//! What a request needs to be worked on: a permit, room for its body, and its key's consent.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::MethodRouter;

use crate::api::access::Principal;
use crate::api::app::{App, Shared};
use crate::api::lifecycle::Phase;
use crate::api::operation::Operation;
use crate::api::record::{Record, RequestId};
use crate::api::refusal::Refusal;
use crate::limits;

/// The route of an operation that takes a permit and has a record.
pub(super) fn admitted(
    app: &App,
    operation: Operation,
    route: MethodRouter<App>,
) -> MethodRouter<App> {
    route.route_layer(from_fn_with_state((app.clone(), operation), admit))
}

/// Takes a permit for a request to a model and keeps its record.
async fn admit(
    State((app, operation)): State<(App, Operation)>,
    request: Request,
    next: Next,
) -> Response {
    let shared = app.shared();
    let request_id = request.extensions().get::<RequestId>().cloned();
    let request_id = request_id.expect("the outer layer gives every request its id");
    let (metrics, audit) = (Arc::clone(&shared.metrics), Arc::clone(&shared.audit));
    let mut record = Record::new(operation, request_id, metrics, audit);
    let mut request = match let_in_whole(shared, &mut record, request).await {
        Ok(request) => request,
        Err(refusal) => {
            let response = operation.refuse(refusal);
            record.note_response(&response);
            return response;
        }
    };
    let record = Arc::new(record);
    request.extensions_mut().insert(Arc::clone(&record));
    let response = next.run(request).await;
    record.note_response(&response);
    response
}

/// A request takes its place when all of it is there: until then it costs what its bytes cost, and
/// thousands that come slowly keep nobody out.
async fn let_in_whole(
    shared: &Shared,
    record: &mut Record,
    request: Request,
) -> Result<Request, Refusal> {
    check_open(shared)?;
    let limit = limits::REQUESTS_ARRIVING_MAX;
    let arriving = shared.arriving.try_acquire().map_err(|_| Refusal::RequestsFull { limit })?;
    let (parts, body) = request.into_parts();
    let body = shared.bodies.read(body).await?;
    drop(arriving);
    let_in(shared, record, parts.extensions.get::<Principal>().cloned())?;
    Ok(Request::from_parts(parts, body.into_body()))
}

/// Refuses a request whose body need not be read.
fn check_open(shared: &Shared) -> Result<(), Refusal> {
    if shared.lifecycle.phase() >= Phase::Draining {
        return Err(Refusal::Draining);
    }
    if shared.in_flight.available_permits() == 0 {
        return Err(Refusal::RequestsFull { limit: limits::REQUESTS_IN_FLIGHT_MAX });
    }
    Ok(())
}

/// Takes what a request needs to be worked on, until its record is dropped.
fn let_in(
    shared: &Shared,
    record: &mut Record,
    principal: Option<Principal>,
) -> Result<(), Refusal> {
    check_open(shared)?;
    let limit = limits::REQUESTS_IN_FLIGHT_MAX;
    let permit = Arc::clone(&shared.in_flight).try_acquire_owned();
    record.hold(permit.map_err(|_| Refusal::RequestsFull { limit })?);
    if let Some(principal) = principal {
        if record.operation().is_metered() {
            principal.check_quota()?;
        }
        let admission = principal.admit()?;
        record.belongs_to(principal, admission);
    }
    Ok(())
}
