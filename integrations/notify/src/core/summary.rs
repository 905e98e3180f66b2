//! What a digest says: `214 failed logins in 5m from 3 addresses on web-1, top users root, admin, test`.

use jiff::tz::TimeZone;
use secmon_client::render::duration;
use secmon_protocol::text::printable;
use serde_json::{Value, json};

use super::{
    digest::{Digest, OTHER, Why},
    tally::Tally,
    text::{MAX_TEXT, MAX_TITLE, MAX_VALUE, clip, counted, thousands, within},
    words,
};
use crate::{Field, Kind, Notice};

/// Names that a title has.
const TOP: usize = 3;

/// The next edition.
pub(super) fn notice(digest: &Digest, open: bool, zone: &TimeZone) -> Notice {
    let id = format!("{}-{}", digest.id, digest.editions + 1);
    let title = title(digest);
    let (json, _) = within(json(digest, &id, &title, open));
    Notice {
        id,
        kind: Kind::Digest { open, count: digest.count },
        severity: digest.severity,
        text: text(digest, zone),
        fields: fields(digest),
        node: digest.nodes.only().map(str::to_owned),
        time: digest.last_time,
        json,
        title,
    }
}

fn title(digest: &Digest) -> String {
    let before = match digest.why {
        Why::Rule => "",
        Why::Quiet => "In quiet hours: ",
        Why::Muted => "While muted: ",
        Why::Limit => "Over the limit: ",
    };
    // What came alone says itself best.
    if let ([(_, line)], 0) = (digest.lines.as_slice(), digest.unlisted) {
        return clip(&format!("{before}{line}"), MAX_TITLE);
    }
    let (one, many) = noun(&digest.kinds);
    let mut out = format!("{before}{}", counted(digest.count, one, many));
    let took = digest.last_time.0.saturating_sub(digest.first_time.0);
    if took >= 1_000_000_000 {
        out.push_str(&format!(" in {}", duration(took)));
    }
    let place = |tally: &Tally, many: &str| match tally.only() {
        Some(name) => name.to_owned(),
        None => format!("{} {many}", tally.distinct()),
    };
    if !digest.sources.is_empty() {
        out.push_str(&format!(" from {}", place(&digest.sources, "addresses")));
    }
    if !digest.nodes.is_empty() {
        out.push_str(&format!(" on {}", place(&digest.nodes, "nodes")));
    }
    let users: Vec<&str> = digest.users.top().into_iter().take(TOP).map(|(name, _)| name).collect();
    match users.as_slice() {
        [] => {}
        [user] => out.push_str(&format!(", user {user}")),
        users => out.push_str(&format!(", top users {}", users.join(", "))),
    }
    clip(&out, MAX_TITLE)
}

/// What the events are called, one and many.
fn noun(kinds: &[(String, u64)]) -> (&'static str, &'static str) {
    let all = |some: &[&str]| kinds.iter().all(|(kind, _)| some.contains(&kind.as_str()));
    const NOUNS: [(&[&str], &str, &str); 14] = [
        (&["auth.failed", "auth.invalid_user"], "failed login", "failed logins"),
        (&["auth.accepted", "session.opened"], "login", "logins"),
        (&["auth.probe"], "probe", "probes"),
        (&["access.denied"], "denied request", "denied requests"),
        (&["auth.sudo"], "use of sudo", "uses of sudo"),
        (&["auth.sudo_denied"], "denied sudo", "denied sudos"),
        (&["auth.su", "auth.su_failed"], "use of su", "uses of su"),
        (&["auth.account_changed"], "account change", "account changes"),
        (&["session.closed", "auth.session_closed"], "logout", "logouts"),
        (&["node.away"], "node away", "nodes away"),
        (&["node.back"], "node back", "nodes back"),
        (&["gap"], "gap", "gaps"),
        (&["wg.peer_added"], "new WireGuard peer", "new WireGuard peers"),
        (&["facet.unavailable"], "part out of sight", "parts out of sight"),
    ];
    NOUNS.iter().find(|(some, ..)| all(some)).map_or(("event", "events"), |(_, one, many)| (one, many))
}

fn text(digest: &Digest, zone: &TimeZone) -> String {
    let mut out = vec![];
    if digest.kinds.len() > 1 {
        let mut kinds = digest.kinds.clone();
        // `other` is no type, and stands behind those that are.
        kinds.sort_by_key(|(kind, count)| (kind == OTHER, std::cmp::Reverse(*count)));
        let kinds: Vec<String> =
            kinds.iter().map(|(kind, count)| format!("{kind} {}", thousands(*count))).collect();
        out.push(format!("types: {}", kinds.join(", ")));
    }
    for (name, tally) in parts(digest) {
        if tally.only().is_none() && !tally.is_empty() {
            out.push(format!("{name}: {}", listed(tally)));
        }
    }
    // One that came alone is the title already.
    if digest.lines.len() > 1 || digest.unlisted > 0 {
        out.extend(digest.listed(zone));
        if digest.unlisted > 0 && !digest.lines.is_empty() {
            out.push(format!("… and {} more", thousands(digest.unlisted)));
        }
    }
    clip(&out.join("\n"), MAX_TEXT)
}

fn parts(digest: &Digest) -> [(&'static str, &Tally); 3] {
    [("nodes", &digest.nodes), ("addresses", &digest.sources), ("users", &digest.users)]
}

/// `root 120, admin 80, test 14 and 3 more`; where the counts are not all certain, without those that are not.
fn listed(tally: &Tally) -> String {
    let top = tally.top();
    let (number, more) = tally.number();
    let about = if tally.exact() { "" } else { "at least " };
    let names: Vec<String> = top
        .iter()
        .map(|(name, count)| match count {
            0 => (*name).to_owned(),
            count => format!("{name} {about}{}", thousands(*count)),
        })
        .collect();
    let rest = number.saturating_sub(top.len());
    match (rest, more) {
        (0, false) => names.join(", "),
        (rest, more) => {
            format!("{} and {}{} more", names.join(", "), thousands(rest as u64), if more { "+" } else { "" })
        }
    }
}

fn fields(digest: &Digest) -> Vec<Field> {
    let mut out = vec![];
    let mut add = |name: &str, value: String| {
        out.push(Field { name: name.to_owned(), value: clip(&value, MAX_VALUE) });
    };
    add("events", thousands(digest.count));
    for (one, (_, tally)) in ["node", "source", "user"].iter().zip(parts(digest)) {
        if let Some(only) = tally.only() {
            add(one, only.to_owned());
        } else if !tally.is_empty() {
            add(&format!("{one}s"), tally.distinct());
        }
    }
    if let Some(rule) = &digest.rule {
        add("rule", printable(rule));
    }
    out
}

fn json(digest: &Digest, id: &str, title: &str, open: bool) -> Value {
    let tally = |tally: &Tally| {
        let (distinct, more) = tally.number();
        let top: Vec<Value> =
            tally.top().iter().map(|(name, count)| json!({ "name": name, "count": count })).collect();
        json!({ "distinct": distinct, "more": more, "exact": tally.exact(), "top": top })
    };
    let kinds: serde_json::Map<String, Value> =
        digest.kinds.iter().map(|(kind, count)| (kind.clone(), json!(count))).collect();
    let lines: Vec<Value> = digest
        .lines
        .iter()
        .map(|(time, title)| json!({ "@timestamp": time.rfc3339(), "title": title }))
        .collect();
    let mut out = json!({
        "@timestamp": digest.last_time.rfc3339(),
        "event": {
            "kind": "alert",
            "action": "digest",
            "start": words::seconds(digest.first_time),
            "end": words::seconds(digest.last_time),
        },
        "secmon": { "type": "digest", "notice": {
            "id": id,
            "digest": digest.id,
            "edition": digest.editions + 1,
            "open": open,
            "why": digest.why,
            "severity": digest.severity.as_str(),
            "title": title,
            "count": digest.count,
            "types": kinds,
            "nodes": tally(&digest.nodes),
            "users": tally(&digest.users),
            "sources": tally(&digest.sources),
            "events": lines,
        } },
    });
    if let Some(rule) = &digest.rule {
        out["secmon"]["notice"]["rule"] = json!(rule);
    }
    out
}
