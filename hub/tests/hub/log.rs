//! The log over restarts, failures and slow subscribers: nothing is missing unsaid.

use std::{path::Path, time::Duration};

use crate::common::{
    self, Client, Node, Papers, Running, auth, config, full, hello, large, run, snapshot, start, state,
};
use secmon_hub::{HubConfig, LogSection};
use secmon_protocol::{
    codec,
    ids::{Cursor, Seq},
    message::{
        ErrorCode,
        client::{Filter, From, Gap, HubToClient},
        node::{HubToNode, Resume},
    },
    record::LogRecord,
};

/// Records that are larger than a frame and go as fragments; together they are larger than the ring.
const RECORDS: u64 = 40;

fn probes() -> Filter {
    Filter { nodes: vec![], types: vec!["auth.probe".into()] }
}

/// A hub, and a node of it whose first record is acknowledged.
async fn with_a_node(config: HubConfig) -> (Running, Papers, Node) {
    let hub = run(secmon_hub::start(config).await.unwrap());
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    report(&mut node, &[snapshot(1, &state(&[]))]).await;
    (hub, papers, node)
}

/// Sends records and waits until they are acknowledged.
async fn report(node: &mut Node, records: &[secmon_protocol::record::NodeRecord]) {
    node.records(records).await;
    let last = records.last().unwrap().seq;
    while node.next().await.expect("the connection stands") != (HubToNode::Ack { seq: last }) {}
}

async fn subscribed(client: &mut Client, from: From, filter: Filter) -> Cursor {
    match client.subscribe(from, filter).await {
        HubToClient::Subscribed { after, .. } => after,
        other => panic!("{other:?}"),
    }
}

enum Got {
    Record(LogRecord),
    Gap(Gap),
}

async fn next(client: &mut Client) -> Got {
    loop {
        match client.next().await {
            HubToClient::Event { record, .. } => return Got::Record(codec::decode(&record).unwrap()),
            HubToClient::Gap { gap, .. } => return Got::Gap(gap),
            HubToClient::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn gap(client: &mut Client) -> Gap {
    match next(client).await {
        Got::Gap(gap) => gap,
        Got::Record(record) => panic!("no gap but {record:?}"),
    }
}

/// What a subscriber that begins to read late gets: records, and numbers in gaps.
async fn slow_beside_quick(log: LogSection) -> (u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _, mut node) = with_a_node(HubConfig { log, ..config(dir.path()) }).await;
    let (mut slow, mut quick) = (hub.client().await, hub.client().await);
    let begin = subscribed(&mut slow, From::Now, probes()).await;
    subscribed(&mut quick, From::Now, probes()).await;
    let mut newest = 0;
    for seq in 2..2 + RECORDS {
        node.records(&[large(seq, (1 << 20) + 5)]).await;
        let record = quick.event("auth.probe").await;
        assert_eq!(record.envelope.body.len(), (1 << 20) + 5);
        newest = record.cursor.n;
    }
    let (mut seen, mut missing, mut last) = (0, 0, begin.n);
    while last < newest {
        match next(&mut slow).await {
            Got::Record(record) => {
                assert_eq!(record.cursor.n, last + 1);
                (seen, last) = (seen + 1, record.cursor.n);
            }
            Got::Gap(gap) => {
                assert_eq!(gap.after.n, last);
                (missing, last) = (missing + gap.to.n - gap.after.n, gap.to.n);
            }
        }
    }
    hub.stop().await;
    (seen, missing)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_does_not_read_costs_the_others_nothing_and_misses_nothing() {
    assert_eq!(slow_beside_quick(LogSection::default()).await, (RECORDS, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_behind_all_that_is_kept_is_told_what_it_missed() {
    let log = LogSection { size: 4 << 20, ..LogSection::default() };
    let (seen, missing) = slow_beside_quick(log).await;
    assert!(missing > 0 && seen > 0 && seen + missing == RECORDS, "{missing} missing, {seen} seen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_goes_on_over_a_restart_as_if_there_had_been_none() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, papers, mut node) = with_a_node(config(dir.path())).await;
    let mut client = hub.client().await;
    let begin = subscribed(&mut client, From::Now, Filter::default()).await;
    report(&mut node, &[auth(2), auth(3)]).await;
    hub.stop().await;
    let hub = start(dir.path()).await;
    let mut node = hub.node_with(&papers, hello(1, 4, 3)).await;
    report(&mut node, &[auth(4)]).await;
    let mut client = hub.client().await;
    let after = subscribed(&mut client, From::Cursor(begin), Filter::default()).await;
    assert!(after.n == begin.n && after.log != begin.log, "each start gives the log a new id");
    let mut types = vec![];
    for n in begin.n + 1..=begin.n + 5 {
        let Got::Record(record) = next(&mut client).await else { panic!("a gap at {n}") };
        assert_eq!(record.cursor, Cursor { n, ..after });
        types.extend(record.envelope.types);
    }
    assert_eq!(
        types,
        ["auth.accepted", "auth.accepted", "node.disconnected", "node.connected", "auth.accepted"]
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_an_orderly_stop_a_subscriber_gets_all_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _, mut node) = with_a_node(config(dir.path())).await;
    let mut slow = hub.client().await;
    subscribed(&mut slow, From::Now, Filter::default()).await;
    for seq in 2..12 {
        report(&mut node, &[large(seq, 1 << 20)]).await;
    }
    let stopping = tokio::spawn(hub.stop());
    let mut types = vec![];
    while let Some(message) = slow.wire.next().await {
        if let HubToClient::Event { record, .. } = message {
            types.extend(codec::decode::<LogRecord>(&record).unwrap().envelope.types);
        }
    }
    stopping.await.unwrap();
    assert_eq!(types, [vec!["auth.probe"; 10], vec!["node.disconnected"]].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_has_sent_when_the_hub_stops_is_kept_and_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, papers, mut node) = with_a_node(config(dir.path())).await;
    let mut client = hub.client().await;
    let begin = subscribed(&mut client, From::Now, probes()).await;
    let records: Vec<_> = (2..12).map(|seq| large(seq, 1 << 20)).collect();
    node.records(&records).await;
    // The hub has begun to read: of all that it took, the node hears.
    client.event("auth.probe").await;
    let stopping = tokio::spawn(hub.stop());
    let mut acked = 0;
    while let Some(message) = node.next().await {
        if let HubToNode::Ack { seq } = message {
            acked = seq.0;
        }
    }
    stopping.await.unwrap();
    let hub = start(dir.path()).await;
    let node = hub.node_with(&papers, hello(1, acked + 1, 11)).await;
    assert_eq!(node.welcome.resume, Resume::After(Seq(acked)), "neither more nor less than was acknowledged");
    let mut client = hub.client().await;
    subscribed(&mut client, From::Cursor(begin), probes()).await;
    for n in begin.n + 1..begin.n + acked {
        let Got::Record(record) = next(&mut client).await else { panic!("a gap at {n}") };
        assert_eq!(record.cursor.n, n);
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_the_log_never_had_is_refused_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let mut client = hub.client().await;
    let here = subscribed(&mut client, From::Now, Filter::default()).await;
    let future = From::Cursor(Cursor { n: here.n + 1000, ..here });
    let HubToClient::Error { refusal, .. } = client.subscribe(future, Filter::default()).await else {
        panic!("a subscription from the future")
    };
    assert_eq!(refusal.code, ErrorCode::BadCursor);
    assert!(refusal.message.contains("begin with a snapshot"), "{refusal}");
    hub.stop().await;
}

/// Copies the folder of a hub that is stopped.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_goes_on_from_an_older_copy_of_its_store_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (state_dir, backup) = (dir.path().join("state"), dir.path().join("backup"));
    let (hub, papers, mut node) = with_a_node(config(dir.path())).await;
    report(&mut node, &[auth(2)]).await;
    hub.stop().await;
    copy(&state_dir, &backup);

    let hub = start(dir.path()).await;
    let mut node = hub.node_with(&papers, hello(1, 3, 2)).await;
    report(&mut node, &[auth(3), auth(4)]).await;
    let mut client = hub.client().await;
    let ahead = subscribed(&mut client, From::Now, Filter::default()).await;
    hub.stop().await;
    std::fs::remove_dir_all(&state_dir).unwrap();
    copy(&backup, &state_dir);

    let hub = start(dir.path()).await;
    let here = subscribed(&mut hub.client().await, From::Now, Filter::default()).await;
    // The log grows beyond the place that the client remembers before the client is back.
    let mut node = hub.node_with(&papers, hello(1, 5, 20)).await;
    assert_eq!(node.welcome.resume, Resume::After(Seq(2)));
    report(&mut node, &(5..20).map(auth).collect::<Vec<_>>()).await;
    let mut client = hub.client().await;
    let after = subscribed(&mut client, From::Cursor(ahead), Filter::default()).await;
    let told = gap(&mut client).await;
    assert_eq!((told.after, told.to, after), (ahead, here, here));
    // And what the copy does not have of the node is told as well.
    let connected = client.event("node.connected").await;
    assert_eq!(connected.cursor, Cursor { n: here.n + 1, ..here });
    client.event("gap").await;
    // Who remembers a place that the copy has goes on from there.
    let begin = From::Cursor(Cursor { n: 1, ..here });
    assert_eq!(subscribed(&mut hub.client().await, begin, Filter::default()).await.n, 1);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_begins_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _, mut node) = with_a_node(config(dir.path())).await;
    report(&mut node, &[auth(2)]).await;
    let between = common::now();
    report(&mut node, &[auth(3)]).await;
    let mut client = hub.client().await;
    let after = subscribed(&mut client, From::Time(between), Filter::default()).await;
    let Got::Record(record) = next(&mut client).await else { panic!("a gap") };
    assert_eq!((record.cursor.n, record.envelope.types[0].as_str()), (after.n + 1, "auth.accepted"));
    let mut client = hub.client().await;
    let begin = secmon_protocol::time::UnixNanos(0);
    assert_eq!(subscribed(&mut client, From::Time(begin), Filter::default()).await.n, 0);
    client.event("node.enrolled").await;
    let mut client = hub.client().await;
    let later = secmon_protocol::time::UnixNanos(i64::MAX);
    subscribed(&mut client, From::Time(later), Filter::default()).await;
    report(&mut node, &[auth(4)]).await;
    assert_eq!(client.event("auth.accepted").await.cursor.n, after.n + 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_stays_full_ends_nothing_and_the_log_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, papers, mut node) = with_a_node(config(dir.path())).await;
    let mut client = hub.client().await;
    let begin = subscribed(&mut client, From::Now, Filter::default()).await;
    let database = full(dir.path());
    let trigger = "CREATE TRIGGER fuller BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    database.execute_batch(trigger).unwrap();
    node.records(&[auth(2)]).await;
    assert_eq!(node.next().await, None, "the node is sent away");
    // Each who comes is sent away, and told why.
    for _ in 0..3 {
        assert!(hub.try_node(&papers, hello(1, 2, 2)).await.is_none());
    }
    assert_eq!(client.list().await.len(), 1, "what is known is still told");
    database.execute_batch("DROP TRIGGER full; DROP TRIGGER fuller").unwrap();
    let mut node = loop {
        if let Some(node) = hub.try_node(&papers, hello(1, 2, 2)).await {
            break node;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    report(&mut node, &[auth(2)]).await;
    for wanted in ["node.connected", "auth.accepted"] {
        let Got::Record(record) = next(&mut client).await else { panic!("a gap") };
        assert_eq!(record.envelope.types, [wanted]);
        let first = if wanted == "node.connected" { 1 } else { 2 };
        assert_eq!(record.cursor.n, begin.n + first, "no number was used up");
    }
    hub.stop().await;
}
