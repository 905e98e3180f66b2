//! Answers about nodes, sessions, peers and jobs, for small screens. Pure.

use secmon_client::render::{self, bytes, duration};
use secmon_protocol::{
    codec::{self, Value},
    facet::{FacetId, FacetStatus},
    message::client::{JobSummary, NodeDetail, NodeSummary, Presence},
    session::Session,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};

use crate::text::Html;

/// How much of a public key is shown; enough to tell a few peers apart.
const SHORT_KEY: usize = 8;

fn ago(at: UnixNanos, now: UnixNanos) -> String {
    duration(now.0.saturating_sub(at.0))
}

fn presence(node: &NodeSummary, now: UnixNanos) -> (&'static str, String) {
    match node.presence {
        Presence::Online { since } => ("🟢", format!("online for {}", ago(since, now))),
        Presence::Away { since } => ("🔴", format!("away for {}", ago(since, now))),
        Presence::Expected { since } => ("⚪", format!("expected, enrolled {} ago", ago(since, now))),
    }
}

fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// What can be seen of a facet, in a word or two; none where it is off.
fn facet(node: &NodeSummary, facet: FacetId, one: &str) -> Option<String> {
    let found = node.facets.iter().find(|f| f.facet == facet)?;
    match &found.status {
        FacetStatus::Ready if facet == FacetId::AUTH_LOG => None,
        FacetStatus::Ready => Some(count(found.entries, one)),
        FacetStatus::Unavailable(_) => Some(format!("⚠️ {one}s unavailable")),
        FacetStatus::Pending | FacetStatus::NotMonitored => None,
    }
}

const FACETS: [(FacetId, &str); 3] =
    [(FacetId::SESSIONS, "session"), (FacetId::WG_PEERS, "peer"), (FacetId::AUTH_LOG, "auth log")];

fn node_line(node: &NodeSummary, now: UnixNanos) -> Html {
    let (icon, status) = presence(node, now);
    let mut parts = vec![status];
    parts.extend(FACETS.iter().filter_map(|(id, one)| facet(node, *id, one)));
    if node.stale {
        parts.push("being fetched anew".to_owned());
    }
    Html::new().said(icon).said(" ").bold(node.name.as_str()).said(" ").text(&parts.join(", "))
}

/// `/nodes`: a line each, those that are away first.
pub(crate) fn nodes(nodes: &[NodeSummary], now: UnixNanos) -> Html {
    if nodes.is_empty() {
        return Html::new().said("There are no such servers, or none that you may see.");
    }
    let online = |node: &&NodeSummary| matches!(node.presence, Presence::Online { .. });
    let mut sorted: Vec<&NodeSummary> = nodes.iter().collect();
    sorted.sort_by_key(|node| (online(node), node.name.as_str()));
    let up = nodes.iter().filter(online).count();
    let head = Html::new().said_bold(&format!("{}: {up} online", count(nodes.len() as u64, "server")));
    let lines: Vec<Html> = sorted.into_iter().map(|node| node_line(node, now)).collect();
    head.items(&lines, 0)
}

fn entries<K: Value, V: Value>(node: &NodeDetail, facet: FacetId) -> (Vec<(K, V)>, usize) {
    let (mut good, mut bad) = (vec![], 0);
    for (_, key, value) in node.entries.iter().filter(|(f, ..)| *f == facet) {
        match (codec::decode_value(key), codec::decode_value(value)) {
            (Ok(key), Ok(value)) => good.push((key, value)),
            _ => bad += 1,
        }
    }
    (good, bad)
}

fn sessions(node: &NodeDetail, now: UnixNanos) -> Vec<Html> {
    let (good, bad) = entries::<String, Session>(node, FacetId::SESSIONS);
    let line = |(_, s): &(String, Session)| {
        let mut html = Html::new().said("👤 ").bold(s.named_user().unwrap_or("?"));
        if let Some(tty) = &s.tty {
            html = html.said(" on ").text(tty);
        }
        if let Some(remote) = &s.remote {
            html = html.said(" from ").code(remote);
        }
        html.said(&format!(" for {}", ago(s.since, now)))
    };
    good.iter().map(line).chain(unreadable(bad)).collect()
}

fn peers(node: &NodeDetail, now: UnixNanos) -> Vec<Html> {
    let (good, bad) = entries::<WgPeerKey, WgPeer>(node, FacetId::WG_PEERS);
    // Handshakes were timed by the node's clock.
    let node_now = UnixNanos(now.0.saturating_add(node.summary.clock_offset));
    let line = |(key, p): &(WgPeerKey, WgPeer)| {
        let short: String = key.public_key.to_string().chars().take(SHORT_KEY).collect();
        let mut html = Html::new().said(if p.online { "🟢 " } else { "⚪ " });
        html = html.text(&key.interface).said(" ").code(&format!("{short}…"));
        if let Some(endpoint) = p.endpoint {
            html = html.said(" ").code(&endpoint.to_string());
        }
        html = match p.latest_handshake {
            Some(at) => html.said(&format!(", {} ago", ago(at, node_now))),
            None => html.said(", never seen"),
        };
        html.said(&format!(", ↓{} ↑{}", bytes(p.rx_bytes), bytes(p.tx_bytes)))
    };
    good.iter().map(line).chain(unreadable(bad)).collect()
}

fn unreadable(bad: usize) -> Option<Html> {
    (bad > 0).then(|| Html::new().said(&format!("⚠️ {bad} cannot be read by this version")))
}

/// What stands below a node in `/who` and `/wg`: its lines, or why there are none to be seen.
fn below(node: &NodeDetail, facet: FacetId, lines: Vec<Html>) -> Vec<Html> {
    let status = node.summary.facets.iter().find(|f| f.facet == facet).map(|f| &f.status);
    match status {
        Some(FacetStatus::Unavailable(why)) => {
            vec![Html::new().said("⚠️ cannot be seen: ").text(&why.reason)]
        }
        _ => lines,
    }
}

fn by_node(
    details: &[NodeDetail],
    facet: FacetId,
    now: UnixNanos,
    lines: impl Fn(&NodeDetail) -> Vec<Html>,
) -> Vec<Html> {
    let mut items = vec![];
    for node in details {
        let lines = below(node, facet, lines(node));
        if lines.is_empty() {
            continue;
        }
        let mut head = Html::new().bold(node.summary.name.as_str());
        if !matches!(node.summary.presence, Presence::Online { .. }) {
            head = head.said(" (").said(&presence(&node.summary, now).1).said(": as it was then)");
        }
        items.push(head);
        items.extend(lines);
    }
    items
}

/// `/who`: who is logged in where.
pub(crate) fn who(details: &[NodeDetail], now: UnixNanos) -> Html {
    let items = by_node(details, FacetId::SESSIONS, now, |node| sessions(node, now));
    if items.is_empty() {
        return Html::new().said("Nobody is logged in, as far as you may see.");
    }
    Html::new().items(&items, 0)
}

/// `/wg`: which peers are where.
pub(crate) fn wg(details: &[NodeDetail], now: UnixNanos) -> Html {
    let items = by_node(details, FacetId::WG_PEERS, now, |node| peers(node, now));
    if items.is_empty() {
        return Html::new().said("There are no WireGuard peers, as far as you may see.");
    }
    Html::new().items(&items, 0)
}

/// `/node`: one with everything, and the commands that may be run there.
pub(crate) fn node(node: &NodeDetail, may_run: impl Fn(&str) -> bool, now: UnixNanos) -> Html {
    let s = &node.summary;
    let mut items = vec![node_line(s, now)];
    let system = [s.facts.hostname.as_str(), &s.facts.os, &s.facts.kernel, &s.facts.arch, &s.address];
    let system: Vec<&str> = system.into_iter().filter(|part| !part.is_empty()).collect();
    if !system.is_empty() {
        items.push(Html::new().text(&system.join(", ")));
    }
    if s.clock_offset.saturating_abs() > render::CLOCK_TOLERANCE {
        items.push(
            Html::new()
                .said(&format!("⚠️ its clock is off by {}", duration(s.clock_offset.saturating_abs()))),
        );
    }
    for f in &s.facets {
        if let FacetStatus::Unavailable(why) = &f.status {
            let html = Html::new().said("⚠️ ").said(&f.facet.to_string()).said(": ").text(&why.reason);
            items.push(if why.remedy.is_empty() { html } else { html.said("; ").text(&why.remedy) });
        }
    }
    items.extend(sessions(node, now));
    items.extend(peers(node, now));
    let labels: Vec<&str> =
        node.commands.iter().map(|c| c.label.as_str()).filter(|label| may_run(label)).collect();
    if !labels.is_empty() {
        items.push(Html::new().said("▶ ").text(&labels.join(", ")));
    }
    Html::new().items(&items, 0)
}

fn command(job: &JobSummary) -> Html {
    let args: Vec<String> = job.run.args.iter().map(|arg| format!(" {}={}", arg.name, arg.value)).collect();
    Html::new().code(&format!("{}{}", job.run.label, args.concat())).said(" on ").bold(job.name.as_str())
}

fn job_state(job: &JobSummary, now: UnixNanos) -> String {
    let when = job.ended.or(job.started).unwrap_or(job.made);
    match &job.end {
        Some(end) => format!("{}, {} ago", render::run_end(end), ago(when, now)),
        None => format!("{} for {}", job.state.as_str(), ago(when, now)),
    }
}

/// `/jobs`: the latest.
pub(crate) fn jobs(jobs: &[JobSummary], more: bool, now: UnixNanos) -> Html {
    if jobs.is_empty() {
        return Html::new().said("There are no jobs, as far as you may see.");
    }
    let items: Vec<Html> = jobs
        .iter()
        .zip(render::shortest_ids(jobs))
        .map(|(job, id)| {
            Html::new().code(&id).said(" ").then(&command(job)).said("\n   ").said(&job_state(job, now))
        })
        .collect();
    let html = Html::new().items(&items, 64);
    if more { html.said("\nThere are older ones: secmon jobs") } else { html }
}

/// `/job`: one, without what it printed.
pub(crate) fn job(job: &JobSummary, now: UnixNanos) -> Html {
    let by = job.run.by.user.clone().unwrap_or_else(|| format!("uid {}", job.run.by.uid));
    let mut html = Html::new().said("Job ").code(&job.run.job.to_string()).said(": ").then(&command(job));
    html = html.said("\n").said(&job_state(job, now));
    html = html.said("\nfor ").text(&by).said(" by ").text(&job.run.by.agent);
    html.said(&format!("\nprinted {}", bytes(job.output)))
}

#[cfg(test)]
#[path = "show_tests.rs"]
mod tests;
