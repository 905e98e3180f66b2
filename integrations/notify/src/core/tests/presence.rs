//! Nodes and the hub that are away, and gaps.

use secmon_protocol::{
    hub_event::{HubEvent, Requester},
    ids::{Cursor, LogId},
    message::{
        client::{self, Gap, NodeSummary},
        node::HostFacts,
    },
};

use super::*;

fn left(n: u8, seconds: i64) -> Event {
    event(n, at(seconds), Detail::Hub(HubEvent::Disconnected { reason: "timeout".into() }))
}

fn came(n: u8, seconds: i64) -> Event {
    let address = "192.0.2.1:1".to_owned();
    event(n, at(seconds), Detail::Hub(HubEvent::Connected { address, agent: "0.1.0".into() }))
}

fn summary(n: u8, presence: client::Presence) -> NodeSummary {
    let (id, name) = node(n);
    NodeSummary {
        id,
        name,
        presence,
        agent: "0.1.0".into(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![],
        commands: 0,
        stale: false,
    }
}

#[test]
fn a_node_is_away_when_it_did_not_come_back_in_time_is_told_again_and_told_to_be_back() {
    let mut world = World::new("away.repeat = '1h'");
    world.event(&left(1, 0));
    world.event(&came(1, 100));
    world.until(at(1_000));
    assert_eq!(world.told(), [], "it came back in time");
    world.event(&left(1, 1_000));
    world.until(at(9_000));
    world.restart();
    world.event(&came(1, 9_005));
    world.until(at(30_000));
    assert_eq!(
        world.titles(),
        [
            "1130 web-1 is away for 2m 10s",
            "4730 web-1 is still away, for 1h 2m",
            "8330 web-1 is still away, for 2h 2m",
            "9015 web-1 is back after 2h 13m",
        ]
    );
}

#[test]
fn many_that_go_at_once_are_one_message_and_so_are_those_that_come_back() {
    let mut world = World::new("away.repeat = '1h'");
    for n in 1..=200 {
        world.event(&left(n, i64::from(n) / 30));
    }
    world.until(at(4_000));
    for n in 1..=199 {
        world.event(&came(n, 4_000));
    }
    let removed = HubEvent::Removed { by: Requester { uid: 0, user: None, pid: None, agent: String::new() } };
    world.event(&event(200, at(4_001), Detail::Hub(removed)));
    world.until(at(50_000));
    let told = world.told();
    let titles: Vec<_> = told.iter().map(|told| format!("{} {}", told.at, told.notice.title)).collect();
    assert_eq!(
        titles,
        ["130 200 nodes are away", "3730 200 nodes are still away", "4010 199 nodes are back"]
    );
    assert!(
        told[0].notice.text.starts_with("web-1, web-2, ") && told[0].notice.text.ends_with(", and 160 more")
    );
    assert_eq!(told[0].notice.kind, Kind::Away);
}

#[test]
fn more_than_can_be_told_apart_are_said_to_be_more() {
    let mut world = World::new("");
    for i in 0..10_001u32 {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&i.to_be_bytes());
        let who = (NodeId(id), format!("n{i}").parse().unwrap());
        world.event(&Event { node: Some(who), ..left(1, 0) });
    }
    world.until(at(200));
    assert_eq!(world.titles(), ["130 10,000+ nodes are away"]);
}

#[test]
fn a_critical_node_among_many_is_told_by_itself() {
    let mut world = World::new("rules = [{ type = 'node.away', node = 'web-7', severity = 'critical' }]");
    for n in 1..=50 {
        world.event(&left(n, 0));
    }
    world.until(at(200));
    assert_eq!(world.titles(), ["130 web-7 is away for 2m 10s", "130 49 nodes are away"]);
}

#[test]
fn who_was_told_that_a_node_is_away_is_told_that_it_is_back() {
    let rules = "rules = [{ type = 'node.away', node = 'web-1', severity = 'critical' }]\n\
                 quiet = { from = '12:05', to = '13:00' }";
    let targets = [("chat", true, "min_severity = 'warning'"), ("pager", false, "min_severity = 'critical'")];
    let mut world = World::with(rules, &targets);
    world.event(&left(1, 0));
    world.event(&left(2, 0));
    world.until(at(299));
    world.event(&came(1, 400));
    world.event(&came(2, 400));
    world.until(at(500));
    let told = world.told();
    let titles: Vec<_> = told.iter().map(|told| format!("{} {}", told.to, told.notice.title)).collect();
    assert_eq!(
        titles,
        [
            "chat web-1 is away for 2m 10s",
            "chat web-2 is away for 2m 10s",
            "pager web-1 is away for 2m 10s",
            "chat web-1 is back after 6m 40s",
            "pager web-1 is back after 6m 40s",
        ],
        "in quiet hours, too, where it is critical"
    );
    world.until(at(4_000));
    assert_eq!(world.titles(), ["3600 In quiet hours: web-2 is back after 6m 40s"]);
}

#[test]
fn many_critical_ones_are_each_named() {
    let mut world = World::new("limit = '1/1h'\naway.severity = 'critical'");
    world.event(&auth(1, at(0), AuthAction::Accepted, "alice", "192.0.2.1"));
    for n in 1..=250 {
        world.event(&left(n, 0));
    }
    world.until(at(200));
    let told = world.told();
    let all: String = told.iter().map(|told| told.notice.text.replace(", ", "\n") + "\n").collect();
    for n in 1..=250 {
        assert!(all.lines().any(|line| line == format!("web-{n}")), "{n}");
    }
}

#[test]
fn the_hub_that_cannot_be_reached_is_critical_and_nodes_are_not_told_away_meanwhile() {
    let mut world = World::new("");
    world.event(&left(1, 0));
    world.give(at(60), Input::HubLost);
    world.until(at(100));
    world.give(at(100), Input::HubBack);
    let nodes = [summary(1, client::Presence::Online { since: at(99) })];
    world.give(at(100), Input::Nodes(&nodes));
    world.until(at(1_000));
    assert_eq!(world.told(), [], "it was back in time, and so was the node");
    world.give(at(1_000), Input::HubLost);
    world.restart();
    world.give(at(1_010), Input::HubLost);
    world.until(at(20_000));
    world.give(at(20_000), Input::HubBack);
    // The hub's restart took all nodes with it; one does not come back.
    let away = |n| summary(n, client::Presence::Away { since: at(19_990) });
    world.give(at(20_000), Input::Nodes(&[away(1), away(2)]));
    world.event(&came(2, 20_050));
    world.until(at(21_000));
    let told = world.told();
    let titles: Vec<_> = told.iter().map(|told| format!("{} {}", told.at, told.notice.title)).collect();
    assert_eq!(
        titles,
        [
            "1120 the hub cannot be reached",
            "15520 the hub still cannot be reached",
            "20000 the hub can be reached again",
            "20130 web-1 is away for 2m 20s",
        ]
    );
    assert_eq!(told[0].notice.severity, Severity::Critical);
}

#[test]
fn what_happened_unheard_is_settled_by_the_list_of_nodes() {
    let mut world = World::new("");
    world.event(&left(1, 0));
    world.event(&left(2, 0));
    world.until(at(500));
    world.told();
    let never = NodeSummary { agent: String::new(), ..summary(4, client::Presence::Away { since: at(0) }) };
    let nodes = [
        summary(1, client::Presence::Online { since: at(400) }),
        summary(3, client::Presence::Away { since: at(100) }),
        never,
    ];
    // The second was removed, the third went.
    world.give(at(600), Input::Nodes(&nodes));
    world.until(at(10_000));
    assert_eq!(world.titles(), ["600 web-1 is back after 6m 40s", "730 web-3 is away for 10m 30s"]);
}

/// While this program was not there, or far behind.
#[test]
fn a_node_that_was_away_for_long_is_told_even_if_nobody_looked_meanwhile() {
    let mut world = World::new("");
    world.now = at(5_000);
    world.event(&left(1, 0));
    world.event(&came(1, 3_600));
    world.until(at(6_000));
    assert_eq!(world.titles(), ["5010 web-1 is back after 1h"]);
}

#[test]
fn what_is_missing_is_told() {
    let mut world = World::new("");
    let place = |n| Cursor { log: LogId(7), n };
    let gap = Gap { after: place(3), to: place(9), reason: "kept no longer".into() };
    world.give(at(1), Input::Gap(&gap));
    let unreadable = Detail::Unreadable { types: vec!["new.type".into()], reason: "is newer".into() };
    world.event(&event(1, at(2), unreadable));
    let told = world.told();
    assert_eq!(told[0].notice.id, "gap-0000000000000007-3-0000000000000007-9");
    assert!(
        told.iter()
            .all(|told| told.notice.kind == Kind::Missing && told.notice.severity == Severity::Warning)
    );
    assert_eq!(told.len(), 2);
}

/// A hub that is stopped lets go of all its nodes first; when it was back, each of them was "back after 10m", and nobody had been
/// told that one was away.
#[test]
fn who_could_not_come_for_the_hub_was_away_is_not_told_to_be_back() {
    let mut world = World::new("");
    for n in 1..=200 {
        world.event(&left(n, 0));
    }
    world.give(at(1), Input::HubLost);
    world.give(at(600), Input::HubBack);
    for n in 1..=199 {
        world.event(&came(n, 601));
    }
    let presence = |n| match n {
        200 => client::Presence::Away { since: at(0) },
        _ => client::Presence::Online { since: at(601) },
    };
    let nodes: Vec<_> = (1..=200).map(|n| summary(n, presence(n))).collect();
    world.give(at(605), Input::Nodes(&nodes));
    world.until(at(2_000));
    assert_eq!(
        world.titles(),
        [
            "121 the hub cannot be reached",
            "600 the hub can be reached again",
            "735 web-200 is away for 12m 15s"
        ]
    );
}

/// Where the hub does not list its nodes for us, nothing was told of a node any more after the hub had been away once.
#[test]
fn a_hub_that_does_not_list_its_nodes_is_known_from_its_events() {
    let mut world = World::new("");
    world.give(at(0), Input::HubLost);
    world.give(at(10), Input::HubBack);
    world.give(at(11), Input::NoNodes);
    world.event(&left(1, 20));
    world.until(at(1_000));
    assert_eq!(world.titles(), ["150 web-1 is away for 2m 10s"]);
}
