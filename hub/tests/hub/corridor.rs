//! A login's way through the hub, with real TLS on one side and the real socket on the other.

use crate::common::{self, PATIENCE, auth, config, full, hello, run, snapshot, start, state};
use secmon_hub::HubError;
use secmon_protocol::{
    codec,
    command::CommandInfo,
    ids::{Cursor, Seq},
    message::{
        ErrorCode,
        client::{Filter, From, HubToClient, Presence},
        join::HubToJoin,
        node::{ALPN, HubToNode, NodeToHub, Resume},
    },
    record::Origin,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_and_what_it_reports_is_seen_over_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let mut client = hub.client().await;
    let token = client.enroll("web-1", false).await;
    assert_eq!(token.addresses, [hub.address.to_string()]);
    assert!(matches!(client.list().await[0].presence, Presence::Expected { .. }));
    let HubToJoin::Joined(joined) = hub.join(&token).await else { panic!("not let in") };
    assert_eq!(joined.name.as_str(), "web-1");
    let papers = common::joined_papers(joined);

    let HubToClient::Subscribed { after, .. } = client.subscribe(From::Now, Filter::default()).await else {
        panic!("no subscription")
    };
    let mut node = hub.node(&papers).await;
    assert_eq!(node.welcome.resume, Resume::Oldest);
    assert_eq!(client.event("node.connected").await.cursor.n, after.n + 1);
    node.records(&[snapshot(1, &state(&["tty1"])), auth(2)]).await;
    assert_eq!(node.next().await, Some(HubToNode::Ack { seq: Seq(2) }));
    assert_eq!(client.event("facet.ready").await.cursor.n, after.n + 2);
    let record = client.event("auth.accepted").await;
    assert_eq!(record.origin, Origin::Node { epoch: secmon_protocol::ids::Epoch(1), seq: Seq(2) });
    assert_eq!((record.name.as_str(), record.cursor.n), ("web-1", after.n + 3));

    let mut other = hub.client().await;
    let summary = &other.list().await[0];
    assert!(matches!(summary.presence, Presence::Online { .. }) && !summary.stale);
    assert_eq!(summary.facets[0].entries, 1);
    let subscribed = other.subscribe(From::Snapshot, Filter::default()).await;
    let HubToClient::Subscribed { after, snapshot: Some(nodes), .. } = subscribed else {
        panic!("no snapshot")
    };
    assert_eq!((after.n, nodes[0].entries.len()), (record.cursor.n, 1));
    drop(node);
    other.event("node.disconnected").await;
    hub.stop().await;
    assert!(!dir.path().join("hub.sock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_works_once_and_a_replaced_node_is_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let mut client = hub.client().await;
    let token = client.enroll("a", false).await;
    let HubToJoin::Joined(joined) = hub.join(&token).await else { panic!("not let in") };
    let id = joined.node;
    let old = common::joined_papers(joined);
    let rejected = |answer: HubToJoin| match answer {
        HubToJoin::Reject(refusal) => refusal.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(rejected(hub.join(&token).await), ErrorCode::TokenUsed);
    let mut unknown = token.clone();
    unknown.secret = vec![0; 24].into();
    assert_eq!(rejected(hub.join(&unknown).await), ErrorCode::TokenUnknown);

    let mut connected = hub.node(&old).await;
    let token = client.enroll("a", true).await;
    let HubToJoin::Joined(joined) = hub.join(&token).await else { panic!("not let in") };
    assert_eq!(joined.node, id);
    assert_eq!(connected.next().await, None, "the old connection is closed");
    let new = common::joined_papers(joined);
    let stream = common::tls(hub.address, ALPN, Some(&old), Some(&old.ca)).await.unwrap();
    let mut wire = common::Conn::new(stream);
    wire.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    let Some(HubToNode::Reject(refusal)) = wire.next().await else { panic!("was let in") };
    assert_eq!(refusal.code, ErrorCode::NotPermitted);
    hub.node(&new).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_nodes_state_and_place() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("a").await;
    let mut node = hub.node(&papers).await;
    let commands = vec![CommandInfo::plain("uptime", "", 1)];
    node.wire.send(&NodeToHub::Commands(commands)).await;
    node.records(&[snapshot(1, &state(&["tty1", "tty2"])), auth(2)]).await;
    node.next().await.unwrap();
    let mut client = hub.client().await;
    let HubToClient::Subscribed { after, .. } = client.subscribe(From::Now, Filter::default()).await else {
        panic!("no subscription")
    };
    hub.stop().await;

    let hub = start(dir.path()).await;
    let mut client = hub.client().await;
    let nodes = client.list().await;
    assert!(matches!(nodes[0].presence, Presence::Away { .. }));
    assert_eq!((nodes[0].facets[0].entries, nodes[0].commands), (2, 1));
    let node = hub.node_with(&papers, hello(1, 3, 2)).await;
    assert_eq!(node.welcome.resume, Resume::After(Seq(2)));
    let subscribed = client.subscribe(From::Cursor(after), Filter::default()).await;
    let HubToClient::Subscribed { after: at, .. } = subscribed else { panic!("{subscribed:?}") };
    assert!(at.n == after.n && at.log != after.log, "numbers go on, under an id of this start");
    let gone = client.event("node.disconnected").await;
    assert_eq!(gone.cursor, Cursor { n: at.n + 1, ..at }, "the log goes on, and nothing is missing");
    assert_eq!(client.event("node.connected").await.cursor.n, after.n + 2);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_lets_through_what_it_names_and_tells_of_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("a").await;
    let mut client = hub.client().await;
    let filter = Filter { nodes: vec!["?".into()], types: vec!["session.*".into()] };
    client.subscribe(From::Now, filter).await;
    let mut node = hub.node(&papers).await;
    node.records(&[auth(1), snapshot(2, &state(&[]))]).await;
    let HubToClient::Progress { cursor, .. } = client.next().await else { panic!("it was not wanted") };
    assert!(cursor.n > 0);
    node.records(&[snapshot(3, &state(&["tty1"]))]).await;
    let HubToClient::Event { record, .. } = client.next().await else { panic!("it was wanted") };
    let record: secmon_protocol::record::LogRecord = codec::decode(&record).unwrap();
    assert_eq!(record.envelope.types, ["session.opened"]);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_gone_after_three_heartbeats() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("a").await;
    let mut client = hub.client().await;
    client.subscribe(From::Now, Filter::default()).await;
    let _silent = hub.node(&papers).await;
    client.event("node.connected").await;
    client.event("node.disconnected").await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_get_wrong_at_the_start_is_said_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let error = secmon_hub::start(config(dir.path())).await.err().unwrap();
    assert!(matches!(error, HubError::Locked { .. }), "{error}");
    let elsewhere = tempfile::tempdir().unwrap();
    let mut taken = config(elsewhere.path());
    taken.hub.listen = hub.address;
    let error = secmon_hub::start(taken).await.err().unwrap();
    assert!(error.to_string().contains(&hub.address.to_string()), "{error}");
    let mut shared = config(elsewhere.path());
    shared.socket_path = dir.path().join("hub.sock");
    let error = secmon_hub::start(shared).await.err().unwrap();
    assert!(matches!(error, HubError::SocketInUse { .. }), "{error}");
    hub.stop().await;
    let mut nobody = config(elsewhere.path());
    nobody.socket.group = Some(secmon_hub::access::Account::Name("no such group".into()));
    nobody.state_dir = elsewhere.path().join("untouched");
    let error = secmon_hub::start(nobody).await.err().unwrap();
    assert!(matches!(error, HubError::Config { key: "socket.group", .. }), "{error}");
    assert!(!elsewhere.path().join("untouched").exists(), "checked before anything is made");
    // A socket that a killed hub left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("hub.sock")).unwrap());
    start(dir.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_can_be_made_in_process_before_the_hub_runs() {
    let dir = tempfile::tempdir().unwrap();
    let hub = secmon_hub::start(config(dir.path())).await.unwrap();
    let name = "here".parse().unwrap();
    let made = hub.enroll(name, std::time::Duration::ZERO, false).await.unwrap();
    assert!(!hub.knows(&"here".parse().unwrap()).await.unwrap());
    let hub = run(hub);
    let answer = hub.join(&made.token.0.parse().unwrap()).await;
    assert!(matches!(answer, HubToJoin::Joined(_)), "{answer:?}");
    hub.stop().await;
    let hub = secmon_hub::start(config(dir.path())).await.unwrap();
    assert!(hub.knows(&"here".parse().unwrap()).await.unwrap());
    let cancel = CancellationToken::new();
    cancel.cancel();
    timeout(PATIENCE, hub.run(cancel)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_refuses_is_neither_acknowledged_nor_seen_and_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("a").await;
    let mut node = hub.node(&papers).await;
    node.records(&[snapshot(1, &state(&[]))]).await;
    assert_eq!(node.next().await, Some(HubToNode::Ack { seq: Seq(1) }));
    let mut client = hub.client().await;
    client.subscribe(From::Now, Filter::default()).await;

    let database = full(dir.path());
    node.records(&[auth(2)]).await;
    assert_eq!(node.next().await, None, "the node is sent away");
    assert!(matches!(client.list().await[0].presence, Presence::Away { .. }), "the hub goes on serving");

    database.execute_batch("DROP TRIGGER full").unwrap();
    let mut node = hub.node_with(&papers, hello(1, 2, 2)).await;
    assert_eq!(node.welcome.resume, Resume::After(Seq(1)));
    node.records(&[auth(2)]).await;
    assert_eq!(node.next().await, Some(HubToNode::Ack { seq: Seq(2) }));
    client.event("auth.accepted").await;
    hub.stop().await;
}
