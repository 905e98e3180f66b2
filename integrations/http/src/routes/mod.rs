//! What is served below `/v1`, `/metrics` and `/openapi.json`. Who asks was found before; here stands what he may see of
//! the hub, and how it is written.

mod answer;
mod document;
mod events;
mod jobs;
mod metrics;
mod nodes;
mod query;
mod run;
mod running;
mod schema;
mod session;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    routing::get,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{hub::Hub, problem::Problem};

/// Largest body of a request, in bytes: the input of a run, in Base64, and its arguments.
const MAX_BODY: usize = 2 << 20;

/// The routes that need a [`crate::access::Principal`].
pub(crate) fn api(hub: &Arc<Hub>) -> Router {
    let (router, document) = described().split_for_parts();
    let document =
        Router::new().route("/openapi.json", get(document::serve)).with_state(document::finish(document));
    router
        .with_state(hub.clone())
        .merge(document)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route_layer(middleware::from_fn_with_state(hub.clone(), metrics::count))
}

/// The routes with what is said of them.
fn described() -> OpenApiRouter<Arc<Hub>> {
    OpenApiRouter::with_openapi(document::base())
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::one))
        .routes(routes!(nodes::commands))
        .routes(routes!(run::run))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::output))
        .routes(routes!(jobs::cancel))
        .routes(routes!(events::events))
        .routes(routes!(events::websocket_only))
        .routes(routes!(metrics::metrics))
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
