//! What holds for every event type there is. The match has no wildcard: a new type needs a sample here.

use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec::encode_value,
    command::RunEnd,
    event::EventType,
    facet::{FacetId, FacetStatus},
    hub_event::HubEvent,
    ids::Seq,
    record::Envelope,
    state::Op,
    wireguard::WgPeer,
};
use serde_json::Value;

use crate::{
    common::{ready, rendered},
    samples::{
        TIME, USAGE, auth_event, bare_run, command_run, peer, peer_key, requester, session, unavailable,
    },
};

/// A record that yields the type; as the last of its events where there are more.
fn sample(kind: EventType) -> Envelope {
    use EventType as T;
    match kind {
        T::NodeEnrolled => hub(HubEvent::Enrolled { replaced: true }),
        T::NodeRemoved => hub(HubEvent::Removed { by: requester() }),
        T::NodeConnected => hub(HubEvent::Connected { address: "192.0.2.1:4".into(), agent: String::new() }),
        T::NodeDisconnected => hub(HubEvent::Disconnected { reason: String::new() }),
        T::FacetReady => diff(ready(FacetId::SESSIONS)),
        T::FacetUnavailable => diff(Op::Status {
            facet: FacetId::SESSIONS,
            old: FacetStatus::Ready,
            new: FacetStatus::Unavailable(unavailable()),
        }),
        T::SessionOpened | T::SessionClosed => diff(session_op(kind)),
        T::WgPeerAdded | T::WgPeerRemoved | T::WgPeerChanged | T::WgPeerOnline | T::WgPeerOffline => {
            diff(peer_op(kind))
        }
        T::AuthAccepted => auth(AuthAction::Accepted),
        T::AuthFailed => auth(AuthAction::Failed),
        T::AuthInvalidUser => auth(AuthAction::InvalidUser),
        T::AuthDisconnected => auth(AuthAction::Disconnected),
        T::AuthSessionOpened => auth(AuthAction::SessionOpened),
        T::AuthSessionClosed => auth(AuthAction::SessionClosed),
        T::AuthSudo => auth(AuthAction::Sudo),
        T::AuthSudoDenied => auth(AuthAction::SudoDenied),
        T::AuthSu => auth(AuthAction::Su),
        T::AuthSuFailed => auth(AuthAction::SuFailed),
        T::AuthAccountChanged => auth(AuthAction::AccountChanged),
        T::AuthProbe => auth(AuthAction::Probe),
        T::CommandStarted => hub(HubEvent::CommandStarted(command_run())),
        T::CommandQueued => hub(HubEvent::CommandQueued { run: bare_run(), expires: TIME }),
        T::CommandRefused => hub(HubEvent::CommandRefused { run: bare_run(), reason: String::new() }),
        T::AccessDenied => hub(HubEvent::Denied {
            by: requester(),
            request: String::new(),
            reason: "why".into(),
            unlogged: 0,
        }),
        T::CommandFinished => {
            hub(HubEvent::CommandFinished { run: bare_run(), end: RunEnd::TimedOut, usage: Some(USAGE) })
        }
        T::Gap => hub(HubEvent::Gap { from: Seq(1), to: Seq(u64::MAX), reason: String::new() }),
    }
}

fn hub(event: HubEvent) -> Envelope {
    Envelope::hub(TIME, &event)
}

fn diff(op: Op) -> Envelope {
    Envelope::diff(TIME, &[op])
}

/// With some of its texts empty, as a careless or hostile node may send them.
fn auth(action: AuthAction) -> Envelope {
    let (program, method, message) = (String::new(), Some(String::new()), String::new());
    Envelope::auth(&AuthEvent { action, program, method, message, ..auth_event() })
}

fn session_op(kind: EventType) -> Op {
    let (facet, key, value) = (FacetId::SESSIONS, encode_value(&"s-1".to_owned()), encode_value(&session()));
    match kind {
        EventType::SessionOpened => Op::Added { facet, key, new: value },
        _ => Op::Removed { facet, key, old: value },
    }
}

fn peer_op(kind: EventType) -> Op {
    let (facet, key) = (FacetId::WG_PEERS, encode_value(&peer_key()));
    let (online, offline) = (encode_value(&peer()), encode_value(&WgPeer { online: false, ..peer() }));
    match kind {
        EventType::WgPeerAdded => Op::Added { facet, key, new: offline },
        EventType::WgPeerRemoved => Op::Removed { facet, key, old: offline },
        EventType::WgPeerOffline => Op::Changed { facet, key, old: online, new: offline },
        EventType::WgPeerOnline => Op::Changed { facet, key, old: offline, new: online },
        _ => {
            Op::Changed { facet, key, old: encode_value(&WgPeer { keepalive: None, ..peer() }), new: online }
        }
    }
}

fn events() -> impl Iterator<Item = (EventType, Value)> {
    EventType::ALL.iter().map(|kind| (*kind, rendered(sample(*kind)).pop().expect("an event")))
}

#[test]
fn every_type_is_rendered_under_its_name_and_announced_by_its_envelope() {
    for (kind, event) in events() {
        assert_eq!(event["secmon"]["type"], kind.as_str());
        assert_eq!(event["event"]["action"], kind.as_str());
        assert_eq!(sample(kind).types, [kind.as_str()]);
    }
}

/// <https://www.elastic.co/guide/en/ecs/current/ecs-allowed-values-event-category.html> and `-event-type`.
#[test]
fn every_type_has_a_category_and_types_that_ecs_knows() {
    const CATEGORIES: &[&str] = &["authentication", "host", "iam", "network", "process", "session"];
    const TYPES: &[&str] =
        &["change", "connection", "creation", "deletion", "denied", "end", "error", "info", "start"];
    for (kind, event) in events() {
        for (field, known) in [("category", CATEGORIES), ("type", TYPES)] {
            let values = event["event"][field].as_array().expect("an array");
            assert!(!values.is_empty(), "{kind:?}");
            let unknown = values.iter().find(|value| !known.contains(&value.as_str().unwrap()));
            assert_eq!(unknown, None, "{kind:?}");
        }
    }
}

/// Whatever a field holds, no null and nothing empty is printed, and no key has a dot.
#[test]
fn absent_fields_are_absent_and_objects_are_nested() {
    fn check(kind: EventType, value: &Value) {
        match value {
            Value::Null => panic!("{kind:?} has a null"),
            Value::String(text) => assert!(!text.is_empty(), "{kind:?} has an empty text"),
            Value::Object(map) => {
                assert!(!map.is_empty(), "{kind:?} has an empty object");
                assert!(map.keys().all(|key| !key.contains('.')), "{kind:?} is not nested");
                map.values().for_each(|value| check(kind, value));
            }
            _ => {}
        }
    }
    events().for_each(|(kind, event)| check(kind, &event));
}
