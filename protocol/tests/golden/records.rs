//! Records: the envelopes, every kind of body, and the log's form.

use bytes::Bytes;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec::encode_value,
    command::RunEnd,
    facet::{FacetId, FacetStatus},
    hub_event::HubEvent,
    ids::{Epoch, Seq},
    record::{Body, Envelope, LogRecord, Lost, NodeRecord, Origin, RecordKind},
    state::Op,
};

use crate::{
    case::Cases,
    samples::{
        CURSOR, NODE, TIME, USAGE, auth_event, bare_run, bare_session, command_run, name, peer, peer_key,
        requester, session, unavailable,
    },
};

pub(crate) fn add(cases: &mut Cases) {
    ops(cases);
    auth(cases);
    hub(cases);
    let lost = Lost { count: 1234, reason: "the outbox was full".into() };
    cases.add("Lost.plain", lost.clone());
    body(cases, "lost", Envelope::lost(TIME, &lost), Body::Lost(lost));
    let envelope = Envelope::auth(&auth_event());
    let unknown = Envelope {
        kind: RecordKind(900),
        version: 7,
        time: TIME,
        types: vec![],
        body: Bytes::from_static(b"of a later secmon"),
    };
    cases.add("NodeRecord.plain", NodeRecord { seq: Seq(300), envelope: envelope.clone() });
    let origin = Origin::Node { epoch: Epoch(9), seq: Seq(300) };
    cases.add("LogRecord.node", LogRecord { cursor: CURSOR, node: NODE, name: name(), origin, envelope });
    let (origin, envelope) = (Origin::Hub, Envelope::hub(TIME, &HubEvent::Removed { by: requester() }));
    cases.add("LogRecord.hub", LogRecord { cursor: CURSOR, node: NODE, name: name(), origin, envelope });
    cases.add("Envelope.unknown", unknown);
}

/// An envelope, and what its body reads as.
fn body(cases: &mut Cases, name: &str, envelope: Envelope, body: Body) {
    let around = envelope.clone();
    cases.add(&format!("Envelope.{name}"), envelope.clone());
    cases.put(&format!("Body.{name}"), envelope.body.to_vec(), body, move |bytes| {
        Envelope { body: Bytes::copy_from_slice(bytes), ..around.clone() }.decode()
    });
}

fn ops(cases: &mut Cases) {
    let entry = |key: &str| (encode_value(&key.to_owned()), encode_value(&session()));
    let bare = encode_value(&bare_session());
    let status = |facet, new| Op::Status { facet, old: FacetStatus::Pending, new };
    let (key, value) = entry("s-1");
    let facet = FacetId::SESSIONS;
    let snapshot = vec![
        status(facet, FacetStatus::Ready),
        Op::Added { facet, key: key.clone(), new: value.clone() },
        status(FacetId::WG_PEERS, FacetStatus::NotMonitored),
        status(FacetId::AUTH_LOG, FacetStatus::Unavailable(unavailable())),
    ];
    body(cases, "snapshot", Envelope::snapshot(TIME, &snapshot), Body::Snapshot(snapshot));
    let diff = vec![
        Op::Added { facet, key: entry("s-2").0, new: bare.clone() },
        Op::Changed { facet, key: key.clone(), old: value.clone(), new: bare.clone() },
        Op::Removed { facet, key, old: value },
        Op::Added { facet: FacetId::WG_PEERS, key: encode_value(&peer_key()), new: encode_value(&peer()) },
        Op::Added { facet: FacetId(4000), key: Bytes::new(), new: Bytes::from_static(b"later") },
        status(FacetId(4000), FacetStatus::Ready),
    ];
    let reconciled = Envelope::reconciled(TIME, &diff);
    body(cases, "diff", Envelope::diff(TIME, &diff), Body::Diff(diff.clone()));
    cases.add("Envelope.reconciled", reconciled);
    cases.list("Op.list", diff.clone());
    cases.list::<Op>("Op.list/empty", vec![]);
    cases.variants(
        [
            ("ready", status(facet, FacetStatus::Ready)),
            ("", status(facet, FacetStatus::Unavailable(unavailable()))),
        ]
        .into_iter()
        .chain(diff.into_iter().take(3).map(|op| ("", op))),
    );
}

fn auth(cases: &mut Cases) {
    let bare = AuthEvent::new(TIME, "su", None, AuthAction::Su, "(to root) alice on pts/1");
    cases.add("AuthEvent.full", auth_event());
    cases.add("AuthEvent.bare", bare.clone());
    body(cases, "auth", Envelope::auth(&auth_event()), Body::Auth(auth_event()));
    body(cases, "auth/bare", Envelope::auth(&bare), Body::Auth(bare));
}

fn hub(cases: &mut Cases) {
    let events = vec![
        ("", HubEvent::Enrolled { replaced: false }),
        ("again", HubEvent::Enrolled { replaced: true }),
        ("", HubEvent::Removed { by: requester() }),
        ("", HubEvent::Connected { address: "192.0.2.1:40000".into(), agent: "0.1.0".into() }),
        ("", HubEvent::Disconnected { reason: "it closed the connection".into() }),
        ("", HubEvent::Gap { from: Seq(10), to: Seq(19), reason: "the outbox was full".into() }),
        ("", HubEvent::CommandStarted(command_run())),
        ("nobody", HubEvent::CommandStarted(bare_run())),
        ("", HubEvent::CommandFinished { run: command_run(), end: RunEnd::Exited(0), usage: Some(USAGE) }),
        ("", HubEvent::CommandRefused { run: bare_run(), reason: "no such command".into() }),
        ("", HubEvent::CommandQueued { run: command_run(), expires: TIME }),
        (
            "",
            HubEvent::Denied {
                by: requester(),
                request: "enroll web-2".into(),
                reason: "not an admin".into(),
                unlogged: 3,
            },
        ),
    ];
    let removed = HubEvent::Removed { by: requester() };
    body(cases, "hub", Envelope::hub(TIME, &removed), Body::Hub(removed));
    cases.variants(events);
}
