//! What goes wrong with a service: one fault per request, in the order in which a test asked for them, and none when those are used up.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use futures::{StreamExt as _, stream};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;

/// A fault of one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is not handled; this is answered.
    Answer {
        /// The status.
        status: StatusCode,
        /// Headers beside it.
        headers: HeaderMap,
        /// The body.
        body: String,
    },
    /// It is handled, but only after so long.
    Slow(Duration),
    /// It is not handled, and no answer ever comes.
    Silent,
    /// It is handled, and the connection is cut in the middle of the answer.
    CutAnswer,
    /// It is not handled, and the connection is cut.
    Cut,
}

/// The faults to come; shared with the server that has them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<(String, Fault)>>>);

impl Faults {
    /// The next request whose path contains `path` has that fault.
    pub fn next(&self, path: &str, fault: Fault) {
        self.queue().push_back((path.to_owned(), fault));
    }

    /// The next `times` of them.
    pub fn times(&self, times: usize, path: &str, fault: &Fault) {
        for _ in 0..times {
            self.next(path, fault.clone());
        }
    }

    /// How many are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.queue().len()
    }

    /// Takes them all back.
    pub fn clear(&self) {
        self.queue().clear();
    }

    fn take(&self, path: &str) -> Option<Fault> {
        let mut queue = self.queue();
        let at = queue.iter().position(|(part, _)| path.contains(part.as_str()))?;
        queue.remove(at).map(|(_, fault)| fault)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<(String, Fault)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server on a thread of its own, which ends with it.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Serves `router`, with the faults that are asked for.
    ///
    /// # Panics
    /// When the loopback has no port for it.
    #[must_use]
    pub fn start(router: Router, faults: &Faults) -> Self {
        let router = router.layer(middleware::from_fn_with_state(faults.clone(), with_faults));
        let runtime = Runtime::new().expect("a runtime for a fake service");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port of the loopback");
        let address = listener.local_addr().expect("it is bound");
        let cancel = CancellationToken::new();
        let ended = cancel.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("accepting does not fail"),
                    () = ended.cancelled() => {}
                }
            });
            // Requests that are never answered must not keep it.
            runtime.shutdown_background();
        });
        Self { address, cancel, thread: Some(thread) }
    }

    /// Its address as a URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            // What a handler panicked with was printed by it.
            let _ = thread.join();
        }
    }
}

async fn with_faults(State(faults): State<Faults>, request: Request, next: Next) -> Response {
    match faults.take(request.uri().path()) {
        None => next.run(request).await,
        Some(Fault::Answer { status, headers, body }) => (status, headers, body).into_response(),
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            next.run(request).await
        }
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::CutAnswer) => {
            let (parts, _) = next.run(request).await.into_parts();
            let pieces: [std::io::Result<&'static [u8]>; 2] =
                [Ok(b"{"), Err(std::io::Error::other("cut by the test"))];
            // A pause between them, or the answer's head would go down with the connection.
            let body = stream::iter(pieces).then(|piece| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                piece
            });
            Response::from_parts(parts, Body::from_stream(body))
        }
        Some(Fault::Cut) => {
            let error: std::io::Result<&'static [u8]> = Err(std::io::Error::other("cut by the test"));
            Response::new(Body::from_stream(stream::iter([error])))
        }
    }
}
