//! What is counted, for `/metrics`.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::access::{Id, Principal};

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
    /// Of each who has some.
    listeners_of: Mutex<HashMap<Id, usize>>,
    requests: Mutex<BTreeMap<Request, u64>>,
}

impl Counts {
    /// Counts a listener for as long as it is held; none where `most` listen already, or `most_of_one` of who asks.
    pub(crate) fn listen(
        self: &Arc<Self>,
        kind: Kind,
        who: &Principal,
        most: usize,
        most_of_one: usize,
    ) -> Option<Listening> {
        let listening = Listening { counts: self.clone(), kind, id: who.id() };
        self.listeners[kind as usize].fetch_add(1, Ordering::Relaxed);
        let of_one = {
            let mut all = self.listeners_of();
            let of_one = all.entry(who.id()).or_default();
            *of_one += 1;
            *of_one
        };
        let all: usize = Kind::ALL.iter().map(|kind| self.listeners(*kind)).sum();
        (all <= most && of_one <= most_of_one).then_some(listening)
    }

    fn listeners_of(&self) -> MutexGuard<'_, HashMap<Id, usize>> {
        self.listeners_of.lock().unwrap_or_else(PoisonError::into_inner)
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
    id: Id,
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
        if let Entry::Occupied(mut count) = self.counts.listeners_of().entry(self.id.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::message::client::Role;

    use super::*;
    use crate::access::By;

    #[test]
    fn one_who_listens_often_leaves_room_for_others() {
        let who = |by, name| Principal::new(by, name, Role::Viewer, &[], &[]);
        let counts = Arc::new(Counts::default());
        let listen = |who: &Principal| counts.listen(Kind::Sse, who, 5, 3);
        let (a, b) = (who(By::Token, "a"), who(By::User, "a"));
        let of_a: Vec<Listening> = (0..9).filter_map(|_| listen(&a)).collect();
        let of_b: Vec<Listening> = (0..9).filter_map(|_| listen(&b)).collect();
        assert_eq!((of_a.len(), of_b.len(), counts.listeners(Kind::Sse)), (3, 2, 5));
        drop((of_a, of_b));
        assert!(counts.listeners_of().is_empty() && counts.listeners(Kind::Sse) == 0);
    }
}
