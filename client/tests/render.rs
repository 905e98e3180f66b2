//! What people see: every kind of event, the tables at several widths, and hostile texts made harmless.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

use bytes::Bytes;
use secmon_client::render::{self, Look};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, AuthLogSource, Source, SourceHost},
    codec::encode_value,
    command::{Arg, CommandInfo, RunEnd, RunFailure, Usage},
    event::{Detail, Event, EventType},
    facet::{FacetId, FacetStatus, Unavailable},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{Cursor, JobId, LogId, NodeId, Seq},
    message::{
        client::{FacetSummary, Gap, JobState, JobSummary, NodeDetail, NodeSummary, Presence},
        node::HostFacts,
    },
    record::Lost,
    session::{Session, SessionKind, SessionSource},
    state_event::state_of,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey, WgPublicKey},
};

const SECOND: i64 = 1_000_000_000;
/// 2026-11-21T12:00:00Z.
const NOW: UnixNanos = UnixNanos(1_795_262_400 * SECOND);

fn ago(seconds: i64) -> UnixNanos {
    UnixNanos(NOW.0 - seconds * SECOND)
}

fn wide(width: u16) -> Look {
    Look { width: Some(width), ..Look::plain() }
}

fn session(user: &str) -> Session {
    Session {
        user: user.into(),
        tty: Some("pts/0".into()),
        remote: Some("10.0.0.5".into()),
        since: ago(60),
        leader: Some(77),
        service: None,
        kind: SessionKind::Interactive,
        sources: [SessionSource::Utmp].into(),
    }
}

fn peer() -> (WgPeerKey, WgPeer) {
    let key = WgPeerKey { interface: "wg0".into(), public_key: WgPublicKey([7; 32]) };
    let peer = WgPeer {
        endpoint: Some("198.51.100.7:51820".parse().unwrap()),
        allowed_ips: vec!["10.7.0.0/24".into(), "fd00::/64".into()],
        latest_handshake: Some(ago(75)),
        rx_bytes: 5_000_000,
        tx_bytes: 900,
        keepalive: Some(25),
        online: true,
    };
    (key, peer)
}

fn auth(action: AuthAction, with: impl FnOnce(&mut AuthEvent)) -> Detail {
    let mut event = AuthEvent::new(NOW, "sshd", Some(9), action, "the message");
    with(&mut event);
    Detail::Auth(event)
}

fn from(event: &mut AuthEvent) {
    event.source = Some(Source { host: SourceHost::Ip("1.2.3.4".parse().unwrap()), port: Some(22) });
}

fn line(detail: Detail) -> String {
    let node = Some((NodeId([1; 16]), "web-1".parse().unwrap()));
    render::event_line(&Event { id: String::new(), cursor: None, node, time: NOW, detail }, &Look::plain())
}

/// One of everything, so that the test below can see that no type was left out.
fn one_of_each() -> Vec<Detail> {
    let (key, wg) = peer();
    let by = Requester { uid: 1000, user: Some("alice".into()), pid: None, agent: "secmon 0.1.0".into() };
    let arg = |name: &str, value: &str| Arg { name: name.into(), value: value.into() };
    let run = CommandRun {
        job: JobId(4),
        label: "tail".into(),
        args: vec![arg("lines", "50"), arg("file", "auth.log")],
        by: by.clone(),
        detached: false,
    };
    let unavailable = Unavailable {
        reason: "cannot read /var/log/auth.log: permission denied".into(),
        remedy: "run the node as root".into(),
    };
    let user = |e: &mut AuthEvent| e.user = Some("root".into());
    let mut all = vec![
        Detail::Hub(HubEvent::Enrolled { replaced: false }),
        Detail::Hub(HubEvent::Removed { by: by.clone() }),
        Detail::Hub(HubEvent::Connected { address: "10.0.0.1:4000".into(), agent: "0.1.0".into() }),
        Detail::Hub(HubEvent::Disconnected { reason: "no heartbeat for 30 s".into() }),
        Detail::Facet(FacetId::SESSIONS, FacetStatus::Ready),
        Detail::Facet(FacetId::AUTH_LOG, FacetStatus::Unavailable(unavailable)),
        Detail::Session(EventType::SessionOpened, "k".into(), session("alice")),
        Detail::Session(EventType::SessionClosed, "k".into(), session("alice")),
    ];
    for kind in [
        EventType::WgPeerAdded,
        EventType::WgPeerRemoved,
        EventType::WgPeerChanged,
        EventType::WgPeerOnline,
        EventType::WgPeerOffline,
    ] {
        all.push(Detail::Wg(kind, key.clone(), wg.clone()));
    }
    all.extend([
        auth(AuthAction::Accepted, |e| {
            user(e);
            from(e);
            e.method = Some("publickey".into());
            e.fingerprint = Some("ED25519 SHA256:abc".into());
        }),
        auth(AuthAction::Failed, |e| {
            user(e);
            from(e);
            e.method = Some("password".into());
            e.count = 5;
        }),
        auth(AuthAction::InvalidUser, |e| {
            e.user = Some("admin".into());
            from(e);
        }),
        auth(AuthAction::InvalidUser, |e| {
            e.user = Some("admin".into());
            e.method = Some("password".into());
            from(e);
        }),
        auth(AuthAction::Disconnected, |e| {
            user(e);
            from(e);
            e.reason = Some("disconnected by user".into());
        }),
        auth(AuthAction::Disconnected, from),
        auth(AuthAction::SessionOpened, user),
        auth(AuthAction::SessionClosed, |e| {
            e.user = Some("alice".into());
            e.target_user = Some("root".into());
            e.service = Some("su".into());
        }),
        auth(AuthAction::Sudo, |e| {
            e.user = Some("alice".into());
            e.target_user = Some("root".into());
            e.command = Some("/bin/ls -l".into());
            e.tty = Some("pts/0".into());
            e.cwd = Some("/home/alice".into());
        }),
        auth(AuthAction::SudoDenied, |e| {
            e.user = Some("bob".into());
            e.target_user = Some("root".into());
            e.command = Some("/bin/sh".into());
            e.reason = Some("user NOT in sudoers".into());
        }),
        auth(AuthAction::Su, |e| {
            e.user = Some("alice".into());
            e.target_user = Some("root".into());
            e.tty = Some("pts/1".into());
        }),
        auth(AuthAction::SuFailed, |e| {
            e.user = Some("bob".into());
            e.target_user = Some("root".into());
        }),
        auth(AuthAction::AccountChanged, |_| {}),
        auth(AuthAction::Probe, from),
        auth(AuthAction::Accepted, |e| {
            user(e);
            e.trusted = Some(false);
        }),
        Detail::Hub(HubEvent::CommandQueued { run: run.clone(), expires: ago(-3600) }),
        Detail::Hub(HubEvent::CommandStarted(run.clone())),
        Detail::Hub(HubEvent::CommandRefused { run: run.clone(), reason: "lines is not a number".into() }),
        Detail::Hub(HubEvent::Denied {
            by,
            request: "enroll web-2".into(),
            reason: "that needs the role admin".into(),
            unlogged: 3,
        }),
    ]);
    let lost = RunEnd::Failed { why: RunFailure::Lost, message: "its node was restarted".into() };
    for end in [
        RunEnd::Exited(3),
        RunEnd::Signalled(9),
        RunEnd::TimedOut,
        RunEnd::Cancelled,
        RunEnd::TooMuchOutput,
        lost,
    ] {
        all.push(Detail::Hub(HubEvent::CommandFinished { run: run.clone(), end, usage: None }));
    }
    let at = |n| Cursor { log: LogId(1), n };
    all.extend([
        Detail::Hub(HubEvent::Gap { from: Seq(3), to: Seq(5), reason: "the node dropped them".into() }),
        Detail::Lost(Lost { count: 12, reason: "the outbox was full".into() }),
        Detail::Gap(Gap { after: at(3), to: at(10), reason: "too slow".into() }),
        Detail::Unreadable { types: vec!["new.thing".into()], reason: "record 2 is newer".into() },
    ]);
    all
}

#[test]
fn an_auth_event_says_what_its_program_knows() {
    let bob = |e: &mut AuthEvent| {
        e.user = Some("bob".into());
        e.target_user = Some("root".into());
    };
    let texts = [
        line(auth(AuthAction::InvalidUser, |e| {
            bob(e);
            from(e);
            e.reason = Some("not listed in AllowUsers".into());
        })),
        line(auth(AuthAction::Su, |e| {
            bob(e);
            e.command = Some("id -u".into());
        })),
        line(auth(AuthAction::SuFailed, |e| {
            bob(e);
            e.command = Some("id -u".into());
            e.reason = Some("command not permitted".into());
        })),
        line(auth(AuthAction::SuFailed, bob)),
        line(auth(AuthAction::Probe, |e| {
            from(e);
            e.message = "banner exchange: Connection from 1.2.3.4 port 22: invalid format".into();
        })),
    ];
    insta::assert_snapshot!(texts.join("\n"), @r"
    12:00:00  web-1         auth.invalid_user     bob may not log in from 1.2.3.4 port 22: not listed in AllowUsers
    12:00:00  web-1         auth.su               bob ran id -u as root
    12:00:00  web-1         auth.su_failed        bob may not run id -u: command not permitted
    12:00:00  web-1         auth.su_failed        bob failed to become root
    12:00:00  web-1         auth.probe            sshd: banner exchange: Connection from 1.2.3.4 port 22: invalid format
    ");
}

#[test]
fn every_type_of_event_has_its_sentence() {
    let all = one_of_each();
    for kind in EventType::ALL {
        assert!(all.iter().any(|d| d.event_type() == Some(*kind)), "{} is missing here", kind.as_str());
    }
    let lines: Vec<String> = all.into_iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    12:00:00  web-1         node.enrolled         enrolled
    12:00:00  web-1         node.removed          removed by alice
    12:00:00  web-1         node.connected        connected from 10.0.0.1:4000 (version 0.1.0)
    12:00:00  web-1         node.disconnected     disconnected: no heartbeat for 30 s
    12:00:00  web-1         facet.ready           now sees sessions
    12:00:00  web-1         facet.unavailable     cannot see the auth log: cannot read /var/log/auth.log: permission denied; run the node as root
    12:00:00  web-1         session.opened        alice logged in on pts/0 from 10.0.0.5 (utmp)
    12:00:00  web-1         session.closed        alice logged out on pts/0 from 10.0.0.5 (utmp)
    12:00:00  web-1         wg.peer_added         wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= was added, endpoint 198.51.100.7:51820, networks 10.7.0.0/24 fd00::/64
    12:00:00  web-1         wg.peer_removed       wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= was removed, endpoint 198.51.100.7:51820, networks 10.7.0.0/24 fd00::/64
    12:00:00  web-1         wg.peer_changed       wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= was changed, endpoint 198.51.100.7:51820, networks 10.7.0.0/24 fd00::/64
    12:00:00  web-1         wg.peer_online        wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= is online, endpoint 198.51.100.7:51820
    12:00:00  web-1         wg.peer_offline       wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= is offline, endpoint 198.51.100.7:51820
    12:00:00  web-1         auth.accepted         accepted publickey for root from 1.2.3.4 port 22, key ED25519 SHA256:abc
    12:00:00  web-1         auth.failed           failed password for root from 1.2.3.4 port 22 (5 times)
    12:00:00  web-1         auth.invalid_user     invalid user admin from 1.2.3.4 port 22
    12:00:00  web-1         auth.invalid_user     failed password for invalid user admin from 1.2.3.4 port 22
    12:00:00  web-1         auth.disconnected     root disconnected from 1.2.3.4 port 22: disconnected by user
    12:00:00  web-1         auth.disconnected     connection ended from 1.2.3.4 port 22
    12:00:00  web-1         auth.session_opened   sshd session opened for root
    12:00:00  web-1         auth.session_closed   su session closed for root by alice
    12:00:00  web-1         auth.sudo             alice ran /bin/ls -l as root on pts/0 in /home/alice
    12:00:00  web-1         auth.sudo_denied      bob may not run /bin/sh as root: user NOT in sudoers
    12:00:00  web-1         auth.su               alice became root on pts/1
    12:00:00  web-1         auth.su_failed        bob failed to become root
    12:00:00  web-1         auth.account_changed  sshd: the message
    12:00:00  web-1         auth.probe            sshd: the message from 1.2.3.4 port 22
    12:00:00  web-1         auth.accepted         accepted login for root [FORGED: not written by sshd]
    12:00:00  web-1         command.queued        alice queued tail lines=50 file=auth.log until 2026-11-21T13:00:00Z (job 0000000000000004)
    12:00:00  web-1         command.started       alice started tail lines=50 file=auth.log (job 0000000000000004)
    12:00:00  web-1         command.refused       alice was refused tail lines=50 file=auth.log: lines is not a number
    12:00:00  web-1         access.denied         alice was denied enroll web-2: that needs the role admin (3 more before this)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice exited with 3 (job 0000000000000004)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice was ended by signal 9 (job 0000000000000004)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice was ended by its timeout (job 0000000000000004)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice was cancelled (job 0000000000000004)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice was ended because it printed too much (job 0000000000000004)
    12:00:00  web-1         command.finished      tail lines=50 file=auth.log of alice failed: its node was restarted (job 0000000000000004)
    12:00:00  web-1         gap                   3 records of the node are missing: the node dropped them
    12:00:00  web-1         gap                   12 records of the node are lost: the outbox was full
    12:00:00  web-1         gap                   7 records are missing here: too slow
    12:00:00  web-1         unreadable            a record (new.thing) that this secmon cannot read: record 2 is newer
    ");
}

#[test]
fn an_event_of_no_node_is_the_hubs() {
    let detail = auth(AuthAction::Su, |e| e.user = Some("alice".into()));
    let event = Event { id: String::new(), cursor: None, node: None, time: NOW, detail };
    insta::assert_snapshot!(render::event_line(&event, &Look::plain()), @"12:00:00  hub           auth.su               alice became somebody else");
}

#[test]
fn colour_surrounds_what_it_says_and_changes_no_text() {
    let look = Look { colour: true, ..Look::plain() };
    for detail in one_of_each() {
        let event = Event { id: String::new(), cursor: None, node: None, time: NOW, detail };
        let coloured = render::event_line(&event, &look);
        assert!(coloured.contains('\x1b'));
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, render::event_line(&event, &Look::plain()));
    }
}

const HOSTILE: &str = "a\x1b[31m\nroot\u{202e}\u{9b}b";

#[test]
fn hostile_texts_cannot_steer_a_terminal_or_forge_a_line() {
    let mut s = session(HOSTILE);
    s.tty = Some(HOSTILE.into());
    s.remote = Some(HOSTILE.into());
    let mut node = detail("web-1");
    node.entries.push((FacetId::SESSIONS, encode_value(&HOSTILE.to_owned()), encode_value(&s)));
    node.entries.push((
        FacetId::AUTH_LOG,
        encode_value(&"x".to_owned()),
        encode_value(&AuthLogSource { source: HOSTILE.into() }),
    ));
    node.commands[0].label = HOSTILE.into();
    node.commands[0].description = HOSTILE.into();
    let facts = &mut node.summary.facts;
    (facts.os, facts.hostname) = (HOSTILE.into(), HOSTILE.into());
    node.summary.agent = HOSTILE.into();
    node.summary.address = HOSTILE.into();
    node.summary.facets[2].status = unavailable(HOSTILE, HOSTILE);
    let mut texts = vec![render::show(&node, NOW, &wide(100)), render::list(&[node.summary], NOW, &wide(60))];
    let all = |e: &mut AuthEvent| {
        let text = || Some(HOSTILE.to_owned());
        (e.user, e.target_user, e.method, e.fingerprint, e.tty) = (text(), text(), text(), text(), text());
        (e.cwd, e.command, e.service, e.reason) = (text(), text(), text(), text());
        (e.program, e.message, e.trusted) = (HOSTILE.into(), HOSTILE.into(), Some(false));
        e.source = Some(Source { host: SourceHost::Name(HOSTILE.into()), port: Some(1) });
    };
    for action in [
        AuthAction::Accepted,
        AuthAction::Failed,
        AuthAction::InvalidUser,
        AuthAction::Disconnected,
        AuthAction::SessionOpened,
        AuthAction::SessionClosed,
        AuthAction::Sudo,
        AuthAction::SudoDenied,
        AuthAction::Su,
        AuthAction::SuFailed,
        AuthAction::AccountChanged,
        AuthAction::Probe,
    ] {
        texts.push(line(auth(action, all)));
    }
    let one_line = texts.len();
    texts.push(line(Detail::Session(EventType::SessionOpened, HOSTILE.into(), s)));
    texts.push(line(Detail::Unreadable { types: vec![HOSTILE.into()], reason: HOSTILE.into() }));
    texts.push(line(Detail::Lost(Lost { count: 1, reason: HOSTILE.into() })));
    for (i, text) in texts.iter().enumerate() {
        assert!(!text.contains(['\x1b', '\u{202e}', '\u{9b}']), "{text}");
        assert!(i < 2 || !text.contains('\n'), "{text}");
    }
    assert!(one_line > 2);
    insta::assert_snapshot!(texts[2], @r"12:00:00  web-1         auth.accepted         accepted a\x1b[31m\nroot\u{202e}\u{9b}b for a\x1b[31m\nroot\u{202e}\u{9b}b on a\x1b[31m\nroot\u{202e}\u{9b}b in a\x1b[31m\nroot\u{202e}\u{9b}b from a\x1b[31m\nroot\u{202e}\u{9b}b port 1, key a\x1b[31m\nroot\u{202e}\u{9b}b: a\x1b[31m\nroot\u{202e}\u{9b}b [FORGED: not written by a\x1b[31m\nroot\u{202e}\u{9b}b]");
}

fn unavailable(reason: &str, remedy: &str) -> FacetStatus {
    FacetStatus::Unavailable(Unavailable { reason: reason.into(), remedy: remedy.into() })
}

fn summary(name: &str) -> NodeSummary {
    let facet = |facet, entries| FacetSummary { facet, status: FacetStatus::Ready, entries };
    NodeSummary {
        id: NodeId([1; 16]),
        name: name.parse().unwrap(),
        presence: Presence::Online { since: ago(3600) },
        agent: "0.1.0".into(),
        address: "10.0.0.1:4000".into(),
        facts: HostFacts {
            hostname: "web-1.example.org".into(),
            os: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0".into(),
            arch: "x86_64".into(),
        },
        clock_offset: 1_500_000_000,
        facets: vec![facet(FacetId::SESSIONS, 2), facet(FacetId::WG_PEERS, 0), facet(FacetId::AUTH_LOG, 1)],
        commands: 2,
        stale: false,
    }
}

fn nodes() -> Vec<NodeSummary> {
    let mut db = summary("db.internal.example.org");
    db.presence = Presence::Away { since: ago(200_000) };
    db.facets[0].status = unavailable(
        "no utmp file at /run/utmp",
        "this distribution may have dropped it: install and start systemd-logind",
    );
    db.facets[1].status = FacetStatus::NotMonitored;
    db.facets[2].status = FacetStatus::Pending;
    db.clock_offset = -63_480_000_000;
    db.stale = true;
    let mut new = summary("new");
    new.presence = Presence::Expected { since: ago(10) };
    new.facets.clear();
    new.agent.clear();
    vec![db, new, summary("web-1")]
}

#[test]
fn a_list_that_is_piped_is_not_wrapped() {
    assert_eq!(render::list(&[], NOW, &Look::plain()), "");
    insta::assert_snapshot!(render::list(&nodes(), NOW, &Look::plain()), @"
    NAME                     STATUS    SINCE             SESSIONS     WG PEERS  AUTH LOG  VERSION
    db.internal.example.org  away      2026-11-19 04:26  unavailable  off       pending   0.1.0
    new                      expected  11:59:50          -            -         -         -
    web-1                    online    11:00:00          2            0         read      0.1.0

    db.internal.example.org: cannot see sessions: no utmp file at /run/utmp; this distribution may have dropped it: install and start systemd-logind
    db.internal.example.org: clock -1m3s, behind the hub's; set up time synchronisation there
    db.internal.example.org: what is shown may be out of date, its state is being fetched anew
    ");
}

#[test]
fn a_list_fits_the_terminal() {
    for width in [60, 80, 200] {
        let text = render::list(&nodes(), NOW, &wide(width));
        let table = text.split("\n\n").next().unwrap();
        for line in table.lines() {
            assert!(line.chars().count() <= usize::from(width), "{width}: {line}");
        }
    }
    insta::assert_snapshot!(render::list(&nodes(), NOW, &wide(60)), @"
    NAME         STATUS   SINCE      SESSIONS    WG      AUTH
                                                 PEERS   LOG
    db.internal. away     2026-11-19 unavailable off     pending
    example.org           04:26
    new          expected 11:59:50   -           -       -
    web-1        online   11:00:00   2           0       read

    db.internal.example.org: cannot see sessions: no utmp file at /run/utmp; this distribution may have dropped it: install and start systemd-logind
    db.internal.example.org: clock -1m3s, behind the hub's; set up time synchronisation there
    db.internal.example.org: what is shown may be out of date, its state is being fetched anew
    ");
    insta::assert_snapshot!(render::list(&nodes(), NOW, &wide(80)), @"
    NAME          STATUS    SINCE       SESSIONS     WG PEERS  AUTH LOG  VERSION
    db.internal.  away      2026-11-19  unavailable  off       pending   0.1.0
    example.org             04:26
    new           expected  11:59:50    -            -         -         -
    web-1         online    11:00:00    2            0         read      0.1.0

    db.internal.example.org: cannot see sessions: no utmp file at /run/utmp; this distribution may have dropped it: install and start systemd-logind
    db.internal.example.org: clock -1m3s, behind the hub's; set up time synchronisation there
    db.internal.example.org: what is shown may be out of date, its state is being fetched anew
    ");
    assert_eq!(render::list(&nodes(), NOW, &wide(200)), render::list(&nodes(), NOW, &Look::plain()));
}

fn detail(name: &str) -> NodeDetail {
    let (key, wg) = peer();
    let mut silent = key.clone();
    silent.public_key = WgPublicKey([200; 32]);
    let never =
        WgPeer { endpoint: None, latest_handshake: None, online: false, allowed_ips: vec![], ..wg.clone() };
    let command =
        |label: &str, timeout_ms, description: &str| CommandInfo::plain(label, description, timeout_ms);
    NodeDetail {
        summary: summary(name),
        commands: vec![command("restart-web", 90_000, "Restart the web server"), command("uptime", 500, "")],
        entries: vec![
            (FacetId::SESSIONS, encode_value(&"k1".to_owned()), encode_value(&session("alice"))),
            (FacetId::SESSIONS, encode_value(&"k2".to_owned()), Bytes::from_static(&[0, 9, 1])),
            (FacetId::WG_PEERS, encode_value(&key), encode_value(&wg)),
            (FacetId::WG_PEERS, encode_value(&silent), encode_value(&never)),
            (
                FacetId::AUTH_LOG,
                encode_value(&"journald".to_owned()),
                encode_value(&AuthLogSource { source: "journald".into() }),
            ),
        ],
    }
}

#[test]
fn a_node_is_shown_with_all_that_is_known_of_it() {
    insta::assert_snapshot!(render::show(&detail("web-1"), NOW, &Look::plain()), @"
    Name       web-1
    Id         01010101-0101-0101-0101-010101010101
    Status     online since 11:00:00
    Host name  web-1.example.org
    System     Debian GNU/Linux 12 (bookworm), 6.1.0, x86_64
    Version    0.1.0
    Address    10.0.0.1:4000

    SESSIONS
    USER   TTY    FROM      SINCE     KIND         SOURCES
    alice  pts/0  10.0.0.5  11:59:00  interactive  utmp
    1 entry cannot be read: Session 9 is newer than this secmon knows

    WIREGUARD PEERS
    INTERFACE  PEER                                          ENDPOINT            STATUS   HANDSHAKE   RX       TX     ALLOWED IPS
    wg0        BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=  198.51.100.7:51820  online   1m 16s ago  4.7 MiB  900 B  10.7.0.0/24 fd00::/64
    wg0        yMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMg=  -                   offline  never       4.7 MiB  900 B

    AUTH LOG
    read from journald

    COMMANDS
    LABEL        TIMEOUT  DESCRIPTION
    restart-web  1m 30s   Restart the web server
    uptime       500ms
    ");
    insta::assert_snapshot!(render::show(&detail("web-1"), NOW, &wide(80)), @"
    Name       web-1
    Id         01010101-0101-0101-0101-010101010101
    Status     online since 11:00:00
    Host name  web-1.example.org
    System     Debian GNU/Linux 12 (bookworm), 6.1.0, x86_64
    Version    0.1.0
    Address    10.0.0.1:4000

    SESSIONS
    USER   TTY    FROM      SINCE     KIND         SOURCES
    alice  pts/0  10.0.0.5  11:59:00  interactive  utmp
    1 entry cannot be read: Session 9 is newer than this secmon knows

    WIREGUARD PEERS
    INTERFACE  PEER       ENDPOINT      STATUS   HANDSHAKE  RX   TX     ALLOWED IPS
    wg0        BwcHBwcH…  198.51.100.7  online   1m 16s     4.7  900 B  10.7.0.0/24
                          :51820                 ago        MiB         fd00::/64
    wg0        yMjIyMjI…  -             offline  never      4.7  900 B
                                                            MiB

    AUTH LOG
    read from journald

    COMMANDS
    LABEL        TIMEOUT  DESCRIPTION
    restart-web  1m 30s   Restart the web server
    uptime       500ms
    ");
}

#[test]
fn a_node_that_cannot_see_never_looks_like_one_that_sees_nobody() {
    let mut node = detail("web-1");
    node.entries.clear();
    node.summary.facets[0].status = unavailable("no utmp file at /run/utmp", "start systemd-logind");
    node.summary.facets.remove(2);
    node.summary.facets.push(FacetSummary { facet: FacetId(9), status: FacetStatus::Ready, entries: 4 });
    node.commands.clear();
    insta::assert_snapshot!(render::show(&node, NOW, &Look::plain()), @"
    Name       web-1
    Id         01010101-0101-0101-0101-010101010101
    Status     online since 11:00:00
    Host name  web-1.example.org
    System     Debian GNU/Linux 12 (bookworm), 6.1.0, x86_64
    Version    0.1.0
    Address    10.0.0.1:4000

    SESSIONS
    unavailable: no utmp file at /run/utmp
    what helps: start systemd-logind

    WIREGUARD PEERS
    none

    AUTH LOG
    pending

    FACET_9
    ready, 4 entries, of a kind that this secmon does not know
    ");
}

#[test]
fn what_stands_is_a_line_each_and_says_since_when() {
    let mut node = detail("web-1");
    node.summary.clock_offset = 192 * SECOND;
    node.summary.presence = Presence::Away { since: ago(86_400) };
    let at = Cursor { log: LogId(7), n: 4 };
    let lines: Vec<String> =
        state_of(&node, at, NOW).iter().map(|event| render::event_line(event, &Look::plain())).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    12:00:00  web-1         node.state            away since 2026-11-20 12:00, clock +3m12s
    12:00:00  web-1         facet.state           sees sessions: 2
    12:00:00  web-1         facet.state           sees WireGuard peers: 0
    12:00:00  web-1         facet.state           reads the auth log
    12:00:00  web-1         session.state         alice is logged in on pts/0 from 10.0.0.5 (utmp) since 11:59:00
    12:00:00  web-1         unreadable            a record (session.state) that this secmon cannot read: Session 9 is newer than this secmon knows
    12:00:00  web-1         wg.peer_state         wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= is online, endpoint 198.51.100.7:51820
    12:00:00  web-1         wg.peer_state         wg0 peer yMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMg= is offline
    ");
}

fn job(n: u64, state: JobState, end: Option<RunEnd>) -> JobSummary {
    let arg = |name: &str, value: &str| Arg { name: name.into(), value: value.into() };
    let by = Requester { uid: 1000, user: Some("alice".into()), pid: None, agent: "secmon 0.1.0".into() };
    let (label, args) = ("tail".into(), vec![arg("file", "auth.log"), arg("x", "a\x1bb")]);
    let waits = matches!(state, JobState::Queued | JobState::Expired);
    let usage = Usage {
        wall_ns: 61_500_000_000,
        user_ns: 120_000_000,
        system_ns: 30_000_000,
        max_rss: 4 << 20,
        output: 12_345,
    };
    JobSummary {
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        run: CommandRun { job: JobId(n), label, args, by, detached: true },
        state,
        made: ago(100),
        expires: waits.then_some(ago(-3500)),
        started: (!waits).then_some(ago(90)),
        ended: end.as_ref().map(|_| ago(28)),
        usage: end.as_ref().map(|_| usage),
        end,
        output: 12_345,
        dropped: 345,
    }
}

#[test]
fn jobs_are_a_table_of_short_numbers_that_are_told_apart() {
    let lost = RunEnd::Failed { why: RunFailure::Lost, message: "its node was restarted\x1b".into() };
    let jobs = [
        job(0x3f9a_21c4_0000_0001, JobState::Queued, None),
        job(0x3f9a_21c5_0000_0001, JobState::Running, None),
        job(0x5f9a_21c4_0000_0001, JobState::Finished, Some(RunEnd::Exited(3))),
        job(0x6f9a_21c4_0000_0001, JobState::Lost, Some(lost)),
    ];
    insta::assert_snapshot!(render::jobs(&jobs, NOW, &Look::plain()), @r"
    JOB       NODE   STATE     MADE      TIME    USER   COMMAND                      RESULT
    3f9a21c4  web-1  queued    11:58:20  -       alice  tail file=auth.log x=a\x1bb  waits 58m 20s more
    3f9a21c5  web-1  running   11:58:20  1m 30s  alice  tail file=auth.log x=a\x1bb  -
    5f9a21c4  web-1  finished  11:58:20  1m 2s   alice  tail file=auth.log x=a\x1bb  exited with 3
    6f9a21c4  web-1  lost      11:58:20  1m 2s   alice  tail file=auth.log x=a\x1bb  failed: its node was restarted\x1b
    ");
    assert_eq!(render::jobs(&[], NOW, &Look::plain()), "");
    let near =
        [job(0x3f9a_21c4_0123_0001, JobState::Sent, None), job(0x3f9a_21c4_0124_0001, JobState::Sent, None)];
    assert_eq!(render::shortest_ids(&near), ["3f9a21c40123", "3f9a21c40124"]);
}

#[test]
fn one_job_is_shown_with_all_that_is_known_of_it() {
    let waiting = job(0x3f9a_21c4_0000_0001, JobState::Queued, None);
    insta::assert_snapshot!(render::job(&waiting, NOW, &Look::plain()), @r"
    Job         3f9a21c400000001
    Command     tail file=auth.log x=a\x1bb
    Node        web-1 (01010101-0101-0101-0101-010101010101)
    User        alice
    State       queued
    Made        11:58:20
    Waits until 12:58:20
    Output      12.0 KiB, of which 345 B are not kept
    ");
    let over = job(0x5f9a_21c4_0000_0001, JobState::Finished, Some(RunEnd::Exited(3)));
    insta::assert_snapshot!(render::job(&over, NOW, &Look::plain()), @r"
    Job         5f9a21c400000001
    Command     tail file=auth.log x=a\x1bb
    Node        web-1 (01010101-0101-0101-0101-010101010101)
    User        alice
    State       finished
    Made        11:58:20
    Started     11:58:30
    Ended       11:59:32
    Result      exited with 3
    Output      12.0 KiB, of which 345 B are not kept
    Time        1m 1s
    CPU         0.12s user, 0.03s system
    Memory      at most 4.0 MiB
    ");
}
