//! The numbers and names that are frozen: kinds, facets, versions, and the variants of every small enum.

use std::net::IpAddr;

use bytes::Bytes;
use secmon_protocol::{
    auth::{AuthAction, Outcome, SourceHost},
    codec::{Fragment, Value},
    command::{ArgKind, OutputStream, RunEnd, RunFailure},
    event::EventType,
    facet::{FacetId, FacetStatus},
    ids::{Epoch, JobId, NodeId, RequestId, Seq},
    message::{self, ErrorCode, Refusal},
    record::{BODY_VERSION, Origin, RecordKind},
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};

use crate::{
    case::Cases,
    samples::{CURSOR, NODE, TIME, name, unavailable},
};

pub(crate) fn add(cases: &mut Cases) {
    ids(cases);
    constants(cases);
    plain(cases);
    event_types(cases);
    let refused = "the allowlist is writable by others".to_owned();
    cases.variants([
        ("zero", RunEnd::Exited(0)),
        ("", RunEnd::Exited(255)),
        ("", RunEnd::Signalled(9)),
        ("", RunEnd::TimedOut),
        ("", RunEnd::Cancelled),
        ("", RunEnd::TooMuchOutput),
        ("", RunEnd::Failed { why: RunFailure::Refused, message: refused }),
    ]);
    let values = vec!["syslog".to_owned(), "auth.log".to_owned()];
    cases.variants([
        ("", ArgKind::Integer { min: i64::MIN, max: i64::MAX }),
        ("", ArgKind::Choice { values }),
        ("", ArgKind::String { pattern: "[a-z]+".into(), min: 1, max: 64 }),
        ("", ArgKind::Bool),
        ("", ArgKind::Path { below: "/srv".into() }),
    ]);
    cases.variants([
        ("", FacetStatus::Pending),
        ("", FacetStatus::NotMonitored),
        ("", FacetStatus::Unavailable(unavailable())),
        ("", FacetStatus::Ready),
    ]);
    cases.variants([
        ("4", SourceHost::Ip(IpAddr::from([192, 0, 2, 7]))),
        ("6", SourceHost::Ip(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]))),
        ("", SourceHost::Name("fe80::1%eth0".into())),
    ]);
    cases.variants([("", Origin::Node { epoch: Epoch(9), seq: Seq(300) }), ("", Origin::Hub)]);
    cases.variants([
        ("", Fragment::Begin { len: 12 << 20 }),
        ("", Fragment::Part(Bytes::from_static(b"some of it"))),
        ("", Fragment::End),
    ]);
}

/// Integers in every length that bincode gives them.
fn ids(cases: &mut Cases) {
    cases.add("id.NodeId", NODE);
    cases.add("id.NodeName", name());
    cases.add("id.Cursor", CURSOR);
    cases.add("id.JobId", JobId(77));
    cases.add("id.RequestId", RequestId(8));
    for n in [0, 250, 251, 65_535, 65_536, u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        cases.add(&format!("id.Seq/{n}"), Seq(n));
    }
    cases.add("id.UnixNanos", TIME);
    cases.add("id.UnixNanos/before_1970", UnixNanos(-1));
    cases.add("id.UnixNanos/first", UnixNanos(i64::MIN));
    cases.add("id.UnixNanos/last", UnixNanos(i64::MAX));
}

fn constants(cases: &mut Cases) {
    cases.add("RecordKind.SNAPSHOT", RecordKind::SNAPSHOT);
    cases.add("RecordKind.DIFF", RecordKind::DIFF);
    cases.add("RecordKind.AUTH", RecordKind::AUTH);
    cases.add("RecordKind.LOST", RecordKind::LOST);
    cases.add("RecordKind.HUB", RecordKind::HUB);
    cases.add("FacetId.SESSIONS", FacetId::SESSIONS);
    cases.add("FacetId.WG_PEERS", FacetId::WG_PEERS);
    cases.add("FacetId.AUTH_LOG", FacetId::AUTH_LOG);
    cases.add("version.body", BODY_VERSION);
    cases.add("version.client", message::client::VERSION);
    cases.add("version.runner", message::runner::VERSION);
    cases.add("NodeId.HUB", NodeId::HUB);
    cases.add("version.Session", Session::VERSION);
    cases.add("version.WgPeerKey", WgPeerKey::VERSION);
    cases.add("version.WgPeer", WgPeer::VERSION);
    cases.add("alpn.node", Bytes::from_static(message::node::ALPN));
    cases.add("alpn.join", Bytes::from_static(message::join::ALPN));
    cases.add("Refusal.plain", Refusal::new(ErrorCode::Internal, "why"));
}

/// Envelopes carry the types of their events as texts.
fn event_types(cases: &mut Cases) {
    for kind in EventType::ALL {
        let name = format!("EventType.{kind:?}");
        cases.put(&name, kind.as_str().into(), kind.as_str().to_owned(), |bytes| {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        });
    }
}

fn plain(cases: &mut Cases) {
    use AuthAction as A;
    let actions = [
        A::Accepted,
        A::Failed,
        A::InvalidUser,
        A::Disconnected,
        A::SessionOpened,
        A::SessionClosed,
        A::Sudo,
        A::SudoDenied,
        A::Su,
        A::SuFailed,
        A::AccountChanged,
        A::Probe,
    ];
    cases.variants(actions.map(|action| ("", action)));
    cases.variants([Outcome::Success, Outcome::Failure, Outcome::Unknown].map(|outcome| ("", outcome)));
    use ErrorCode as E;
    let codes = [
        E::Protocol,
        E::Version,
        E::NotPermitted,
        E::UnknownNode,
        E::NodeAway,
        E::UnknownLabel,
        E::NameTaken,
        E::TokenUnknown,
        E::TokenUsed,
        E::TokenExpired,
        E::TooMany,
        E::Internal,
        E::BadCursor,
        E::UnknownJob,
        E::JobState,
    ];
    cases.variants(codes.map(|code| ("", code)));
    use RunFailure as F;
    let failures =
        [F::UnknownLabel, F::Busy, F::Spawn, F::Lost, F::Refused, F::BadArgument, F::Expired, F::Stopped];
    cases.variants(failures.map(|why| ("", why)));
    cases.variants([OutputStream::Stdout, OutputStream::Stderr].map(|stream| ("", stream)));
    use SessionKind as K;
    cases.variants([K::Interactive, K::Graphical, K::Background].map(|kind| ("", kind)));
    use SessionSource as S;
    cases.variants([S::Utmp, S::Logind, S::Wtmpdb, S::Wtmp].map(|source| ("", source)));
}
