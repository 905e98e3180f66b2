//! Client and hub, over the hub's Unix socket. The kernel says who the client is.
//!
//! The client speaks first: Hello, answered by Welcome or Reject. After that it may have many requests
//! open at once, told apart by its own [`RequestId`]s.

mod access;
mod jobs;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

pub use self::{
    access::{Role, Rule, WhoAmI},
    jobs::{JobFilter, JobState, JobSummary},
};
use super::{Refusal, fragmented, node::HostFacts};
use crate::{
    bounded,
    codec::{self, Fragment},
    command::{Arg, CommandInfo, OutputStream, RunEnd, Usage},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, JobId, NodeId, NodeName, RequestId},
    limits::{MAX_ARGS, MAX_PATTERNS},
    time::UnixNanos,
};

/// The version of this conversation.
pub const VERSION: u16 = 1;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientToHub {
    /// The first message, and only the first. Frozen for ever.
    Hello {
        /// The newest version that the client speaks.
        version: u16,
        /// The program, in its own words: `secmon 0.1.0`.
        agent: String,
    },
    /// All nodes. Answered by [`HubToClient::Nodes`].
    List {
        /// The request.
        request: RequestId,
    },
    /// One node with its whole state. Answered by [`HubToClient::Node`].
    Get {
        /// The request.
        request: RequestId,
        /// Its name, its id, or a prefix of its id that no other node has.
        node: String,
    },
    /// Events from some place on. Answered by [`HubToClient::Subscribed`], then by events without end.
    Subscribe {
        /// The request.
        request: RequestId,
        /// From where.
        from: From,
        /// Which.
        filter: Filter,
    },
    /// Run a command that ends with this connection. Answered by Started, Output … and Exit, or by Error.
    Run {
        /// The request.
        request: RequestId,
        /// As in Get.
        node: String,
        /// Which command.
        label: String,
        /// With which arguments.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
        args: Vec<Arg>,
        /// Output that may be sent at once; see [`crate::limits::chunk_cost`].
        credit: u32,
        /// Whether this client has input for it, should the command read any: StdinCredit asks for it.
        stdin: bool,
    },
    /// More output of a run, or of a job that is followed, may be sent.
    Credit {
        /// The run's request.
        request: RequestId,
        /// How much more.
        credit: u32,
    },
    /// End a subscription, or a run with its process group (its Exit still comes).
    Cancel {
        /// The request to end.
        request: RequestId,
    },
    /// Make a token for a new node. Answered by [`HubToClient::Enrolling`].
    Enroll {
        /// The request.
        request: RequestId,
        /// The new node's name.
        name: NodeName,
        /// Seconds for which the token is good; 0 for the hub's default.
        valid_secs: u32,
        /// Whether a known node of that name shall be given new papers and its old ones be refused.
        replace: bool,
    },
    /// A piece of a run's input, as far as StdinCredit has asked for it.
    Stdin {
        /// The run's request.
        request: RequestId,
        /// At most [`crate::limits::MAX_CHUNK`] bytes; none: its end.
        data: Bytes,
    },
    /// Run a command that goes on without this client. Answered by [`HubToClient::Job`], or by Error.
    Submit {
        /// The request.
        request: RequestId,
        /// As in Get.
        node: String,
        /// Which command.
        label: String,
        /// With which arguments.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
        args: Vec<Arg>,
        /// Seconds for which it may wait for a node that is away; 0: it does not wait.
        queue_secs: u32,
    },
    /// Jobs, the latest first. Answered by [`HubToClient::Jobs`].
    Jobs {
        /// The request.
        request: RequestId,
        /// Which.
        filter: JobFilter,
    },
    /// One job. Answered by [`HubToClient::Job`].
    Job {
        /// The request.
        request: RequestId,
        /// Its number, or a beginning of it that no other job has.
        job: String,
    },
    /// What a job has printed. Answered by Output and OutputMissing …, and by [`HubToClient::Job`] at the end: of what
    /// is kept, or of the job.
    JobOutput {
        /// The request.
        request: RequestId,
        /// As in Job.
        job: String,
        /// Whether to wait for more until the job is over.
        follow: bool,
        /// Output that may be sent at once; see [`crate::limits::chunk_cost`].
        credit: u32,
    },
    /// End a job, or take it out of the queue. Answered by [`HubToClient::Job`] once that is under way.
    CancelJob {
        /// The request.
        request: RequestId,
        /// As in Job.
        job: String,
    },
    /// Who this client is to the hub. Answered by [`HubToClient::You`].
    WhoAmI {
        /// The request.
        request: RequestId,
    },
    /// Lock a node out at once and forget it. Answered by [`HubToClient::Removed`].
    Remove {
        /// The request.
        request: RequestId,
        /// As in Get.
        node: String,
    },
    /// A piece of a larger message.
    Fragment(Fragment),
}

/// What a hub sends to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubToClient {
    /// The client may speak. Frozen for ever.
    Welcome {
        /// The version that the two will speak.
        version: u16,
        /// The hub's version, `0.1.0`.
        agent: String,
        /// The newest place in the hub's log.
        newest: Cursor,
        /// The hub's clock as this message was made.
        clock: UnixNanos,
    },
    /// The client may not; the connection ends. Frozen for ever.
    Reject(Refusal),
    /// One record for a subscription: a [`crate::record::LogRecord`], encoded; see [`EventHeader`].
    Event {
        /// The subscription.
        request: RequestId,
        /// The record.
        record: Bytes,
    },
    /// A subscription stands.
    Subscribed {
        /// The subscription.
        request: RequestId,
        /// Everything after this place follows, as far as the filter lets it.
        after: Cursor,
        /// The nodes with their state at that place, where the subscription began with a snapshot.
        snapshot: Option<Vec<NodeDetail>>,
        /// Whether the subscriber may see everything: then what it gets without a filter has no hole in its numbers.
        whole: bool,
    },
    /// A subscription misses something.
    Gap {
        /// The subscription.
        request: RequestId,
        /// What is missing, and why.
        gap: Gap,
    },
    /// A subscription has passed this place, and nothing up to it matched its filter.
    Progress {
        /// The subscription.
        request: RequestId,
        /// The place.
        cursor: Cursor,
    },
    /// Answer to List, sorted by name.
    Nodes {
        /// The request.
        request: RequestId,
        /// The nodes.
        nodes: Vec<NodeSummary>,
    },
    /// Answer to Get.
    Node {
        /// The request.
        request: RequestId,
        /// The node.
        node: Box<NodeDetail>,
    },
    /// A run was handed to its node and its process stands.
    Started {
        /// The run's request.
        request: RequestId,
        /// The run's number.
        job: JobId,
        /// The node.
        node: NodeId,
        /// The process on the node.
        pid: u32,
    },
    /// What a run printed.
    Output {
        /// The run's request.
        request: RequestId,
        /// Which stream.
        stream: OutputStream,
        /// The bytes.
        data: Bytes,
    },
    /// A run is over; nothing more comes for this request.
    Exit {
        /// The run's request.
        request: RequestId,
        /// How it ended.
        end: RunEnd,
        /// What it took; none where it was not started, or not seen to end.
        usage: Option<Usage>,
    },
    /// Answer to Enroll.
    Enrolling {
        /// The request.
        request: RequestId,
        /// The token as text, to be shown once and kept nowhere.
        token: TokenText,
        /// When it expires.
        expires: UnixNanos,
        /// The addresses in it.
        addresses: Vec<String>,
    },
    /// A request failed; nothing more comes for it.
    Error {
        /// The request.
        request: RequestId,
        /// Why.
        refusal: Refusal,
    },
    /// A run reads input: so much more may be sent.
    StdinCredit {
        /// The run's request.
        request: RequestId,
        /// How many bytes more; each chunk costs as in [`crate::limits::chunk_cost`].
        credit: u32,
    },
    /// Answer to Submit, Job and CancelJob, and the end of a job's output.
    Job {
        /// The request.
        request: RequestId,
        /// The job as it now stands.
        job: Box<JobSummary>,
    },
    /// Answer to Jobs, the latest first.
    Jobs {
        /// The request.
        request: RequestId,
        /// At most [`crate::limits::MAX_JOBS`].
        jobs: Vec<JobSummary>,
        /// Whether there are more that fit the filter.
        more: bool,
    },
    /// Between two pieces of a job's output something is not kept.
    OutputMissing {
        /// The request.
        request: RequestId,
        /// How many bytes.
        bytes: u64,
    },
    /// Answer to WhoAmI.
    You {
        /// The request.
        request: RequestId,
        /// Who, and what he may do.
        who: Box<WhoAmI>,
    },
    /// Answer to Remove.
    Removed {
        /// The request.
        request: RequestId,
        /// Which node was removed.
        node: NodeId,
        /// Its name.
        name: NodeName,
    },
    /// A piece of a larger message.
    Fragment(Fragment),
}

fragmented!(ClientToHub);
fragmented!(HubToClient, sharing);

/// An Output whose bytes are a share of its frame.
fn sharing(frame: &Bytes) -> Option<HubToClient> {
    /// The place of Output among the messages; a test holds it to the encoder.
    const OUTPUT: u32 = 9;
    let ((message, request, stream), data) = codec::share::<(u32, RequestId, OutputStream)>(frame)?;
    (message == OUTPUT).then_some(HubToClient::Output { request, stream, data })
}

/// A token on its way to the one who asked for it; its Debug shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenText(pub String);

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// What stands before a record in the frame of its [`HubToClient::Event`]: a few bytes of the subscriber's own, behind
/// which those are written that were encoded once for everybody.
#[derive(Debug, Clone)]
pub struct EventHeader(BytesMut);

impl EventHeader {
    /// That of a subscription's events.
    #[must_use]
    pub fn of(request: RequestId) -> Self {
        // The bincode of the enum's variant (2), then the request and the length of the byte string, each as
        // bincode's variable-length integer; `an_event_frame_is_the_message` holds it to the real encoder.
        let mut start = BytesMut::new();
        start.put_u8(2);
        codec::append(&mut start, &request);
        Self(start)
    }

    /// Puts it behind what is to be written, for a record of so many bytes.
    pub fn put(&self, out: &mut BytesMut, record_len: usize) {
        out.put_slice(&self.0);
        codec::append(out, &(record_len as u64));
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum From {
    /// With what happens next.
    Now,
    /// With everything after this place.
    Cursor(Cursor),
    /// With the whole stored state, then everything after the place at which it stands.
    Snapshot,
    /// With everything that the hub took from this time on, by the hub's own clock.
    Time(UnixNanos),
}

/// Which records a subscription wants. An empty list of patterns matches everything; in a pattern `*`
/// stands for any text and `?` for one character. At most [`MAX_PATTERNS`] of each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Patterns for the node's name, or its id.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_PATTERNS>")]
    pub nodes: Vec<String>,
    /// Patterns for `secmon.type`; a record is sent when one of its types matches.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_PATTERNS>")]
    pub types: Vec<String>,
}

/// Records that a subscription does not get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The last place before the gap.
    pub after: Cursor,
    /// The last place within it; everything after this follows.
    pub to: Cursor,
    /// Why, in words.
    pub reason: String,
}

/// Whether a node is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// Connected since then.
    Online {
        /// When its connection came to stand.
        since: UnixNanos,
    },
    /// Not connected since then.
    Away {
        /// When its connection ended, or when it was enrolled if it never came.
        since: UnixNanos,
    },
    /// A token was made and not used yet.
    Expected {
        /// When the token was made.
        since: UnixNanos,
    },
}

/// One node in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Whether it is connected.
    pub presence: Presence,
    /// Its version; empty until it first came.
    pub agent: String,
    /// The address it last came from; empty until then.
    pub address: String,
    /// The server it runs on.
    pub facts: HostFacts,
    /// Its clock minus the hub's when it last came, in nanoseconds.
    pub clock_offset: i64,
    /// Its facets and how many entries each has, by facet id.
    pub facets: Vec<FacetSummary>,
    /// How many commands it offers.
    pub commands: u32,
    /// Whether a snapshot is awaited, so that the state may be wrong.
    pub stale: bool,
}

/// One facet in a [`NodeSummary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetSummary {
    /// Which.
    pub facet: FacetId,
    /// Whether it can be seen.
    pub status: FacetStatus,
    /// How many entries it has.
    pub entries: u64,
}

/// One node with its whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDetail {
    /// What a list says of it.
    pub summary: NodeSummary,
    /// What may be run there, sorted by label.
    pub commands: Vec<CommandInfo>,
    /// The entries of its facets: facet, key and value as the node encoded them.
    pub entries: Vec<(FacetId, Bytes, Bytes)>,
}
