//! Records of one commit, encoded once: the same bytes are a row of the store, a part of the ring and what
//! subscribers get.
//!
//! A segment is a list of items (see [`codec::push_item`]), each a [`LogRecord`], with what a filter looks at beside
//! it. Pure.

use std::{hash::Hash, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use indexmap::{Equivalent, IndexSet};
use secmon_protocol::{
    codec::{self, CodecError, Items},
    ids::{Cursor, LogId, NodeId, NodeName},
    record::{LogHead, LogRecord},
};

/// A segment is closed once it has this many bytes: what a reader takes from the disk at once for one record.
const TARGET: usize = 1 << 20;
/// What a segment costs beside its records, by estimate …
const SEGMENT_COST: usize = 512;
/// … a record in it …
const RECORD_COST: usize = size_of::<Mark>();
/// … and a subject: the structure, its name and its types.
const SUBJECT_COST: usize = 256;

/// Which node a record is from or about, and its types: all that a filter looks at. Few are shared by many records.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    /// The node.
    pub(crate) node: NodeId,
    /// Its name.
    pub(crate) name: NodeName,
    /// The types.
    pub(crate) types: Vec<String>,
}

/// A [`Subject`] as it lies in a record; with the same hash, for which the fields must stand in the same order.
#[derive(Hash)]
struct Borrowed<'a> {
    node: NodeId,
    name: &'a str,
    types: &'a [&'a str],
}

impl Equivalent<Subject> for Borrowed<'_> {
    fn equivalent(&self, subject: &Subject) -> bool {
        self.node == subject.node && self.name == subject.name.as_str() && self.types == subject.types
    }
}

/// Records with consecutive numbers; at least one.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The place of the first.
    pub(crate) first: Cursor,
    /// The list.
    pub(crate) list: Bytes,
    marks: Box<[Mark]>,
    subjects: IndexSet<Subject>,
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Where in the list it begins; it ends before the length of the next, or with the list.
    at: u32,
    /// Which of the subjects is its.
    subject: u32,
}

/// The bytes before an item of a list: its length.
const ITEM_HEAD: usize = 4;

impl Segment {
    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// The number of the last.
    pub(crate) fn last(&self) -> u64 {
        self.first.n + self.len() as u64 - 1
    }

    /// The place of a record.
    pub(crate) fn cursor(&self, index: usize) -> Cursor {
        Cursor { n: self.first.n + index as u64, ..self.first }
    }

    /// The records with these indices, encoded.
    pub(crate) fn records(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        range.map(|index| &self.list[self.marks[index].at as usize..self.end(index)])
    }

    /// The subject of a record, as an index into [`Segment::subjects`].
    pub(crate) fn subject(&self, index: usize) -> usize {
        self.marks[index].subject as usize
    }

    /// The subjects of all records, each once.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.subjects.iter()
    }

    /// The memory that it takes, in bytes, by estimate.
    pub(crate) fn cost(&self) -> usize {
        SEGMENT_COST + self.list.len() + self.len() * RECORD_COST + self.subjects.len() * SUBJECT_COST
    }

    /// What stands behind a place; none where that is the last or behind it.
    pub(crate) fn behind(self: &Arc<Self>, place: u64) -> Option<Run> {
        let start = usize::try_from((place + 1).saturating_sub(self.first.n)).unwrap_or(usize::MAX);
        (start < self.len()).then(|| Run { segment: self.clone(), range: start..self.len() })
    }

    fn end(&self, index: usize) -> usize {
        self.marks.get(index + 1).map_or(self.list.len(), |next| next.at as usize - ITEM_HEAD)
    }
}

/// Records of a segment that stand side by side.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The segment.
    pub(crate) segment: Arc<Segment>,
    /// The indices of the records; at least one.
    pub(crate) range: Range<usize>,
}

impl Run {
    /// The number of the first.
    pub(crate) fn first(&self) -> u64 {
        self.segment.cursor(self.range.start).n
    }

    /// The number of the last.
    pub(crate) fn last(&self) -> u64 {
        self.segment.cursor(self.range.end).n - 1
    }

    /// The bytes of the records, with their lengths.
    pub(crate) fn bytes(&self) -> usize {
        let Range { start, end } = self.range;
        self.segment.end(end - 1) + ITEM_HEAD - self.segment.marks[start].at as usize
    }

    /// Cuts off what has more than this many bytes, but for one record.
    pub(crate) fn cut(&mut self, bytes: usize) {
        let Range { start, end } = self.range;
        let limit = self.segment.marks[start].at as usize + bytes;
        let fits = self.segment.marks[start + 1..end].partition_point(|mark| (mark.at as usize) < limit);
        self.range.end = start + 1 + fits;
    }
}

/// The largest buffer that a packer keeps; one that had to be larger for a large record is given back.
const KEPT: usize = 4 * TARGET;

/// Encodes the records of a commit, in order.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    open: Open,
    closed: Vec<Arc<Segment>>,
    bytes: usize,
}

impl Packer {
    /// Appends a record; its number must be the one after that of the last.
    pub(crate) fn push(&mut self, record: LogRecord) {
        self.open.push(record);
        if self.open.list.len() >= TARGET {
            self.close();
        }
    }

    /// Bytes that were pushed since the last [`Packer::finish`].
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.open.list.len()
    }

    /// The segments of all that was pushed since the last time.
    pub(crate) fn finish(&mut self) -> Vec<Arc<Segment>> {
        self.close();
        self.bytes = 0;
        std::mem::take(&mut self.closed)
    }

    fn close(&mut self) {
        self.bytes += self.open.list.len();
        self.closed.extend(self.open.close().map(Arc::new));
    }
}

/// A segment that grows. Its buffers are used again, so that a closed one has memory of exactly its size.
#[derive(Debug, Default)]
struct Open {
    first: Option<Cursor>,
    list: BytesMut,
    marks: Vec<Mark>,
    subjects: IndexSet<Subject>,
}

impl Open {
    fn push(&mut self, record: LogRecord) {
        let at = codec::push_value(&mut self.list, &record).start;
        let LogRecord { cursor, node, name, envelope, .. } = record;
        let (subject, _) = self.subjects.insert_full(Subject { node, name, types: envelope.types });
        self.mark(cursor, at, subject);
    }

    /// As [`Open::push`], of a record that is encoded already and stands in the list there.
    fn push_head(&mut self, head: &LogHead<'_>, at: usize) -> Result<(), CodecError> {
        let borrowed = Borrowed { node: head.node, name: head.name, types: &head.types };
        let subject = match self.subjects.get_index_of(&borrowed) {
            Some(subject) => subject,
            None => self.subjects.insert_full(Subject::of(head)?).0,
        };
        self.mark(head.cursor, at, subject);
        Ok(())
    }

    fn mark(&mut self, cursor: Cursor, at: usize, subject: usize) {
        self.first.get_or_insert(cursor);
        // A segment ends with the record that takes it over its target, and that one has some MiB at most.
        let narrow = |wide: usize| u32::try_from(wide).unwrap_or(u32::MAX);
        self.marks.push(Mark { at: narrow(at), subject: narrow(subject) });
    }

    fn close(&mut self) -> Option<Segment> {
        let list = Bytes::copy_from_slice(&self.list);
        self.list.clear();
        if self.list.capacity() > KEPT {
            self.list = BytesMut::new();
        }
        self.closed(list)
    }

    fn closed(&mut self, list: Bytes) -> Option<Segment> {
        let (marks, subjects) = (self.marks.as_slice().into(), std::mem::take(&mut self.subjects));
        self.marks.clear();
        Some(Segment { first: self.first.take()?, list, marks, subjects })
    }
}

impl Subject {
    fn of(head: &LogHead<'_>) -> Result<Self, CodecError> {
        let name = head.name.parse().map_err(|_| CodecError::Truncated)?;
        Ok(Self { node: head.node, name, types: head.types.iter().map(|&name| name.to_owned()).collect() })
    }
}

/// A segment as it was stored. One that was written under an earlier id of the log is given the present one: under
/// that, its cursors can be gone on from. None where it has no records.
///
/// # Errors
/// The bytes are damaged.
pub(crate) fn unpack(list: Bytes, log: LogId) -> Result<Option<Segment>, CodecError> {
    let (mut open, mut at) = (Open::default(), 0);
    for item in Items(&list) {
        let item = item?;
        let head = codec::decode_borrowed::<LogHead<'_>>(item)?;
        if head.cursor.log == log {
            open.push_head(&head, at + ITEM_HEAD)?;
        } else {
            let mut record: LogRecord = codec::decode(item)?;
            record.cursor.log = log;
            open.push(record);
        }
        at += ITEM_HEAD + item.len();
    }
    // A row is of one start of the hub, and all of it is of one id.
    Ok(if open.list.is_empty() { open.closed(list) } else { open.close() })
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

    pub(crate) fn packed(records: impl IntoIterator<Item = LogRecord>) -> Vec<Arc<Segment>> {
        let mut packer = Packer::default();
        records.into_iter().for_each(|record| packer.push(record));
        packer.finish()
    }

    /// The numbers of what was read.
    pub(crate) fn numbers(runs: &[Run]) -> Vec<u64> {
        runs.iter().flat_map(|run| run.first()..=run.last()).collect()
    }

    fn bytes(run: &Run) -> Vec<&[u8]> {
        run.segment.records(run.range.clone()).collect()
    }

    #[test]
    fn what_is_packed_is_the_records_and_comes_out_again() {
        assert!(packed([]).is_empty());
        let records: Vec<_> = (5..=9).map(|n| record(n, 400 << 10)).collect();
        let segments = packed(records.clone());
        assert_eq!(segments.iter().map(|s| (s.first.n, s.last())).collect::<Vec<_>>(), [(5, 7), (8, 9)]);
        let encoded: Vec<_> = records.iter().map(codec::encode).collect();
        let runs: Vec<_> = segments.iter().filter_map(|segment| segment.behind(5)).collect();
        assert_eq!(numbers(&runs), [6, 7, 8, 9]);
        assert_eq!(runs.iter().flat_map(bytes).collect::<Vec<_>>(), encoded[1..]);
        assert!(segments[0].behind(7).is_none());
        let again = Arc::new(unpack(segments[0].list.clone(), LogId(7)).unwrap().unwrap());
        assert_eq!((again.first.n, again.last(), again.cost()), (5, 7, segments[0].cost()));
        assert_eq!(bytes(&again.behind(0).unwrap()), encoded[..3]);
        assert!(again.subjects().eq(segments[0].subjects()));
        assert!(unpack(segments[0].list.slice(1..), LogId(7)).is_err());
        assert!(unpack(Bytes::new(), LogId(7)).unwrap().is_none());
    }

    #[test]
    fn a_run_is_cut_between_records_and_never_to_nothing() {
        let segment = packed((5..=9).map(|n| record(n, 100))).remove(0);
        let mut run = segment.behind(5).unwrap();
        assert_eq!((run.first(), run.last()), (6, 9));
        let each = run.bytes() / 4;
        run.cut(2 * each);
        assert_eq!((run.first(), run.last(), run.bytes()), (6, 7, 2 * each));
        run.cut(0);
        assert_eq!((run.first(), run.last()), (6, 6));
    }

    #[test]
    fn records_of_one_node_and_one_kind_share_their_subject() {
        let mut records: Vec<_> = (1..=6).map(|n| record(n, 1)).collect();
        records[2].node = NodeId([2; 16]);
        records[3].name = "b".parse().unwrap();
        records[4].envelope.types = vec![];
        let segment = packed(records).remove(0);
        let subjects: Vec<_> = (0..6).map(|index| segment.subject(index)).collect();
        assert_eq!(subjects, [0, 0, 1, 2, 3, 0]);
        let again = unpack(segment.list.clone(), LogId(7)).unwrap().unwrap();
        assert_eq!((0..6).map(|index| again.subject(index)).collect::<Vec<_>>(), subjects);
    }

    #[test]
    fn records_of_an_earlier_id_are_read_under_the_present_one() {
        let segment = packed([record(5, 1), record(6, 1)]).remove(0);
        let read = unpack(segment.list.clone(), LogId(8)).unwrap().unwrap();
        let cursors = |segment: &Segment| -> Vec<Cursor> {
            let records = segment.records(0..2);
            records.map(|record| codec::decode::<LogRecord>(record).unwrap().cursor).collect()
        };
        assert_eq!(cursors(&read), [5, 6].map(|n| Cursor { log: LogId(8), n }));
        assert_eq!(read.first, read.cursor(0));
    }
}
