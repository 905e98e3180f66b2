//! The web page and its files, served from the binary.

use axum::Router;

/// The page's files, which need no token.
pub(crate) fn routes() -> Router {
    Router::new()
}
