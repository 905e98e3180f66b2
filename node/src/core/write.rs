//! What passes between the core and the shelf that keeps its records: values only.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use secmon_protocol::{
    codec,
    ids::{Epoch, Seq},
    record::RecordKind,
    state::{NodeState, Op},
    time::UnixNanos,
};

/// The two clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since some moment before the node's start; never jumps. All waiting goes by it.
    pub mono: Duration,
    /// The wall clock, for the stamps of records; it may jump in either direction.
    pub unix: UnixNanos,
}

/// One change of what is kept. A list of them is applied in one transaction, in its order, whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A record, at a place that holds none.
    Append(Row),
    /// All records up to and with this place go.
    DropThrough(u64),
    /// How far a source was read; an empty place forgets the source.
    Source {
        /// Which source.
        source: String,
        /// In its watcher's own form.
        at: Bytes,
    },
    /// The reported state changed by these operations, which fit it.
    State(Vec<Op>),
    /// The numbering.
    Meta(Meta),
    /// So many events were dropped by the limit on events, and no record says so yet.
    Dropped(u64),
}

/// A record as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where it stands.
    pub entry: Entry,
    /// Its [`Envelope`](secmon_protocol::record::Envelope), encoded.
    pub envelope: Bytes,
}

/// What there is to know of a record without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// A number that rises with every record and never falls, across epochs; its seq is `place - base`.
    pub place: u64,
    /// How many places it stands for, itself and those before it: 1, or what was lost.
    pub stands_for: u64,
    /// What it is.
    pub kind: RecordKind,
    /// Bytes of its envelope.
    pub len: usize,
}

/// The numbering of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The epoch.
    pub epoch: Epoch,
    /// The place before the epoch's seq 1.
    pub base: u64,
    /// The boot in which the epoch began; nothing where the system does not say.
    pub boot: Option<String>,
    /// Whether the epoch still lacks its first snapshot.
    pub owed: bool,
}

/// Everything that a shelf keeps, but for the envelopes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The numbering; nothing on a new shelf.
    pub meta: Option<Meta>,
    /// The records, oldest first.
    pub entries: Vec<Entry>,
    /// The greatest place that any record has had.
    pub newest: u64,
    /// See [`Write::Dropped`].
    pub dropped: u64,
    /// See [`Write::Source`].
    pub places: BTreeMap<String, Bytes>,
    /// The state as it was last reported.
    pub state: NodeState,
}

/// What a node says of its records when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The numbering.
    pub epoch: Epoch,
    /// The oldest record held; `newest + 1` when none is.
    pub oldest: Seq,
    /// The newest record that there is; 0 before the first.
    pub newest: Seq,
}

/// Records on their way: a list, and the seq of its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// A list of [`NodeRecord`](secmon_protocol::record::NodeRecord); see [`codec::encode_list`].
    pub list: Bytes,
    /// The seq of its last record.
    pub last: Seq,
}

/// Appends a record to a list. A `NodeRecord` is its seq and then its envelope, so that an envelope is kept as
/// it is and gets its seq when it is sent.
pub(super) fn push_record(list: &mut BytesMut, seq: Seq, envelope: &[u8]) {
    let seq = codec::encode(&seq);
    let mut record = BytesMut::with_capacity(seq.len() + envelope.len());
    record.extend_from_slice(&seq);
    record.extend_from_slice(envelope);
    codec::push_item(list, &record);
}

#[cfg(test)]
mod tests {
    use secmon_protocol::record::{Envelope, Lost, NodeRecord};

    use super::*;

    #[test]
    fn a_record_is_its_seq_and_then_its_envelope() {
        let envelope = Envelope::lost(UnixNanos(7), &Lost { count: 3, reason: "why".to_owned() });
        for seq in [1, 250, 251, 70_000, u64::from(u32::MAX) + 1] {
            let record = NodeRecord { seq: Seq(seq), envelope: envelope.clone() };
            let mut list = BytesMut::new();
            push_record(&mut list, record.seq, &codec::encode(&envelope));
            assert_eq!(list.freeze(), codec::encode_list(&[record]));
        }
    }
}
