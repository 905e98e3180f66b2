//! From an envelope to JSON, and what every event has in common.

use secmon_protocol::{
    auth::AuthEvent,
    ecs, event,
    facet::{FacetId, FacetStatus},
    hub_event::HubEvent,
    ids::{Epoch, Seq},
    record::{Envelope, LogRecord, Origin, RecordKind},
    state::Op,
};
use serde_json::{Value, json};

use crate::samples::{CURSOR, NODE, TIME, name};

pub(crate) const NODE_TEXT: &str = "019aa1b2-c3d4-7e5f-8011-223344556677";
pub(crate) const CURSOR_TEXT: &str = "00decade0000feed-70000";
pub(crate) const TIME_TEXT: &str = "2026-11-21T06:00:00.123456789Z";

/// A record as it stands in the hub's log.
pub(crate) fn record(envelope: Envelope) -> LogRecord {
    let origin = match envelope.kind {
        RecordKind::HUB => Origin::Hub,
        _ => Origin::Node { epoch: Epoch(9), seq: Seq(300) },
    };
    LogRecord { cursor: CURSOR, node: NODE, name: name(), origin, envelope }
}

pub(crate) fn rendered(envelope: Envelope) -> Vec<Value> {
    event::events(&record(envelope)).iter().map(ecs::event).collect()
}

pub(crate) fn diff(ops: &[Op]) -> Vec<Value> {
    rendered(Envelope::diff(TIME, ops))
}

pub(crate) fn auth(event: &AuthEvent) -> Value {
    only(rendered(Envelope::auth(event)))
}

pub(crate) fn hub(event: &HubEvent) -> Value {
    only(rendered(Envelope::hub(TIME, event)))
}

pub(crate) fn ready(facet: FacetId) -> Op {
    Op::Status { facet, old: FacetStatus::Pending, new: FacetStatus::Ready }
}

pub(crate) fn only(mut values: Vec<Value>) -> Value {
    assert_eq!(values.len(), 1, "{values:?}");
    values.remove(0)
}

/// What is promised of the event `index` of a node's record: the part that all have, and `rest`.
pub(crate) fn of_node(index: usize, kind: &str, category: &str, types: &[&str], rest: Value) -> Value {
    expected(&format!("{NODE_TEXT}-9-300-{index}"), kind, category, types, rest)
}

/// The same for a record of the hub's own.
pub(crate) fn of_hub(kind: &str, category: &str, types: &[&str], rest: Value) -> Value {
    expected(&format!("{NODE_TEXT}-{}-{}-0", TIME.0, CURSOR.n), kind, category, types, rest)
}

fn expected(id: &str, kind: &str, category: &str, types: &[&str], rest: Value) -> Value {
    let mut all = json!({
        "@timestamp": TIME_TEXT,
        "event": {
            "kind": "event", "id": id, "sequence": 70_000,
            "action": kind, "category": [category], "type": types,
        },
        "host": { "id": NODE_TEXT, "name": "web-1" },
        "secmon": { "type": kind, "cursor": CURSOR_TEXT },
    });
    merge(&mut all, rest);
    all
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
