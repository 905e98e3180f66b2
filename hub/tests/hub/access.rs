//! Who may do what, with real users on the real socket: every kind of request, asked by a viewer, an operator, an admin
//! and a stranger; what each of them sees; and the record of each denial.

use secmon_hub::access::{RequestKind, kind};
use secmon_protocol::{
    codec::Fragment,
    hub_event::HubEvent,
    ids::{NodeId, RequestId},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, Filter, From, HubToClient, JobFilter, Presence, Role},
        node::{HubToNode, NodeToHub},
    },
    record::{Body, LogRecord},
};

use crate::{
    common::{Client, Node, Papers, Running, auth, run, snapshot, state},
    people::{ADMIN, OPERATOR, Person, ROOT, STRANGER, VIEWER, may_be_others, with_rules},
};

/// The request that is asked, and one that follows it.
const ASKED: RequestId = RequestId(77);
const NEXT: RequestId = RequestId(78);

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is answered; with an error perhaps, but not for want of a permission.
    Done,
    /// It is refused for want of a permission.
    Denied,
    /// Nothing comes of it, and the connection goes on.
    Silent,
    /// It has no place, and the connection ends.
    Ended,
}

/// Each kind of request: what is asked about a node, and what becomes of it for a viewer, an operator and an admin of that
/// node. A kind without a row does not compile.
fn row(kind: RequestKind, node: &str) -> (ClientToHub, [Outcome; 3]) {
    use Outcome::{Denied, Done, Ended, Silent};
    let (request, node, label) = (ASKED, node.to_owned(), "restart-web".to_owned());
    let (job, args) = ("0123456789abcdef".to_owned(), vec![]);
    match kind {
        RequestKind::Hello => (ClientToHub::Hello { version: 1, agent: "again".into() }, [Ended; 3]),
        RequestKind::List => (ClientToHub::List { request }, [Done; 3]),
        RequestKind::Get => (ClientToHub::Get { request, node }, [Done; 3]),
        RequestKind::Subscribe => {
            (ClientToHub::Subscribe { request, from: From::Snapshot, filter: Filter::default() }, [Done; 3])
        }
        RequestKind::Run => {
            (ClientToHub::Run { request, node, label, args, credit: 0, stdin: false }, [Denied, Done, Done])
        }
        RequestKind::Credit => (ClientToHub::Credit { request, credit: 1 }, [Silent; 3]),
        RequestKind::Cancel => (ClientToHub::Cancel { request }, [Silent; 3]),
        RequestKind::Enroll => {
            let name = node.parse().unwrap();
            (ClientToHub::Enroll { request, name, valid_secs: 0, replace: true }, [Denied, Denied, Done])
        }
        RequestKind::Stdin => (ClientToHub::Stdin { request, data: vec![].into() }, [Silent; 3]),
        RequestKind::Submit => {
            (ClientToHub::Submit { request, node, label, args, queue_secs: 0 }, [Denied, Done, Done])
        }
        RequestKind::Jobs => (ClientToHub::Jobs { request, filter: JobFilter::default() }, [Done; 3]),
        RequestKind::Job => (ClientToHub::Job { request, job }, [Done; 3]),
        RequestKind::JobOutput => {
            (ClientToHub::JobOutput { request, job, follow: false, credit: 0 }, [Denied, Done, Done])
        }
        RequestKind::CancelJob => (ClientToHub::CancelJob { request, job }, [Denied, Done, Done]),
        RequestKind::WhoAmI => (ClientToHub::WhoAmI { request }, [Done; 3]),
        RequestKind::Remove => (ClientToHub::Remove { request, node }, [Denied, Denied, Done]),
        RequestKind::Fragment => (ClientToHub::Fragment(Fragment::End), [Ended; 3]),
    }
}

/// Asks.
async fn outcome(mut client: Client, message: &ClientToHub) -> Outcome {
    client.wire.send(message).await;
    client.wire.send(&ClientToHub::WhoAmI { request: NEXT }).await;
    loop {
        let Some(answer) = client.wire.next::<HubToClient>().await else { return Outcome::Ended };
        return match answer {
            HubToClient::You { request: NEXT, .. } if silent(message) => Outcome::Silent,
            // A run is answered when its node says something.
            HubToClient::You { request: NEXT, .. } | HubToClient::Started { .. } => continue,
            HubToClient::Error { request: ASKED, refusal } if refusal.code == ErrorCode::NotPermitted => {
                Outcome::Denied
            }
            _ => Outcome::Done,
        };
    }
}

fn silent(message: &ClientToHub) -> bool {
    matches!(message, ClientToHub::Credit { .. } | ClientToHub::Cancel { .. } | ClientToHub::Stdin { .. })
}

/// A hub with rules, and the nodes web-1, web-2 and db-1, of which the first and the last are connected.
async fn stage(dir: &std::path::Path) -> (Running, [Papers; 3]) {
    let hub = run(secmon_hub::start(with_rules(dir)).await.unwrap());
    let papers = [hub.enrol("web-1").await, hub.enrol("web-2").await, hub.enrol("db-1").await];
    (hub, papers)
}

/// Runs whatever it is told to, until its connection ends.
async fn obey(mut node: Node) {
    while let Some(message) = node.next().await {
        if let HubToNode::Run(order) = message {
            node.wire.send(&NodeToHub::Started { job: order.job, pid: 7 }).await;
            let end = secmon_protocol::command::RunEnd::Exited(0);
            node.wire.send(&NodeToHub::Exit { job: order.job, end, usage: None }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_request_is_open_to_whom_its_row_says_and_to_nobody_else() {
    if !may_be_others("every_kind_of_request_is_open_to_whom_its_row_says_and_to_nobody_else") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, [web, _, db]) = stage(dir.path()).await;
    let nodes = [tokio::spawn(obey(hub.node(&web).await)), tokio::spawn(obey(hub.node(&db).await))];
    for &kind in RequestKind::ALL {
        // A node that is removed is no longer there for the next.
        let node = if kind == RequestKind::Remove { "web-2" } else { "web-1" };
        let (message, expected) = row(kind, node);
        assert_eq!(RequestKind::of(&message), kind);
        for (person, expected) in [VIEWER, OPERATOR, ADMIN, ROOT].into_iter().zip(all(expected)) {
            let found = outcome(person.client(&hub).await, &message).await;
            assert_eq!(found, expected, "{kind:?} of uid {}", person.uid);
        }
        // The rules of all three cover web-* alone.
        let (message, _) = row(kind, "db-1");
        if kind::node(&message).is_some() {
            for person in [VIEWER, OPERATOR, ADMIN] {
                let found = outcome(person.client(&hub).await, &message).await;
                assert_eq!(found, Outcome::Denied, "{kind:?} of uid {} about db-1", person.uid);
            }
        }
        // A stranger is not let in, whatever he asks first, and whatever he asks behind a Hello.
        let mut stranger = STRANGER.connect(&hub.socket);
        stranger.send(&message).await;
        rejected(stranger.next().await, kind);
        let mut stranger = STRANGER.connect(&hub.socket);
        stranger.send(&ClientToHub::Hello { version: 1, agent: "x".into() }).await;
        rejected(stranger.next().await, kind);
    }
    nodes.iter().for_each(tokio::task::JoinHandle::abort);
    hub.stop().await;
}

/// With root, who is an admin of everything.
fn all([viewer, operator, admin]: [Outcome; 3]) -> [Outcome; 4] {
    [viewer, operator, admin, admin]
}

#[track_caller]
fn rejected(answer: Option<HubToClient>, kind: RequestKind) {
    let Some(HubToClient::Reject(refusal)) = answer else { panic!("{kind:?}: {answer:?}") };
    assert_eq!(refusal.code, ErrorCode::NotPermitted, "{kind:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_runs_what_his_rule_names_and_nothing_else() {
    if !may_be_others("an_operator_runs_what_his_rule_names_and_nothing_else") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, [web, ..]) = stage(dir.path()).await;
    let mut node = hub.node(&web).await;
    let mut client = OPERATOR.client(&hub).await;
    ask_to_run(&mut client, "stop-web").await;
    let refusal = refused(client.next().await);
    for said in ["stop-web", "operator of web-1", "[[access]] 2 (group 4000777)", "restart-*"] {
        assert!(refusal.message.contains(said), "{said}: {refusal}");
    }
    ask_to_run(&mut client, "restart-web").await;
    // The first that the node hears of is the one that was allowed.
    let Some(HubToNode::Run(order)) = node.next().await else { panic!("nothing was run") };
    assert_eq!(order.label, "restart-web");
    hub.stop().await;
}

async fn ask_to_run(client: &mut Client, label: &str) {
    let (request, node, label) = (client.request(), "web-1".to_owned(), label.to_owned());
    client.wire.send(&ClientToHub::Run { request, node, label, args: vec![], credit: 0, stdin: false }).await;
}

#[track_caller]
fn refused(answer: HubToClient) -> Refusal {
    match answer {
        HubToClient::Error { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}

async fn get(client: &mut Client, node: &str) -> HubToClient {
    let request = client.request();
    client.wire.send(&ClientToHub::Get { request, node: node.to_owned() }).await;
    client.next().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_see_some_nodes_sees_those_and_not_even_whether_there_are_others() {
    if !may_be_others("who_may_see_some_nodes_sees_those_and_not_even_whether_there_are_others") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, [web, _, db]) = stage(dir.path()).await;
    let mut root = hub.client().await;
    root.enroll("db-2", false).await;
    root.enroll("web-3", false).await;
    let mut viewer = VIEWER.client(&hub).await;
    let names = |nodes: Vec<secmon_protocol::message::client::NodeSummary>| -> Vec<String> {
        nodes.into_iter().map(|node| node.name.to_string()).collect()
    };
    assert_eq!(names(root.list().await), ["db-1", "db-2", "web-1", "web-2", "web-3"]);
    assert_eq!(names(viewer.list().await), ["web-1", "web-2", "web-3"]);
    let HubToClient::Node { node: waiting, .. } = get(&mut viewer, "web-3").await else { panic!("web-3") };
    assert!(matches!(waiting.summary.presence, Presence::Expected { .. }));
    // One that is there, one that is expected and one that is not: the same answer.
    let mut answers = vec![];
    for hidden in ["db-1", "db-2", "db-3"] {
        let refusal = refused(get(&mut viewer, hidden).await);
        assert_eq!(refusal.code, ErrorCode::NotPermitted);
        assert!(refusal.message.contains(&format!("a viewer of {hidden}")), "{refusal}");
        assert!(refusal.near.iter().all(|near| near.starts_with("web-")), "{refusal:?}");
        answers.push(refusal.message.replace(hidden, "NODE"));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let HubToClient::Node { node, .. } = get(&mut root, "db-1").await else { panic!("db-1") };
    for id in [node.summary.id, NodeId([7; 16])] {
        let id = id.to_string();
        assert_eq!(refused(get(&mut viewer, &id).await).message.replace(&id, "NODE"), answers[0]);
    }
    assert_eq!(refused(get(&mut viewer, "web-11").await).near[0], "web-1");

    let subscribed = viewer.subscribe(From::Snapshot, Filter::default()).await;
    let HubToClient::Subscribed { snapshot: Some(state_then), .. } = subscribed else {
        panic!("{subscribed:?}")
    };
    assert_eq!(state_then.len(), 2);
    let (mut web, mut db) = (hub.node(&web).await, hub.node(&db).await);
    db.records(&[snapshot(1, &state(&["tty1"])), auth(2)]).await;
    while !matches!(db.next().await, Some(HubToNode::Ack { .. })) {}
    // A denial is about the hub, and is not for him to see either.
    STRANGER.try_client(&hub).await.err().unwrap();
    web.records(&[auth(1)]).await;
    let mut seen: Vec<LogRecord> = vec![];
    while !seen.iter().any(|record| record.envelope.types == ["auth.accepted"]) {
        if let HubToClient::Event { record, .. } = viewer.next().await {
            seen.push(secmon_protocol::codec::decode(&record).unwrap());
        }
    }
    assert!(seen.iter().all(|record| record.name.as_str() == "web-1"), "{seen:?}");
    // What he may not see moves him on.
    db.records(&[auth(3)]).await;
    loop {
        match viewer.next().await {
            HubToClient::Progress { cursor, .. } if cursor.n > seen.last().unwrap().cursor.n => break,
            HubToClient::Progress { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_learns_who_he_is_to_the_hub_and_by_which_rule() {
    if !may_be_others("each_learns_who_he_is_to_the_hub_and_by_which_rule") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, _) = stage(dir.path()).await;
    let expected = [
        (VIEWER, "[[access]] 1 (user 4000101)", Role::Viewer),
        (OPERATOR, "[[access]] 2 (group 4000777)", Role::Operator),
        (ADMIN, "[[access]] 3 (group 4001103)", Role::Admin),
        (ROOT, "built in (root)", Role::Admin),
    ];
    for (person, name, role) in expected {
        let mut client = person.client(&hub).await;
        let request = client.request();
        client.wire.send(&ClientToHub::WhoAmI { request }).await;
        let HubToClient::You { who, .. } = client.next().await else { panic!("{person:?}") };
        assert_eq!((who.uid, who.groups[0].0), (person.uid, person.gid));
        assert!(person.groups.iter().all(|gid| who.groups.iter().any(|(told, _)| told == gid)), "{who:?}");
        let told: Vec<_> = who.rules.iter().map(|rule| (rule.name.as_str(), rule.role)).collect();
        assert_eq!(told, [(name, role)]);
    }
    let refusal = STRANGER.try_client(&hub).await.err().unwrap();
    for said in ["uid 4000104 may not", "none of its 3 [[access]] rules", "users = [4000104]"] {
        assert!(refusal.message.contains(said), "{said}: {refusal}");
    }
    hub.stop().await;
}

/// The next denial: its record, of whom, what, and why.
async fn denial(watcher: &mut Client) -> (LogRecord, u32, String, String) {
    let record = watcher.event("access.denied").await;
    match record.envelope.decode() {
        Ok(Body::Hub(HubEvent::Denied { by, request, reason, .. })) => {
            assert!(by.pid.is_some() && by.agent == "test", "{by:?}");
            (record, by.uid, request, reason)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_is_logged_with_who_what_and_why_and_of_a_flood_a_part() {
    if !may_be_others("a_denial_is_logged_with_who_what_and_why_and_of_a_flood_a_part") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, _) = stage(dir.path()).await;
    let mut root = hub.client().await;
    root.subscribe(From::Now, Filter { types: vec!["access.*".into()], ..Filter::default() }).await;

    let told = STRANGER.try_client(&hub).await.err().unwrap();
    let (record, uid, request, reason) = denial(&mut root).await;
    assert_eq!((record.node, record.name.as_str()), (NodeId::HUB, "hub"));
    assert_eq!((uid, request.as_str()), (STRANGER.uid, "connect"));
    assert!(told.message.contains("none of its 3 [[access]] rules"), "{told}");
    assert_eq!(reason, "it takes a rule; none of the 3 [[access]] rules names the user or a group of it");

    let mut viewer = VIEWER.client(&hub).await;
    let remove = async |viewer: &mut Client| {
        let request = viewer.request();
        viewer.wire.send(&ClientToHub::Remove { request, node: "web-1".into() }).await;
        refused(viewer.next().await)
    };
    let told = remove(&mut viewer).await;
    let (record, uid, request, reason) = denial(&mut root).await;
    assert_eq!((record.name.as_str(), uid, request.as_str()), ("web-1", VIEWER.uid, "remove web-1"));
    assert!(told.message.starts_with("you may not remove web-1: that takes the role admin; "), "{told}");
    assert!(
        reason.starts_with("it takes the role admin; rules: ") && reason.contains("(user 4000101)"),
        "{reason}"
    );

    // One after the other, as many as are logged, and more.
    let mut logged = 1;
    for _ in 0..60 {
        remove(&mut viewer).await;
    }
    STRANGER.try_client(&hub).await.err().unwrap();
    while denial(&mut root).await.1 == VIEWER.uid {
        logged += 1;
    }
    assert!((20..60).contains(&logged), "{logged}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_no_rule_allows_is_one_record_of_the_command_with_who_and_why() {
    if !may_be_others("a_run_that_no_rule_allows_is_one_record_of_the_command_with_who_and_why") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (hub, _) = stage(dir.path()).await;
    let mut root = hub.client().await;
    let types = vec!["access.*".into(), "command.*".into()];
    root.subscribe(From::Now, Filter { types, ..Filter::default() }).await;
    let mut operator = OPERATOR.client(&hub).await;
    ask_to_run(&mut operator, "stop-web").await;
    refused(operator.next().await);
    let (node, label, args) = ("web-2".to_owned(), "stop-mail".to_owned(), vec![]);
    let request = operator.request();
    operator.wire.send(&ClientToHub::Submit { request, node, label, args, queue_secs: 9 }).await;
    refused(operator.next().await);
    STRANGER.try_client(&hub).await.err().unwrap();
    let mut told = vec![];
    while told.len() < 3 {
        if let HubToClient::Event { record, .. } = root.next().await {
            let record: LogRecord = secmon_protocol::codec::decode(&record).unwrap();
            told.push((record.name.to_string(), record.envelope.decode().unwrap()));
        }
    }
    for ((name, body), (node, label)) in told.iter().zip([("web-1", "stop-web"), ("web-2", "stop-mail")]) {
        let Body::Hub(HubEvent::CommandRefused { run, reason }) = body else { panic!("{body:?}") };
        assert_eq!((name.as_str(), run.label.as_str(), run.by.uid), (node, label, OPERATOR.uid));
        let lack =
            format!("it takes an operator of {node} for the command {label}, or an admin of {node}; rules: ");
        assert!(reason.starts_with(&lack), "{reason}");
    }
    assert!(matches!(&told[2].1, Body::Hub(HubEvent::Denied { request, .. }) if request == "connect"));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_of_a_group_lets_in_who_is_in_it() {
    if !may_be_others("a_socket_of_a_group_lets_in_who_is_in_it") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let hub = run(secmon_hub::start(with_rules(dir.path())).await.unwrap());
    std::os::unix::fs::chown(&hub.socket, None, Some(4_000_777)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(&hub.socket, mode).unwrap();
    OPERATOR.client(&hub).await;
    let shut_out: Person = VIEWER;
    let socket = hub.socket.clone();
    assert!(std::panic::catch_unwind(|| shut_out.connect(&socket)).is_err(), "by the socket's mode");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_very_many_connections_keeps_nobody_else_out() {
    if !may_be_others("a_user_with_very_many_connections_keeps_nobody_else_out") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let hub = run(secmon_hub::start(with_rules(dir.path())).await.unwrap());
    let mut held = vec![];
    let refusal = loop {
        match VIEWER.try_client(&hub).await {
            Ok(client) => held.push(client),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((held.len(), refusal.code), (128, ErrorCode::TooMany), "{refusal}");
    OPERATOR.client(&hub).await;
    hub.client().await;
    held.pop();
    // Its place is free once the hub has seen its end.
    while VIEWER.try_client(&hub).await.is_err() {}
    hub.stop().await;
}
