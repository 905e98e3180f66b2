//! What is served below `/v1`.

use axum::Router;

use crate::Place;

/// The routes that need a [`crate::access::Principal`], and the task behind them, which ends when `cancel` is.
pub(crate) fn api(_place: &Place, _cancel: &tokio_util::sync::CancellationToken) -> Router {
    Router::new()
}

/// `/healthz` and `/readyz`, which need none.
pub(crate) fn health() -> Router {
    Router::new()
}
