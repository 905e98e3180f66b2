//! The way to the actor: what may be sent to it, how it answers, and room in its queue.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use secmon_protocol::{
    hub_event::Requester,
    ids::{Cursor, NodeId, NodeName, RequestId},
    message::{
        ErrorCode, Refusal,
        client::{HubToClient, JobSummary, NodeDetail, NodeSummary, Presence},
        node::{HubToNode, NodeToHub},
    },
    time::UnixNanos,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::Wire;
use crate::{
    access::Grants,
    ca::Fingerprint,
    core::{
        Admission, ClientId, Denial, Enrolling, Incoming, Introduction, JobAsk, JobList, Link, RunRequest,
        Start, Wanted, Wish,
    },
};

/// Messages that wait for the actor. Enough that a batch is worth its transaction; whoever finds the queue
/// full waits, which slows the sender and nobody else.
const QUEUE: usize = 512;
/// Memory of what nodes sent and the actor has not taken, counted in KiB; large snapshots of many nodes at
/// once wait on their own connections instead of in the queue.
const BUDGET_KIB: usize = 64 << 10;

/// An answer, or why there is none.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the actor may send to a node's connection.
#[derive(Debug)]
pub(crate) enum ToLink {
    /// A message.
    Message(HubToNode),
    /// End it, for this reason.
    Close(String),
}

/// Room in the queue, and the turn of the connection; given back when the message is taken.
pub(crate) type Turn = [OwnedSemaphorePermit; 2];

/// What comes to the actor.
pub(crate) enum Message {
    /// The hub has begun; see [`Core::settle`].
    Begun,
    /// A node says Hello.
    NodeUp(Link, Box<Introduction>, Wire<ToLink>),
    /// Records of a node.
    Records(Link, Vec<Incoming>, Turn),
    /// Something else from a node.
    Node(Link, NodeToHub, Turn),
    /// A node's connection has ended.
    NodeDown(Link, String),
    /// A client was let in.
    ClientUp(ClientId, Wire<HubToClient>),
    /// A client wants to run something.
    Run(ClientId, RunRequest),
    /// A client sends a piece of a run's input.
    Stdin(ClientId, RequestId, Bytes),
    /// A client grants a run more output.
    Credit(ClientId, RequestId, u32),
    /// A client cancels a run.
    Cancel(ClientId, RequestId),
    /// A client's connection has ended.
    ClientDown(ClientId),
    /// A client wants a job, which may wait for so long.
    Submit(Wish, Duration, Reply<JobSummary>),
    /// Jobs, and whether there are more.
    Jobs(JobList, Reply<(Vec<JobSummary>, bool)>),
    /// One job.
    Job(JobAsk, Reply<JobSummary>),
    /// One job, whose output is to be read.
    ReadJob(JobAsk, Reply<JobSummary>),
    /// End a job.
    CancelJob(JobAsk, Reply<JobSummary>),
    /// Time has passed.
    Tick,
    /// All nodes.
    List(Reply<Vec<NodeSummary>>),
    /// One node.
    Get(String, Arc<Grants>, Reply<NodeDetail>),
    /// The state of some nodes, and the place in the log at which it stands.
    Snapshot(Wanted, Reply<(u64, Vec<NodeDetail>)>),
    /// Where a subscription begins that goes on from a place.
    Begin(Cursor, Reply<Start>),
    /// A new token; its expiry is the answer.
    Enroll(Enrolling, Reply<UnixNanos>),
    /// Whom a token lets in.
    Admit(Fingerprint, Reply<Admission>),
    /// Spend a token: its secret's hash, the new papers, the node's version.
    Join(Fingerprint, Fingerprint, String, Reply<Admission>),
    /// Remove a node.
    Remove(String, Arc<Grants>, Requester, Reply<(NodeId, NodeName)>),
    /// Somebody was denied something.
    Denied(Box<Denial>),
}

/// The way to the actor, for everybody else.
#[derive(Clone)]
pub(crate) struct Handle {
    queue: mpsc::Sender<Message>,
    budget: Arc<Semaphore>,
    jobs: watch::Receiver<()>,
}

impl Handle {
    /// One, and what is sent to it; `jobs` changes when something of jobs was written.
    pub(super) fn new(jobs: watch::Receiver<()>) -> (Self, mpsc::Receiver<Message>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue, budget: Arc::new(Semaphore::new(BUDGET_KIB)), jobs }, receiver)
    }

    /// One that no actor hears, and what is sent to it.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> (Self, mpsc::Receiver<Message>) {
        Self::new(watch::channel(()).1)
    }

    /// Sends, and waits for room. A hub that is stopping no longer listens, which is no news to anyone.
    pub(crate) async fn send(&self, message: Message) {
        let _ = self.queue.send(message).await;
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The core's refusal, or that the hub is stopping.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Message) -> Result<T, Refusal> {
        let stopping = || Refusal::new(ErrorCode::Internal, "the hub is stopping; try again when it is back");
        let (reply, answer) = oneshot::channel();
        self.queue.send(question(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Changes when something of jobs was written.
    pub(crate) fn watch_jobs(&self) -> watch::Receiver<()> {
        self.jobs.clone()
    }

    /// Room for this many bytes in the queue; what needs more than all of it gets all of it.
    pub(crate) async fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from((bytes >> 10).clamp(1, BUDGET_KIB)).unwrap_or(1);
        self.budget.clone().acquire_many_owned(kib).await.ok()
    }

    /// Whether a node of that name has joined.
    ///
    /// # Errors
    /// The hub is stopping.
    pub(crate) async fn knows(&self, name: &NodeName) -> Result<bool, Refusal> {
        let nodes = self.ask(Message::List).await?;
        let joined = |node: &NodeSummary| !matches!(node.presence, Presence::Expected { .. });
        Ok(nodes.iter().any(|node| node.name == *name && joined(node)))
    }
}
