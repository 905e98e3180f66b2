//! What goes on on a connection: whether anything does, and whether an answer is stuck in somebody who does not read.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::Cut;

/// Of one connection.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Whether there ever was a request.
    begun: bool,
    /// Since when nothing is done, where that is so.
    idle: Instant,
    next: u64,
    /// The requests that are not answered whole, and since when a piece of the answer was handed out and no further one
    /// was asked for: it lies in the window of HTTP/2, or in the buffer before the socket.
    requests: HashMap<u64, Option<Instant>>,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        let state = State { begun: false, idle: Instant::now(), next: 0, requests: HashMap::new() };
        Arc::new(Self(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>) -> Doing {
        let mut state = self.lock();
        state.begun = true;
        state.next += 1;
        let id = state.next;
        state.requests.insert(id, None);
        Doing { activity: self.clone(), id }
    }

    /// When to look again: nothing can be overdue before. Or why the connection is to be ended: no request came in `first`, no
    /// further one in `idle`, or an answer is stuck for `stuck`.
    pub(super) fn look(
        &self,
        now: Instant,
        first: Duration,
        idle: Duration,
        stuck: Duration,
    ) -> Result<Instant, &'static str> {
        let state = self.lock();
        let (due, why) = if state.requests.is_empty() {
            let (within, why) = if state.begun { (idle, "idle") } else { (first, "no request came") };
            (Some(state.idle + within), why)
        } else {
            let oldest = state.requests.values().flatten().min();
            (oldest.map(|since| *since + stuck), "an answer is not read")
        };
        match due {
            Some(due) if due <= now => Err(why),
            // What begins from now on cannot be overdue sooner.
            _ => Ok(due.unwrap_or(now + stuck).min(now + idle.min(stuck))),
        }
    }
}

/// A request that is not answered whole.
#[derive(Debug)]
pub(super) struct Doing {
    activity: Arc<Activity>,
    id: u64,
}

impl Doing {
    fn handed_out(&self, since: Option<Instant>) {
        if let Some(at) = self.activity.lock().requests.get_mut(&self.id) {
            *at = since;
        }
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.requests.remove(&self.id);
        state.idle = Instant::now();
    }
}

/// The body of an answer, watched; a stream ends when the bridge does.
pub(super) struct Watched {
    body: Body,
    doing: Doing,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Watched {
    /// `stop` for a stream.
    pub(super) fn new(body: Body, doing: Doing, stop: Option<CancellationToken>) -> Self {
        Self { body, doing, stop: stop.map(|stop| Box::pin(stop.cancelled_owned())) }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Some(Err(Cut("the bridge stops").into())));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into);
        this.doing.handed_out(polled.is_ready().then(Instant::now));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);
    const STUCK: Duration = Duration::from_secs(30);

    #[test]
    fn it_is_looked_at_when_it_can_be_overdue_and_no_sooner() {
        let activity = Activity::new();
        let began = activity.lock().idle;
        let look = |after| activity.look(began + after, FIRST, IDLE, STUCK);
        assert_eq!(look(Duration::ZERO), Ok(began + FIRST));
        assert_eq!(look(FIRST), Err("no request came"));
        // A stream that says nothing is never overdue, and is not looked at more often than it could be stuck.
        let doing = activity.begin();
        for hours in [0, 1, 24] {
            let after = Duration::from_secs(hours * 3600);
            assert_eq!(look(after), Ok(began + after + STUCK));
        }
        doing.handed_out(Some(began + FIRST));
        assert_eq!(look(FIRST + IDLE), Err("an answer is not read"));
        assert_eq!(look(FIRST * 2), Ok(began + FIRST + STUCK));
        doing.handed_out(None);
        assert_eq!(look(FIRST + IDLE), Ok(began + FIRST + IDLE + STUCK));
        drop(doing);
        let idle = activity.lock().idle;
        let look = |after| activity.look(idle + after, FIRST, IDLE, STUCK);
        // It may begin, and be stuck, before it has been idle for too long.
        assert_eq!(look(Duration::ZERO), Ok(idle + STUCK));
        assert_eq!(look(IDLE), Err("idle"));
    }
}
