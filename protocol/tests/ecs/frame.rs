//! What all events have in common, and the events that are of no record or of an unreadable one.

use bytes::Bytes;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    ecs,
    event::{Detail, Event},
    facet::{FacetId, FacetStatus},
    ids::{Cursor, LogId},
    message::client::Gap,
    record::{Envelope, RecordKind},
    state::Op,
    time::UnixNanos,
};
use serde_json::{Value, json};

use crate::{
    common::{CURSOR_TEXT, NODE_TEXT, TIME_TEXT, diff, of_node, only, rendered},
    samples::{CURSOR, TIME, unavailable},
};

fn of_no_record(detail: Detail) -> Value {
    ecs::event(&Event { id: String::new(), cursor: None, node: None, time: TIME, detail })
}

#[test]
fn a_facet_that_cannot_be_seen_says_why_and_what_would_mend_it() {
    let op = |new| Op::Status { facet: FacetId::AUTH_LOG, old: FacetStatus::Ready, new };
    let rest = json!({
        "secmon": {
            "facet": {
                "name": "auth_log", "status": "unavailable",
                "reason": "cannot read /var/log/auth.log", "remedy": "run as root",
            },
        },
    });
    let unavailable = op(FacetStatus::Unavailable(unavailable()));
    assert_eq!(only(diff(&[unavailable])), of_node(0, "facet.unavailable", "host", &["error"], rest));
    assert_eq!(diff(&[op(FacetStatus::Pending), op(FacetStatus::NotMonitored)]), Vec::<Value>::new());
}

#[test]
fn a_subscribers_own_gap_names_the_places_on_both_sides() {
    let gap = |log| Gap { after: CURSOR, to: Cursor { log, n: 70_005 }, reason: "no longer kept".into() };
    let expected = json!({
        "@timestamp": TIME_TEXT,
        "event": { "kind": "event", "action": "gap", "category": ["host"], "type": ["error"] },
        "secmon": {
            "type": "gap",
            "gap": {
                "after": CURSOR_TEXT, "to": "00decade0000feed-70005", "count": 5, "reason": "no longer kept",
            },
        },
    });
    assert_eq!(of_no_record(Detail::Gap(gap(CURSOR.log))), expected);
    let another_log = of_no_record(Detail::Gap(gap(LogId(1))));
    assert_eq!(another_log["secmon"]["gap"].get("count"), None, "two logs have no distance");
}

#[test]
fn a_line_that_was_only_parsed_has_no_place_and_no_node() {
    let line = of_no_record(Detail::Auth(AuthEvent::new(TIME, "sshd", None, AuthAction::Failed, "m")));
    for absent in ["id", "sequence"] {
        assert_eq!(line["event"].get(absent), None);
    }
    assert_eq!((line.get("host"), line["secmon"].get("cursor")), (None, None));
}

#[test]
fn a_record_of_a_later_version_is_shown_as_unreadable() {
    let envelope = Envelope {
        kind: RecordKind(900),
        version: 1,
        time: TIME,
        types: vec!["net.scan".into()],
        body: Bytes::new(),
    };
    let expected = json!({
        "@timestamp": TIME_TEXT,
        "event": { "kind": "event", "id": format!("{NODE_TEXT}-9-300-0"), "sequence": 70_000 },
        "host": { "id": NODE_TEXT, "name": "web-1" },
        "secmon": {
            "type": "unreadable", "cursor": CURSOR_TEXT,
            "unreadable": {
                "types": ["net.scan"], "reason": "record kind 900 is newer than this secmon knows",
            },
        },
    });
    assert_eq!(only(rendered(envelope)), expected);
}

#[test]
fn a_time_has_as_many_digits_as_it_needs() {
    let at = |nanos| {
        let event = AuthEvent::new(UnixNanos(nanos), "sshd", None, AuthAction::Probe, "m");
        only(rendered(Envelope::auth(&event)))["@timestamp"].clone()
    };
    assert_eq!(at(0), "1970-01-01T00:00:00Z");
    assert_eq!(at(1_500_000_000), "1970-01-01T00:00:01.5Z");
    assert_eq!(at(i64::MAX), "2262-04-11T23:47:16.854775807Z");
}
