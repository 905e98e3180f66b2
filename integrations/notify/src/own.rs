//! Notices of delivery itself: that messages are missing.

use secmon_protocol::time::UnixNanos;
use serde_json::json;

use crate::{Field, Kind, Notice, Severity};

/// What takes the place of messages for which there was no room: `count` of them, of what happened from `from` to `to`. `row` is its
/// number in the queue.
pub(crate) fn dropped(
    destination: &str,
    row: i64,
    count: i64,
    (from, to): (UnixNanos, UnixNanos),
    now: UnixNanos,
) -> Notice {
    let were = if count == 1 { "message was" } else { "messages were" };
    let title = format!("{count} {were} dropped: {destination} could not be reached for too long");
    let (from, to) = (seconds(from), seconds(to));
    let text = format!(
        "What they told happened from {from} to {to}; what was critical was kept. The hub's log may still have it: secmon \
         watch --since {from}"
    );
    let mut notice =
        missing(format!("dropped-{row}-{count}"), "notify.dropped", Severity::Warning, title, text, now);
    notice.fields.push(Field { name: "dropped".to_owned(), value: count.to_string() });
    notice.json["secmon"]["notice"]["count"] = json!(count);
    notice
}

/// The store was damaged, and what was in it is lost.
pub(crate) fn damaged(now: UnixNanos) -> Notice {
    let title = "what was to be told here may be missing: the notifier's store was damaged".to_owned();
    let text = "Messages that had not been sent yet are lost, and what happened while the notifier was not running is not told. It \
                begins anew from here; who was seen before is learned again from the hub's log."
        .to_owned();
    missing(format!("damaged-{}", now.0), "notify.damaged", Severity::Critical, title, text, now)
}

fn missing(
    id: String,
    kind: &str,
    severity: Severity,
    title: String,
    text: String,
    now: UnixNanos,
) -> Notice {
    let json = json!({
        "@timestamp": now.rfc3339(),
        "event": { "kind": "alert", "action": kind, "category": ["host"], "reason": text },
        "secmon": {
            "type": kind,
            "notice": { "id": id, "severity": severity.as_str(), "title": title, "count": 1 },
        },
    });
    Notice { id, kind: Kind::Missing, severity, title, text, fields: vec![], node: None, time: now, json }
}

/// Without the fraction that nobody reads.
pub(crate) fn seconds(time: UnixNanos) -> String {
    UnixNanos(time.0.saturating_sub(time.0.rem_euclid(1_000_000_000))).rfc3339()
}
