//! Digests, limits, quiet hours, mutes, and what is critical.

use super::*;

fn failed(n: u8, seconds: i64, user: &str, from: &str) -> Event {
    auth(n, at(seconds), AuthAction::Failed, user, from)
}

fn accepted(n: u8, seconds: i64, user: &str) -> Event {
    auth(n, at(seconds), AuthAction::Accepted, user, "192.0.2.1")
}

/// Nobody is new, and messages say what they are about alone.
const CALM: &str = "first_seen.enabled = false\n";

#[test]
fn a_burst_is_one_message_that_grows_and_ends_with_a_summary() {
    let mut world = World::new("");
    for i in 0..214 {
        let user = ["root", "admin", "root", "test", "root"][i as usize % 5];
        world.event(&failed(1, i * 14 / 10, user, &format!("192.0.2.{}", 9 + i % 3)));
    }
    world.until(at(3_600));
    let told = world.told();
    let title = |told: &Told| format!("{} {}", told.at, told.notice.title);
    assert_eq!(
        title(&told[0]),
        "10 8 failed logins in 9s from 3 addresses on web-1, top users root, admin, test"
    );
    let last = told.last().unwrap();
    assert_eq!(
        title(last),
        "1198 214 failed logins in 4m 58s from 3 addresses on web-1, top users root, admin, test"
    );
    assert!(told.len() < 20, "{}", told.len());
    let threads: Vec<_> = told.iter().map(|told| told.thread.clone().unwrap()).collect();
    assert!(threads.iter().all(|thread| thread.id == threads[0].id));
    assert!(threads.iter().rev().skip(1).all(|thread| !thread.last) && threads[told.len() - 1].last);
    assert_eq!(last.notice.kind, Kind::Digest { open: false, count: 214 });
    let ids: std::collections::BTreeSet<_> = told.iter().map(|told| told.notice.id.as_str()).collect();
    assert_eq!(ids.len(), told.len());
    world.event(&failed(1, 4_000, "root", "192.0.2.9"));
    world.until(at(4_010));
    assert_ne!(world.told()[0].thread.as_ref().unwrap().id, threads[0].id, "the next is another");
}

#[test]
fn a_service_that_cannot_edit_gets_the_opening_and_the_summary() {
    let mut world = World::with("", &[("mail", false, "")]);
    for i in 0..100 {
        world.event(&failed(1, i, "root", "192.0.2.9"));
    }
    world.event(&failed(2, 2_000, "admin", "192.0.2.10"));
    world.until(at(9_000));
    assert!(world.told.iter().all(|told| told.thread.is_none()));
    assert_eq!(
        world.titles(),
        [
            "10 10 failed logins in 9s from 192.0.2.9 on web-1, user root",
            "999 100 failed logins in 1m 39s from 192.0.2.9 on web-1, user root",
            // One that stays alone is told once.
            "2010 web-2: failed password for admin from 192.0.2.10 port 50022",
        ]
    );
}

#[test]
fn a_digest_that_never_ends_is_edited_less_and_less_and_begins_anew_when_it_is_old() {
    let mut world = World::new("digest.longest = '2h'");
    for i in 0..(4 * 3_600 / 10) {
        world.event(&failed(1, i * 10, "root", "192.0.2.9"));
    }
    world.until(at(8 * 3_600));
    let told = world.told();
    let messages: std::collections::BTreeSet<_> =
        told.iter().map(|told| told.thread.clone().unwrap().id).collect();
    assert_eq!(messages.len(), 2);
    assert!(told.len() < 130, "{} editions", told.len());
    let counted: u64 = told.iter().filter(|told| !is_open(told)).map(count).sum();
    assert_eq!(counted, 4 * 360);
}

fn count(told: &Told) -> u64 {
    match told.notice.kind {
        Kind::Digest { count, .. } => count,
        _ => 1,
    }
}

#[test]
fn a_rule_may_keep_its_digests_apart() {
    let rules = "rules = [{ type = 'auth.failed', action = 'digest', group_by = ['node', 'user'], name = 'failures' }]";
    let mut world = World::new(rules);
    for i in 0..10 {
        world.event(&failed(1 + i % 2, 1, "root", "192.0.2.9"));
        world.event(&failed(1, 1, "admin", "192.0.2.9"));
    }
    world.until(at(20));
    let mut titles = world.titles();
    titles.sort();
    assert_eq!(
        titles,
        [
            "11 10 failed logins from 192.0.2.9 on web-1, user admin",
            "11 5 failed logins from 192.0.2.9 on web-1, user root",
            "11 5 failed logins from 192.0.2.9 on web-2, user root",
        ]
    );
}

#[test]
fn however_many_digests_a_rule_asks_for_there_are_only_so_many_and_nothing_goes_uncounted() {
    let rules = "limit = 'none'\nrules = [{ type = 'auth.failed', action = 'digest', group_by = 'user', name = 'failures' }]";
    let mut world = World::new(rules);
    for i in 0..500 {
        world.event(&failed(1, 1, &format!("user{i}"), "192.0.2.9"));
    }
    world.until(at(3_600));
    let told = world.told();
    let last: Vec<_> = told.iter().filter(|told| !is_open(told)).collect();
    assert_eq!(last.len(), 41);
    assert_eq!(last.iter().map(|told| count(told)).sum::<u64>(), 500);
}

#[test]
fn what_is_over_the_limit_is_counted_and_single_messages_come_back_after_a_calm() {
    let mut world = World::new(&format!("{CALM}limit = '10/10m'"));
    for i in 0..200 {
        world.event(&accepted(1 + (i % 20) as u8, i, "ansible"));
    }
    world.until(at(600));
    let told = world.told();
    let single = told.iter().filter(|told| told.notice.kind == Kind::Event).count();
    assert_eq!(single, 10);
    let last = told.last().unwrap();
    assert_eq!(
        last.notice.title,
        "Over the limit: 190 logins in 3m 9s from 192.0.2.1 on 20 nodes, user ansible"
    );
    world.event(&accepted(1, 900, "alice"));
    assert_eq!(world.titles(), ["900 web-1: accepted password for alice from 192.0.2.1 port 50022"]);
}

#[test]
fn quiet_hours_hold_all_but_what_is_critical_and_tell_it_when_they_end() {
    let mut world = World::new(&format!(
        "{CALM}quiet = {{ from = '13:00', to = '15:00' }}\n\
         rules = [{{ user = 'root', type = 'auth.accepted', severity = 'critical' }}]"
    ));
    world.event(&failed(1, 3_595, "root", "192.0.2.9"));
    for i in 0..30 {
        world.event(&accepted(1, 3_600 + i, "alice"));
        world.event(&failed(1, 3_600 + i, "root", "192.0.2.9"));
    }
    world.event(&accepted(2, 4_000, "root"));
    assert_eq!(world.titles(), ["4000 web-2: accepted password for root from 192.0.2.1 port 50022"]);
    world.restart();
    world.until(at(20_000));
    let told = world.told();
    assert!(told.iter().all(|told| told.at >= 3 * 3_600));
    let titles: Vec<_> = told.iter().map(|told| told.notice.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "31 failed logins in 34s from 192.0.2.9 on web-1, user root",
            "In quiet hours: 30 logins in 29s from 192.0.2.1 on web-1, user alice",
        ]
    );
    assert_eq!(
        told[1].notice.text.lines().count(),
        21,
        "somebody wants to read them: {}",
        told[1].notice.text
    );
}

#[test]
fn a_mute_holds_one_destination_until_it_ends_and_outlives_a_restart() {
    let mut world = World::with(CALM, &[("chat", true, ""), ("other", true, "")]);
    let mute = |until| Input::Mute { destination: "chat", until };
    world.give(at(10), mute(at(1_000)));
    world.event(&accepted(1, 20, "alice"));
    world.restart();
    world.event(&accepted(1, 30, "alice"));
    let to: Vec<String> = world.told().into_iter().map(|told| told.to).collect();
    assert_eq!(to, ["other", "other"]);
    world.until(at(999));
    assert_eq!(world.told(), []);
    world.until(at(1_000));
    assert_eq!(world.titles(), ["1000 While muted: 2 logins in 10s from 192.0.2.1 on web-1, user alice"]);
    world.give(at(2_000), mute(at(3_000)));
    world.event(&accepted(1, 2_001, "bob"));
    world.told();
    world.give(at(2_002), mute(at(0)));
    world.until(at(2_003));
    assert_eq!(
        world.titles(),
        ["2002 While muted: web-1: accepted password for bob from 192.0.2.1 port 50022"],
        "the past ends it"
    );
}

#[test]
fn what_is_critical_is_never_held_and_in_a_flood_each_stands_in_some_message_in_full() {
    let mut world = World::new(
        "limit = '1/1h'\nquiet = {}\nrules = [{ severity = 'critical', type = 'auth.accepted', action = 'send' }]",
    );
    world.give(at(0), Input::Mute { destination: "chat", until: at(100_000) });
    for i in 0..1_000 {
        world.event(&accepted(1, i / 100, &format!("user{i}")));
    }
    world.until(at(60));
    let told = world.told();
    let all: String = told.iter().map(|t| format!("{}\n{}\n", t.notice.title, t.notice.text)).collect();
    for i in 0..1_000 {
        assert!(all.contains(&format!("accepted password for user{i} from")), "user{i}");
    }
    assert!(told.iter().all(|told| told.notice.severity == Severity::Critical));
    assert!(told.iter().all(|told| told.notice.text.chars().count() <= 3_000));
    assert!(told.len() < 200, "{}", told.len());
    assert_eq!(told.iter().filter(|told| told.notice.kind == Kind::Event).count(), 5);
    assert!(told.iter().all(|told| told.at <= 20));
}

#[test]
fn a_restart_in_the_middle_of_a_burst_goes_on_with_the_same_message() {
    let events: Vec<Event> = (0..100).map(|i| failed(1, i, "root", "192.0.2.9")).collect();
    let (mut one, mut other) = (World::new(""), World::new(""));
    for event in &events {
        one.event(event);
        other.event(event);
        other.restart();
    }
    one.until(at(1_000));
    other.until(at(1_000));
    assert_eq!(one.told(), other.told());
}

#[test]
fn a_clock_that_is_set_back_neither_silences_nor_repeats() {
    let mut world = World::new(&format!("{CALM}limit = '2/1m'"));
    for i in 0..10 {
        world.event(&accepted(1, 100_000 + i, "alice"));
    }
    world.told();
    // A day earlier, suddenly.
    world.now = at(10_000);
    world.core.handle(world.now, Input::Event(&accepted(1, 10_000, "alice")));
    world.collect();
    world.until(at(11_000));
    let told = world.told();
    assert_eq!(told.iter().filter(|told| !is_open(told)).map(count).sum::<u64>(), 9, "{told:?}");
    world.event(&accepted(1, 11_001, "bob"));
    assert_eq!(world.told().len(), 1);
}
