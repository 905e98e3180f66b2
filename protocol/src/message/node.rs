//! Node and hub, under ALPN [`ALPN`]: TLS 1.3 with a client certificate of the hub's CA.
//!
//! The node dials and speaks first: Hello, answered by Welcome or Reject. The hub pings every heartbeat;
//! a side that hears nothing for three heartbeats closes the connection.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Refusal, fragmented};
use crate::{
    bounded,
    codec::{self, Fragment},
    command::{Arg, CommandInfo, OutputStream, RunEnd, Usage},
    ids::{Epoch, JobId, NodeId, NodeName, Seq},
    limits::{MAX_ARGS, MAX_COMMANDS, MAX_HELD_JOBS},
    time::UnixNanos,
};

/// The ALPN name of this conversation, which is its version.
pub const ALPN: &[u8] = b"secmon-node/1";
/// The name in the hub's certificate, whatever its address: the CA is what is trusted.
pub const SERVER_NAME: &str = "hub.secmon.internal";

/// What a node sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeToHub {
    /// The first message, and only the first. Frozen for ever.
    Hello(Hello),
    /// A list (see [`crate::codec::encode_list`]) of [`crate::record::NodeRecord`] in the order of their seq.
    Records(Bytes),
    /// The answer to a Ping.
    Pong {
        /// The number in the Ping.
        nonce: u64,
    },
    /// What may be run here, all of it, at most [`MAX_COMMANDS`]: after Welcome, and again when it has changed.
    Commands(#[serde(deserialize_with = "bounded::list::<_, _, MAX_COMMANDS>")] Vec<CommandInfo>),
    /// A run's process stands.
    Started {
        /// The run.
        job: JobId,
        /// Its process on the node.
        pid: u32,
    },
    /// What a run printed, in the order in which it came out of its two pipes.
    Output {
        /// The run.
        job: JobId,
        /// Which stream.
        stream: OutputStream,
        /// Bytes that the run had printed before these, both streams together.
        at: u64,
        /// At most [`crate::limits::MAX_CHUNK`] bytes.
        data: Bytes,
    },
    /// A run is over, and all its output was sent.
    Exit {
        /// The run.
        job: JobId,
        /// How it ended.
        end: RunEnd,
        /// What it took; none where it was not started, or not seen to end.
        usage: Option<Usage>,
    },
    /// More of a run's input may be sent. Comes first after Started, where the run reads input at all.
    StdinCredit {
        /// The run.
        job: JobId,
        /// How many bytes more; each chunk costs as in [`crate::limits::chunk_cost`].
        credit: u32,
    },
    /// The detached jobs that this node holds, at most [`MAX_HELD_JOBS`]: after Welcome, before anything of a run. What
    /// the hub has handed to it and does not find here was lost, or was never received.
    Jobs(#[serde(deserialize_with = "bounded::list::<_, _, MAX_HELD_JOBS>")] Vec<HeldJob>),
    /// A piece of a larger message.
    Fragment(Fragment),
}

/// What a hub sends to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubToNode {
    /// The node may speak. Frozen for ever.
    Welcome(Welcome),
    /// The node may not; the connection ends. Frozen for ever.
    Reject(Refusal),
    /// Every record up to and with this seq is kept; the node may forget it.
    Ack {
        /// The last one kept.
        seq: Seq,
    },
    /// The hub's view of the node's state is broken: append a snapshot at the newest seq.
    Resync,
    /// A heartbeat.
    Ping {
        /// Comes back in the Pong.
        nonce: u64,
    },
    /// Start a command.
    Run(Order),
    /// End a run: TERM to its processes, then KILL.
    Cancel {
        /// The run.
        job: JobId,
    },
    /// More output of a run may be sent.
    Credit {
        /// The run.
        job: JobId,
        /// How much more.
        credit: u32,
    },
    /// A piece of a run's input.
    Stdin {
        /// The run.
        job: JobId,
        /// At most [`crate::limits::MAX_CHUNK`] bytes; none: its end.
        data: Bytes,
    },
    /// A detached job that the node holds goes on here: send its output from this place on, and its end.
    Resume {
        /// The job.
        job: JobId,
        /// Bytes of its output that the hub has; what is before them may be forgotten, and counts as granted again.
        have: u64,
    },
    /// The end of a detached job is kept, or nobody wants it: the node may forget the job, all but its number.
    Forget {
        /// The job.
        job: JobId,
    },
    /// A piece of a larger message.
    Fragment(Fragment),
}

/// What a hub wants to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The run's number. A node never starts two detached ones of the same number, not even after a restart.
    pub job: JobId,
    /// Which command.
    pub label: String,
    /// With which arguments.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
    pub args: Vec<Arg>,
    /// Output that may be sent at once; see [`crate::limits::chunk_cost`].
    pub credit: u32,
    /// Whether somebody is there to send input, if the entry allows any. Else there is none.
    pub stdin: bool,
    /// Whether it goes on, and its output waits, while the connection is lost. A run that is not detached ends with
    /// its connection.
    pub detached: bool,
}

/// A detached job that a node holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldJob {
    /// Which.
    pub job: JobId,
    /// Its process, where it stands or stood.
    pub pid: Option<u32>,
}

fragmented!(NodeToHub, sharing);

/// An Output whose bytes are a share of its frame.
fn sharing(frame: &Bytes) -> Option<NodeToHub> {
    /// The place of Output among the messages; a test holds it to the encoder.
    const OUTPUT: u32 = 5;
    let ((message, job, stream, at), data) = codec::share::<(u32, JobId, OutputStream, u64)>(frame)?;
    (message == OUTPUT).then_some(NodeToHub::Output { job, stream, at, data })
}
fragmented!(HubToNode);

/// How a node introduces itself. Frozen for ever; what it lacks goes into `extensions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The node's version, `0.1.0`.
    pub agent: String,
    /// The server it runs on.
    pub facts: HostFacts,
    /// The node's numbering of records.
    pub epoch: Epoch,
    /// The oldest record that the node still holds; `newest + 1` when it holds none.
    pub oldest: Seq,
    /// The newest record that there is; 0 when there was none yet.
    pub newest: Seq,
    /// The node's clock as this message was made.
    pub clock: UnixNanos,
    /// Room for later versions: number and value, ignored by who does not know the number.
    pub extensions: BTreeMap<u16, Bytes>,
}

/// The server that a node runs on. Texts as the system has them; empty where it does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host name, uname(2).
    pub hostname: String,
    /// The distribution, `PRETTY_NAME` of os-release(5).
    pub os: String,
    /// The kernel's release, uname(2).
    pub kernel: String,
    /// The machine's architecture, uname(2).
    pub arch: String,
}

/// The hub's answer to a Hello. Frozen for ever; what it lacks goes into `extensions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The node's id, as the hub knows it.
    pub node: NodeId,
    /// The node's name, as the hub knows it.
    pub name: NodeName,
    /// Where to go on.
    pub resume: Resume,
    /// Milliseconds between heartbeats.
    pub heartbeat_ms: u32,
    /// The hub's clock as this message was made.
    pub clock: UnixNanos,
    /// Room for later versions.
    pub extensions: BTreeMap<u16, Bytes>,
}

/// Which record the hub wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// The one after this.
    After(Seq),
    /// The oldest that the node holds.
    Oldest,
}
