//! Strategies for records, what they carry, and the keys and values of facets.

use proptest::{collection::vec, option, prelude::*, sample::select};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Outcome, Source, SourceHost},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{Epoch, Seq},
    record::{Envelope, LogRecord, Lost, NodeRecord, Origin, RecordKind},
    session::{Session, SessionKind, SessionSource},
    state::Op,
    wireguard::{WgPeer, WgPeerKey, WgPublicKey},
};

use crate::basics::{
    args, bytes, cursor, facet, ip, job, maybe_text, name, node, number, run_end, socket, status, text,
    texts, time, usage,
};

pub(crate) fn envelope() -> BoxedStrategy<Envelope> {
    (any::<u16>(), any::<u16>(), time(), texts(), bytes())
        .prop_map(|(kind, version, time, types, body)| Envelope {
            kind: RecordKind(kind),
            version,
            time,
            types,
            body,
        })
        .boxed()
}

pub(crate) fn node_record() -> BoxedStrategy<NodeRecord> {
    (number(), envelope()).prop_map(|(seq, envelope)| NodeRecord { seq: Seq(seq), envelope }).boxed()
}

pub(crate) fn log_record() -> BoxedStrategy<LogRecord> {
    let origin = prop_oneof![
        (number(), number()).prop_map(|(epoch, seq)| Origin::Node { epoch: Epoch(epoch), seq: Seq(seq) }),
        Just(Origin::Hub),
    ];
    (cursor(), node(), name(), origin, envelope())
        .prop_map(|(cursor, node, name, origin, envelope)| LogRecord { cursor, node, name, origin, envelope })
        .boxed()
}

pub(crate) fn op() -> BoxedStrategy<Op> {
    prop_oneof![
        (facet(), status(), status()).prop_map(|(facet, old, new)| Op::Status { facet, old, new }),
        (facet(), bytes(), bytes()).prop_map(|(facet, key, new)| Op::Added { facet, key, new }),
        (facet(), bytes(), bytes(), bytes()).prop_map(|(facet, key, old, new)| Op::Changed {
            facet,
            key,
            old,
            new
        }),
        (facet(), bytes(), bytes()).prop_map(|(facet, key, old)| Op::Removed { facet, key, old }),
    ]
    .boxed()
}

pub(crate) fn lost() -> impl Strategy<Value = Lost> + Clone {
    (number(), text()).prop_map(|(count, reason)| Lost { count, reason })
}

pub(crate) fn auth_event() -> BoxedStrategy<AuthEvent> {
    use AuthAction as A;
    let action = select(vec![A::Accepted, A::Failed, A::Disconnected, A::Sudo, A::SuFailed, A::Probe]);
    let outcome = select(vec![Outcome::Success, Outcome::Failure, Outcome::Unknown]);
    let host = prop_oneof![ip().prop_map(SourceHost::Ip), text().prop_map(SourceHost::Name)];
    let source = (host, any::<Option<u16>>()).prop_map(|(host, port)| Source { host, port });
    let numbers = (time(), any::<Option<u32>>(), action, outcome, any::<u32>());
    let rest = (option::of(source), any::<bool>(), any::<Option<bool>>(), text(), text());
    (numbers, rest, vec(maybe_text(), 10))
        .prop_map(|(numbers, rest, mut texts)| {
            let (time, pid, action, outcome, count) = numbers;
            let (source, preauth, trusted, program, message) = rest;
            let mut next = || texts.pop().flatten();
            AuthEvent {
                time,
                program,
                pid,
                action,
                outcome,
                user: next(),
                target_user: next(),
                group: next(),
                source,
                method: next(),
                fingerprint: next(),
                tty: next(),
                cwd: next(),
                command: next(),
                service: next(),
                reason: next(),
                count,
                preauth,
                trusted,
                message,
            }
        })
        .boxed()
}

fn by() -> impl Strategy<Value = Requester> + Clone {
    (any::<u32>(), maybe_text(), any::<Option<i32>>(), text()).prop_map(|(uid, user, pid, agent)| Requester {
        uid,
        user,
        pid,
        agent,
    })
}

pub(crate) fn command_run() -> impl Strategy<Value = CommandRun> + Clone {
    (job(), text(), args(), by(), any::<bool>()).prop_map(|(job, label, args, by, detached)| CommandRun {
        job,
        label,
        args,
        by,
        detached,
    })
}

pub(crate) fn hub_event() -> BoxedStrategy<HubEvent> {
    prop_oneof![
        any::<bool>().prop_map(|replaced| HubEvent::Enrolled { replaced }),
        by().prop_map(|by| HubEvent::Removed { by }),
        (text(), text()).prop_map(|(address, agent)| HubEvent::Connected { address, agent }),
        text().prop_map(|reason| HubEvent::Disconnected { reason }),
        (number(), number(), text()).prop_map(|(from, to, reason)| HubEvent::Gap {
            from: Seq(from),
            to: Seq(to),
            reason
        }),
        command_run().prop_map(HubEvent::CommandStarted),
        (command_run(), run_end(), usage()).prop_map(|(run, end, usage)| HubEvent::CommandFinished {
            run,
            end,
            usage
        }),
        (command_run(), text()).prop_map(|(run, reason)| HubEvent::CommandRefused { run, reason }),
        (command_run(), time()).prop_map(|(run, expires)| HubEvent::CommandQueued { run, expires }),
        (by(), text(), text(), number()).prop_map(|(by, request, reason, unlogged)| HubEvent::Denied {
            by,
            request,
            reason,
            unlogged
        }),
    ]
    .boxed()
}

pub(crate) fn session() -> BoxedStrategy<Session> {
    use SessionKind as K;
    use SessionSource as S;
    let kind = select(vec![K::Interactive, K::Graphical, K::Background]);
    let sources = proptest::collection::btree_set(select(vec![S::Utmp, S::Logind, S::Wtmpdb, S::Wtmp]), 0..4);
    let texts = (text(), maybe_text(), maybe_text(), maybe_text());
    (texts, time(), any::<Option<u32>>(), kind, sources)
        .prop_map(|(texts, since, leader, kind, sources)| {
            let (user, tty, remote, service) = texts;
            Session { user, tty, remote, since, leader, service, kind, sources }
        })
        .boxed()
}

pub(crate) fn peer_key() -> impl Strategy<Value = WgPeerKey> {
    (text(), any::<[u8; 32]>())
        .prop_map(|(interface, key)| WgPeerKey { interface, public_key: WgPublicKey(key) })
}

pub(crate) fn peer() -> BoxedStrategy<WgPeer> {
    let counters = (number(), number(), any::<Option<u16>>(), any::<bool>());
    (option::of(socket()), texts(), option::of(time()), counters)
        .prop_map(|(endpoint, allowed_ips, latest_handshake, (rx_bytes, tx_bytes, keepalive, online))| {
            WgPeer { endpoint, allowed_ips, latest_handshake, rx_bytes, tx_bytes, keepalive, online }
        })
        .boxed()
}
