//! The words of everything that is told by default.

use std::fmt::Write as _;

use secmon_protocol::event::EventType;

use super::{super::samples, *};

fn shown(told: &[Told]) -> String {
    let mut out = String::new();
    for Told { notice, .. } in told {
        writeln!(out, "{:?} {}: {}", notice.kind, notice.severity.as_str(), notice.title).unwrap();
        notice.text.lines().for_each(|line| writeln!(out, "    | {line}").unwrap());
        let fields: Vec<String> = notice.fields.iter().map(|f| format!("{}={}", f.name, f.value)).collect();
        writeln!(out, "    {}", fields.join("; ")).unwrap();
    }
    out
}

#[test]
fn every_type_says_by_default_what_a_person_needs() {
    let mut out = String::new();
    for kind in EventType::ALL {
        let mut world = World::new("limit = 'none'");
        for event in samples::events(*kind, at(0)) {
            world.event(&event);
        }
        world.until(at(3600));
        let last: Vec<Told> = world.told().into_iter().filter(|told| !is_open(told)).collect();
        if last.is_empty() {
            writeln!(out, "{}: not told", kind.as_str()).unwrap();
        } else {
            write!(out, "{}\n{}", kind.as_str(), shown(&last)).unwrap();
        }
    }
    insta::assert_snapshot!(out, @r#"
    node.enrolled: not told
    node.removed: not told
    node.connected: not told
    node.disconnected
    Away warning: web-1 is away for 2m 10s
        node=web-1; since=2026-11-20T12:00:00Z
    facet.ready: not told
    facet.unavailable
    Digest { open: false, count: 1 } warning: web-1: cannot see the auth log: a reason; a remedy
        events=1; node=web-1; rule=out of sight
    session.opened: not told
    session.closed: not told
    wg.peer_added
    Event warning: web-1: wg0 peer BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= was added, endpoint 192.0.2.7:51820, networks 10.0.0.7/32
        node=web-1; interface=wg0; peer=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=; endpoint=192.0.2.7:51820; networks=10.0.0.7/32
    wg.peer_removed: not told
    wg.peer_changed: not told
    wg.peer_online: not told
    wg.peer_offline: not told
    auth.accepted
    Event warning: web-1: accepted publickey for alice on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        | first time: alice from 192.0.2.0/24 with this key on web-1
        node=web-1; user=alice; target=root; group=wheel; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; terminal=pts/0; command=/usr/bin/id; folder=/home/alice; reason=a reason; first seen=alice from 192.0.2.0/24 with this key on web-1
    auth.failed
    Digest { open: false, count: 2 } info: web-1: failed publickey for alice on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        events=2; node=web-1; source=192.0.2.9; user=alice; rule=failed logins
    auth.invalid_user
    Digest { open: false, count: 2 } info: web-1: failed publickey for invalid user alice on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        events=2; node=web-1; source=192.0.2.9; user=alice; rule=failed logins
    auth.disconnected: not told
    auth.session_opened: not told
    auth.session_closed: not told
    auth.sudo: not told
    auth.sudo_denied
    Event warning: web-1: alice may not run /usr/bin/id as root on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        node=web-1; user=alice; target=root; group=wheel; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; terminal=pts/0; command=/usr/bin/id; folder=/home/alice; reason=a reason; times=2
    auth.su
    Event info: web-1: alice ran /usr/bin/id as root on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        node=web-1; user=alice; target=root; group=wheel; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; terminal=pts/0; command=/usr/bin/id; folder=/home/alice; reason=a reason; times=2
    auth.su_failed
    Event warning: web-1: alice may not run /usr/bin/id on pts/0 in /home/alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA: a reason (2 times)
        node=web-1; user=alice; target=root; group=wheel; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; terminal=pts/0; command=/usr/bin/id; folder=/home/alice; reason=a reason; times=2
    auth.account_changed
    Event warning: web-1: sshd: the line of the log from 192.0.2.9 port 50022 (2 times)
        node=web-1; user=alice; target=root; group=wheel; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; terminal=pts/0; command=/usr/bin/id; folder=/home/alice; reason=a reason; times=2
    auth.probe
    Digest { open: false, count: 2 } info: web-1: sshd: the line of the log from 192.0.2.9 port 50022 (2 times)
        events=2; node=web-1; source=192.0.2.9; user=alice; rule=probes
    command.queued: not told
    command.started: not told
    command.finished: not told
    command.refused: not told
    access.denied
    Digest { open: false, count: 2 } warning: web-1: alice was denied enroll web-2: a reason (1 more before this)
        events=2; node=web-1; user=alice; rule=denied requests
    gap
    Missing warning: web-1: 2 records are missing here: a reason
        node=web-1; after=0000000000000001-1; to=0000000000000001-3; reason=a reason
    Missing warning: web-1: 2 records of the node are lost: a reason
        node=web-1; missing=2; reason=a reason
    Missing warning: web-1: 2 records of the node are missing: a reason
        node=web-1; missing=2; reason=a reason
    "#);
}

#[test]
fn a_sample_of_each_look() {
    let looks: Vec<Told> = Core::sample(at(0))
        .into_iter()
        .map(|notice| Told { at: 0, to: String::new(), notice, thread: None })
        .collect();
    insta::assert_snapshot!(shown(&looks), @r#"
    Event info: [test] web-1: accepted publickey for alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
        node=web-1; user=alice; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
    Event warning: [test] web-1: accepted publickey for alice from 192.0.2.9 port 50022, key ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
        | first time: alice from 192.0.2.0/24 with this key on web-1
        node=web-1; user=alice; source=192.0.2.9; method=publickey; key=ED25519 SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA; first seen=alice from 192.0.2.0/24 with this key on web-1
    Event warning: [test] web-1: alice may not run /usr/bin/id as root on pts/0 in /home/alice
        node=web-1; user=alice; target=root; terminal=pts/0; command=/usr/bin/id; folder=/home/alice
    Away warning: [test] web-1 is away for 2m
        node=web-1; since=2026-11-20T11:58:00Z
    Away critical: [test] the hub cannot be reached
        | Nothing is heard of any node until it is back. What happens meanwhile is kept, and told then.
        
    Digest { open: false, count: 214 } info: [test] 214 failed logins in 4m 58s from 3 addresses on web-1, top users root, admin, test
        | addresses: 192.0.2.9 86, 192.0.2.10 85, 192.0.2.11 43
        | users: root 128, admin 43, test 43
        | 11:55 web-1: failed password for root from 192.0.2.9 port 50022
        | 11:55 web-1: failed password for admin from 192.0.2.10 port 50022
        | 11:55 web-1: failed password for root from 192.0.2.11 port 50022
        | 11:55 web-1: failed password for test from 192.0.2.9 port 50022
        | 11:55 web-1: failed password for root from 192.0.2.10 port 50022
        | … and 209 more
        events=214; node=web-1; sources=3; users=3; rule=failed logins
    "#);
    let ids: std::collections::BTreeSet<_> = looks.iter().map(|told| &told.notice.id).collect();
    assert_eq!(ids.len(), looks.len());
}
