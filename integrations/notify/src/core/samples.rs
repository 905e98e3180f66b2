//! Samples: one of every type, with everything that it can say, to try templates on; and what `test` sends.

use jiff::tz::TimeZone;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Outcome, Source, SourceHost},
    command::{Arg, RunEnd, Usage},
    event::{Detail, Event, EventType},
    facet::{FacetId, FacetStatus, Unavailable},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{Cursor, JobId, LogId, NodeId, NodeName, Seq},
    message::client::Gap,
    record::Lost,
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey, WgPublicKey},
};

use super::{
    digest::{Digest, Why},
    facts::{Facts, NodeNews, Presence, Subject},
    summary,
    tally::Room,
    text::{MAX_TITLE, clip},
    words::{self, Decided},
};
use crate::{Notice, Severity};

/// The node of the samples.
const NODE: NodeId = NodeId([1; 16]);
/// What a key looks like.
const KEY: &str = "ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// One notice of every type that can be told, by its type.
pub(super) fn every_type() -> Vec<(&'static str, Notice)> {
    let now = UnixNanos(1_800_000_000_000_000_000);
    let mut out = vec![];
    for kind in EventType::ALL {
        for event in events(*kind, now) {
            out.extend(of(&Subject::Event(&event)));
        }
    }
    let unreadable =
        event(Detail::Unreadable { types: vec!["new.type".into()], reason: "is newer".into() }, now);
    out.extend(of(&Subject::Event(&unreadable)));
    for what in [Presence::Away, Presence::StillAway, Presence::Back] {
        let since = UnixNanos(now.0 - 120_000_000_000);
        out.extend(of(&Subject::Node(NodeNews { what, id: NODE, name: "web-1", since, at: now })));
        out.extend(of(&Subject::Hub(what, now)));
    }
    out
}

/// One of each look, for somebody who tries a destination; each says that it is a sample.
pub(super) fn looks(now: UnixNanos) -> Vec<Notice> {
    let mut login = auth(AuthAction::Accepted, now);
    (login.count, login.reason, login.tty, login.cwd, login.command) = (1, None, None, None, None);
    (login.target_user, login.group) = (None, None);
    let mut denied = auth(AuthAction::SudoDenied, now);
    (denied.count, denied.reason, denied.source, denied.fingerprint) = (1, None, None, None);
    (denied.group, denied.method) = (None, None);
    let (login, denied) = (event(Detail::Auth(login), now), event(Detail::Auth(denied), now));
    let since = UnixNanos(now.0.saturating_sub(120_000_000_000));
    let away = NodeNews { what: Presence::Away, id: NODE, name: "web-1", since, at: now };
    let new = "first time: alice from 192.0.2.0/24 with this key on web-1";
    let looks = [
        (Subject::Event(&login), Severity::Info, None),
        (Subject::Event(&login), Severity::Warning, Some(new)),
        (Subject::Event(&denied), Severity::Warning, None),
        (Subject::Node(away), Severity::Warning, None),
        (Subject::Hub(Presence::Away, now), Severity::Critical, None),
    ];
    let mut out = vec![];
    for (subject, severity, first) in looks {
        let Some(facts) = Facts::of(&subject, severity, severity) else { continue };
        let decided = Decided { severity, rule: Some("test"), first, template: None };
        let id = format!("test-{}-{}", now.0, out.len());
        out.push(words::notice(id, &subject, &facts, &decided));
    }
    out.push(summary::notice(&burst(now), false, &TimeZone::UTC));
    for notice in &mut out {
        notice.title = clip(&format!("[test] {}", notice.title), MAX_TITLE);
        notice.json["secmon"]["notice"]["test"] = true.into();
    }
    out
}

/// A digest of a burst.
fn burst(now: UnixNanos) -> Digest {
    let mut time = UnixNanos(now.0.saturating_sub(300_000_000_000));
    let mut room = Room { fingerprints: 100, lines: 10_000 };
    let mut digest =
        Digest::new(format!("test-digest-{}", now.0), Why::Rule, Some("failed logins"), now, now);
    for (i, user) in
        [(0, "root"), (1, "admin"), (2, "root"), (0, "test"), (1, "root")].into_iter().cycle().take(214)
    {
        time = UnixNanos(time.0.saturating_add(1_400_000_000));
        let host = SourceHost::Ip([192, 0, 2, 9 + i].into());
        let failed = AuthEvent {
            user: Some(user.to_owned()),
            source: Some(Source { host, port: Some(50_022) }),
            method: Some("password".to_owned()),
            ..AuthEvent::new(time, "sshd", None, AuthAction::Failed, "a line")
        };
        let event = event(Detail::Auth(failed), time);
        if let Some(facts) = Facts::of_event(&event) {
            let line = || words::title(&Subject::Event(&event));
            digest.add(now, &facts, Severity::Info, line, &mut room);
        }
    }
    digest
}

fn of(subject: &Subject<'_>) -> Option<(&'static str, Notice)> {
    let mut facts = Facts::of(subject, Severity::Warning, Severity::Critical)?;
    facts.first = Some(true);
    let decided = Decided {
        severity: facts.severity,
        rule: Some("a rule"),
        first: Some("first time: alice from 192.0.2.0/24 with this key on web-1"),
        template: None,
    };
    Some((facts.kind, words::notice("sample".to_owned(), subject, &facts, &decided)))
}

pub(super) fn event(detail: Detail, now: UnixNanos) -> Event {
    Event {
        id: "sample".to_owned(),
        cursor: Some(Cursor { log: LogId(1), n: 1 }),
        node: "web-1".parse::<NodeName>().ok().map(|name| (NODE, name)),
        time: now,
        detail,
    }
}

/// An auth event that says everything.
pub(super) fn auth(action: AuthAction, now: UnixNanos) -> AuthEvent {
    AuthEvent {
        outcome: Outcome::Success,
        user: Some("alice".into()),
        target_user: Some("root".into()),
        group: Some("wheel".into()),
        source: Some(Source { host: SourceHost::Ip([192, 0, 2, 9].into()), port: Some(50_022) }),
        method: Some("publickey".into()),
        fingerprint: Some(KEY.into()),
        tty: Some("pts/0".into()),
        cwd: Some("/home/alice".into()),
        command: Some("/usr/bin/id".into()),
        service: Some("sshd".into()),
        reason: Some("a reason".into()),
        count: 2,
        preauth: true,
        trusted: Some(true),
        ..AuthEvent::new(now, "sshd", Some(4_242), action, "the line of the log")
    }
}

/// All events of a type; most have one.
pub(super) fn events(kind: EventType, now: UnixNanos) -> Vec<Event> {
    use EventType as T;
    let by = Requester { uid: 1_000, user: Some("alice".into()), pid: Some(1), agent: "secmon".into() };
    let arg = Arg { name: "lines".into(), value: "5".into() };
    let run =
        CommandRun { job: JobId(1), label: "tail".into(), args: vec![arg], by: by.clone(), detached: true };
    let usage = Usage::default();
    let reason = || "a reason".to_owned();
    let hub = |e| vec![Detail::Hub(e)];
    let auth_of = |action| vec![Detail::Auth(auth(action, now))];
    let details = match kind {
        T::NodeEnrolled => hub(HubEvent::Enrolled { replaced: true }),
        T::NodeRemoved => hub(HubEvent::Removed { by }),
        T::NodeConnected => {
            hub(HubEvent::Connected { address: "192.0.2.1:4242".into(), agent: "0.1.0".into() })
        }
        T::NodeDisconnected => hub(HubEvent::Disconnected { reason: reason() }),
        T::FacetReady => vec![Detail::Facet(FacetId::AUTH_LOG, FacetStatus::Ready)],
        T::FacetUnavailable => {
            let why = Unavailable { reason: reason(), remedy: "a remedy".to_owned() };
            vec![Detail::Facet(FacetId::AUTH_LOG, FacetStatus::Unavailable(why))]
        }
        T::SessionOpened | T::SessionClosed => vec![Detail::Session(kind, "c1".to_owned(), session(now))],
        T::WgPeerAdded | T::WgPeerRemoved | T::WgPeerChanged | T::WgPeerOnline | T::WgPeerOffline => {
            let key = WgPeerKey { interface: "wg0".into(), public_key: WgPublicKey([7; 32]) };
            vec![Detail::Wg(kind, key, peer(now))]
        }
        T::AuthAccepted => auth_of(AuthAction::Accepted),
        T::AuthFailed => auth_of(AuthAction::Failed),
        T::AuthInvalidUser => auth_of(AuthAction::InvalidUser),
        T::AuthDisconnected => auth_of(AuthAction::Disconnected),
        T::AuthSessionOpened => auth_of(AuthAction::SessionOpened),
        T::AuthSessionClosed => auth_of(AuthAction::SessionClosed),
        T::AuthSudo => auth_of(AuthAction::Sudo),
        T::AuthSudoDenied => auth_of(AuthAction::SudoDenied),
        T::AuthSu => auth_of(AuthAction::Su),
        T::AuthSuFailed => auth_of(AuthAction::SuFailed),
        T::AuthAccountChanged => auth_of(AuthAction::AccountChanged),
        T::AuthProbe => auth_of(AuthAction::Probe),
        T::CommandQueued => hub(HubEvent::CommandQueued { run, expires: now }),
        T::CommandStarted => hub(HubEvent::CommandStarted(run)),
        T::CommandFinished => vec![
            Detail::Hub(HubEvent::CommandFinished {
                run: run.clone(),
                end: RunEnd::Exited(1),
                usage: Some(usage),
            }),
            Detail::Hub(HubEvent::CommandFinished { run, end: RunEnd::Signalled(9), usage: None }),
        ],
        T::CommandRefused => hub(HubEvent::CommandRefused { run, reason: reason() }),
        T::AccessDenied => {
            hub(HubEvent::Denied { by, request: "enroll web-2".into(), reason: reason(), unlogged: 1 })
        }
        T::Gap => {
            let at = |n| Cursor { log: LogId(1), n };
            vec![
                Detail::Gap(Gap { after: at(1), to: at(3), reason: reason() }),
                Detail::Lost(Lost { count: 2, reason: reason() }),
                Detail::Hub(HubEvent::Gap { from: Seq(2), to: Seq(3), reason: reason() }),
            ]
        }
    };
    details.into_iter().map(|detail| event(detail, now)).collect()
}

pub(super) fn session(now: UnixNanos) -> Session {
    Session {
        user: "alice".into(),
        tty: Some("pts/0".into()),
        remote: Some("192.0.2.9".into()),
        since: now,
        leader: Some(4_242),
        service: Some("sshd".into()),
        kind: SessionKind::Interactive,
        sources: [SessionSource::Logind].into(),
    }
}

fn peer(now: UnixNanos) -> WgPeer {
    WgPeer {
        endpoint: Some(([192, 0, 2, 7], 51_820).into()),
        allowed_ips: vec!["10.0.0.7/32".into()],
        latest_handshake: Some(now),
        rx_bytes: 1,
        tx_bytes: 2,
        keepalive: Some(25),
        online: true,
    }
}
