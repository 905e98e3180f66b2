//! Bodies of answers that end with the right to them.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The answer to one who was known when he asked: cut off when he is no more. Cut, not ended: half of an answer must not look
/// like a whole one.
pub(crate) struct Until {
    body: Body,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// A session is in use for as long as an answer runs.
    _use_of: Arc<()>,
}

impl Until {
    pub(crate) fn new(body: Body, ended: CancellationToken, use_of: Arc<()>) -> Self {
        Self { body, ended: Box::pin(ended.cancelled_owned()), _use_of: use_of }
    }
}

/// Why an answer was cut.
#[derive(Debug)]
pub(super) struct Cut(pub(super) &'static str);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Cut {}

impl http_body::Body for Until {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Cut("who asked for it may no longer").into())));
        }
        Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
