//! Answers with hostile and with many entries.

use secmon_protocol::{
    facet::Unavailable,
    ids::NodeId,
    message::{client::FacetSummary, node::HostFacts},
    session::{SessionKind, SessionSource},
};

use super::*;
use crate::text::{MAX_MESSAGE, tests::parsed, units};

const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

fn before(seconds: i64) -> UnixNanos {
    UnixNanos(NOW.0 - seconds * 1_000_000_000)
}

fn summary(name: &str, presence: Presence) -> NodeSummary {
    let facet = |facet, status, entries| FacetSummary { facet, status, entries };
    NodeSummary {
        id: NodeId::mint(1, [7; 10]),
        name: name.parse().unwrap(),
        presence,
        agent: "0.1.0".into(),
        address: "192.0.2.1".into(),
        facts: HostFacts { hostname: "<i>".into(), os: "Debian & co".into(), ..HostFacts::default() },
        clock_offset: 0,
        facets: vec![
            facet(FacetId::SESSIONS, FacetStatus::Ready, 1),
            facet(
                FacetId::WG_PEERS,
                FacetStatus::Unavailable(Unavailable {
                    reason: "no <right>".into(),
                    remedy: "be root".into(),
                }),
                0,
            ),
        ],
        commands: 1,
        stale: false,
    }
}

fn detail(name: &str, users: &[&str]) -> NodeDetail {
    let entry = |user: &&str| {
        let session = Session {
            user: (*user).to_owned(),
            tty: Some("pts/0".into()),
            remote: Some("192.0.2.9".into()),
            since: before(3700),
            leader: None,
            service: None,
            kind: SessionKind::Interactive,
            sources: vec![SessionSource::Utmp].into_iter().collect(),
        };
        let key = codec::encode_value(&format!("key-{user}"));
        (FacetId::SESSIONS, key, codec::encode_value(&session))
    };
    NodeDetail {
        summary: summary(name, Presence::Online { since: before(60) }),
        commands: vec![],
        entries: users.iter().map(entry).collect(),
    }
}

#[test]
fn servers_that_are_away_stand_first() {
    let all = [
        summary("web-1", Presence::Online { since: before(90_000) }),
        summary("db-1", Presence::Away { since: before(125) }),
        summary("new", Presence::Expected { since: before(10) }),
    ];
    insta::assert_snapshot!(parsed(nodes(&all, NOW).as_str()), @"
    3 servers: 1 online
    🔴 db-1 away for 2m 5s, 1 session, ⚠️ peers unavailable
    ⚪ new expected, enrolled 10s ago, 1 session, ⚠️ peers unavailable
    🟢 web-1 online for 1d 1h, 1 session, ⚠️ peers unavailable
    ");
    let many: Vec<NodeSummary> =
        (0..10_000).map(|n| summary(&format!("n{n}"), Presence::Online { since: before(1) })).collect();
    let text = parsed(nodes(&many, NOW).as_str());
    assert!(units(&text) <= MAX_MESSAGE && text.contains("… and ") && text.ends_with(" more"), "{text}");
}

#[test]
fn hostile_names_are_text_wherever_they_stand() {
    let hostile = ["<b>", "_*[", "a\u{202e}b", &"x".repeat(5000)];
    let web = detail("web-1", &hostile[..3]);
    insta::assert_snapshot!(who(&[web], NOW).as_str(), @r"
    <b>web-1</b>
    👤 <b>&lt;b&gt;</b> on pts/0 from <code>192.0.2.9</code> for 1h 1m
    👤 <b>_*[</b> on pts/0 from <code>192.0.2.9</code> for 1h 1m
    👤 <b>a\u{202e}b</b> on pts/0 from <code>192.0.2.9</code> for 1h 1m
    ");
    for shown in [who(&[detail("web-1", &hostile)], NOW), node(&detail("web-1", &hostile), |_| true, NOW)] {
        assert!(units(&parsed(shown.as_str())) <= MAX_MESSAGE);
    }
    insta::assert_snapshot!(node(&detail("web-1", &["eve"]), |_| true, NOW).as_str(), @"
    🟢 <b>web-1</b> online for 1m, 1 session, ⚠️ peers unavailable
    &lt;i&gt;, Debian &amp; co, 192.0.2.1
    ⚠️ wg_peers: no &lt;right&gt;; be root
    👤 <b>eve</b> on pts/0 from <code>192.0.2.9</code> for 1h 1m
    ");
}

#[test]
fn what_cannot_be_seen_does_not_look_like_nobody() {
    let shown = parsed(wg(&[detail("web-1", &[])], NOW).as_str());
    assert_eq!(shown, "web-1\n⚠️ cannot be seen: no <right>");
    assert_eq!(
        parsed(who(&[detail("web-1", &[])], NOW).as_str()),
        "Nobody is logged in, as far as you may see."
    );
}
