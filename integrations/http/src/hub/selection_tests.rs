use secmon_client::Item;
use secmon_protocol::{
    event::{Detail, Event},
    hub_event::HubEvent,
    ids::{LogId, NodeId},
    message::client::{Gap, Role},
    time::UnixNanos,
};

use super::*;
use crate::access::By;

const AT: Cursor = Cursor { log: LogId(1), n: 7 };

fn who(nodes: &[&str]) -> Principal {
    let nodes: Vec<String> = nodes.iter().map(|&node| node.to_owned()).collect();
    Principal::new(By::Token, "laptop", Role::Viewer, &nodes, &[])
}

fn selection(nodes: &[&str], types: &[&str], who: Principal) -> Selection {
    let own = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    Selection::new(own(nodes), own(types), who)
}

fn event(node: Option<&str>, detail: Detail) -> Event {
    let node = node.map(|name| (NodeId([9; 16]), name.parse().unwrap()));
    Event { id: "x".into(), cursor: Some(AT), node, time: UnixNanos(0), detail }
}

/// A node that was enrolled and connected, as one record.
fn entry(node: Option<&str>) -> Arc<Entry> {
    let connected = HubEvent::Connected { address: "a".into(), agent: "b".into() };
    let details = [HubEvent::Enrolled { replaced: false }, connected];
    let events = details.into_iter().map(|detail| event(node, Detail::Hub(detail))).collect();
    Entry::of(Item::Record { cursor: AT, events }, UnixNanos(0)).unwrap()
}

fn kinds(selection: &Selection, entry: &Arc<Entry>) -> Vec<&'static str> {
    let picked = selection.pick(entry);
    picked.iter().flat_map(|picked| picked.lines().filter_map(|line| line.kind).collect::<Vec<_>>()).collect()
}

#[test]
fn of_a_record_only_the_events_that_are_wanted_are_picked() {
    let all = ["node.enrolled", "node.connected"];
    for (nodes, types, expected) in [
        (&[][..], &[][..], &all[..]),
        (&["web*"], &["node.*"], &all),
        (&["00000000-*", "09090909-*"], &[], &all),
        (&[], &["node.conn*"], &all[1..]),
        (&[], &["node.enrolled", "auth.*"], &all[..1]),
        (&["db*"], &[], &[]),
        (&[], &["auth.*"], &[]),
    ] {
        let selection = selection(nodes, types, who(&[]));
        assert_eq!(kinds(&selection, &entry(Some("web1"))), expected, "{nodes:?} {types:?}");
    }
}

#[test]
fn who_may_see_some_nodes_gets_theirs_alone_and_nothing_of_the_hub() {
    let some = selection(&[], &[], who(&["web*"]));
    assert_eq!(kinds(&some, &entry(Some("web1"))).len(), 2);
    assert!(kinds(&some, &entry(Some("db1"))).is_empty() && kinds(&some, &entry(None)).is_empty());
    let all = selection(&[], &[], who(&[]));
    assert_eq!(kinds(&all, &entry(None)).len(), 2);
    assert!(kinds(&selection(&["web*"], &[], who(&[])), &entry(None)).is_empty());
    // Asking for what one may not see does not show it.
    assert!(kinds(&selection(&["db*"], &[], who(&["web*"])), &entry(Some("db1"))).is_empty());
}

#[test]
fn what_a_stream_misses_and_what_cannot_be_read_is_never_left_out() {
    let picky = selection(&["web*"], &["auth.*"], who(&["web*"]));
    let gap = Entry::gap(Gap { after: AT, to: AT, reason: "old".into() }, UnixNanos(0));
    assert_eq!(kinds(&picky, &gap), ["gap"]);
    let unreadable = Detail::Unreadable { types: vec!["new.type".into()], reason: "newer".into() };
    let unreadable = Item::Record { cursor: AT, events: vec![event(Some("web1"), unreadable)] };
    assert_eq!(picky.pick(&Entry::of(unreadable, UnixNanos(0)).unwrap()).unwrap().lines().count(), 1);
}

#[test]
fn the_hub_is_never_asked_for_everything_and_always_for_gaps() {
    let filter = selection(&[], &[], who(&[])).filter();
    assert_eq!((filter.nodes, filter.types), (vec!["*".to_owned()], vec![]));
    let filter = selection(&["a"], &["auth.*"], who(&[])).filter();
    assert_eq!(
        (filter.nodes, filter.types),
        (vec!["a".to_owned()], vec!["auth.*".to_owned(), "gap".to_owned()])
    );
}
