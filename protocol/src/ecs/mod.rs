//! The one renderer for machines: events and nodes as JSON in the Elastic Common Schema (ECS 8).
//!
//! Everything that prints JSON (the CLI, HTTP, WebSocket, SSE) prints what is made here, by [`line()`].
//! Objects are nested, absent fields are left out, and what ECS has no name for stands under `secmon`. Field
//! names: <https://www.elastic.co/guide/en/ecs/current/ecs-field-reference.html>; `docs/protocol.md` lists ours.

mod auth;
mod command;
mod node;

use std::{fmt::Write as _, net::IpAddr};

use serde_json::{Value, json};

pub use command::{commands, job, run_ended, run_output, usage, who_am_i};
pub use node::{detail as node_detail, summary as node_summary};

use crate::{
    command::RunEnd,
    event::{Detail, Event, EventType},
    facet::{FacetId, FacetStatus},
    hub_event::{CommandRun, HubEvent, Requester},
    session::Session,
    state_event::StateEntry,
    text::is_unsafe,
    wireguard::{WgPeer, WgPeerKey},
};

/// A value as one line of JSON (RFC 8259) without its end, safe to print: where JSON leaves a character as it
/// is that could steer a terminal or mislead the eye ([`is_unsafe`]), it is written as `\uXXXX`, above U+FFFF
/// as a surrogate pair. Who parses the line gets the same value.
#[must_use]
pub fn line(value: &Value) -> String {
    let json = value.to_string();
    let mut out = String::with_capacity(json.len());
    // Outside of strings JSON without white space has ASCII punctuation, digits and words alone.
    for c in json.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// An event as one JSON object.
#[must_use]
pub fn event(event: &Event) -> Value {
    let mut out = Doc::default();
    out.set("@timestamp", event.time.rfc3339());
    let stands = matches!(event.detail, Detail::State(_));
    out.set("event.kind", if stands { "state" } else { "event" });
    out.set("event.id", &*event.id);
    if let Some(cursor) = event.cursor {
        out.set("event.sequence", cursor.n);
        out.set("secmon.cursor", cursor.to_string());
    }
    if let Some((id, name)) = &event.node {
        out.set("host.id", id.to_string());
        out.set("host.name", name.as_str());
    }
    if let Some(name) = event.detail.type_name() {
        out.set("secmon.type", name);
        out.set("event.action", name);
    }
    let class = match &event.detail {
        Detail::State(entry) => Some((state_category(entry), &["info"][..])),
        detail => detail.event_type().map(classify),
    };
    if let Some((category, types)) = class {
        out.set("event.category", json!([category]));
        out.set("event.type", json!(types));
    }
    detail(&mut out, &event.detail);
    Value::Object(out.0)
}

/// ECS `event.category` and `event.type` of each of our types.
fn classify(kind: EventType) -> (&'static str, &'static [&'static str]) {
    use EventType as T;
    match kind {
        T::NodeEnrolled => ("host", &["creation"]),
        T::NodeRemoved => ("host", &["deletion"]),
        T::NodeConnected => ("host", &["start"]),
        T::NodeDisconnected => ("host", &["end"]),
        T::FacetReady => ("host", &["info"]),
        T::FacetUnavailable | T::Gap => ("host", &["error"]),
        T::SessionOpened | T::AuthSessionOpened => ("session", &["start"]),
        T::SessionClosed | T::AuthSessionClosed => ("session", &["end"]),
        T::WgPeerAdded => ("network", &["creation"]),
        T::WgPeerRemoved => ("network", &["deletion"]),
        T::WgPeerChanged => ("network", &["change"]),
        T::WgPeerOnline => ("network", &["connection", "start"]),
        T::WgPeerOffline => ("network", &["connection", "end"]),
        T::AuthAccepted | T::AuthFailed | T::AuthInvalidUser => ("authentication", &["start"]),
        T::AuthSu | T::AuthSuFailed => ("authentication", &["start"]),
        T::AuthDisconnected => ("network", &["connection", "end"]),
        T::AuthSudo => ("process", &["start"]),
        T::AuthSudoDenied => ("process", &["denied"]),
        T::AuthAccountChanged => ("iam", &["change"]),
        T::AuthProbe => ("network", &["connection", "denied"]),
        T::CommandQueued => ("process", &["info"]),
        T::CommandRefused => ("process", &["denied"]),
        T::AccessDenied => ("iam", &["denied"]),
        T::CommandStarted => ("process", &["start"]),
        T::CommandFinished => ("process", &["end"]),
    }
}

fn state_category(entry: &StateEntry) -> &'static str {
    match entry {
        StateEntry::Node(_) | StateEntry::Facet(_) => "host",
        StateEntry::Session(..) => "session",
        StateEntry::Wg(..) => "network",
    }
}

fn detail(out: &mut Doc, detail: &Detail) {
    match detail {
        Detail::Facet(facet, status) => {
            out.set("secmon.facet.name", facet.to_string());
            facet_status(out, "secmon.facet", status);
        }
        Detail::State(StateEntry::Node(summary)) => node::summary_into(out, summary),
        Detail::State(StateEntry::Facet(f)) => {
            out.set("secmon.facet.name", f.facet.to_string());
            facet_status(out, "secmon.facet", &f.status);
            if f.status == FacetStatus::Ready {
                out.set("secmon.facet.count", f.entries);
            }
        }
        Detail::Session(_, key, s) | Detail::State(StateEntry::Session(key, s)) => {
            out.option("user.name", s.named_user());
            if let Some(remote) = &s.remote {
                source_host(out, remote);
            }
            out.option("secmon.tty", s.tty.as_deref());
            out.set("secmon.session", session(key, s));
        }
        Detail::Wg(_, key, p) | Detail::State(StateEntry::Wg(key, p)) => {
            if let Some(endpoint) = p.endpoint {
                source_ip(out, endpoint.ip());
                out.set("source.port", endpoint.port());
            }
            out.set("secmon.wg", peer(key, p));
        }
        Detail::Auth(e) => auth::render(out, e),
        Detail::Hub(e) => hub(out, e),
        Detail::Lost(lost) => {
            out.set("secmon.gap.count", lost.count);
            out.set("secmon.gap.reason", &*lost.reason);
        }
        Detail::Gap(gap) => {
            out.set("secmon.gap.after", gap.after.to_string());
            out.set("secmon.gap.to", gap.to.to_string());
            if gap.after.log == gap.to.log {
                out.set("secmon.gap.count", gap.to.n.saturating_sub(gap.after.n));
            }
            out.set("secmon.gap.reason", &*gap.reason);
        }
        Detail::Unreadable { types, reason } => {
            out.set("secmon.type", "unreadable");
            out.set("secmon.unreadable.types", json!(types));
            out.set("secmon.unreadable.reason", &**reason);
        }
    }
}

fn hub(out: &mut Doc, event: &HubEvent) {
    match event {
        HubEvent::Enrolled { replaced } => out.set("secmon.node.replaced", *replaced),
        HubEvent::Removed { by } => requester(out, "secmon.node.removed_with", by),
        HubEvent::Connected { address, agent } => {
            out.set("secmon.node.address", &**address);
            out.set("secmon.node.agent", &**agent);
        }
        HubEvent::Disconnected { reason } => out.set("secmon.node.reason", &**reason),
        HubEvent::Gap { from, to, reason } => {
            out.set("secmon.gap.count", to.0.saturating_sub(from.0).saturating_add(1));
            out.set("secmon.gap.reason", &**reason);
        }
        HubEvent::CommandStarted(run) => command(out, run),
        HubEvent::CommandFinished { run, end, usage } => {
            command(out, run);
            run_end(out, end);
            if let Some(usage) = usage {
                out.set("secmon.command.usage", command::usage(usage));
            }
        }
        HubEvent::CommandRefused { run, reason } => {
            command(out, run);
            out.set("event.outcome", "failure");
            out.set("secmon.command.message", &**reason);
        }
        HubEvent::CommandQueued { run, expires } => {
            command(out, run);
            out.set("secmon.command.expires", expires.rfc3339());
        }
        HubEvent::Denied { by, request, reason, unlogged } => {
            requester(out, "secmon.access.agent", by);
            out.set("event.outcome", "failure");
            out.set("secmon.access.request", &**request);
            out.set("secmon.access.reason", &**reason);
            if *unlogged > 0 {
                out.set("secmon.access.unlogged", *unlogged);
            }
        }
    }
}

fn command(out: &mut Doc, run: &CommandRun) {
    out.set("secmon.command.job", run.job.to_string());
    out.set("secmon.command.label", &*run.label);
    if !run.args.is_empty() {
        out.set("secmon.command.args", command::args(&run.args));
    }
    out.set("secmon.command.detached", run.detached);
    requester(out, "secmon.command.agent", &run.by);
}

fn requester(out: &mut Doc, agent: &str, by: &Requester) {
    out.set("user.id", by.uid.to_string());
    out.option("user.name", by.user.as_deref());
    out.set(agent, &*by.agent);
}

fn run_end(out: &mut Doc, end: &RunEnd) {
    out.set("secmon.command.end", run_end_word(end));
    let success = *end == RunEnd::Exited(0);
    out.set("event.outcome", if success { "success" } else { "failure" });
    match end {
        RunEnd::Exited(code) => out.set("process.exit_code", *code),
        RunEnd::Signalled(signal) => out.set("secmon.command.signal", *signal),
        RunEnd::Failed { message, .. } => out.set("secmon.command.message", &**message),
        RunEnd::TimedOut | RunEnd::Cancelled | RunEnd::TooMuchOutput => {}
    }
}

/// The word for the end of a run: `exited`, `signalled`, `timed_out`, `cancelled`, `too_much_output` or `failed`.
#[must_use]
pub fn run_end_word(end: &RunEnd) -> &'static str {
    match end {
        RunEnd::Exited(_) => "exited",
        RunEnd::Signalled(_) => "signalled",
        RunEnd::TimedOut => "timed_out",
        RunEnd::Cancelled => "cancelled",
        RunEnd::TooMuchOutput => "too_much_output",
        RunEnd::Failed { .. } => "failed",
    }
}

fn facet_status(out: &mut Doc, at: &str, status: &FacetStatus) {
    out.set(&format!("{at}.status"), status.as_str());
    if let FacetStatus::Unavailable(why) = status {
        out.set(&format!("{at}.reason"), &*why.reason);
        out.set(&format!("{at}.remedy"), &*why.remedy);
    }
}

fn session(key: &str, s: &Session) -> Value {
    let mut out = Doc::default();
    out.set("id", key);
    out.option("user", s.named_user());
    out.option("tty", s.tty.as_deref());
    out.option("remote", s.remote.as_deref());
    out.set("since", s.since.rfc3339());
    out.option("leader", s.leader);
    out.option("service", s.service.as_deref());
    out.set("kind", s.kind.as_str());
    out.set("sources", s.sources.iter().map(|s| s.as_str()).collect::<Vec<_>>());
    Value::Object(out.0)
}

fn peer(key: &WgPeerKey, p: &WgPeer) -> Value {
    let mut out = Doc::default();
    out.set("interface", &*key.interface);
    out.set("public_key", key.public_key.to_string());
    out.option("endpoint", p.endpoint.map(|e| e.to_string()));
    out.set("allowed_ips", p.allowed_ips.clone());
    out.option("latest_handshake", p.latest_handshake.map(|t| t.rfc3339()));
    out.set("rx_bytes", p.rx_bytes);
    out.set("tx_bytes", p.tx_bytes);
    out.option("keepalive", p.keepalive);
    out.set("online", p.online);
    Value::Object(out.0)
}

/// `source.ip` takes addresses only; anything else is `source.address`.
fn source_host(out: &mut Doc, host: &str) {
    match host.parse::<IpAddr>() {
        Ok(ip) => source_ip(out, ip),
        Err(_) => out.set("source.address", host),
    }
}

/// An IPv4 address that a socket of both families gave as IPv6 is shown as IPv4.
fn source_ip(out: &mut Doc, ip: IpAddr) {
    out.set("source.ip", ip.to_canonical().to_string());
}

/// The name of a facet in JSON, and its entries' array.
fn facet_name(id: FacetId) -> String {
    id.to_string()
}

/// A nested JSON object that is filled by dotted paths. An empty text says nothing and is left out.
#[derive(Default)]
struct Doc(serde_json::Map<String, Value>);

impl Doc {
    fn set(&mut self, path: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.as_str() == Some("") {
            return;
        }
        let mut at = &mut self.0;
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        for part in parents.split('.').filter(|p| !p.is_empty()) {
            let next = at.entry(part).or_insert_with(|| Value::Object(serde_json::Map::new()));
            // Our paths never lead through a plain value; if one did, the object takes its place.
            if !next.is_object() {
                *next = Value::Object(serde_json::Map::new());
            }
            let Value::Object(map) = next else { return };
            at = map;
        }
        at.insert(last.to_owned(), value);
    }

    fn option(&mut self, path: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(path, value);
        }
    }
}
