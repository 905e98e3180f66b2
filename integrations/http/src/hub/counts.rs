//! What is counted, for `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Most combinations of method, route and status that are counted apart. Routes and statuses are ours, so it is never reached.
const MAX_REQUESTS: usize = 1024;

/// How somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
    /// Long poll.
    Poll,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Sse, Self::WebSocket, Self::Poll];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sse => "sse",
            Self::WebSocket => "websocket",
            Self::Poll => "poll",
        }
    }
}

/// Of a request: method, route, status.
type Request = (String, String, u16);

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Records that came from the hub.
    pub(crate) records: AtomicU64,
    /// Their events.
    pub(crate) events: AtomicU64,
    /// Gaps.
    pub(crate) gaps: AtomicU64,
    /// Events that were given to listeners.
    pub(crate) told: AtomicU64,
    /// How often the hub was lost.
    pub(crate) lost: AtomicU64,
    /// Runs and jobs that were started.
    pub(crate) runs: AtomicU64,
    /// Runs whose output is being passed on.
    pub(crate) running: AtomicUsize,
    listeners: [AtomicUsize; 3],
    requests: Mutex<BTreeMap<Request, u64>>,
}

impl Counts {
    /// Counts a listener for as long as it is held; none where `most` listen already.
    pub(crate) fn listen(self: &Arc<Self>, kind: Kind, most: usize) -> Option<Listening> {
        let listening = Listening { counts: self.clone(), kind };
        self.listeners[kind as usize].fetch_add(1, Ordering::Relaxed);
        let all: usize = Kind::ALL.iter().map(|kind| self.listeners(*kind)).sum();
        (all <= most).then_some(listening)
    }

    /// How many listen so.
    pub(crate) fn listeners(&self, kind: Kind) -> usize {
        self.listeners[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (method.to_owned(), route.to_owned(), status);
        if requests.len() < MAX_REQUESTS || requests.contains_key(&key) {
            *requests.entry(key).or_default() += 1;
        }
    }

    /// All answers so far.
    pub(crate) fn requests(&self) -> BTreeMap<Request, u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One that listens.
#[derive(Debug)]
pub(crate) struct Listening {
    counts: Arc<Counts>,
    kind: Kind,
}

impl Listening {
    /// Counts events that it was given.
    pub(crate) fn told(&self, events: usize) {
        self.counts.told.fetch_add(events as u64, Ordering::Relaxed);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.counts.listeners[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}
