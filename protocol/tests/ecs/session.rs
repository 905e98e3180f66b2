//! Sessions.

use secmon_protocol::{codec::encode_value, facet::FacetId, session::Session, state::Op};
use serde_json::json;

use crate::{
    common::{TIME_TEXT, diff, of_node, only, ready},
    samples::{bare_session, session},
};

const FACET: FacetId = FacetId::SESSIONS;

fn opened(session: &Session) -> Op {
    Op::Added { facet: FACET, key: encode_value(&"s-1".to_owned()), new: encode_value(session) }
}

fn closed(session: &Session) -> Op {
    Op::Removed { facet: FACET, key: encode_value(&"s-1".to_owned()), old: encode_value(session) }
}

#[test]
fn a_session_that_opened_has_its_user_its_source_and_all_that_is_known() {
    let rest = json!({
        "user": { "name": "alice" },
        "source": { "ip": "192.0.2.7" },
        "secmon": {
            "tty": "pts/0",
            "session": {
                "id": "s-1", "user": "alice", "tty": "pts/0", "remote": "192.0.2.7", "since": TIME_TEXT,
                "leader": 4711, "service": "sshd", "kind": "interactive",
                "sources": ["utmp", "logind", "wtmpdb"],
            },
        },
    });
    assert_eq!(only(diff(&[opened(&session())])), of_node(0, "session.opened", "session", &["start"], rest));
}

#[test]
fn a_session_that_closed_still_has_its_user_and_what_is_unknown_is_absent() {
    let rest = json!({
        "user": { "name": "bob" },
        "secmon": {
            "session": {
                "id": "s-1", "user": "bob", "since": "1969-12-31T23:59:59.999999999Z",
                "kind": "background", "sources": ["logind"],
            },
        },
    });
    assert_eq!(
        only(diff(&[closed(&bare_session())])),
        of_node(0, "session.closed", "session", &["end"], rest)
    );
}

#[test]
fn source_ip_is_set_for_an_address_only() {
    let source = |remote: &str| {
        let session = Session { remote: Some(remote.into()), ..session() };
        only(diff(&[opened(&session)])).get("source").cloned()
    };
    assert_eq!(source("192.0.2.7"), Some(json!({ "ip": "192.0.2.7" })));
    assert_eq!(source("2001:db8::1"), Some(json!({ "ip": "2001:db8::1" })));
    assert_eq!(source("::ffff:192.0.2.7"), Some(json!({ "ip": "192.0.2.7" })));
    for name in ["laptop.example.org", "fe80::1%eth0", "192.0.2", "192.0.2.7:22", "mosh [1234]", ":0"] {
        assert_eq!(source(name), Some(json!({ "address": name })));
    }
    assert_eq!(source(""), None, "an empty text is absent");
}

#[test]
fn sessions_found_when_the_looking_began_were_not_opened_just_then() {
    let events = diff(&[ready(FACET), opened(&session())]);
    let rest = json!({ "secmon": { "facet": { "name": "sessions", "status": "ready" } } });
    assert_eq!(only(events), of_node(0, "facet.ready", "host", &["info"], rest));
}
