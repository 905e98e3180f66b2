//! Records: everything that a node or the hub reports, each in an envelope of bytes.
//!
//! The hub routes, filters, stores and forwards envelopes and never looks inside an auth event; of a
//! diff it reads the operations (see [`crate::state`]) but no key and no value.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    auth::AuthEvent,
    codec::{self, CodecError},
    event::EventType,
    hub_event::HubEvent,
    ids::{Cursor, Epoch, NodeId, NodeName, Seq},
    limits::MAX_TYPES,
    state::Op,
    time::UnixNanos,
};

/// What the body of an envelope is. A number and not an enum: a hub carries kinds that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKind(pub u16);

impl RecordKind {
    /// A node's whole state: a list of [`Op`] that makes it from nothing.
    pub const SNAPSHOT: Self = Self(1);
    /// What changed: a list of [`Op`].
    pub const DIFF: Self = Self(2);
    /// An [`AuthEvent`].
    pub const AUTH: Self = Self(3);
    /// A [`Lost`].
    pub const LOST: Self = Self(4);
    /// A [`HubEvent`].
    pub const HUB: Self = Self(5);
}

/// The version of every body that this build writes.
pub const BODY_VERSION: u16 = 1;

/// What everybody may read of a record, around a body that only its reader decodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What the body is.
    pub kind: RecordKind,
    /// The version of the body's form, counted per kind.
    pub version: u16,
    /// When what it reports happened.
    pub time: UnixNanos,
    /// The `secmon.type` of every event that the record yields, each once; at most
    /// [`crate::limits::MAX_TYPES`]. A subscriber's filter looks at these.
    #[serde(deserialize_with = "crate::bounded::list::<_, _, MAX_TYPES>")]
    pub types: Vec<String>,
    /// The body.
    pub body: Bytes,
}

impl Envelope {
    fn new(kind: RecordKind, time: UnixNanos, types: Vec<EventType>, body: Bytes) -> Self {
        let mut names: Vec<String> = types.iter().map(|t| t.as_str().to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names.truncate(MAX_TYPES);
        Self { kind, version: BODY_VERSION, time, types: names, body }
    }

    /// A diff.
    #[must_use]
    pub fn diff(time: UnixNanos, ops: &[Op]) -> Self {
        Self::new(RecordKind::DIFF, time, crate::event::types_of(ops), codec::encode_list(ops))
    }

    /// A diff between a snapshot and what the hub held, made by the hub without decoding a value: the
    /// types are all that the operations could yield.
    #[must_use]
    pub fn reconciled(time: UnixNanos, ops: &[Op]) -> Self {
        Self::new(RecordKind::DIFF, time, crate::event::possible_types_of(ops), codec::encode_list(ops))
    }

    /// A snapshot. It yields no events by itself: the hub logs it as the diff against what it held.
    #[must_use]
    pub fn snapshot(time: UnixNanos, ops: &[Op]) -> Self {
        Self::new(RecordKind::SNAPSHOT, time, vec![], codec::encode_list(ops))
    }

    /// An auth event.
    #[must_use]
    pub fn auth(event: &AuthEvent) -> Self {
        Self::new(RecordKind::AUTH, event.time, vec![EventType::auth(event.action)], codec::encode(event))
    }

    /// Records that were dropped.
    #[must_use]
    pub fn lost(time: UnixNanos, lost: &Lost) -> Self {
        Self::new(RecordKind::LOST, time, vec![EventType::Gap], codec::encode(lost))
    }

    /// A record of the hub's own.
    #[must_use]
    pub fn hub(time: UnixNanos, event: &HubEvent) -> Self {
        Self::new(RecordKind::HUB, time, vec![event.event_type()], codec::encode(event))
    }

    /// Takes the body apart.
    ///
    /// # Errors
    /// A kind or a version that this build does not know, or a body that is not what it says.
    pub fn decode(&self) -> Result<Body, CodecError> {
        if self.version != BODY_VERSION {
            return Err(CodecError::Version { what: "record", found: self.version });
        }
        Ok(match self.kind {
            RecordKind::SNAPSHOT => Body::Snapshot(codec::decode_list(&self.body)?),
            RecordKind::DIFF => Body::Diff(codec::decode_list(&self.body)?),
            RecordKind::AUTH => Body::Auth(codec::decode(&self.body)?),
            RecordKind::LOST => Body::Lost(codec::decode(&self.body)?),
            RecordKind::HUB => Body::Hub(codec::decode(&self.body)?),
            RecordKind(kind) => return Err(CodecError::Version { what: "record kind", found: kind }),
        })
    }
}

/// A decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// [`RecordKind::SNAPSHOT`].
    Snapshot(Vec<Op>),
    /// [`RecordKind::DIFF`].
    Diff(Vec<Op>),
    /// [`RecordKind::AUTH`].
    Auth(AuthEvent),
    /// [`RecordKind::LOST`].
    Lost(Lost),
    /// [`RecordKind::HUB`].
    Hub(HubEvent),
}

/// Records that a node had to drop. It stands at the seq of the last of them, so that no seq is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// Why, in words: `the outbox was full`.
    pub reason: String,
}

impl Lost {
    /// How the reason begins where the node's own limit dropped events before they were kept.
    pub const RATE: &str = "rate: ";

    /// Whether no change of the node's state can be among what was dropped.
    #[must_use]
    pub fn only_events(&self) -> bool {
        self.reason.starts_with(Self::RATE)
    }
}

/// A record on its way from a node: its place and its envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its place within the epoch named in the connection's Hello.
    pub seq: Seq,
    /// What it is.
    pub envelope: Envelope,
}

/// Who made a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The node itself, at this place of its stream.
    Node {
        /// The node's epoch.
        epoch: Epoch,
        /// The place within it.
        seq: Seq,
    },
    /// The hub; the record's id is its cursor.
    Hub,
}

/// A record in the hub's log, as subscribers get it; encoded once for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Its place in the hub's log.
    pub cursor: Cursor,
    /// The node that it is from or about; [`NodeId::HUB`] where it is about none.
    pub node: NodeId,
    /// That node's name at the time.
    pub name: NodeName,
    /// Who made it.
    pub origin: Origin,
    /// What it is.
    pub envelope: Envelope,
}

/// What a hub reads of a [`LogRecord`] that it wrote itself, without a copy of anything.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogHead<'a> {
    /// Its place in the hub's log.
    pub cursor: Cursor,
    /// The node that it is from or about.
    pub node: NodeId,
    /// That node's name at the time.
    pub name: &'a str,
    /// Who made it.
    pub origin: Origin,
    /// What the body is.
    pub kind: RecordKind,
    /// The version of the body's form.
    pub version: u16,
    /// When what it reports happened.
    pub time: UnixNanos,
    /// The types of its events.
    #[serde(borrow, deserialize_with = "crate::bounded::list::<_, _, MAX_TYPES>")]
    pub types: Vec<&'a str>,
    /// The body.
    pub body: &'a [u8],
}
