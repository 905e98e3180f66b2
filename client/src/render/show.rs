//! One node with everything that is known of it.

use secmon_protocol::{
    auth::AuthLogSource,
    codec::{self, CodecError, Value},
    facet::{FacetId, FacetStatus},
    message::client::{NodeDetail, Presence},
    session::Session,
    text::printable,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};

use super::{
    Look, bytes, commands, duration,
    list::{presence, status_word, warnings},
    table::table,
};

/// Terminals narrower than this show only the beginning of a public key.
const WIDE: u16 = 160;
/// How much of a key narrow terminals show; enough to tell a few peers apart.
const SHORT_KEY: usize = 8;

/// The node's facts, a table for each of its facets, and its commands.
#[must_use]
pub fn show(node: &NodeDetail, now: UnixNanos, look: &Look) -> String {
    let mut out = facts(node, now, look);
    for warning in warnings(&node.summary) {
        out.push_str(&look.warn(&warning));
        out.push('\n');
    }
    let node_now = UnixNanos(now.0.saturating_add(node.summary.clock_offset));
    sessions(&mut out, node, now, look);
    peers(&mut out, node, node_now, look);
    auth_log(&mut out, node, look);
    unknown(&mut out, node, look);
    if !node.commands.is_empty() {
        title(&mut out, "COMMANDS", look);
        out.push_str(&commands(&node.commands, look));
    }
    out
}

fn facts(node: &NodeDetail, now: UnixNanos, look: &Look) -> String {
    let s = &node.summary;
    let (status, since) = presence(s.presence);
    let status = format!("{status} since {}", look.moment(since, now));
    let system = [&s.facts.os, &s.facts.kernel, &s.facts.arch].map(|t| printable(t));
    let system: Vec<&str> = system.iter().map(String::as_str).filter(|t| !t.is_empty()).collect();
    let lines = [
        ("Name", s.name.to_string()),
        ("Id", s.id.to_string()),
        ("Status", status),
        ("Host name", printable(&s.facts.hostname)),
        ("System", system.join(", ")),
        ("Version", printable(&s.agent)),
        ("Address", printable(&s.address)),
    ];
    lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{} {value}\n", look.bold(&format!("{name:<10}"))))
        .collect()
}

fn title(out: &mut String, text: &str, look: &Look) {
    out.push('\n');
    out.push_str(&look.bold(text));
    out.push('\n');
}

/// Writes the title, and the status of a facet that is not there, with its reason. True when its entries
/// can be shown.
fn ready(out: &mut String, node: &NodeDetail, facet: FacetId, name: &str, look: &Look) -> bool {
    let status = node.summary.facets.iter().find(|f| f.facet == facet).map(|f| &f.status);
    title(out, name, look);
    let word = match status {
        Some(FacetStatus::Ready) => return true,
        Some(FacetStatus::Unavailable(u)) => {
            out.push_str(&look.warn(&format!("unavailable: {}", printable(&u.reason))));
            out.push('\n');
            if !u.remedy.is_empty() {
                out.push_str(&format!("what helps: {}\n", printable(&u.remedy)));
            }
            return false;
        }
        None if matches!(node.summary.presence, Presence::Expected { .. }) => "not known yet",
        Some(status) => status_word(status).unwrap_or("pending"),
        None => "pending",
    };
    out.push_str(word);
    out.push('\n');
    false
}

type Decoded<K, V> = (Vec<(K, V)>, Vec<CodecError>);

fn entries<K: Value, V: Value>(node: &NodeDetail, facet: FacetId) -> Decoded<K, V> {
    let (mut good, mut bad) = (vec![], vec![]);
    for (_, key, value) in node.entries.iter().filter(|(f, ..)| *f == facet) {
        match codec::decode_value(key).and_then(|key| Ok((key, codec::decode_value(value)?))) {
            Ok(entry) => good.push(entry),
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}

fn body(out: &mut String, head: &[&str], rows: Vec<Vec<String>>, bad: &[CodecError], look: &Look) {
    if rows.is_empty() && bad.is_empty() {
        out.push_str("none\n");
    } else if !rows.is_empty() {
        out.push_str(&table(head, rows, look));
    }
    if let Some(first) = bad.first() {
        let entries = if bad.len() == 1 { "entry" } else { "entries" };
        let line = format!("{} {entries} cannot be read: {}", bad.len(), printable(&first.to_string()));
        out.push_str(&look.warn(&line));
        out.push('\n');
    }
}

fn sessions(out: &mut String, node: &NodeDetail, now: UnixNanos, look: &Look) {
    if !ready(out, node, FacetId::SESSIONS, "SESSIONS", look) {
        return;
    }
    let (good, bad) = entries::<String, Session>(node, FacetId::SESSIONS);
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    let rows = good
        .iter()
        .map(|(_, s)| {
            let sources: Vec<&str> = s.sources.iter().map(|s| s.as_str()).collect();
            vec![
                printable(&s.user),
                or_dash(&s.tty),
                or_dash(&s.remote),
                look.moment(s.since, now),
                s.kind.as_str().to_owned(),
                sources.join(" "),
            ]
        })
        .collect();
    body(out, &["USER", "TTY", "FROM", "SINCE", "KIND", "SOURCES"], rows, &bad, look);
}

/// `now` is the node's clock: its handshakes were timed by it.
fn peers(out: &mut String, node: &NodeDetail, now: UnixNanos, look: &Look) {
    if !ready(out, node, FacetId::WG_PEERS, "WIREGUARD PEERS", look) {
        return;
    }
    let (good, bad) = entries::<WgPeerKey, WgPeer>(node, FacetId::WG_PEERS);
    let narrow = look.width.is_some_and(|width| width < WIDE);
    let rows = good
        .iter()
        .map(|(key, p)| {
            let mut public_key = key.public_key.to_string();
            if narrow {
                public_key.truncate(SHORT_KEY);
                public_key.push('…');
            }
            let networks: Vec<String> = p.allowed_ips.iter().map(|n| printable(n)).collect();
            let handshake = p.latest_handshake.map_or_else(
                || "never".to_owned(),
                |at| format!("{} ago", duration(now.0.saturating_sub(at.0))),
            );
            vec![
                printable(&key.interface),
                public_key,
                p.endpoint.map_or_else(|| "-".to_owned(), |e| e.to_string()),
                if p.online { "online" } else { "offline" }.to_owned(),
                handshake,
                bytes(p.rx_bytes),
                bytes(p.tx_bytes),
                networks.join(" "),
            ]
        })
        .collect();
    let head = ["INTERFACE", "PEER", "ENDPOINT", "STATUS", "HANDSHAKE", "RX", "TX", "ALLOWED IPS"];
    body(out, &head, rows, &bad, look);
}

fn auth_log(out: &mut String, node: &NodeDetail, look: &Look) {
    if !ready(out, node, FacetId::AUTH_LOG, "AUTH LOG", look) {
        return;
    }
    let (good, bad) = entries::<String, AuthLogSource>(node, FacetId::AUTH_LOG);
    for (_, log) in &good {
        out.push_str(&format!("read from {}\n", printable(&log.source)));
    }
    if good.is_empty() || !bad.is_empty() {
        body(out, &[], vec![], &bad, look);
    }
}

fn unknown(out: &mut String, node: &NodeDetail, look: &Look) {
    for facet in node.summary.facets.iter().filter(|f| !FacetId::KNOWN.contains(&f.facet)) {
        title(out, &facet.facet.to_string().to_uppercase(), look);
        out.push_str(&format!(
            "{}, {} entries, of a kind that this secmon does not know\n",
            facet.status.as_str(),
            facet.entries
        ));
    }
}
