//! The values that tests are made of: small, plain, and each field unlike its neighbours.

use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Outcome, Source, SourceHost},
    command::{Arg, ArgInfo, ArgKind, CommandInfo, Usage},
    facet::Unavailable,
    hub_event::{CommandRun, Requester},
    ids::{Cursor, JobId, LogId, NodeId, NodeName},
    message::{ErrorCode, Refusal, node::HostFacts},
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey, WgPublicKey},
};

/// 2026-11-21T06:00:00.123456789Z
pub(crate) const TIME: UnixNanos = UnixNanos(1_795_240_800_123_456_789);

pub(crate) const NODE: NodeId =
    NodeId([0x01, 0x9a, 0xa1, 0xb2, 0xc3, 0xd4, 0x7e, 0x5f, 0x80, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);

pub(crate) const CURSOR: Cursor = Cursor { log: LogId(0x00de_cade_0000_feed), n: 70_000 };

pub(crate) fn name() -> NodeName {
    "web-1".parse().expect("a name")
}

pub(crate) fn refusal() -> Refusal {
    Refusal {
        code: ErrorCode::UnknownNode,
        message: "no node is called `wbe-1`".into(),
        near: vec!["web-1".into(), "web-2".into()],
    }
}

pub(crate) fn facts() -> HostFacts {
    HostFacts {
        hostname: "web-1".into(),
        os: "Debian GNU/Linux 13 (trixie)".into(),
        kernel: "6.12.57".into(),
        arch: "x86_64".into(),
    }
}

pub(crate) fn commands() -> Vec<CommandInfo> {
    vec![CommandInfo::plain("restart-web", "Restart nginx", 30_000), CommandInfo::plain("uptime", "", 250)]
}

/// A command with an argument of every kind and every limit.
pub(crate) fn typed_command() -> CommandInfo {
    let arg = |name: &str, kind, default: Option<&str>| ArgInfo {
        name: name.into(),
        description: format!("about {name}"),
        kind,
        default: default.map(str::to_owned),
    };
    let values = vec!["syslog".into(), "auth.log".into()];
    CommandInfo {
        args: vec![
            arg("lines", ArgKind::Integer { min: -5, max: 1_000 }, Some("100")),
            arg("file", ArgKind::Choice { values }, None),
            arg("match", ArgKind::String { pattern: "[a-z]+".into(), min: 1, max: 64 }, None),
            arg("verbose", ArgKind::Bool, Some("false")),
            arg("path", ArgKind::Path { below: "/srv".into() }, None),
        ],
        max_output: Some(1 << 20),
        concurrency: Some(2),
        stdin: true,
        ..CommandInfo::plain("tail", "The end of a log", 5_000)
    }
}

pub(crate) fn args() -> Vec<Arg> {
    let arg = |name: &str, value: &str| Arg { name: name.into(), value: value.into() };
    vec![arg("lines", "50"), arg("file", "auth.log")]
}

pub(crate) const JOB: JobId = JobId(0x00de_cade_0000_0077);

pub(crate) const USAGE: Usage = Usage {
    wall_ns: 1_500_000_000,
    user_ns: 20_000_000,
    system_ns: 10_000_000,
    max_rss: 4 << 20,
    output: 1_234,
};

pub(crate) fn command_run() -> CommandRun {
    CommandRun { job: JOB, label: "tail".into(), args: args(), by: requester(), detached: true }
}

/// What an attached command without arguments is, run by somebody without a name.
pub(crate) fn bare_run() -> CommandRun {
    let by = Requester { uid: 0, user: None, pid: None, agent: String::new() };
    CommandRun { job: JOB, label: "uptime".into(), args: vec![], by, detached: false }
}

pub(crate) fn unavailable() -> Unavailable {
    Unavailable { reason: "cannot read /var/log/auth.log".into(), remedy: "run as root".into() }
}

pub(crate) fn requester() -> Requester {
    Requester { uid: 1000, user: Some("alice".into()), pid: Some(4321), agent: "secmon 0.1.0".into() }
}

pub(crate) fn session() -> Session {
    Session {
        user: "alice".into(),
        tty: Some("pts/0".into()),
        remote: Some("192.0.2.7".into()),
        since: TIME,
        leader: Some(4711),
        service: Some("sshd".into()),
        kind: SessionKind::Interactive,
        sources: [SessionSource::Utmp, SessionSource::Logind, SessionSource::Wtmpdb].into(),
    }
}

pub(crate) fn bare_session() -> Session {
    Session {
        user: "bob".into(),
        tty: None,
        remote: None,
        since: UnixNanos(-1),
        leader: None,
        service: None,
        kind: SessionKind::Background,
        sources: [SessionSource::Logind].into(),
    }
}

pub(crate) fn peer_key() -> WgPeerKey {
    WgPeerKey { interface: "wg0".into(), public_key: WgPublicKey(std::array::from_fn(|i| i as u8)) }
}

pub(crate) fn peer() -> WgPeer {
    WgPeer {
        endpoint: Some(([192, 0, 2, 9], 51820).into()),
        allowed_ips: vec!["10.0.0.2/32".into(), "fd00::2/128".into()],
        latest_handshake: Some(TIME),
        rx_bytes: 1_000,
        tx_bytes: 5_000_000_000,
        keepalive: Some(25),
        online: true,
    }
}

pub(crate) fn auth_event() -> AuthEvent {
    AuthEvent {
        time: TIME,
        program: "sshd".into(),
        pid: Some(812),
        action: AuthAction::Accepted,
        outcome: Outcome::Success,
        user: Some("alice".into()),
        target_user: Some("root".into()),
        group: Some("adm".into()),
        source: Some(Source {
            host: SourceHost::Ip([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            port: Some(50_022),
        }),
        method: Some("publickey".into()),
        fingerprint: Some("ED25519 SHA256:abc".into()),
        tty: Some("pts/0".into()),
        cwd: Some("/root".into()),
        command: Some("/usr/bin/id".into()),
        service: Some("sshd".into()),
        reason: Some("why".into()),
        count: 3,
        preauth: true,
        trusted: Some(true),
        message: "Accepted publickey for alice".into(),
    }
}
