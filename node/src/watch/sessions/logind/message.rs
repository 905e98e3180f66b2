//! What is said on the bus: which signals concern sessions, what they say, and what logind's properties and errors
//! mean. Pure. org.freedesktop.login1(5).

use std::collections::HashMap;

use secmon_protocol::{limits::clip, time::UnixNanos};
use zbus::{MatchRule, Message, OwnedObjectPath, OwnedVariant, Variant, message::Type};

use crate::watch::sessions::view::LogindSession;

pub(super) const LOGIND: &str = "org.freedesktop.login1";
pub(super) const MANAGER: &str = "org.freedesktop.login1.Manager";
pub(super) const MANAGER_PATH: &str = "/org/freedesktop/login1";
pub(super) const SESSION: &str = "org.freedesktop.login1.Session";
pub(super) const SESSION_PATHS: &str = "/org/freedesktop/login1/session";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
pub(super) const BUS: &str = "org.freedesktop.DBus";
/// What a signal of logind's says.
pub(super) enum Signal {
    New(OwnedObjectPath),
    Removed(String, OwnedObjectPath),
    Changed(OwnedObjectPath),
}

/// What a message says that concerns sessions.
pub(super) fn signal(message: &Message) -> Option<Signal> {
    let header = message.header();
    let body = message.body();
    match (header.interface()?.as_str(), header.member()?.as_str()) {
        (MANAGER, "SessionNew") => {
            let (_id, path): (&str, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::New(path))
        }
        (MANAGER, "SessionRemoved") => {
            let (id, path): (String, OwnedObjectPath) = body.deserialize().ok()?;
            Some(Signal::Removed(id, path))
        }
        (PROPERTIES, "PropertiesChanged") => {
            let (interface, changed, gone): (&str, HashMap<&str, Variant<'_>>, Vec<&str>) =
                body.deserialize().ok()?;
            // Idle hints and locks change all day, and nothing of ours with them.
            let ours =
                |name: &&str| matches!(*name, "TTY" | "Type" | "Class" | "State" | "Active" | "Display");
            let concerns = interface == SESSION && (changed.keys().any(ours) || gone.iter().any(ours));
            let path = header.path()?;
            concerns.then(|| Signal::Changed(OwnedObjectPath::from(path.to_owned())))
        }
        _ => None,
    }
}

/// Who has logind's name on the bus now, if the message says that this has changed. Only the bus itself may say so.
pub(super) fn new_owner(message: &Message) -> Option<Option<String>> {
    if message.header().sender()?.as_str() != BUS {
        return None;
    }
    let body = message.body();
    let (name, _, new): (&str, &str, &str) = body.deserialize().ok()?;
    (name == LOGIND).then(|| Some(new.to_owned()).filter(|new| !new.is_empty()))
}

pub(super) fn owner_rule() -> zbus::Result<MatchRule<'static>> {
    MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(BUS)
        .interface(BUS)
        .member("NameOwnerChanged")
        .arg(0, LOGIND)
        .build()
}

/// The signals that `owner`, a unique name, sends about sessions. What others send does not match, whatever they call
/// themselves.
pub(super) fn rules(owner: String) -> zbus::Result<[MatchRule<'static>; 2]> {
    let signals = || MatchRule::builder().msg_type(Type::Signal).sender(owner.clone());
    Ok([
        signals().interface(MANAGER).path(MANAGER_PATH).build()?,
        signals()
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .path_namespace(SESSION_PATHS)
            .arg(0, SESSION)
            .build()?,
    ])
}

/// Whether an error says that there is no such session (any more).
pub(super) fn is_gone(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::UnknownObject(_)),
        zbus::Error::MethodError(name, ..) => {
            matches!(
                name.as_str(),
                "org.freedesktop.DBus.Error.UnknownObject" | "org.freedesktop.login1.NoSuchSession"
            )
        }
        _ => false,
    }
}

/// A session of its properties; none when they lack an id.
pub(super) fn session(properties: &HashMap<String, OwnedVariant>) -> Option<LogindSession> {
    let text = |name: &str| {
        let value: &str = properties.get(name)?.downcast_ref().ok()?;
        Some(clip(value).to_owned()).filter(|v| !v.is_empty())
    };
    let leader: Option<u32> = properties.get("Leader").and_then(|v| v.downcast_ref().ok());
    let since: u64 = properties.get("Timestamp").and_then(|v| v.downcast_ref().ok()).unwrap_or_default();
    let remote: bool = properties.get("Remote").and_then(|v| v.downcast_ref().ok()).unwrap_or_default();
    Some(LogindSession {
        id: text("Id")?,
        user: text("Name").unwrap_or_default(),
        tty: text("TTY").map(|tty| tty.strip_prefix("/dev/").map(str::to_owned).unwrap_or(tty)),
        remote: text("RemoteHost").filter(|_| remote),
        service: text("Service"),
        leader: leader.filter(|pid| *pid != 0),
        class: text("Class").unwrap_or_default(),
        of_type: text("Type").unwrap_or_default(),
        // Microseconds, CLOCK_REALTIME.
        since: UnixNanos(i64::try_from(since.saturating_mul(1_000)).unwrap_or(i64::MAX)),
        closing: text("State").is_some_and(|state| state == "closing"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, Variant<'static>)]) -> HashMap<String, OwnedVariant> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.try_to_owned().unwrap())).collect()
    }

    #[test]
    fn a_session_is_read_from_its_properties_whatever_else_there_is() {
        let read = session(&properties(&[
            ("Id", "c3".into()),
            ("Name", "alice".into()),
            ("TTY", "/dev/tty1".into()),
            ("Remote", false.into()),
            // Left over; not remote.
            ("RemoteHost", "192.0.2.1".into()),
            ("Leader", 0_u32.into()),
            ("Timestamp", 1_795_000_000_000_001_u64.into()),
            ("Class", "user".into()),
            ("State", "closing".into()),
            ("Tomorrow", 7_u8.into()),
        ]))
        .unwrap();
        assert_eq!((read.id.as_str(), read.tty.as_deref(), read.remote), ("c3", Some("tty1"), None));
        assert_eq!((read.leader, read.closing), (None, true));
        assert_eq!(read.since, UnixNanos(1_795_000_000_000_001_000));
        assert!(session(&properties(&[("Name", "alice".into())])).is_none());
    }

    #[test]
    fn only_the_bus_says_who_logind_is() {
        let from = |sender: &str| {
            Message::signal("/org/freedesktop/DBus", BUS, "NameOwnerChanged")
                .sender(sender)
                .build(&(LOGIND, ":1.4", ":1.9"))
                .unwrap()
        };
        assert_eq!(new_owner(&from(BUS)), Some(Some(":1.9".to_owned())));
        assert_eq!(new_owner(&from(":1.66")), None);
    }

    #[test]
    fn an_error_says_that_a_session_is_gone_only_by_its_name() {
        let unknown = zbus::fdo::Error::UnknownObject("gone".to_owned());
        assert!(is_gone(&zbus::Error::FDO(Box::new(unknown))));
        let timeout = zbus::fdo::Error::TimedOut("busy".to_owned());
        assert!(!is_gone(&zbus::Error::FDO(Box::new(timeout))));
        assert!(!is_gone(&zbus::Error::InputOutput(std::sync::Arc::new(
            std::io::ErrorKind::TimedOut.into()
        ))));
    }
}
