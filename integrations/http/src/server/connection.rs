//! One connection, from its first byte to its last.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::Request, http::header};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;
use tracing::debug;

use super::{
    activity::{Activity, Watched},
    places::Places,
    tls::Tls,
};
use crate::access::{Peer, peers::Users};

/// Most bytes of a request's line and headers. Cookies, a token and what proxies add are a few hundred.
const MAX_HEAD: usize = 32 << 10;
/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Most requests at once on a connection of HTTP/2: a page has a stream or two and asks for a few things beside.
const MAX_STREAMS: u32 = 64;
/// Most that a client may open and reset before they were seen to (CVE-2023-44487, "rapid reset").
const MAX_RESETS: usize = 20;
/// Bytes that are kept of an answer which HTTP/2 has no room for.
const MAX_SEND: usize = 256 << 10;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// TLS's handshake.
    pub(super) handshake: Duration,
    /// The head of a request, from its first byte; the first request, from the connection on.
    pub(super) head: Duration,
    /// A connection on which nothing is asked.
    pub(super) idle: Duration,
    /// A write that makes no progress, an answer of which nothing is taken.
    pub(super) stuck: Duration,
    /// How often that is looked at, at most: all connections at the same moments, so that a thousand which are idle wake the
    /// bridge no oftener than one.
    pub(super) look: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { handshake: secs(10), head: secs(10), idle: secs(75), stuck: secs(30), look: secs(5) }
    }
}

/// What all connections of a door share.
pub(super) struct Shared {
    pub(super) app: Router,
    pub(super) users: Arc<Users>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) places: Arc<Places>,
    pub(super) deadlines: Deadlines,
    /// Looks are counted from here.
    pub(super) began: Instant,
    pub(super) tasks: TaskTracker,
    /// No further request; streams end.
    pub(super) stop: CancellationToken,
    /// Nothing at all any more.
    pub(super) kill: CancellationToken,
}

/// The first of the moments, one `every` so often since `began`, that is not before `due`.
fn on_the_beat(due: Instant, began: Instant, every: Duration) -> Instant {
    let since = due.saturating_duration_since(began).as_nanos();
    let beats = since.div_ceil(every.as_nanos().max(1));
    began + every * u32::try_from(beats).unwrap_or(u32::MAX)
}

impl Shared {
    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.deadlines.head)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD as u32)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_send_buf_size(MAX_SEND)
            .keep_alive_interval(self.deadlines.stuck)
            .keep_alive_timeout(self.deadlines.stuck);
        builder
    }
}

/// Serves it until it ends, is overdue, or the bridge stops.
pub(super) async fn serve<S>(stream: S, peer: Peer, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = service_fn(|mut request: Request<Incoming>| {
        let (app, doing, stop) = (shared.app.clone(), activity.begin(), shared.stop.clone());
        request.extensions_mut().insert(peer.clone());
        async move {
            let Ok(response) = app.oneshot(request).await;
            let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
            let streams = [&b"text/event-stream"[..], b"application/x-ndjson"];
            let stream = kind.is_some_and(|kind| streams.iter().any(|stream| kind.starts_with(stream)));
            let stop = stream.then_some(stop);
            Ok::<_, Infallible>(response.map(|body| Watched::new(body, doing, stop)))
        }
    });
    let builder = shared.builder();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let Deadlines { head, idle, stuck, look, .. } = shared.deadlines;
    let mut looks = pin!(sleep_until(Instant::now()));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(%error, "a connection ended");
                }
                return;
            }
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.kill.cancelled() => return,
            () = looks.as_mut() => match activity.look(Instant::now().into_std(), head, idle, stuck) {
                Ok(next) => looks.as_mut().reset(on_the_beat(next.into(), shared.began, look)),
                Err(why) => {
                    debug!(why, "a connection was ended");
                    return;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_at_common_moments_and_never_early() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        for (due, at) in [(0, 0), (1, 5), (4_999, 5), (5_000, 5), (5_001, 10), (86_400_001, 86_405)] {
            let due = began + Duration::from_millis(due);
            assert_eq!(on_the_beat(due, began, second * 5), began + second * at);
        }
        assert_eq!(on_the_beat(began, began + second, second), began + second);
    }
}
