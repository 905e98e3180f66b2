//! Sockets, TLS, deadlines and limits.

use tokio_util::sync::CancellationToken;

use crate::{Config, HttpError, Place, page, routes};

/// Listens and serves.
pub(crate) async fn serve(_config: Config, place: Place, cancel: CancellationToken) -> Result<(), HttpError> {
    let _router = routes::api(&place, &cancel).merge(routes::health()).merge(page::routes());
    cancel.cancelled().await;
    Ok(())
}
