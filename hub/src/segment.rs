//! Records of one commit, encoded once: the same bytes are a row of the store, the ring's entries and the
//! frames that subscribers get.
//!
//! A segment is a list of items (see [`codec::push_item`]), each a [`LogRecord`]. Pure.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use secmon_protocol::{
    codec::{self, CodecError, Items},
    ids::{Cursor, LogId, NodeId, NodeName},
    record::LogRecord,
};

/// A segment is closed once it has this many bytes: what a reader takes from the disk at once for one record.
const TARGET: usize = 1 << 20;

/// What an entry costs beside its record: names, types and the structure itself, by estimate.
pub(crate) const ENTRY_COST: usize = 256;

/// One record, with what a filter looks at beside it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place.
    pub(crate) cursor: Cursor,
    /// The node that it is from or about.
    pub(crate) node: NodeId,
    /// That node's name.
    pub(crate) name: NodeName,
    /// Its types.
    pub(crate) types: Vec<String>,
    /// The record, encoded.
    pub(crate) record: Bytes,
}

/// Records with consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The number of the first.
    pub(crate) first: u64,
    /// The number of the last.
    pub(crate) last: u64,
    /// The list.
    pub(crate) records: Bytes,
}

/// The largest buffer that a packer keeps; one that had to be larger for a large record is given back.
const KEPT: usize = 4 * TARGET;

/// Encodes the records of a commit, in order.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    /// Where the open segment grows; used again, so that a closed one has memory of exactly its size.
    list: BytesMut,
    open: Vec<(Head, Range<usize>)>,
    segments: Vec<Segment>,
    entries: Vec<Arc<Entry>>,
}

/// An [`Entry`] but for its bytes.
#[derive(Debug)]
struct Head {
    cursor: Cursor,
    node: NodeId,
    name: NodeName,
    types: Vec<String>,
}

impl Head {
    fn of(record: LogRecord) -> Self {
        let LogRecord { cursor, node, name, envelope, .. } = record;
        Self { cursor, node, name, types: envelope.types }
    }

    fn with(self, record: Bytes) -> Arc<Entry> {
        let Self { cursor, node, name, types } = self;
        Arc::new(Entry { cursor, node, name, types, record })
    }
}

impl Packer {
    /// Appends a record; its number must be the one after that of the last.
    pub(crate) fn push(&mut self, record: LogRecord) {
        let range = codec::push_value(&mut self.list, &record);
        self.open.push((Head::of(record), range));
        if self.list.len() >= TARGET {
            self.close();
        }
    }

    /// Bytes that were pushed since the last [`Packer::finish`].
    pub(crate) fn bytes(&self) -> usize {
        self.list.len() + self.segments.iter().map(|segment| segment.records.len()).sum::<usize>()
    }

    /// The segments for the store, and the entries for the ring, of all that was pushed since the last time.
    pub(crate) fn finish(&mut self) -> (Vec<Segment>, Vec<Arc<Entry>>) {
        self.close();
        (std::mem::take(&mut self.segments), std::mem::take(&mut self.entries))
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let records = Bytes::copy_from_slice(&self.list);
        self.list.clear();
        if self.list.capacity() > KEPT {
            self.list = BytesMut::new();
        }
        let numbers = (self.open.first(), self.open.last());
        if let (Some((first, _)), Some((last, _))) = numbers {
            let (first, last) = (first.cursor.n, last.cursor.n);
            self.segments.push(Segment { first, last, records: records.clone() });
        }
        self.entries.extend(self.open.drain(..).map(|(head, range)| head.with(records.slice(range))));
    }
}

/// The records of a segment that stand behind a place. One that was written under an earlier id of the log
/// is given the present one: under that, its cursor can be gone on from.
///
/// # Errors
/// The bytes are damaged.
pub(crate) fn unpack(records: &Bytes, after: u64, log: LogId) -> Result<Vec<Arc<Entry>>, CodecError> {
    let mut entries = vec![];
    for item in Items(records) {
        let item = item?;
        let mut record: LogRecord = codec::decode(item)?;
        if record.cursor.n <= after {
            continue;
        }
        let bytes = match record.cursor.log == log {
            true => records.slice_ref(item),
            false => {
                record.cursor.log = log;
                codec::encode(&record)
            }
        };
        entries.push(Head::of(record).with(bytes));
    }
    Ok(entries)
}

#[cfg(test)]
pub(crate) mod tests {
    use secmon_protocol::{
        record::{Envelope, Origin, RecordKind},
        time::UnixNanos,
    };

    use super::*;

    pub(crate) fn record(n: u64, size: usize) -> LogRecord {
        LogRecord {
            cursor: Cursor { log: LogId(7), n },
            node: NodeId([1; 16]),
            name: "a".parse().unwrap(),
            origin: Origin::Hub,
            envelope: Envelope {
                kind: RecordKind::AUTH,
                version: 1,
                time: UnixNanos(0),
                types: vec!["auth.accepted".into()],
                body: vec![0; size].into(),
            },
        }
    }

    pub(crate) fn packed(records: impl IntoIterator<Item = LogRecord>) -> (Vec<Segment>, Vec<Arc<Entry>>) {
        let mut packer = Packer::default();
        records.into_iter().for_each(|record| packer.push(record));
        packer.finish()
    }

    #[test]
    fn what_is_packed_is_the_records_and_comes_out_again() {
        assert_eq!(packed([]).0, []);
        let records: Vec<_> = (5..=9).map(|n| record(n, 400 << 10)).collect();
        let (segments, entries) = packed(records.clone());
        assert_eq!(segments.iter().map(|s| (s.first, s.last)).collect::<Vec<_>>(), [(5, 7), (8, 9)]);
        let bytes = |entries: &[Arc<Entry>]| -> Vec<Bytes> {
            entries.iter().map(|entry| entry.record.clone()).collect()
        };
        assert_eq!(bytes(&entries), records.iter().map(codec::encode).collect::<Vec<_>>());
        let read: Vec<_> = segments.iter().flat_map(|s| unpack(&s.records, 5, LogId(7)).unwrap()).collect();
        assert_eq!(bytes(&read), bytes(&entries[1..]));
        assert_eq!((read[0].name.as_str(), &read[0].types[..]), ("a", &["auth.accepted".to_owned()][..]));
        assert!(unpack(&segments[0].records.slice(1..), 0, LogId(7)).is_err());
    }

    #[test]
    fn a_record_of_an_earlier_id_is_read_under_the_present_one() {
        let (segments, _) = packed([record(5, 1)]);
        let read = unpack(&segments[0].records, 0, LogId(8)).unwrap();
        let again: LogRecord = codec::decode(&read[0].record).unwrap();
        assert_eq!((again.cursor, read[0].cursor.log), (Cursor { log: LogId(8), n: 5 }, LogId(8)));
    }
}
