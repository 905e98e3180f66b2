//! What rules and digests look at: the same few parts of everything that can be told.

use std::net::IpAddr;

use secmon_protocol::{
    auth::{AuthAction, Outcome, SourceHost},
    event::{Detail, Event, EventType},
    hub_event::{HubEvent, Requester},
    ids::NodeId,
    session::SessionKind,
    time::UnixNanos,
};

use crate::Severity;

/// Something that may be told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    /// Something happened, or is missing.
    Event(&'a Event),
    /// A node went and did not come back, or came back after that.
    Node(NodeNews<'a>),
    /// The same of the hub.
    Hub(Presence, UnixNanos),
}

/// A node, and whether it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeNews<'a> {
    pub(super) what: Presence,
    pub(super) id: NodeId,
    /// Empty where it is not known.
    pub(super) name: &'a str,
    /// When it went.
    pub(super) since: UnixNanos,
    /// When what is told happened: a return, or that it was noticed.
    pub(super) at: UnixNanos,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// It is away, for long enough to be told.
    Away,
    /// It was told, and is away still.
    StillAway,
    /// It is back.
    Back,
}

/// Types that secmon's events have not: what the core itself notices, and what cannot be read.
pub(super) const OWN_TYPES: [&str; 5] = ["node.away", "node.back", "hub.lost", "hub.back", "unreadable"];

/// The parts of a [`Subject`].
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    /// Its type.
    pub(super) kind: &'static str,
    pub(super) node: Option<(NodeId, &'a str)>,
    /// Who did it, or tried to.
    pub(super) user: Option<&'a str>,
    /// Who they became, or whose account it is.
    pub(super) target: Option<&'a str>,
    /// Where it came from, where that is an address.
    pub(super) ip: Option<IpAddr>,
    /// Where it came from, where that is none.
    pub(super) host: Option<&'a str>,
    pub(super) fingerprint: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    pub(super) session: Option<SessionKind>,
    /// How many events it stands for.
    pub(super) count: u64,
    pub(super) time: UnixNanos,
    /// Whether the line is not of the program that it names.
    pub(super) forged: bool,
    /// How severe it is of itself.
    pub(super) severity: Severity,
    /// Of a return: how severe it was of itself that it went.
    pub(super) gone: Option<Severity>,
    /// Whether the node cannot see its auth log.
    pub(super) blind: bool,
    /// Whether such a login was never seen; none where that is not asked of it.
    pub(super) first: Option<bool>,
}

impl<'a> Facts<'a> {
    fn new(kind: &'static str, time: UnixNanos) -> Self {
        Self {
            kind,
            node: None,
            user: None,
            target: None,
            ip: None,
            host: None,
            fingerprint: None,
            service: None,
            session: None,
            count: 1,
            time,
            forged: false,
            severity: Severity::Info,
            gone: None,
            blind: false,
            first: None,
        }
    }

    /// The facts of an event; none of what stands, for that did not happen.
    pub(super) fn of_event(event: &'a Event) -> Option<Self> {
        if matches!(event.detail, Detail::State(_)) {
            return None;
        }
        let kind = event.detail.type_name().unwrap_or("unreadable");
        let mut facts = Self::new(kind, event.time);
        facts.node = event.node.as_ref().map(|(id, name)| (*id, name.as_str()));
        facts.severity = of_itself(&event.detail);
        match &event.detail {
            Detail::Auth(e) => {
                facts.user = e.user.as_deref();
                facts.target = e.target_user.as_deref();
                facts.fingerprint = e.fingerprint.as_deref();
                facts.service = e.service.as_deref().or(Some(&e.program));
                facts.count = u64::from(e.count.max(1));
                facts.forged = e.trusted == Some(false);
                match e.source.as_ref().map(|source| &source.host) {
                    Some(SourceHost::Ip(ip)) => facts.ip = Some(ip.to_canonical()),
                    Some(SourceHost::Name(name)) => facts.from(name),
                    None => {}
                }
            }
            Detail::Session(_, _, s) => {
                facts.user = s.named_user();
                facts.service = s.service.as_deref();
                facts.session = Some(s.kind);
                if let Some(remote) = &s.remote {
                    facts.from(remote);
                }
            }
            Detail::Wg(_, _, peer) => facts.ip = peer.endpoint.map(|endpoint| endpoint.ip().to_canonical()),
            Detail::Hub(e) => {
                facts.user = requester(e).and_then(|by| by.user.as_deref());
                if let HubEvent::Denied { unlogged, .. } = e {
                    facts.count = unlogged.saturating_add(1);
                }
            }
            _ => {}
        }
        Some(facts)
    }

    /// `away` and `hub` are how severe the configuration says that is.
    pub(super) fn of(subject: &Subject<'a>, away: Severity, hub: Severity) -> Option<Self> {
        Some(match subject {
            Subject::Event(event) => return Self::of_event(event),
            Subject::Node(news) => {
                let back = news.what == Presence::Back;
                let mut facts = Self::new(if back { "node.back" } else { "node.away" }, news.at);
                facts.node = Some((news.id, news.name));
                facts.severity = if back { Severity::Info } else { away };
                facts.gone = back.then_some(away);
                facts
            }
            Subject::Hub(what, at) => {
                let back = *what == Presence::Back;
                let mut facts = Self::new(if back { "hub.back" } else { "hub.lost" }, *at);
                // Who was woken by the one wants the other.
                facts.severity = hub;
                facts
            }
        })
    }

    fn from(&mut self, text: &'a str) {
        match text.parse::<IpAddr>() {
            Ok(ip) => self.ip = Some(ip.to_canonical()),
            Err(_) => self.host = Some(text),
        }
    }

    /// Where it came from, as text; not safe to print.
    pub(super) fn source(&self) -> Option<String> {
        self.ip.map(|ip| ip.to_string()).or_else(|| self.host.map(str::to_owned))
    }
}

/// Who asked the hub, in events of its own.
pub(super) fn requester(event: &HubEvent) -> Option<&Requester> {
    match event {
        HubEvent::Removed { by } | HubEvent::Denied { by, .. } => Some(by),
        HubEvent::CommandStarted(run)
        | HubEvent::CommandFinished { run, .. }
        | HubEvent::CommandRefused { run, .. }
        | HubEvent::CommandQueued { run, .. } => Some(&run.by),
        _ => None,
    }
}

/// How severe something is where no rule says otherwise.
fn of_itself(detail: &Detail) -> Severity {
    use EventType as T;
    if let Detail::Auth(e) = detail {
        let refused = e.action == AuthAction::AccountChanged && e.outcome == Outcome::Failure;
        if e.trusted == Some(false) || refused {
            return Severity::Warning;
        }
    }
    match detail.event_type() {
        None => Severity::Warning,
        Some(
            T::Gap
            | T::FacetUnavailable
            | T::AuthSudoDenied
            | T::AuthSuFailed
            | T::AuthAccountChanged
            | T::AccessDenied
            | T::WgPeerAdded
            | T::NodeRemoved,
        ) => Severity::Warning,
        Some(_) => Severity::Info,
    }
}
