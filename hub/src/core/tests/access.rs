//! Removal, denials, and which nodes somebody can name.

use secmon_protocol::{
    hub_event::Requester,
    message::client::{Role, Rule},
};

use super::*;
use crate::access::Grants;

pub(super) fn by() -> Requester {
    Requester { uid: 1000, user: Some("alice".into()), pid: None, agent: "test".into() }
}

fn all() -> Grants {
    Grants::everything("test")
}

fn on(role: Role, nodes: &str) -> Grants {
    Grants::of(vec![Rule { name: "test".into(), role, nodes: vec![nodes.into()], commands: vec![] }])
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

/// Whether a write about the node follows its removal, which would bring it back after a restart.
fn written_after_removal(out: &Effects, id: NodeId) -> bool {
    let writes = out.iter().filter_map(|effect| match effect {
        Effect::Store(write) => Some(write),
        _ => None,
    });
    let after = writes.skip_while(|write| **write != Write::ForgetNode(id)).skip(1);
    let of = |write: &Write| match write {
        Write::Node(row) => row.id == id,
        Write::Progress { node, .. } | Write::State(node, _) => *node == id,
        _ => false,
    };
    after.into_iter().any(of)
}

#[test]
fn a_removed_node_is_cut_off_told_of_and_written_no_more() {
    let mut core = core();
    let id = enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, &[1])]);
    let mut out = vec![];
    // In one batch: what it reports last, its removal, and what was on its way.
    let batch = |seq, keys: &[u8]| Incoming::batch(&codec::encode_list(&[snapshot(seq, keys)])).unwrap();
    core.handle_records(at(3), Link(1), batch(2, &[2]), &mut out);
    assert_eq!(core.remove(at(4), (&all(), &by()), "web-1", &mut out).unwrap(), (id, name("web-1")));
    core.handle_records(at(4), Link(1), batch(3, &[3]), &mut out);
    core.handle_link_down(at(4), Link(1), "gone", &mut out);
    core.flush(&mut out);
    assert_eq!(logged(&out)[1..], ["node.removed", "node.disconnected"]);
    assert_eq!(count(&out, |effect| matches!(effect, Effect::Close(Link(1), _))), 1);
    assert_eq!(count(&out, |effect| *effect == Effect::Store(Write::ForgetNode(id))), 1);
    assert!(!written_after_removal(&out, id), "{out:?}");
    let back = connect(&mut core, 2, hello(1, 1, 3));
    let turned_away = |effect: &Effect| matches!(effect, Effect::ToNode(Link(2), HubToNode::Reject(_)));
    assert_eq!((count(&back, turned_away), logged(&back).len()), (1, 0));
    // The name is free, for a node with an id of its own.
    let wish = Enrolling {
        secret: [3; 32],
        id: NodeId([3; 16]),
        name: name("web-1"),
        valid: Duration::ZERO,
        replace: false,
    };
    core.enroll(at(5), wish, &mut vec![]).unwrap();
    assert_eq!(core.join(at(5), &[3; 32], [8; 32], "0.1.0", &mut vec![]).unwrap().node, NodeId([3; 16]));
}

#[test]
fn a_node_that_was_connected_when_the_hub_was_killed_is_removed_without_a_trace() {
    let mut core = core();
    let id = enrolled(&mut core);
    let mut row = core.nodes[&id].row.clone();
    row.connected = true;
    let log = LogRow { id: LogId(9), newest: 5, history: vec![] };
    let kept = Kept { log, nodes: vec![(row, held(&[1]))], tokens: vec![], jobs: vec![] };
    let mut core = Core::new(kept, Duration::from_secs(15), JobLimits::default());
    let mut out = vec![];
    core.remove(at(1), (&all(), &by()), "web-1", &mut out).unwrap();
    core.settle(at(1), &mut out);
    core.flush(&mut out);
    assert_eq!(logged(&out), ["node.removed"]);
    assert!(!written_after_removal(&out, id), "{out:?}");
}

#[test]
fn who_may_not_remove_a_node_changes_nothing() {
    let mut core = core();
    let id = enrolled(&mut core);
    let mut out = vec![];
    for (grants, wanted) in [(on(Role::Operator, "*"), "web-1"), (on(Role::Admin, "db-*"), "web-1")] {
        let refusal = core.remove(at(4), (&grants, &by()), wanted, &mut out).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotPermitted);
    }
    let unknown = core.remove(at(4), (&all(), &by()), "web-2", &mut out).unwrap_err();
    assert_eq!((unknown.code, unknown.near), (ErrorCode::UnknownNode, vec!["web-1".to_owned()]));
    assert!(out.is_empty() && core.nodes.contains_key(&id));
}

#[test]
fn a_prefix_of_an_id_is_one_of_the_nodes_that_may_be_seen() {
    let mut core = core();
    enrolled(&mut core);
    let wish = Enrolling {
        secret: [2; 32],
        // As that of web-1 but for its end.
        id: NodeId([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]),
        name: name("db-1"),
        valid: Duration::ZERO,
        replace: false,
    };
    core.enroll(at(0), wish, &mut vec![]).unwrap();
    core.join(at(1), &[2; 32], [8; 32], "0.1.0", &mut vec![]).unwrap();
    let prefix = "01010101";
    assert_eq!(core.get(at(2), &all(), prefix).unwrap_err().near.len(), 2);
    let mine = core.get(at(2), &on(Role::Viewer, "db-*"), prefix).unwrap();
    assert_eq!(mine.summary.name, name("db-1"));
    let none = core.get(at(2), &on(Role::Viewer, "mail"), prefix).unwrap_err();
    assert!(none.near.is_empty() && none.code == ErrorCode::NotPermitted, "{none:?}");
}

fn denied(core: &mut Core, uid: u32, node: Option<&str>) -> Effects {
    let by = Requester { uid, user: None, pid: None, agent: "test".into() };
    let node = node.map(str::to_owned);
    let denial = Denial { by, request: "remove it".into(), node, reason: "no".into() };
    let mut out = vec![];
    core.handle_denied(at(5), denial, &mut out);
    out
}

#[test]
fn a_denial_is_about_the_node_that_was_named_or_about_the_hub() {
    let mut core = core();
    let id = enrolled(&mut core);
    let about = |out: Effects| match &out[..] {
        [Effect::Publish(record)] => (record.node, record.name.to_string(), record.envelope.types.clone()),
        other => panic!("{other:?}"),
    };
    let types = vec!["access.denied".to_owned()];
    for node in ["web-1", &id.to_string()] {
        assert_eq!(about(denied(&mut core, 1, Some(node))), (id, "web-1".into(), types.clone()));
    }
    for node in [Some("db-1"), Some("no name\n"), None] {
        assert_eq!(about(denied(&mut core, 1, node)), (NodeId::HUB, "hub".into(), types.clone()));
    }
}

#[test]
fn of_a_flood_of_denials_a_few_are_logged_and_the_rest_is_told_as_a_number() {
    let mut core = core();
    let logged = |core: &mut Core| (0..50).filter(|_| !denied(core, 7, None).is_empty()).count();
    assert_eq!(logged(&mut core), 20);
    // A store that refuses does not make it begin anew.
    let log = LogRow { id: LogId(9), newest: 0, history: vec![] };
    core.restore(Kept { log, nodes: vec![], tokens: vec![], jobs: vec![] });
    assert_eq!(logged(&mut core), 0);
    let mut out = vec![];
    core.handle_tick(at(7), &mut out);
    let told: Vec<_> = out
        .iter()
        .filter_map(|effect| match effect {
            Effect::Publish(record) => record.envelope.decode().ok(),
            _ => None,
        })
        .collect();
    let [Body::Hub(HubEvent::Denied { by, unlogged, .. })] = &told[..] else { panic!("{told:?}") };
    assert_eq!((by.uid, *unlogged), (7, 80));
}
