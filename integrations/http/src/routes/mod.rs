//! What is served below `/v1`, `/metrics` and `/openapi.json`. Who asks was found before; here stands what he may see of
//! the hub, and how it is written.

mod answer;
mod events;
mod nodes;
mod query;
mod schema;

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{hub::Hub, problem::Problem};

/// The routes that need a [`crate::access::Principal`].
pub(crate) fn api(hub: &Arc<Hub>) -> Router {
    let (router, _document) = OpenApiRouter::new()
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one))
        .routes(routes!(nodes::commands))
        .routes(routes!(events::events))
        .split_for_parts();
    router.with_state(hub.clone())
}

/// `/healthz` and `/readyz`, which need none.
pub(crate) fn health(hub: &Arc<Hub>) -> Router {
    Router::new().route("/healthz", get(healthy)).route("/readyz", get(ready)).with_state(hub.clone())
}

/// It serves.
async fn healthy() -> &'static str {
    "ok\n"
}

/// It can be of use: the hub is there.
async fn ready(State(hub): State<Arc<Hub>>) -> Result<&'static str, Problem> {
    if hub.is_connected() {
        return Ok("ok\n");
    }
    let mut problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "hub_away",
        "the hub cannot be reached; the log says why",
    );
    problem.retry_after = Some(1);
    Err(problem)
}
