//! The limits never refuse what may be sent: bincode counts memory, in which a byte of the wire may be
//! eight, and the messages that come nearest to that pass.

use std::fmt::Debug;

use bytes::Bytes;
use secmon_protocol::{
    codec::{self, Assembler, Message},
    command::{ArgInfo, ArgKind, CommandInfo, MAX_DESCRIPTION, MAX_LABEL},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, Epoch, LogId, NodeId, RequestId, Seq},
    limits::{MAX_ARGS, MAX_CHOICES, MAX_COMMANDS, MAX_ENTRIES, MAX_FRAME, MAX_MESSAGE},
    message::{
        client::{FacetSummary, HubToClient, NodeDetail, NodeSummary, Presence, TokenText},
        node::{Hello, HostFacts, NodeToHub},
    },
    record::{Body, Envelope},
    state::{NodeState, Op},
    time::UnixNanos,
};

/// Through frames and back.
fn passes<M: Message + PartialEq + Debug>(message: M) {
    let mut assembler = Assembler::<M>::default();
    let frames = codec::encode_frames(&message).unwrap();
    let mut arrived = frames.iter().filter_map(|frame| assembler.push(frame).unwrap());
    assert!(arrived.next() == Some(message), "it arrived as something else");
    assert!(arrived.next().is_none());
}

fn commands(label: &str, description: &str) -> Vec<CommandInfo> {
    let one = |_| CommandInfo::plain(label.to_owned(), description.to_owned(), 0);
    (0..MAX_COMMANDS).map(one).collect()
}

fn hello() -> Hello {
    Hello {
        agent: String::new(),
        facts: HostFacts::default(),
        epoch: Epoch(0),
        oldest: Seq(0),
        newest: Seq(0),
        clock: UnixNanos(0),
        extensions: (0..1_000).map(|number| (number, Bytes::new())).collect(),
    }
}

fn summary(facets: usize) -> NodeSummary {
    NodeSummary {
        id: NodeId([0; 16]),
        name: "a".parse().unwrap(),
        presence: Presence::Expected { since: UnixNanos(0) },
        agent: String::new(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![FacetSummary { facet: FacetId(1), status: FacetStatus::Ready, entries: 0 }; facets],
        commands: 0,
        stale: false,
    }
}

fn detail(entries: usize) -> NodeDetail {
    let entries = vec![(FacetId(1), Bytes::new(), Bytes::new()); entries];
    NodeDetail { summary: summary(3), commands: commands("", ""), entries }
}

#[test]
fn an_allowlist_of_the_greatest_length_passes() {
    let (label, description) = ("x".repeat(MAX_LABEL), "x".repeat(MAX_DESCRIPTION));
    let full = |args: usize| {
        let kind = || ArgKind::Choice { values: vec![String::new(); MAX_CHOICES] };
        let arg =
            |_| ArgInfo { name: String::new(), description: String::new(), kind: kind(), default: None };
        let mut commands = commands("", "");
        commands.iter_mut().for_each(|command| command.args = (0..args).map(arg).collect());
        commands
    };
    for commands in
        [commands("", ""), commands("a", ""), commands(&label, &description), full(1), full(MAX_ARGS)]
    {
        passes(NodeToHub::Commands(commands));
    }
    passes(NodeToHub::Hello(hello()));
}

#[test]
fn ten_thousand_nodes_pass_in_a_list_and_in_a_snapshot() {
    let request = RequestId(0);
    passes(HubToClient::Nodes { request, nodes: vec![summary(0); 10_000] });
    passes(HubToClient::Nodes { request, nodes: vec![summary(3); 10_000] });
    let after = Cursor { log: LogId(0), n: 0 };
    let snapshot = vec![NodeDetail { commands: vec![], ..detail(20) }; 10_000];
    passes(HubToClient::Subscribed { request, after, snapshot: Some(snapshot), whole: true });
}

#[test]
fn a_node_with_the_greatest_number_of_entries_passes() {
    passes(HubToClient::Node { request: RequestId(0), node: Box::new(detail(3 * MAX_ENTRIES)) });
}

/// Every byte counts eight here; a message just within a frame and one far above it both pass.
#[test]
fn a_message_of_nothing_but_empty_texts_passes() {
    for texts in [MAX_FRAME - 16, 2 * MAX_FRAME] {
        passes(HubToClient::Enrolling {
            request: RequestId(0),
            token: TokenText(String::new()),
            expires: UnixNanos(0),
            addresses: vec![String::new(); texts],
        });
    }
}

/// The whole limit in one byte string.
#[test]
fn a_message_of_the_greatest_length_passes() {
    let records = NodeToHub::Records(Bytes::from(vec![1; MAX_MESSAGE - 10]));
    assert!(codec::encode(&records).len() <= MAX_MESSAGE);
    passes(records);
}

#[test]
fn a_snapshot_of_a_full_facet_of_tiny_entries_is_read_and_applied() {
    let facet = FacetId::SESSIONS;
    let key = |n: usize| Bytes::copy_from_slice(&(n as u32).to_be_bytes());
    let ready = Op::Status { facet, old: FacetStatus::Pending, new: FacetStatus::Ready };
    let added = (0..MAX_ENTRIES).map(|n| Op::Added { facet, key: key(n), new: Bytes::new() });
    let ops: Vec<Op> = [ready].into_iter().chain(added).collect();
    let Body::Snapshot(read) = Envelope::snapshot(UnixNanos(0), &ops).decode().unwrap() else {
        panic!("not a snapshot")
    };
    assert!(read == ops);
    assert!(NodeState::from_snapshot(&read).is_ok());
}
