//! The way from the actor to a connection: so many messages, and so many bytes of what commands print and read among
//! them, and no more. The actor never waits for a peer; one that does not read is cut off.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use secmon_protocol::{
    limits::chunk_cost,
    message::{client::HubToClient, node::HubToNode},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ToLink;

/// A message that may be large.
pub(crate) trait Weigh {
    /// What it counts, in bytes: nothing where its kind is small, or seldom.
    fn weight(&self) -> usize;
}

impl Weigh for ToLink {
    fn weight(&self) -> usize {
        match self {
            Self::Message(HubToNode::Stdin { data, .. }) => chunk_cost(data.len()) as usize,
            Self::Message(_) | Self::Close(_) => 0,
        }
    }
}

impl Weigh for HubToClient {
    fn weight(&self) -> usize {
        match self {
            Self::Output { data, .. } => chunk_cost(data.len()) as usize,
            _ => 0,
        }
    }
}

/// So many bytes, and how many of them wait. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    bytes: Arc<AtomicUsize>,
    most: usize,
}

impl Budget {
    pub(crate) fn of(most: usize) -> Self {
        Self { bytes: Arc::default(), most }
    }

    /// Counts so many more, also where they are too many; whether they are not.
    fn take(&self, weight: usize) -> bool {
        self.bytes.fetch_add(weight, Relaxed) + weight <= self.most
    }

    fn give(&self, weight: usize) {
        self.bytes.fetch_sub(weight, Relaxed);
    }
}

/// What all connections of a user have waiting.
#[derive(Debug, Default)]
pub(crate) struct Users(Mutex<HashMap<u32, Weak<AtomicUsize>>>);

impl Users {
    /// The budget of a user; the same as long as one of his connections has it.
    pub(crate) fn budget(&self, uid: u32, most: usize) -> Budget {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, bytes| bytes.strong_count() > 0);
        let bytes = users.get(&uid).and_then(Weak::upgrade).unwrap_or_default();
        users.insert(uid, Arc::downgrade(&bytes));
        Budget { bytes, most }
    }
}

/// The actor's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    queue: mpsc::Sender<T>,
    budgets: Vec<Budget>,
    /// Ends a connection whose peer does not read.
    kill: CancellationToken,
}

/// The connection's end: what is to be written.
#[derive(Debug)]
pub(crate) struct Waiting<T: Weigh> {
    queue: mpsc::Receiver<T>,
    budgets: Vec<Budget>,
}

/// A way for `depth` messages, and as many bytes of what commands print or read as each of the budgets has; where more
/// would wait, `kill` is cancelled.
pub(crate) fn lane<T: Weigh>(
    depth: usize,
    budgets: Vec<Budget>,
    kill: CancellationToken,
) -> (Wire<T>, Waiting<T>) {
    let (sender, receiver) = mpsc::channel(depth);
    (Wire { queue: sender, budgets: budgets.clone(), kill }, Waiting { queue: receiver, budgets })
}

impl<T: Weigh> Wire<T> {
    /// Queues a message; never waited for.
    pub(super) fn send(&self, message: T) {
        let weight = message.weight();
        let fits = weight == 0 || {
            // Each counts it, for each is given it back.
            let taken = self.budgets.iter().filter(|budget| budget.take(weight)).count();
            taken == self.budgets.len()
        };
        if !fits {
            self.kill.cancel();
        } else if let Err(refused) = self.queue.try_send(message) {
            if matches!(refused, mpsc::error::TrySendError::Full(_)) {
                self.kill.cancel();
            }
        } else {
            return;
        }
        self.budgets.iter().for_each(|budget| budget.give(weight));
    }
}

impl<T: Weigh> Waiting<T> {
    /// The next message; none when the actor has let go of it. Safe to be dropped while it waits.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let message = self.queue.recv().await;
        message.map(|message| self.taken(message))
    }

    /// The next message, if one waits.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        let message = self.queue.try_recv().ok();
        message.map(|message| self.taken(message))
    }

    fn taken(&self, message: T) -> T {
        self.budgets.iter().for_each(|budget| budget.give(message.weight()));
        message
    }
}

impl<T: Weigh> Drop for Waiting<T> {
    /// What is not written any more counts for nobody.
    fn drop(&mut self) {
        self.queue.close();
        while self.try_recv().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use secmon_protocol::{command::OutputStream, ids::RequestId, limits::MAX_CHUNK};

    use super::*;

    fn output(len: usize) -> HubToClient {
        let data = Bytes::from(vec![0; len]);
        HubToClient::Output { request: RequestId(1), stream: OutputStream::Stdout, data }
    }

    /// A client that grants on and reads nothing had the hub hold a queue of whole chunks for it: more than a GiB.
    #[tokio::test]
    async fn a_peer_that_does_not_read_costs_a_bounded_number_of_bytes_however_many_messages_it_may_have() {
        let kill = CancellationToken::new();
        let (wire, mut waiting) = lane::<HubToClient>(1000, vec![Budget::of(4 * MAX_CHUNK)], kill.clone());
        for _ in 0..100 {
            (0..4).for_each(|_| wire.send(output(MAX_CHUNK)));
            assert!(!kill.is_cancelled(), "one that reads goes on");
            assert!(waiting.recv().await.is_some());
            while waiting.try_recv().is_some() {}
        }
        (0..5).for_each(|_| wire.send(output(MAX_CHUNK)));
        assert!(kill.is_cancelled());
    }

    #[test]
    fn all_connections_of_a_user_together_have_one_budget_which_ends_with_them() {
        let (users, kill) = (Users::default(), CancellationToken::new());
        let open = |uid| lane::<HubToClient>(100, vec![users.budget(uid, 2 * MAX_CHUNK)], kill.clone());
        let ((first, waiting), (second, _waits)) = (open(7), open(7));
        let (other, _there) = open(8);
        for wire in [&first, &second, &other, &other] {
            wire.send(output(MAX_CHUNK));
        }
        assert!(!kill.is_cancelled());
        drop(waiting);
        // Nobody takes it, and it counts no more than what was taken.
        first.send(output(MAX_CHUNK));
        second.send(output(MAX_CHUNK));
        assert!(!kill.is_cancelled());
        second.send(output(1));
        assert!(kill.is_cancelled());
    }

    #[test]
    fn small_messages_are_counted_and_tiny_chunks_are_not_free() {
        let kill = CancellationToken::new();
        let (wire, _waiting) = lane::<HubToClient>(10, vec![Budget::of(MAX_CHUNK)], kill.clone());
        (0..10).for_each(|_| wire.send(output(0)));
        assert!(!kill.is_cancelled());
        wire.send(output(0));
        assert!(kill.is_cancelled());
        let kill = CancellationToken::new();
        let (wire, _waiting) = lane::<HubToClient>(1000, vec![Budget::of(MAX_CHUNK)], kill.clone());
        (0..17).for_each(|_| wire.send(output(1)));
        assert!(kill.is_cancelled());
    }
}
