//! Nodes, in a list and one by one.

use bytes::Bytes;
use secmon_protocol::{
    auth::AuthLogSource,
    codec::encode_value,
    ecs,
    facet::{FacetId, FacetStatus},
    message::{
        client::{FacetSummary, NodeDetail, NodeSummary, Presence},
        node::HostFacts,
    },
};
use serde_json::json;

use crate::{
    common::{NODE_TEXT, TIME_TEXT},
    samples::{NODE, TIME, bare_session, commands, facts, name, peer, peer_key, unavailable},
};

fn summary() -> NodeSummary {
    let facet = |facet, status, entries| FacetSummary { facet, status, entries };
    NodeSummary {
        id: NODE,
        name: name(),
        presence: Presence::Online { since: TIME },
        agent: "0.1.0".into(),
        address: "192.0.2.1:40000".into(),
        facts: facts(),
        clock_offset: -1_500,
        facets: vec![
            facet(FacetId::SESSIONS, FacetStatus::Ready, 2),
            facet(FacetId::AUTH_LOG, FacetStatus::Unavailable(unavailable()), 0),
        ],
        commands: 2,
        stale: true,
    }
}

#[test]
fn a_node_of_a_list_has_its_facts_and_how_much_is_known_of_it() {
    let expected = json!({
        "host": {
            "id": NODE_TEXT, "name": "web-1", "hostname": "web-1", "architecture": "x86_64",
            "os": { "full": "Debian GNU/Linux 13 (trixie)", "kernel": "6.12.57" },
        },
        "secmon": {
            "status": "online", "since": TIME_TEXT, "agent": "0.1.0", "address": "192.0.2.1:40000",
            "clock_offset_ns": -1_500, "command_count": 2, "stale": true,
            "facets": {
                "sessions": { "status": "ready", "count": 2 },
                "wg_peers": { "status": "pending" },
                "auth_log": {
                    "status": "unavailable", "reason": "cannot read /var/log/auth.log",
                    "remedy": "run as root",
                },
            },
        },
    });
    assert_eq!(ecs::node_summary(&summary()), expected);
}

#[test]
fn a_node_that_never_came_has_a_name_and_nothing_made_up() {
    let expected = json!({
        "host": { "id": NODE_TEXT, "name": "web-1" },
        "secmon": {
            "status": "expected", "since": TIME_TEXT, "clock_offset_ns": 0, "command_count": 0,
            "facets": {
                "sessions": { "status": "pending" },
                "wg_peers": { "status": "pending" },
                "auth_log": { "status": "pending" },
            },
        },
    });
    let node = NodeSummary {
        presence: Presence::Expected { since: TIME },
        agent: String::new(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![],
        commands: 0,
        stale: false,
        ..summary()
    };
    assert_eq!(ecs::node_summary(&node), expected);
}

#[test]
fn a_node_with_its_state_shows_every_entry_and_what_it_cannot_read() {
    let text = |text: &str| encode_value(&text.to_owned());
    let log = AuthLogSource { source: "journald".into() };
    let node = NodeDetail {
        summary: summary(),
        commands: commands(),
        entries: vec![
            (FacetId::SESSIONS, text("s-1"), encode_value(&bare_session())),
            (FacetId::WG_PEERS, encode_value(&peer_key()), encode_value(&peer())),
            (FacetId::AUTH_LOG, text("journald"), encode_value(&log)),
            (FacetId(4000), Bytes::new(), Bytes::new()),
            (FacetId::SESSIONS, text("s-2"), Bytes::from_static(&[0, 9, 1])),
        ],
    };
    let shown = ecs::node_detail(&node);
    let secmon = &shown["secmon"];
    assert_eq!(secmon["sessions"][0]["user"], "bob");
    assert_eq!(secmon["wg_peers"][0]["interface"], "wg0");
    assert_eq!(secmon["auth_log"], json!(["journald"]));
    assert_eq!(
        secmon["unreadable"],
        json!([
            { "facet": "facet_4000" },
            { "facet": "sessions", "reason": "Session 9 is newer than this secmon knows" },
        ])
    );
    assert_eq!(
        secmon["commands"],
        json!([
            { "label": "restart-web", "description": "Restart nginx", "timeout_ms": 30_000, "args": [], "stdin": false },
            { "label": "uptime", "timeout_ms": 250, "args": [], "stdin": false },
        ])
    );
    let mut rest = shown.clone();
    rest["secmon"].as_object_mut().unwrap().retain(|key, _| key == "facets" || key == "status");
    assert_eq!(rest["secmon"]["facets"], ecs::node_summary(&summary())["secmon"]["facets"]);
}
