//! A record of some twelve mebibytes on its way from a node to a client, each step as they take it.

use secmon_protocol::{
    codec::{self, Assembler, Message},
    event::{self, EventType},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, Epoch, LogId, NodeId, RequestId, Seq},
    limits::{MAX_FRAME, MAX_RECORD},
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
