//! What a single notice says: title, text, fields, and the same for machines.

use secmon_client::render::{duration, run_end, sentence};
use secmon_protocol::{
    auth::AuthEvent,
    ecs,
    event::{Detail, Event},
    facet::FacetStatus,
    hub_event::HubEvent,
    session::Session,
    text::printable,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};
use serde_json::{Value, json};

use super::{
    facts::{Facts, NodeNews, Presence, Subject, requester},
    template::Template,
    text::{MAX_FIELDS, MAX_TEXT, MAX_TITLE, MAX_VALUE, clip, within},
};
use crate::{Field, Kind, Notice, Severity};

/// How the words of somebody who is new begin.
pub(super) const FIRST: &str = "first time: ";

/// What was decided about a subject, as far as it is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided<'a> {
    pub(super) severity: Severity,
    /// The rule's name.
    pub(super) rule: Option<&'a str>,
    /// That it is the first of its kind, in words.
    pub(super) first: Option<&'a str>,
    pub(super) template: Option<&'a Template>,
}

/// The title alone, for the lines of digests.
pub(super) fn title(subject: &Subject<'_>) -> String {
    let title = match subject {
        Subject::Event(event) => match &event.node {
            Some((_, name)) => format!("{}: {}", printable(name.as_str()), sentence(&event.detail)),
            None => sentence(&event.detail),
        },
        Subject::Node(news) => {
            let name = named(news);
            let gone = duration(news.at.0.saturating_sub(news.since.0));
            match news.what {
                Presence::Away => format!("{name} is away for {gone}"),
                Presence::StillAway => format!("{name} is still away, for {gone}"),
                Presence::Back => format!("{name} is back after {gone}"),
            }
        }
        Subject::Hub(Presence::Back, _) => "the hub can be reached again".to_owned(),
        Subject::Hub(Presence::Away, _) => "the hub cannot be reached".to_owned(),
        Subject::Hub(Presence::StillAway, _) => "the hub still cannot be reached".to_owned(),
    };
    clip(&title, MAX_TITLE)
}

/// A node's name, or its id where that is all there is.
pub(super) fn named(news: &NodeNews<'_>) -> String {
    if news.name.is_empty() { news.id.to_string() } else { printable(news.name) }
}

/// The whole notice. `id` is that of the subject, see [`id`].
pub(super) fn notice(id: String, subject: &Subject<'_>, facts: &Facts<'_>, decided: &Decided<'_>) -> Notice {
    let mut text = String::new();
    let mut fields = vec![];
    if let Some((_, name)) = facts.node.filter(|(_, name)| !name.is_empty()) {
        fields.push(field("node", name));
    }
    let mut json = match subject {
        Subject::Event(event) => {
            fields_of(&event.detail, facts, &mut fields);
            let whole = sentence(&event.detail);
            if whole.chars().count() + 2 + facts.node.map_or(0, |(_, name)| name.len()) > MAX_TITLE {
                text.push_str(&whole);
            }
            ecs::event(event)
        }
        Subject::Node(news) => {
            fields.push(Field { name: "since".to_owned(), value: seconds(news.since) });
            let mut json = base(facts);
            json["host"] = json!({ "id": news.id.to_string(), "name": news.name });
            json["secmon"]["since"] = json!(news.since.rfc3339());
            json
        }
        Subject::Hub(..) => {
            if facts.kind == "hub.lost" {
                text.push_str(
                    "Nothing is heard of any node until it is back. What happens meanwhile is kept, and told then.",
                );
            }
            base(facts)
        }
    };
    if let Some(first) = decided.first {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(first);
        let who = first.strip_prefix(FIRST).unwrap_or(first);
        // Rather than the last of a dozen others.
        fields.truncate(MAX_FIELDS - 1);
        fields.push(Field { name: "first seen".to_owned(), value: clip(who, MAX_VALUE) });
    }
    fields.truncate(MAX_FIELDS);
    let title = title(subject);
    json["secmon"]["notice"] = about(&id, facts, decided, &title);
    let (json, was_cut) = within(json);
    let mut notice = Notice {
        id,
        kind: kind(subject),
        severity: decided.severity,
        title,
        text: clip(&text, MAX_TEXT),
        fields,
        node: facts.node.map(|(_, name)| name.to_owned()).filter(|name| !name.is_empty()),
        time: facts.time,
        json,
    };
    if was_cut {
        notice.json["secmon"]["notice"]["shortened"] = json!(true);
    }
    if let Some(template) = decided.template {
        template.apply(&mut notice);
    }
    notice
}

/// The id of what is told alone; `unique` is a number that no other notice has, for what has no id.
pub(super) fn id(subject: &Subject<'_>, unique: &str) -> String {
    match subject {
        Subject::Event(event) if !event.id.is_empty() => event.id.clone(),
        Subject::Event(Event { detail: Detail::Gap(gap), .. }) => format!("gap-{}-{}", gap.after, gap.to),
        Subject::Event(_) => format!("event-{unique}"),
        Subject::Node(NodeNews { what, id, .. }) => match what {
            Presence::Away => format!("away-{id}-{unique}"),
            Presence::StillAway => format!("still-away-{id}-{unique}"),
            Presence::Back => format!("back-{id}-{unique}"),
        },
        Subject::Hub(Presence::Back, _) => format!("hub-back-{unique}"),
        Subject::Hub(..) => format!("hub-lost-{unique}"),
    }
}

/// The kind of message that a subject makes.
pub(super) fn kind(subject: &Subject<'_>) -> Kind {
    match subject {
        Subject::Event(event) => match &event.detail {
            Detail::Gap(_)
            | Detail::Lost(_)
            | Detail::Hub(HubEvent::Gap { .. })
            | Detail::Unreadable { .. } => Kind::Missing,
            _ => Kind::Event,
        },
        Subject::Node(NodeNews { what, .. }) | Subject::Hub(what, _) => match what {
            Presence::Back => Kind::Back,
            Presence::Away | Presence::StillAway => Kind::Away,
        },
    }
}

fn about(id: &str, facts: &Facts<'_>, decided: &Decided<'_>, title: &str) -> Value {
    let mut about = json!({
        "id": id,
        "severity": decided.severity.as_str(),
        "title": title,
        "count": facts.count,
    });
    if let Some(rule) = decided.rule {
        about["rule"] = json!(rule);
    }
    if facts.first.is_some() {
        about["first_seen"] = json!(facts.first);
    }
    about
}

/// As [`ecs::event`] has them, for what is no event of the hub's.
pub(super) fn base(facts: &Facts<'_>) -> Value {
    json!({
        "@timestamp": facts.time.rfc3339(),
        "event": { "kind": "alert", "action": facts.kind, "category": ["host"] },
        "secmon": { "type": facts.kind },
    })
}

/// A moment without the fraction that nobody reads.
pub(super) fn seconds(time: UnixNanos) -> String {
    time.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn field(name: &str, value: &str) -> Field {
    Field { name: name.to_owned(), value: clip(&printable(value), MAX_VALUE) }
}

/// Collects the fields that there are.
struct Fields<'f>(&'f mut Vec<Field>);

impl Fields<'_> {
    fn add(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.push(field(name, value));
        }
    }
}

fn fields_of(detail: &Detail, facts: &Facts<'_>, out: &mut Vec<Field>) {
    let mut out = Fields(out);
    match detail {
        Detail::Auth(e) => auth(e, facts, &mut out),
        Detail::Session(_, _, s) => session(s, &mut out),
        Detail::Wg(_, key, peer) => wireguard(key, peer, &mut out),
        Detail::Facet(facet, status) => {
            out.add("facet", Some(&facet.to_string()));
            if let FacetStatus::Unavailable(why) = status {
                out.add("reason", Some(&why.reason));
                out.add("remedy", Some(&why.remedy));
            }
        }
        Detail::Hub(e) => hub(e, &mut out),
        Detail::Lost(lost) => {
            out.add("missing", Some(&lost.count.to_string()));
            out.add("reason", Some(&lost.reason));
        }
        Detail::Gap(gap) => {
            out.add("after", Some(&gap.after.to_string()));
            out.add("to", Some(&gap.to.to_string()));
            out.add("reason", Some(&gap.reason));
        }
        Detail::Unreadable { types, reason } => {
            out.add("types", Some(&types.join(", ")));
            out.add("reason", Some(reason));
        }
        Detail::State(_) => {}
    }
}

fn auth(e: &AuthEvent, facts: &Facts<'_>, out: &mut Fields<'_>) {
    out.add("user", e.user.as_deref());
    out.add("target", e.target_user.as_deref());
    out.add("group", e.group.as_deref());
    out.add("source", facts.source().as_deref());
    out.add("method", e.method.as_deref());
    out.add("key", e.fingerprint.as_deref());
    out.add("terminal", e.tty.as_deref());
    out.add("command", e.command.as_deref());
    out.add("folder", e.cwd.as_deref());
    out.add("reason", e.reason.as_deref());
    if e.count > 1 {
        out.add("times", Some(&e.count.to_string()));
    }
}

fn session(s: &Session, out: &mut Fields<'_>) {
    out.add("user", s.named_user());
    out.add("source", s.remote.as_deref());
    out.add("terminal", s.tty.as_deref());
    out.add("service", s.service.as_deref());
    out.add("session", Some(s.kind.as_str()));
}

fn wireguard(key: &WgPeerKey, peer: &WgPeer, out: &mut Fields<'_>) {
    out.add("interface", Some(&key.interface));
    out.add("peer", Some(&key.public_key.to_string()));
    out.add("endpoint", peer.endpoint.map(|endpoint| endpoint.to_string()).as_deref());
    // What does not fit into a field need not be joined first.
    out.add("networks", Some(&peer.allowed_ips[..peer.allowed_ips.len().min(MAX_VALUE)].join(" ")));
}

fn hub(e: &HubEvent, out: &mut Fields<'_>) {
    if let Some(by) = requester(e) {
        out.add("by", Some(&by.user.clone().unwrap_or_else(|| format!("uid {}", by.uid))));
        out.add("with", Some(&by.agent));
    }
    match e {
        HubEvent::Enrolled { .. } | HubEvent::Removed { .. } => {}
        HubEvent::Connected { address, agent } => {
            out.add("address", Some(address));
            out.add("version", Some(agent));
        }
        HubEvent::Gap { from, to, reason } => {
            let missing = to.0.saturating_sub(from.0).saturating_add(1);
            out.add("missing", Some(&missing.to_string()));
            out.add("reason", Some(reason));
        }
        HubEvent::Disconnected { reason } => out.add("reason", Some(reason)),
        HubEvent::CommandStarted(run) | HubEvent::CommandQueued { run, .. } => {
            out.add("command", Some(&run.label));
            out.add("job", Some(&run.job.to_string()));
        }
        HubEvent::CommandFinished { run, end, .. } => {
            out.add("command", Some(&run.label));
            out.add("job", Some(&run.job.to_string()));
            // Printable already, and only once.
            out.0.push(Field { name: "result".to_owned(), value: clip(&run_end(end), MAX_VALUE) });
        }
        HubEvent::CommandRefused { run, reason } => {
            out.add("command", Some(&run.label));
            out.add("reason", Some(reason));
        }
        HubEvent::Denied { request, reason, .. } => {
            out.add("request", Some(request));
            out.add("reason", Some(reason));
        }
    }
}
