//! An event as one line: time, node, type, sentence.

use anstyle::{AnsiColor, Style};
use secmon_protocol::{
    auth::Outcome,
    event::{Detail, Event, EventType},
    facet::FacetStatus,
    message::client::Presence,
    state_event::StateEntry,
    time::UnixNanos,
};

use super::{Look, clock_offset, list::presence, sentence};

/// Columns of the node's name; a longer name moves the rest of its line.
const NODE_WIDTH: usize = 12;
/// Columns of the type: the longest, `auth.account_changed`.
const TYPE_WIDTH: usize = 20;

/// How much an event asks for attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The end of something ordinary.
    Quiet,
    /// Something ordinary.
    Normal,
    /// Something welcome that somebody may want to see: a login, a node that is there.
    Notable,
    /// Something failed or went away.
    Warning,
    /// Something is wrong, or cannot be seen.
    Alarm,
}

/// The severity of an event.
#[must_use]
pub fn severity(detail: &Detail) -> Severity {
    use EventType as T;
    if let Detail::Auth(e) = detail
        && e.trusted == Some(false)
    {
        return Severity::Alarm;
    }
    if let Detail::State(entry) = detail {
        return state_severity(entry);
    }
    let Some(kind) = detail.event_type() else { return Severity::Alarm };
    match kind {
        T::Gap | T::FacetUnavailable | T::AuthSudoDenied | T::AuthSuFailed | T::AccessDenied => {
            Severity::Alarm
        }
        T::AuthFailed | T::AuthInvalidUser | T::AuthProbe | T::AuthAccountChanged | T::CommandRefused => {
            Severity::Warning
        }
        T::NodeDisconnected | T::NodeRemoved | T::WgPeerOffline | T::WgPeerRemoved => Severity::Warning,
        T::SessionOpened | T::AuthAccepted | T::WgPeerOnline | T::NodeConnected | T::NodeEnrolled => {
            Severity::Notable
        }
        T::SessionClosed | T::AuthDisconnected | T::AuthSessionClosed => Severity::Quiet,
        T::AuthSessionOpened | T::AuthSudo | T::AuthSu | T::FacetReady => match detail {
            Detail::Auth(e) if e.outcome == Outcome::Failure => Severity::Warning,
            _ => Severity::Normal,
        },
        T::WgPeerAdded | T::WgPeerChanged => Severity::Normal,
        T::CommandQueued | T::CommandStarted | T::CommandFinished => Severity::Normal,
    }
}

fn state_severity(entry: &StateEntry) -> Severity {
    match entry {
        StateEntry::Facet(f) if matches!(f.status, FacetStatus::Unavailable(_)) => Severity::Alarm,
        StateEntry::Node(node) if !matches!(node.presence, Presence::Online { .. }) => Severity::Warning,
        StateEntry::Wg(_, peer) if !peer.online => Severity::Quiet,
        StateEntry::Node(_) | StateEntry::Facet(_) | StateEntry::Session(..) | StateEntry::Wg(..) => {
            Severity::Normal
        }
    }
}

/// Since when something has stood, where that is known, and how far it can be believed.
fn since(detail: &Detail, now: UnixNanos, look: &Look) -> String {
    let since = |at| format!(" since {}", look.moment(at, now));
    match detail {
        Detail::State(StateEntry::Session(_, session)) => since(session.since),
        Detail::State(StateEntry::Node(node)) => {
            let mut out = since(presence(node.presence).1);
            if let Some(clock) = clock_offset(node.clock_offset) {
                out.push_str(&format!(", clock {clock}"));
            }
            if node.stale {
                out.push_str(", its state is being fetched anew");
            }
            out
        }
        _ => String::new(),
    }
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Quiet => Style::new().dimmed(),
        Severity::Normal => AnsiColor::Cyan.on_default(),
        Severity::Notable => AnsiColor::Green.on_default(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Alarm => AnsiColor::Red.on_default().bold(),
    }
}

/// `HH:MM:SS  NODE  TYPE  SENTENCE` without an end of line, safe to print. In the place of a node stands `hub` where it is
/// about the hub itself; a gap is about none, and has no such column.
#[must_use]
pub fn event_line(event: &Event, look: &Look) -> String {
    let time = event.time.timestamp().to_zoned(look.zone.clone()).strftime("%H:%M:%S").to_string();
    let mut out = look.paint(Style::new().dimmed(), &time);
    out.push_str("  ");
    let about = match (&event.node, &event.detail) {
        (Some((_, name)), _) => Some(name.as_str()),
        (None, detail) if detail.event_type() == Some(EventType::Gap) => None,
        (None, _) => Some("hub"),
    };
    if let Some(name) = about {
        out.push_str(&look.bold(&format!("{name:<NODE_WIDTH$}")));
        out.push_str("  ");
    }
    let severity = severity(&event.detail);
    let kind = event.detail.type_name().unwrap_or("unreadable");
    out.push_str(&look.paint(style(severity), &format!("{kind:<TYPE_WIDTH$}")));
    out.push_str("  ");
    let mut sentence = sentence(&event.detail);
    sentence.push_str(&since(&event.detail, event.time, look));
    match severity {
        Severity::Alarm => out.push_str(&look.paint(style(severity), &sentence)),
        _ => out.push_str(&sentence),
    }
    out
}
