//! What stands, as events: a snapshot's entries.

use bytes::Bytes;
use secmon_protocol::{
    auth::AuthLogSource,
    codec::encode_value,
    ecs,
    event::Detail,
    facet::{FacetId, FacetStatus},
    message::client::{FacetSummary, NodeDetail, NodeSummary, Presence},
    state_event::{StateEntry, state_of},
};
use serde_json::{Value, json};

use crate::{
    common::{CURSOR_TEXT, NODE_TEXT, TIME_TEXT},
    samples::{CURSOR, NODE, TIME, bare_session, facts, name, peer, peer_key, unavailable},
};

fn node() -> NodeDetail {
    let facet = |facet, status, entries| FacetSummary { facet, status, entries };
    let text = |text: &str| encode_value(&text.to_owned());
    NodeDetail {
        summary: NodeSummary {
            id: NODE,
            name: name(),
            presence: Presence::Away { since: TIME },
            agent: "0.1.0".into(),
            address: "192.0.2.1:40000".into(),
            facts: facts(),
            clock_offset: 0,
            facets: vec![
                facet(FacetId::SESSIONS, FacetStatus::Ready, 2),
                facet(FacetId::WG_PEERS, FacetStatus::Pending, 0),
                facet(FacetId::AUTH_LOG, FacetStatus::Unavailable(unavailable()), 0),
            ],
            commands: 0,
            stale: false,
        },
        commands: vec![],
        entries: vec![
            (FacetId::SESSIONS, text("s-1"), encode_value(&bare_session())),
            (FacetId::SESSIONS, text("s-2"), Bytes::from_static(&[0, 9, 1])),
            (FacetId::WG_PEERS, encode_value(&peer_key()), encode_value(&peer())),
            (FacetId::AUTH_LOG, text("journald"), encode_value(&AuthLogSource { source: "journald".into() })),
            (FacetId(4000), Bytes::new(), Bytes::new()),
        ],
    }
}

fn shown() -> Vec<Value> {
    state_of(&node(), CURSOR, TIME).iter().map(ecs::event).collect()
}

#[test]
fn a_snapshot_is_one_event_of_kind_state_for_each_thing_that_stands() {
    let kinds: Vec<_> = shown()
        .iter()
        .map(|e| {
            format!("{} {}", e["event"]["kind"].as_str().unwrap(), e["secmon"]["type"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "state node.state",
            "state facet.state",
            "state facet.state",
            "state session.state",
            "event unreadable",
            "state wg.peer_state",
        ]
    );
    for event in shown() {
        assert_eq!(
            (&event["@timestamp"], &event["secmon"]["cursor"]),
            (&json!(TIME_TEXT), &json!(CURSOR_TEXT))
        );
        assert_eq!((&event["host"]["id"], &event["host"]["name"]), (&json!(NODE_TEXT), &json!("web-1")));
        assert_eq!(event["event"].get("id"), None, "it is no record, and has no id");
    }
}

#[test]
fn what_stands_has_the_fields_of_what_happens() {
    let all = shown();
    assert_eq!(
        all[0]["event"],
        json!({ "kind": "state", "action": "node.state", "category": ["host"], "type": ["info"], "sequence": 70_000 })
    );
    assert_eq!(
        (&all[0]["secmon"]["status"], &all[0]["secmon"]["since"]),
        (&json!("away"), &json!(TIME_TEXT))
    );
    assert_eq!(all[1]["secmon"]["facet"], json!({ "name": "sessions", "status": "ready", "count": 2 }));
    assert_eq!(all[2]["secmon"]["facet"]["remedy"], "run as root");
    assert_eq!((&all[3]["user"]["name"], &all[3]["secmon"]["session"]["id"]), (&json!("bob"), &json!("s-1")));
    assert_eq!(all[3]["event"]["category"], json!(["session"]));
    assert_eq!(all[4]["secmon"]["unreadable"]["types"], json!(["session.state"]));
    assert_eq!(
        (&all[5]["secmon"]["wg"]["interface"], &all[5]["source"]["port"]),
        (&json!("wg0"), &json!(51_820))
    );
}

/// A type of what happens is also that of a record; these are of no record.
#[test]
fn the_types_of_what_stands_are_no_types_of_what_happens() {
    for event in state_of(&node(), CURSOR, TIME) {
        assert_eq!(event.detail.event_type(), None);
        if let Detail::State(entry) = &event.detail {
            assert!(StateEntry::TYPES.contains(&entry.as_str()));
            assert_eq!(event.detail.type_name(), Some(entry.as_str()));
        }
    }
}
