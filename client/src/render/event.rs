//! An event as one line: time, node, type, sentence.

use anstyle::{AnsiColor, Style};
use secmon_protocol::{
    auth::Outcome,
    event::{Detail, Event, EventType},
};

use super::{Look, sentence};

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
    let Some(kind) = detail.event_type() else { return Severity::Alarm };
    match kind {
        T::Gap | T::FacetUnavailable | T::AuthSudoDenied | T::AuthSuFailed => Severity::Alarm,
        T::AuthFailed | T::AuthInvalidUser | T::AuthProbe | T::AuthAccountChanged => Severity::Warning,
        T::NodeDisconnected | T::NodeRemoved | T::WgPeerOffline | T::WgPeerRemoved => Severity::Warning,
        T::SessionOpened | T::AuthAccepted | T::WgPeerOnline | T::NodeConnected | T::NodeEnrolled => {
            Severity::Notable
        }
        T::SessionClosed | T::AuthDisconnected | T::AuthSessionClosed => Severity::Quiet,
        T::AuthSessionOpened | T::AuthSudo | T::AuthSu | T::FacetReady => match detail {
            Detail::Auth(e) if e.outcome == Outcome::Failure => Severity::Warning,
            _ => Severity::Normal,
        },
        T::WgPeerAdded | T::WgPeerChanged | T::CommandStarted | T::CommandFinished => Severity::Normal,
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

/// `HH:MM:SS  NODE  TYPE  SENTENCE` without an end of line, safe to print. An event without a node has no
/// such column.
#[must_use]
pub fn event_line(event: &Event, look: &Look) -> String {
    let time = event.time.timestamp().to_zoned(look.zone.clone()).strftime("%H:%M:%S").to_string();
    let mut out = look.paint(Style::new().dimmed(), &time);
    out.push_str("  ");
    if let Some((_, name)) = &event.node {
        out.push_str(&look.bold(&format!("{:<NODE_WIDTH$}", name.as_str())));
        out.push_str("  ");
    }
    let severity = severity(&event.detail);
    let kind = event.detail.event_type().map_or("unreadable", EventType::as_str);
    out.push_str(&look.paint(style(severity), &format!("{kind:<TYPE_WIDTH$}")));
    out.push_str("  ");
    let sentence = sentence(&event.detail);
    match severity {
        Severity::Alarm => out.push_str(&look.paint(style(severity), &sentence)),
        _ => out.push_str(&sentence),
    }
    out
}
