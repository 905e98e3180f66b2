//! A node's record, checked and read as far as a hub reads it. Done on the connection's own task, so that
//! the actor has nothing to decode.

use secmon_protocol::{
    codec::{self, CodecError, Items},
    limits::{MAX_BATCH_RECORDS, MAX_OPS, MAX_RECORD, MAX_TYPES},
    record::{BODY_VERSION, Body, Envelope, NodeRecord, RecordKind},
    state::Op,
};

/// Longest `secmon.type`, in bytes.
const MAX_TYPE: usize = 64;
/// What a record takes in memory beside its bytes, by estimate.
const RECORD_COST: usize = 256;

/// A record and what the hub needs of its body.
#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    /// The record as the node sent it.
    pub record: NodeRecord,
    /// What it means for the node's state.
    pub meaning: Meaning,
}

/// What a record means for the node's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// The whole of it.
    Snapshot(Vec<Op>),
    /// A change of it.
    Diff(Vec<Op>),
    /// This many records were dropped, the last with this seq; changes of the state perhaps among them.
    Lost(u64),
    /// The same, but of events alone.
    LostEvents(u64),
    /// A change or the whole of it, in a form of a later version.
    Later,
    /// Nothing.
    Event,
}

/// A record that breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// It cannot be decoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It claims to be the hub's own.
    #[error("a node sent a record of the hub's own kind")]
    Forged,
    /// It is over a limit.
    #[error("a record's {0} is over its limit")]
    Limit(&'static str),
    /// Its number is none: the first is 1, and there is always a next one.
    #[error("no record has the number {0}")]
    Number(u64),
    /// A batch is not in the order of its numbers.
    #[error("record {next} comes behind record {before}")]
    Order {
        /// The number before.
        before: u64,
        /// The one that does not rise.
        next: u64,
    },
    /// It stands for records that can never have been.
    #[error("record {seq} says that {count} records were dropped, and there were not as many")]
    Lost {
        /// Where it stands.
        seq: u64,
        /// What it counts.
        count: u64,
    },
    /// A batch has too many of something.
    #[error("a batch has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// The memory that a batch takes once it is read, by estimate; nothing is read for it but lengths.
///
/// # Errors
/// More records than a batch may have.
pub fn batch_cost(list: &[u8]) -> Result<usize, BadRecord> {
    let records = count(list, MAX_BATCH_RECORDS, "records")?;
    Ok(list.len() + records * RECORD_COST)
}

/// The items of a list, counted by their lengths alone; a damaged one is found by whoever reads them.
fn count(list: &[u8], limit: usize, what: &'static str) -> Result<usize, BadRecord> {
    match Items(list).take(limit + 1).count() {
        count if count > limit => Err(BadRecord::TooMany { what, limit }),
        count => Ok(count),
    }
}

impl Incoming {
    /// The records of a batch.
    ///
    /// # Errors
    /// The first that breaks the protocol.
    pub fn batch(list: &[u8]) -> Result<Vec<Self>, BadRecord> {
        let mut ops = MAX_OPS;
        let mut batch: Vec<Self> = Vec::new();
        for item in Items(list) {
            let next = Self::new(codec::decode(item?)?, &mut ops)?;
            if let Some(before) = batch.last().map(|before| before.record.seq)
                && next.record.seq <= before
            {
                return Err(BadRecord::Order { before: before.0, next: next.record.seq.0 });
            }
            batch.push(next);
        }
        Ok(batch)
    }

    /// A record; `ops` is how many operations it may have, of which those are taken that it has.
    ///
    /// # Errors
    /// It breaks the protocol.
    pub fn new(record: NodeRecord, ops: &mut usize) -> Result<Self, BadRecord> {
        let (seq, envelope) = (record.seq.0, &record.envelope);
        if seq == 0 || seq == u64::MAX {
            return Err(BadRecord::Number(seq));
        }
        if envelope.types.len() > MAX_TYPES || envelope.types.iter().any(|name| name.len() > MAX_TYPE) {
            return Err(BadRecord::Limit("list of types"));
        }
        if envelope.body.len() > MAX_RECORD {
            return Err(BadRecord::Limit("body"));
        }
        let meaning = meaning(envelope, ops)?;
        if let Meaning::Lost(count) | Meaning::LostEvents(count) = meaning
            && count > seq
        {
            return Err(BadRecord::Lost { seq, count });
        }
        Ok(Self { record, meaning })
    }
}

fn meaning(envelope: &Envelope, ops: &mut usize) -> Result<Meaning, BadRecord> {
    let known = envelope.version == BODY_VERSION;
    if known && matches!(envelope.kind, RecordKind::SNAPSHOT | RecordKind::DIFF) {
        *ops -= count(&envelope.body, *ops, "operations")?;
    }
    let checked = |ops: Vec<Op>| match ops.iter().find_map(|op| op.check().err()) {
        Some(what) => Err(BadRecord::Limit(what)),
        None => Ok(ops),
    };
    Ok(match envelope.kind {
        RecordKind::HUB => return Err(BadRecord::Forged),
        RecordKind::SNAPSHOT | RecordKind::DIFF if !known => Meaning::Later,
        RecordKind::SNAPSHOT | RecordKind::DIFF | RecordKind::LOST if known => match envelope.decode()? {
            Body::Snapshot(ops) => Meaning::Snapshot(checked(ops)?),
            Body::Diff(ops) => Meaning::Diff(checked(ops)?),
            Body::Lost(lost) if lost.only_events() => Meaning::LostEvents(lost.count),
            Body::Lost(lost) => Meaning::Lost(lost.count),
            Body::Auth(_) | Body::Hub(_) => Meaning::Event,
        },
        _ => Meaning::Event,
    })
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use secmon_protocol::{
        facet::{FacetId, FacetStatus, Unavailable},
        ids::Seq,
        limits::{MAX_FIELD, MAX_KEY, MAX_VALUE},
        record::Lost,
        time::UnixNanos,
    };

    use super::*;

    fn list(records: impl IntoIterator<Item = Envelope>) -> Bytes {
        let mut list = BytesMut::new();
        for (envelope, seq) in records.into_iter().zip(1..) {
            codec::push_item(&mut list, &codec::encode(&NodeRecord { seq: Seq(seq), envelope }));
        }
        list.freeze()
    }

    fn diff(ops: &[Op]) -> Envelope {
        Envelope::diff(UnixNanos(1), ops)
    }

    #[test]
    fn a_batch_of_more_records_than_one_may_have_is_refused_before_it_is_read() {
        let mut empty = BytesMut::new();
        (0..MAX_BATCH_RECORDS).for_each(|_| codec::push_item(&mut empty, &[]));
        assert_eq!(batch_cost(&empty).unwrap(), MAX_BATCH_RECORDS * (4 + RECORD_COST));
        codec::push_item(&mut empty, &[]);
        assert_eq!(batch_cost(&empty).unwrap_err().to_string(), "a batch has more than 16384 records");
    }

    #[test]
    fn the_operations_of_a_batch_are_counted_together() {
        let removed = |_| Op::Removed { facet: FacetId(1), key: Bytes::new(), old: Bytes::new() };
        let half: Vec<Op> = (0..=MAX_OPS / 2).map(removed).collect();
        assert!(Incoming::batch(&list([diff(&half)])).is_ok());
        let error = Incoming::batch(&list([diff(&half), diff(&half)])).unwrap_err();
        assert!(matches!(error, BadRecord::TooMany { what: "operations", .. }), "{error}");
    }

    fn at(seq: u64, envelope: Envelope) -> Bytes {
        codec::encode_list(&[NodeRecord { seq: Seq(seq), envelope }])
    }

    /// What is behind the last number there is would have no number, and a hub that counted on would be back at 0.
    #[test]
    fn a_number_that_no_record_can_have_is_refused() {
        for (seq, good) in [(0, false), (1, true), (u64::MAX - 1, true), (u64::MAX, false)] {
            assert_eq!(Incoming::batch(&at(seq, diff(&[]))).is_ok(), good, "{seq}");
        }
    }

    #[test]
    fn numbers_of_a_batch_that_stand_still_or_go_back_are_refused() {
        for (first, second, good) in [(7, 8, true), (7, 9, true), (7, 7, false), (7, 6, false)] {
            let both = [at(first, diff(&[])), at(second, diff(&[]))].concat();
            assert_eq!(Incoming::batch(&both).is_ok(), good, "{first} {second}");
        }
    }

    /// A count that is a lie would stand for whatever else is missing.
    #[test]
    fn what_was_dropped_is_no_more_than_there_was() {
        let lost = |count| Envelope::lost(UnixNanos(1), &Lost { count, reason: String::new() });
        for (seq, count, good) in [(5, 5, true), (5, 6, false), (5, u64::MAX, false), (5, 0, true)] {
            assert_eq!(Incoming::batch(&at(seq, lost(count))).is_ok(), good, "{seq} {count}");
        }
    }

    #[test]
    fn texts_keys_and_values_over_their_limits_are_refused_by_name() {
        let facet = FacetId(100);
        let why = Unavailable { reason: String::new(), remedy: "x".repeat(MAX_FIELD + 1) };
        let (old, new) = (FacetStatus::Pending, FacetStatus::Unavailable(why));
        let bytes = |len| Bytes::from(vec![0; len]);
        for (op, said) in [
            (Op::Status { facet, old, new }, "reason"),
            (Op::Added { facet, key: bytes(MAX_KEY + 1), new: bytes(0) }, "key"),
            (Op::Added { facet, key: bytes(1), new: bytes(MAX_VALUE + 1) }, "value"),
        ] {
            for envelope in [diff(std::slice::from_ref(&op)), Envelope::snapshot(UnixNanos(1), &[op])] {
                let error = Incoming::batch(&list([envelope])).unwrap_err().to_string();
                assert!(error.contains(said) && error.contains("limit"), "{error}");
            }
        }
    }
}
