//! `/metrics`, in Prometheus' text format 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::{
    fmt::{Display, Write as _},
    sync::{Arc, atomic::Ordering},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::query::{Caller, Params};
use crate::{
    hub::{
        Hub,
        counts::{Counts, Kind},
    },
    problem::Problem,
};

/// Counters and gauges of the bridge.
///
/// Nodes are counted for those who see all nodes.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "bridge",
    operation_id = "metrics",
    responses((status = 200, description = "Prometheus' text format 0.0.4", body = String, content_type = "text/plain")),
)]
pub(super) async fn metrics(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    params: Params,
) -> Result<Response, Problem> {
    params.done()?;
    // A hub that is away is no reason to say nothing: that is one of the numbers.
    let nodes = if who.may_see_hub() { hub.presence().await.ok() } else { None };
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, text(&hub, nodes)).into_response())
}

fn text(hub: &Hub, nodes: Option<(usize, usize)>) -> String {
    let counts: &Counts = &hub.counts;
    let mut out = Text::default();
    out.family("secmon_http_build_info", "gauge", "The version, as a label.");
    out.value("secmon_http_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    out.family("secmon_http_hub_connected", "gauge", "Whether the hub is there.");
    out.value("secmon_http_hub_connected", &[], u8::from(hub.is_connected()));
    out.family("secmon_http_hub_lost_total", "counter", "How often the hub was lost.");
    out.value("secmon_http_hub_lost_total", &[], counts.lost.load(Ordering::Relaxed));
    if let Some((online, away)) = nodes {
        out.family("secmon_http_nodes", "gauge", "Nodes, by whether they are connected.");
        out.value("secmon_http_nodes", &[("status", "online")], online);
        out.value("secmon_http_nodes", &[("status", "away")], away);
    }
    for (name, help, count) in [
        ("secmon_http_records_total", "Records that came from the hub.", &counts.records),
        ("secmon_http_events_total", "Events that came from the hub.", &counts.events),
        ("secmon_http_gaps_total", "Holes in what came from the hub.", &counts.gaps),
        ("secmon_http_events_sent_total", "Events that listeners were given.", &counts.told),
        ("secmon_http_runs_total", "Runs and jobs that were asked for.", &counts.runs),
    ] {
        out.family(name, "counter", help);
        out.value(name, &[], count.load(Ordering::Relaxed));
    }
    out.family("secmon_http_runs", "gauge", "Runs whose output is passed on.");
    out.value("secmon_http_runs", &[], counts.running.load(Ordering::Relaxed));
    out.family("secmon_http_listeners", "gauge", "Those who listen to events.");
    for kind in Kind::ALL {
        out.value("secmon_http_listeners", &[("kind", kind.as_str())], counts.listeners(kind));
    }
    let (bytes, entries) = hub.ring_size();
    out.family("secmon_http_ring_bytes", "gauge", "Memory of the newest events.");
    out.value("secmon_http_ring_bytes", &[], bytes);
    out.family("secmon_http_ring_records", "gauge", "Records among them.");
    out.value("secmon_http_ring_records", &[], entries);
    let (begun, running, waiting) = hub.catch_up_counts();
    out.family("secmon_http_catch_ups_total", "counter", "Listeners that were behind the newest events.");
    out.value("secmon_http_catch_ups_total", &[], begun);
    out.family(
        "secmon_http_catch_ups",
        "gauge",
        "Listeners that are behind, and catch up or wait for a turn.",
    );
    out.value("secmon_http_catch_ups", &[("state", "running")], running);
    out.value("secmon_http_catch_ups", &[("state", "waiting")], waiting);
    out.family("secmon_http_requests_total", "counter", "Answers, by method, route and status.");
    for ((method, route, status), count) in counts.requests() {
        let labels = [("method", &*method), ("route", &*route), ("status", &*status.to_string())];
        out.value("secmon_http_requests_total", &labels, count);
    }
    out.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Values of labels are ours or a method's: nothing in them has to be escaped but what is escaped here.
    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// Counts every answer by its route; one without a route is none of ours.
pub(super) async fn count(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    if let Some(route) = route {
        hub.counts.answered(&method, &route, response.status().as_u16());
    }
    response
}
