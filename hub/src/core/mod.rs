//! The hub's state and rules, pure: something came in and the time in, effects out.
//!
//! Public for the model test, which plays the actor with a store that crashes; nothing else outside of the hub
//! uses it.
//!
//! No tokio, no I/O, no clock. The actor feeds it (the methods named after what came in), then calls
//! [`Core::flush`], writes what the effects say in one transaction, and only then does the rest of them in
//! order. Nothing here decodes an event or a value of a facet.

mod commands;
mod denied;
mod enrol;
mod incoming;
mod log;
mod node;
mod reading;
mod records;
mod remove;
mod resolve;
mod runs;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use bytes::Bytes;
use secmon_protocol::{
    command::OutputStream,
    hub_event::HubEvent,
    ids::{Cursor, Epoch, JobId, NodeId, NodeName, Seq},
    message::{client::HubToClient, node::HubToNode},
    record::{Envelope, LogRecord, Origin},
    state::{NodeState, Op},
    time::UnixNanos,
};

pub use self::{
    commands::check as check_commands,
    denied::Denial,
    enrol::{Admission, DEFAULT_VALIDITY, Enrolling, MAX_VALIDITY, TokenRow},
    incoming::{BadRecord, Incoming, Meaning, batch_cost},
    log::{LogRow, MAX_PREDECESSORS, Predecessor, Start},
    node::{Introduction, NodeRow, Standing, snapshot_too_large},
    reading::{Hole, Missing, Next, Reading, Shelf},
    runs::{
        JobAsk, JobLimits, JobList, JobRow, MAX_CREDIT_PER_CLIENT, MAX_RUNS_PER_CLIENT, MAX_RUNS_PER_NODE,
        Piece, RunRequest, Wanted, Wish,
    },
};
use self::{log::Log, node::Node, runs::Runs};
pub use crate::ca::Fingerprint;

/// The time, as the caller read it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For telling when something happened.
    pub unix: UnixNanos,
    /// Since the hub's start; for everything that takes time.
    pub mono: Duration,
}

/// One connection of a node, numbered by the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// One connection of a client, numbered by the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// What is to be done about what came in.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// To be written before any other effect of the batch is performed.
    Store(Write),
    /// A new record of the log, to be written with the batch and shown to subscribers once it is.
    Publish(LogRecord),
    /// A message for a node.
    ToNode(Link, HubToNode),
    /// End a node's connection once what was sent before is out.
    Close(Link, String),
    /// A message for a client.
    ToClient(ClientId, HubToClient),
    /// Something that the operator should know.
    Notice(Notice),
}

/// One change of what is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// All of a node but its state.
    Node(Box<NodeRow>),
    /// How far a node has come.
    Progress {
        /// The node.
        node: NodeId,
        /// The last record taken.
        last: Seq,
        /// When it was last heard.
        seen: UnixNanos,
        /// Whether its state may be wrong.
        stale: bool,
    },
    /// Operations on a node's state.
    State(NodeId, Vec<Op>),
    /// A token, new or changed.
    Token(TokenRow),
    /// A token that is of no use any more.
    ForgetToken(Fingerprint),
    /// All of a run but its output.
    Job(Box<JobRow>),
    /// How much a job has printed, and how much of that is not kept.
    JobProgress {
        /// The job.
        job: JobId,
        /// Bytes.
        output: u64,
        /// Bytes.
        dropped: u64,
    },
    /// Output of a job: a new piece, or more of the one that begins there.
    JobOutput {
        /// The job.
        job: JobId,
        /// Bytes that it had printed before the piece.
        at: u64,
        /// Which stream.
        stream: OutputStream,
        /// The bytes.
        data: Bytes,
    },
    /// Pieces of a job's output that are no longer kept.
    DropOutput {
        /// The job.
        job: JobId,
        /// Where the first of them begins.
        from: u64,
        /// Where the first behind them begins.
        to: u64,
    },
    /// A run, with its output, that is of no use any more.
    ForgetJob(JobId),
    /// A node that was removed, with its state.
    ForgetNode(NodeId),
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Two machines seem to use the same papers.
    Clone {
        /// The node.
        name: NodeName,
        /// The address that came last.
        address: String,
    },
    /// A node's clock is off.
    Clock {
        /// The node.
        name: NodeName,
        /// Its clock minus the hub's.
        offset: Duration,
        /// Whether it is ahead.
        ahead: bool,
    },
    /// A node's state had to be asked for again.
    Resync {
        /// The node.
        name: NodeName,
        /// Why.
        reason: String,
    },
}

/// The effects of one batch, in order.
pub type Effects = Vec<Effect>;

/// What a node's connection is in the middle of.
#[derive(Debug, Default)]
struct LinkState {
    /// A snapshot was asked for on this connection and has not come.
    asked: bool,
    /// The node said that it has less than it had sent before: the epoch under which its records are then
    /// logged, and the last one that it no longer has. It counts once records come, for a Hello may also be
    /// late: one of a connection that the node gave up before it made the one that is in use.
    back: Option<(Epoch, Seq)>,
    /// Once the node said which jobs it holds: those of them that nobody wants.
    unwanted: Option<BTreeSet<JobId>>,
}

/// How much of a node goes into the store with the next flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Dirty {
    Progress,
    Whole,
}

/// What a hub keeps over a restart.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The log, without its records.
    pub log: LogRow,
    /// The nodes with their state.
    pub nodes: Vec<(NodeRow, NodeState)>,
    /// The tokens.
    pub tokens: Vec<TokenRow>,
    /// The runs that are open, with the pieces of their output, and the jobs that are over.
    pub jobs: Vec<(JobRow, Vec<Piece>)>,
}

/// The state of the hub.
pub struct Core {
    log: Log,
    heartbeat: Duration,
    nodes: BTreeMap<NodeId, Node>,
    names: BTreeMap<NodeName, NodeId>,
    papers: HashMap<Fingerprint, NodeId>,
    links: BTreeMap<Link, (NodeId, LinkState)>,
    /// Nodes that were connected when the hub ended; see [`Core::settle`].
    cut_off: Vec<NodeId>,
    tokens: BTreeMap<Fingerprint, TokenRow>,
    runs: Runs,
    dirty: BTreeMap<NodeId, Dirty>,
    /// The acknowledgements that go out with the next flush.
    acks: BTreeMap<Link, Seq>,
}

impl Core {
    /// A hub with what was kept; every node is away.
    #[must_use]
    pub fn new(kept: Kept, heartbeat: Duration, jobs: JobLimits) -> Self {
        let runs = Runs::found(kept.jobs, jobs);
        Self::with(Log::new(kept.log), kept.nodes, (kept.tokens, runs), heartbeat)
    }

    fn with(
        log: Log,
        nodes: Vec<(NodeRow, NodeState)>,
        (tokens, runs): (Vec<TokenRow>, Runs),
        heartbeat: Duration,
    ) -> Self {
        let nodes: BTreeMap<_, _> =
            nodes.into_iter().map(|(row, state)| (row.id, Node::away(row, state))).collect();
        Self {
            log,
            heartbeat,
            names: nodes.values().map(|node| (node.row.name.clone(), node.row.id)).collect(),
            papers: nodes.values().map(|node| (node.row.papers, node.row.id)).collect(),
            cut_off: nodes.values().filter(|node| node.row.connected).map(|node| node.row.id).collect(),
            nodes,
            links: BTreeMap::new(),
            tokens: tokens.into_iter().map(|token| (token.secret, token)).collect(),
            runs,
            dirty: BTreeMap::new(),
            acks: BTreeMap::new(),
        }
    }

    /// Puts the core in the state of a start, after the store refused a batch: what was not written never
    /// happened.
    pub fn restore(&mut self, kept: Kept) {
        let log = self.log.restored(kept.log);
        let runs = self.runs.restored(kept.jobs);
        *self = Self::with(log, kept.nodes, (kept.tokens, runs), self.heartbeat);
    }

    /// The last place of the log.
    #[must_use]
    pub fn newest(&self) -> Cursor {
        self.log.newest()
    }

    /// Ends a batch: what waits to be written and acknowledged becomes effects.
    pub fn flush(&mut self, out: &mut Effects) {
        for (id, dirty) in std::mem::take(&mut self.dirty) {
            let Some(row) = self.nodes.get(&id).map(|node| &node.row) else { continue };
            out.push(Effect::Store(match dirty {
                Dirty::Whole => Write::Node(Box::new(row.clone())),
                Dirty::Progress => {
                    Write::Progress { node: id, last: row.last, seen: row.seen, stale: row.stale }
                }
            }));
        }
        self.runs.flush(out);
        for (link, seq) in std::mem::take(&mut self.acks) {
            out.push(Effect::ToNode(link, HubToNode::Ack { seq }));
        }
    }

    fn mark(&mut self, node: NodeId, dirty: Dirty) {
        let was = self.dirty.entry(node).or_insert(dirty);
        *was = dirty.max(*was);
    }

    fn publish(
        &mut self,
        node: NodeId,
        name: NodeName,
        origin: Origin,
        envelope: Envelope,
        out: &mut Effects,
    ) {
        let cursor = self.log.advance();
        out.push(Effect::Publish(LogRecord { cursor, node, name, origin, envelope }));
    }

    /// Logs a record of the hub's own about a node; nothing where the node is not known.
    fn tell(&mut self, now: Now, node: NodeId, event: &HubEvent, out: &mut Effects) {
        if let Some(name) = self.nodes.get(&node).map(|node| node.row.name.clone()) {
            self.publish(node, name, Origin::Hub, Envelope::hub(now.unix, event), out);
        }
    }
}
