//! The table of nodes, and below it what is wrong with them.

use secmon_protocol::{
    facet::{FacetId, FacetStatus},
    message::client::{NodeSummary, Presence},
    text::printable,
    time::UnixNanos,
};

use super::{Look, clock_warning, sentence::facet_words, table::table, why};

const HEAD: [&str; 7] = ["NAME", "STATUS", "SINCE", "SESSIONS", "WG PEERS", "AUTH LOG", "VERSION"];
/// Terminals narrower than this are spared the version; `show` has it.
const WITH_VERSION: u16 = 72;

/// The nodes as a table, and a line below it for everything that cannot be seen or is off. Empty when
/// there are none.
#[must_use]
pub fn list(nodes: &[NodeSummary], now: UnixNanos, look: &Look) -> String {
    if nodes.is_empty() {
        return String::new();
    }
    let columns =
        if look.width.is_some_and(|width| width < WITH_VERSION) { HEAD.len() - 1 } else { HEAD.len() };
    let rows = nodes
        .iter()
        .map(|node| {
            let (status, since) = presence(node.presence);
            let mut row = vec![
                node.name.to_string(),
                status.to_owned(),
                look.moment(since, now),
                cell(node, FacetId::SESSIONS),
                cell(node, FacetId::WG_PEERS),
                cell(node, FacetId::AUTH_LOG),
                if node.agent.is_empty() { "-".to_owned() } else { printable(&node.agent) },
            ];
            row.truncate(columns);
            row
        })
        .collect();
    let mut out = table(&HEAD[..columns], rows, look);
    let warnings: Vec<String> = nodes.iter().flat_map(|n| [unavailable(n), warnings(n)].concat()).collect();
    if !warnings.is_empty() {
        out.push('\n');
    }
    for line in warnings {
        out.push_str(&look.warn(&line));
        out.push('\n');
    }
    out
}

pub(super) fn presence(presence: Presence) -> (&'static str, UnixNanos) {
    match presence {
        Presence::Online { since } => ("online", since),
        Presence::Away { since } => ("away", since),
        Presence::Expected { since } => ("expected", since),
    }
}

/// A facet's status where it is not simply there.
pub(super) fn status_word(status: &FacetStatus) -> Option<&'static str> {
    match status {
        FacetStatus::Pending => Some("pending"),
        FacetStatus::NotMonitored => Some("off"),
        FacetStatus::Unavailable(_) => Some("unavailable"),
        FacetStatus::Ready => None,
    }
}

fn cell(node: &NodeSummary, facet: FacetId) -> String {
    if matches!(node.presence, Presence::Expected { .. }) {
        return "-".to_owned();
    }
    let Some(summary) = node.facets.iter().find(|f| f.facet == facet) else { return "pending".to_owned() };
    match status_word(&summary.status) {
        Some(word) => word.to_owned(),
        None if facet == FacetId::AUTH_LOG => "read".to_owned(),
        None => summary.entries.to_string(),
    }
}

/// One line for every facet that cannot be seen.
fn unavailable(node: &NodeSummary) -> Vec<String> {
    let line = |facet, reason: &str, remedy: &str| {
        format!("{}: cannot see {}: {}", node.name, facet_words(facet), why(reason, remedy))
    };
    node.facets
        .iter()
        .filter_map(|f| match &f.status {
            FacetStatus::Unavailable(u) => Some(line(f.facet, &u.reason, &u.remedy)),
            _ => None,
        })
        .collect()
}

/// One line for everything else that a reader must know.
pub(super) fn warnings(node: &NodeSummary) -> Vec<String> {
    let name = node.name.as_str();
    let mut out = Vec::from_iter(clock_warning(name, node.clock_offset));
    if node.stale {
        out.push(format!("{name}: what is shown may be out of date, its state is being fetched anew"));
    }
    out
}
