//! A record of some twelve mebibytes on its way from a node to a client, each step as they take it.

use bytes::{Bytes, BytesMut};
use secmon_protocol::{
    codec::{self, Assembler, Message},
    command::OutputStream,
    event::{self, EventType},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, Epoch, JobId, LogId, NodeId, RequestId, Seq},
    limits::{MAX_CHUNK, MAX_FRAME, MAX_MESSAGE, MAX_RECORD},
    message::{client::HubToClient, node::NodeToHub},
    record::{Body, Envelope, LogRecord, NodeRecord, Origin},
    session::{Session, SessionKind, SessionSource},
    state::{NodeState, Op, diff},
    time::UnixNanos,
};

const MIB: usize = 1 << 20;
/// Sessions that make about 12 MiB; far below [`secmon_protocol::limits::MAX_ENTRIES`].
const SESSIONS: usize = 65_000;

fn snapshot() -> Vec<Op> {
    let facet = FacetId::SESSIONS;
    let value = codec::encode_value(&Session {
        user: "alice".into(),
        tty: Some("pts/0".into()),
        remote: Some("a-host-with-a-long-name.example.org.".repeat(4)),
        since: UnixNanos(1),
        leader: Some(4711),
        service: Some("sshd".into()),
        kind: SessionKind::Interactive,
        sources: [SessionSource::Logind].into(),
    });
    let added =
        |n| Op::Added { facet, key: codec::encode_value(&format!("session-{n}")), new: value.clone() };
    let ready = Op::Status { facet, old: FacetStatus::Pending, new: FacetStatus::Ready };
    [ready].into_iter().chain((0..SESSIONS).map(added)).collect()
}

fn travels<M: Message>(message: &M) -> M {
    let frames = codec::encode_frames(message).unwrap();
    assert!(frames.len() > 3 && frames.iter().all(|frame| frame.len() <= MAX_FRAME));
    let mut assembler = Assembler::<M>::default();
    let mut arrived = frames.iter().filter_map(|frame| assembler.push(frame).unwrap());
    arrived.next().expect("a message")
}

#[test]
fn a_record_of_twelve_mebibytes_travels_from_a_node_to_a_client() {
    let ops = snapshot();
    let envelope = Envelope::snapshot(UnixNanos(5), &ops);
    let size = envelope.body.len();
    assert!((12 * MIB..13 * MIB).contains(&size) && size < MAX_RECORD, "{size} bytes");

    let record = NodeRecord { seq: Seq(1), envelope };
    let sent = NodeToHub::Records(codec::encode_list(std::slice::from_ref(&record)));
    let NodeToHub::Records(list) = travels(&sent) else { panic!("not Records") };
    let taken = codec::decode_list::<NodeRecord>(&list).unwrap();
    assert!(taken == [record.clone()]);
    assert!(codec::decode::<NodeRecord>(&codec::encode(&record)).unwrap() == record, "from the node's disk");
    let Body::Snapshot(read) = taken[0].envelope.decode().unwrap() else { panic!("not a snapshot") };
    assert!(read == ops);

    let before = NodeState::from_snapshot(&ops[..1]).unwrap();
    let now = NodeState::from_snapshot(&read).unwrap();
    let record = LogRecord {
        cursor: Cursor { log: LogId(1), n: 7 },
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(1) },
        envelope: Envelope::reconciled(UnixNanos(5), &diff(&before, &now)),
    };
    let sent = HubToClient::Event { request: RequestId(1), record: codec::encode(&record) };
    let HubToClient::Event { record: bytes, .. } = travels(&sent) else { panic!("not an Event") };
    let read = codec::decode::<LogRecord>(&bytes).unwrap();
    assert!(read == record);
    let events = event::events(&read);
    assert_eq!(events.len(), SESSIONS);
    assert!(events.iter().all(|event| event.detail.event_type() == Some(EventType::SessionOpened)));
}

/// As the hub reads it, and as the client does.
#[test]
fn a_chunk_of_output_shares_the_bytes_of_its_frame() {
    fn shares<M: Message + PartialEq + std::fmt::Debug>(message: &M, data: impl Fn(&M) -> Option<&Bytes>) {
        let frame = codec::encode(message);
        let shared = M::sharing(&frame);
        let large = data(message).filter(|data| data.len() >= MAX_CHUNK / 2);
        assert_eq!(shared.as_ref(), large.map(|_| message));
        if let Some(data) = shared.as_ref().and_then(data) {
            assert!(frame.as_ptr_range().contains(&data.as_ptr()));
            let mut longer = frame.to_vec();
            longer.push(0);
            for damaged in [frame.slice(..frame.len() - 1), longer.into()] {
                assert!(M::sharing(&damaged).is_none() && codec::decode::<M>(&damaged).is_err());
            }
        }
    }
    for len in [0, 1, 1000, MAX_CHUNK / 2, MAX_CHUNK - 64, MAX_CHUNK] {
        let data = Bytes::from(vec![7; len]);
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let job = JobId(u64::MAX - 5);
            shares(&NodeToHub::Output { job, stream, at: 1 << 40, data: data.clone() }, |message| {
                match message {
                    NodeToHub::Output { data, .. } => Some(data),
                    _ => None,
                }
            });
            let request = RequestId(300);
            shares(&HubToClient::Output { request, stream, data: data.clone() }, |message| match message {
                HubToClient::Output { data, .. } => Some(data),
                _ => None,
            });
        }
        shares(&NodeToHub::Records(data.clone()), |_| None);
        shares(&HubToClient::Event { request: RequestId(1), record: data.clone() }, |_| None);
    }
}

#[test]
fn a_message_is_put_behind_others_as_its_frames() {
    for len in [0, 1000, MAX_FRAME - 4, MAX_FRAME - 3, MAX_FRAME, 3 * MIB] {
        let message = NodeToHub::Records(vec![7; len].into());
        let mut out = BytesMut::from("before");
        codec::put_message(&mut out, &message).unwrap();
        let frames = codec::encode_frames(&message).unwrap();
        let expected = frames.iter().flat_map(|frame| {
            let len = u32::try_from(frame.len()).unwrap().to_be_bytes();
            len.into_iter().chain(frame.iter().copied())
        });
        assert!(out.iter().copied().eq(b"before".iter().copied().chain(expected)), "{len}");
    }
    let mut out = BytesMut::from("before");
    codec::put_message(&mut out, &NodeToHub::Records(vec![7; MAX_MESSAGE].into())).unwrap_err();
    assert_eq!(out, "before");
}
