//! Sockets, TLS, deadlines and limits.

use tokio_util::sync::CancellationToken;

use crate::{Config, HttpError, Place, hub::Hub, page, routes};

/// Listens and serves.
pub(crate) async fn serve(_config: Config, place: Place, cancel: CancellationToken) -> Result<(), HttpError> {
    let hub = Hub::start(&place, &cancel);
    let _router = routes::api(&hub).merge(routes::health(&hub)).merge(page::routes());
    cancel.cancelled().await;
    Ok(())
}
