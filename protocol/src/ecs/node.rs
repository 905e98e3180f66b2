//! Nodes as JSON: what `list`, `show` and `commands` print.

use serde_json::{Value, json};

use super::{Doc, commands, facet_name, facet_status, peer, session};
use crate::{
    auth::AuthLogSource,
    codec::{self, CodecError},
    facet::{FacetId, FacetStatus},
    message::client::{NodeDetail, NodeSummary, Presence},
};

/// A node of a list as one JSON object: `host.*` and `secmon.{status,since,agent,address,facets,…}`.
#[must_use]
pub fn summary(node: &NodeSummary) -> Value {
    let mut out = Doc::default();
    summary_into(&mut out, node);
    Value::Object(out.0)
}

pub(super) fn summary_into(out: &mut Doc, node: &NodeSummary) {
    out.set("host.id", node.id.to_string());
    out.set("host.name", node.name.as_str());
    out.set("host.hostname", &*node.facts.hostname);
    out.set("host.os.full", &*node.facts.os);
    out.set("host.os.kernel", &*node.facts.kernel);
    out.set("host.architecture", &*node.facts.arch);
    let (status, since) = match node.presence {
        Presence::Online { since } => ("online", since),
        Presence::Away { since } => ("away", since),
        Presence::Expected { since } => ("expected", since),
    };
    out.set("secmon.status", status);
    out.set("secmon.since", since.rfc3339());
    out.set("secmon.agent", &*node.agent);
    out.set("secmon.address", &*node.address);
    out.set("secmon.clock_offset_ns", node.clock_offset);
    out.set("secmon.command_count", node.commands);
    if node.stale {
        out.set("secmon.stale", true);
    }
    for known in FacetId::KNOWN {
        facet_status(out, &format!("secmon.facets.{}", facet_name(known)), &FacetStatus::Pending);
    }
    for facet in &node.facets {
        let at = format!("secmon.facets.{}", facet_name(facet.facet));
        facet_status(out, &at, &facet.status);
        if facet.status == FacetStatus::Ready {
            out.set(&format!("{at}.count"), facet.entries);
        }
    }
}

/// A node with its whole state as one JSON object: what [`summary`] has, and the arrays
/// `secmon.sessions`, `secmon.wg_peers`, `secmon.auth_log`, `secmon.commands` and `secmon.unreadable`.
#[must_use]
pub fn detail(node: &NodeDetail) -> Value {
    let mut out = Doc::default();
    summary_into(&mut out, &node.summary);
    let mut entries: std::collections::BTreeMap<String, Vec<Value>> = std::collections::BTreeMap::new();
    for known in FacetId::KNOWN {
        entries.insert(facet_name(known), vec![]);
    }
    for (facet, key, value) in &node.entries {
        let (array, item) = match entry(*facet, key, value) {
            Ok(Some(item)) => (facet_name(*facet), item),
            Ok(None) => ("unreadable".to_owned(), json!({ "facet": facet_name(*facet) })),
            Err(e) => {
                ("unreadable".to_owned(), json!({ "facet": facet_name(*facet), "reason": e.to_string() }))
            }
        };
        entries.entry(array).or_default().push(item);
    }
    for (name, items) in entries {
        out.set(&format!("secmon.{name}"), items);
    }
    out.set("secmon.commands", commands(&node.commands));
    Value::Object(out.0)
}

fn entry(facet: FacetId, key: &[u8], value: &[u8]) -> Result<Option<Value>, CodecError> {
    Ok(match facet {
        FacetId::SESSIONS => {
            Some(session(&codec::decode_value::<String>(key)?, &codec::decode_value(value)?))
        }
        FacetId::WG_PEERS => Some(peer(&codec::decode_value(key)?, &codec::decode_value(value)?)),
        FacetId::AUTH_LOG => Some(json!(codec::decode_value::<AuthLogSource>(value)?.source)),
        _ => None,
    })
}
