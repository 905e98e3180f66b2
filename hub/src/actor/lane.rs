//! The way from the actor to a connection: so many messages, and so many bytes of what commands print and read among
//! them, and no more. The actor never waits for a peer; one that does not read is cut off.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
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

/// The actor's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    queue: mpsc::Sender<T>,
    bytes: Arc<AtomicUsize>,
    most: usize,
    /// Ends a connection whose peer does not read.
    kill: CancellationToken,
}

/// The connection's end: what is to be written.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    queue: mpsc::Receiver<T>,
    bytes: Arc<AtomicUsize>,
}

/// A way for `depth` messages, and `most` bytes of what commands print or read; where more would wait, `kill` is
/// cancelled.
pub(crate) fn lane<T: Weigh>(depth: usize, most: usize, kill: CancellationToken) -> (Wire<T>, Waiting<T>) {
    let (sender, receiver) = mpsc::channel(depth);
    let bytes = Arc::new(AtomicUsize::new(0));
    (Wire { queue: sender, bytes: bytes.clone(), most, kill }, Waiting { queue: receiver, bytes })
}

impl<T: Weigh> Wire<T> {
    /// Queues a message; never waited for.
    pub(super) fn send(&self, message: T) {
        let weight = message.weight();
        if weight > 0 && self.bytes.fetch_add(weight, Relaxed) + weight > self.most {
            return self.kill.cancel();
        }
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(message) {
            self.kill.cancel();
        }
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
        self.bytes.fetch_sub(message.weight(), Relaxed);
        message
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
        let (wire, mut waiting) = lane::<HubToClient>(1000, 4 * MAX_CHUNK, kill.clone());
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
    fn small_messages_are_counted_and_tiny_chunks_are_not_free() {
        let kill = CancellationToken::new();
        let (wire, _waiting) = lane::<HubToClient>(10, MAX_CHUNK, kill.clone());
        (0..10).for_each(|_| wire.send(output(0)));
        assert!(!kill.is_cancelled());
        wire.send(output(0));
        assert!(kill.is_cancelled());
        let kill = CancellationToken::new();
        let (wire, _waiting) = lane::<HubToClient>(1000, MAX_CHUNK, kill.clone());
        (0..17).for_each(|_| wire.send(output(1)));
        assert!(kill.is_cancelled());
    }
}
