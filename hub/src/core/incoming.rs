//! A node's record, checked and read as far as a hub reads it. Done on the connection's own task, so that
//! the actor has nothing to decode.

use secmon_protocol::{
    codec::{CodecError, decode_list},
    limits::{MAX_RECORD, MAX_TYPES},
    record::{BODY_VERSION, Body, Envelope, NodeRecord, RecordKind},
    state::Op,
};

/// Longest `secmon.type`, in bytes.
const MAX_TYPE: usize = 64;

/// A record and what the hub needs of its body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Incoming {
    /// The record as the node sent it.
    pub(crate) record: NodeRecord,
    /// What it means for the node's state.
    pub(crate) meaning: Meaning,
}

/// What a record means for the node's state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    /// The whole of it.
    Snapshot(Vec<Op>),
    /// A change of it.
    Diff(Vec<Op>),
    /// This many records were dropped, the last with this seq.
    Lost(u64),
    /// A change or the whole of it, in a form of a later version.
    Later,
    /// Nothing.
    Event,
}

/// A record that breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadRecord {
    /// It cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It claims to be the hub's own.
    #[error("a node sent a record of the hub's own kind")]
    Forged,
    /// It is over a limit.
    #[error("a record's {0} is over its limit")]
    Limit(&'static str),
}

impl Incoming {
    /// The records of a batch.
    ///
    /// # Errors
    /// The first that breaks the protocol.
    pub(crate) fn batch(list: &[u8]) -> Result<Vec<Self>, BadRecord> {
        decode_list::<NodeRecord>(list)?.into_iter().map(Self::new).collect()
    }

    pub(crate) fn new(record: NodeRecord) -> Result<Self, BadRecord> {
        let envelope = &record.envelope;
        if envelope.types.len() > MAX_TYPES || envelope.types.iter().any(|name| name.len() > MAX_TYPE) {
            return Err(BadRecord::Limit("list of types"));
        }
        if envelope.body.len() > MAX_RECORD {
            return Err(BadRecord::Limit("body"));
        }
        let meaning = meaning(envelope)?;
        Ok(Self { record, meaning })
    }
}

fn meaning(envelope: &Envelope) -> Result<Meaning, BadRecord> {
    let known = envelope.version == BODY_VERSION;
    Ok(match envelope.kind {
        RecordKind::HUB => return Err(BadRecord::Forged),
        RecordKind::SNAPSHOT | RecordKind::DIFF if !known => Meaning::Later,
        RecordKind::SNAPSHOT | RecordKind::DIFF | RecordKind::LOST if known => match envelope.decode()? {
            Body::Snapshot(ops) => Meaning::Snapshot(ops),
            Body::Diff(ops) => Meaning::Diff(ops),
            Body::Lost(lost) => Meaning::Lost(lost.count),
            Body::Auth(_) | Body::Hub(_) => Meaning::Event,
        },
        _ => Meaning::Event,
    })
}
