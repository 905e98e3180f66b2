//! Storms of events of all kinds under rules made of a seed: what was promised is held against a core with the same rules and neither
//! limit nor digest nor quiet, which tells each thing alone; and a core that is restarted all the time must not differ.

use std::{collections::BTreeSet, ops::Range};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use secmon_protocol::{
    auth::{Source, SourceHost},
    event::EventType,
    hub_event::HubEvent,
    message::client::NodeSummary,
};

use super::{super::samples, *};

/// Events of each seed: twenty seeds, and two cores that must agree, are 100,000 all together.
const EVENTS: usize = 2_500;
const USERS: [&str; 8] =
    ["root", "admin", "alice", "bob", "\u{1b}[31m\"", "<b>\\", "漢字漢字漢字漢字漢字漢字漢字", ""];
/// Away and back are not of an event each: they are counted in digests, and told in groups.
const WITHOUT_PRESENCE: &str =
    "{ type = ['node.away', 'node.back', 'hub.lost', 'hub.back'], action = 'drop' }";

/// Rules, as TOML and with everything told alone.
fn rules(rng: &mut StdRng) -> (Vec<String>, Vec<String>) {
    let (mut some, mut plain) = (vec![], vec![]);
    for i in 0..rng.random_range(0..12) {
        let mut rule = vec![];
        let types = ["auth.*", "*", "session.*", "auth.failed", "wg.*", "command.*", "gap", "auth.accepted"];
        rule.push(format!("type = '{}'", types.choose(rng).unwrap()));
        if rng.random_bool(0.3) {
            rule.push(format!("node = 'web-{}*'", rng.random_range(1..9)));
        }
        if rng.random_bool(0.3) {
            rule.push(format!("user = '{}'", ["root", "a*", "?ob", "*"].choose(rng).unwrap()));
        }
        if rng.random_bool(0.2) {
            rule.push(format!("{}source = '10.0.0.0/9'", ["", "not_"].choose(rng).unwrap()));
        }
        if rng.random_bool(0.1) {
            rule.push("time = { from = '08:00', to = '18:00' }".to_owned());
        }
        if rng.random_bool(0.1) {
            rule.push(format!("first_seen = {}", rng.random_bool(0.5)));
        }
        let severity = rng.random_bool(0.4).then(|| *["info", "warning", "critical"].choose(rng).unwrap());
        if let Some(severity) = severity {
            rule.push(format!("severity = '{severity}'"));
        }
        let drop = rng.random_bool(0.2);
        let mut alone = rule.clone();
        alone.push(format!("action = '{}'", if drop { "drop" } else { "send" }));
        if drop {
            rule.push("action = 'drop'".to_owned());
        } else if severity != Some("critical") && rng.random_bool(0.5) {
            rule.push("action = 'digest'".to_owned());
            if rng.random_bool(0.5) {
                let by = ["node", "user", "source", "type"].choose(rng).unwrap();
                rule.push(format!("group_by = ['{by}']"));
            }
            rule.push(format!("name = 'rule {i}'"));
        }
        some.push(format!("{{ {} }}", rule.join(", ")));
        plain.push(format!("{{ {} }}", alone.join(", ")));
    }
    (some, plain)
}

/// secmon's own rules with everything told alone: what they digest is named before them.
const TOLD: &str =
    "{ type = ['auth.failed', 'auth.invalid_user', 'auth.probe', 'access.denied', 'facet.unavailable'] }";

fn section(rules: &[String], more: &str) -> String {
    format!("rules = [{WITHOUT_PRESENCE}, {}]\n{more}", rules.join(", "))
}

fn any_event(rng: &mut StdRng, n: usize, now: UnixNanos) -> Event {
    let flood = [EventType::AuthFailed, EventType::AuthInvalidUser, EventType::AuthAccepted];
    let kind =
        if rng.random_bool(0.6) { *flood.choose(rng).unwrap() } else { *EventType::ALL.choose(rng).unwrap() };
    let time = UnixNanos(now.0 - rng.random_range(0..3) * SECOND);
    let mut event = samples::events(kind, time).choose(rng).unwrap().clone();
    event.id = format!("event-{n}");
    event.node = Some(node(rng.random_range(1..=200)));
    if let Detail::Auth(e) = &mut event.detail {
        let host = match rng.random_range(0..10) {
            0 => SourceHost::Name("a.example".into()),
            _ => SourceHost::Ip([10, rng.random(), rng.random_range(0..3), rng.random()].into()),
        };
        e.source = rng.random_bool(0.9).then_some(Source { host, port: None });
        e.user = match rng.random_range(0..5) {
            0 => None,
            1 => Some(format!("user{}", rng.random_range(0..5_000))),
            _ => Some((*USERS.choose(rng).unwrap()).to_owned()),
        };
        e.count = rng.random_range(1..4);
        e.trusted = rng.random_bool(0.02).then_some(false);
    }
    event
}

/// What a notice stands for.
fn weight(notice: &Notice) -> u64 {
    notice.json["secmon"]["notice"]["count"].as_u64().unwrap()
}

fn bounded(notice: &Notice) {
    assert!(notice.id.len() <= 200 && notice.title.chars().count() <= 300 && !notice.title.contains('\n'));
    assert!(!notice.title.is_empty() && notice.text.chars().count() <= 3_000 && notice.fields.len() <= 12);
    assert!(notice.fields.iter().all(|field| field.value.chars().count() <= 200));
    assert!(notice.json.to_string().len() <= 32 << 10);
    let safe = |text: &str| !text.chars().any(|c| c != '\n' && secmon_protocol::text::is_unsafe(c));
    assert!(
        safe(&notice.title) && safe(&notice.text) && notice.fields.iter().all(|field| safe(&field.value))
    );
}

/// Holds what was told to one destination against what each thing alone would have been.
fn judge(seed: u64, told: &[&Told], plain: &[&Told], limit: (i64, i64), every: i64) {
    told.iter().for_each(|told| bounded(&told.notice));
    let ids: BTreeSet<_> = told.iter().map(|told| &told.notice.id).collect();
    assert_eq!(ids.len(), told.len(), "seed {seed}: an id came twice");

    // All are counted, in some message of their own or in the last edition of a digest.
    let mut last: BTreeMap<&str, &Told> = BTreeMap::new();
    for told in told {
        let digest = told.notice.json["secmon"]["notice"]["digest"].as_str();
        let before = last.insert(digest.unwrap_or(&told.notice.id), told);
        if let Some(before) = before {
            assert!(weight(&before.notice) <= weight(&told.notice) && is_open(before), "seed {seed}");
        }
    }
    let counted: u64 = last.values().map(|told| weight(&told.notice)).sum();
    let happened: u64 = plain.iter().map(|told| weight(&told.notice)).sum();
    assert_eq!(counted, happened, "seed {seed}: not all are counted");
    // Who cannot edit is told no more where nothing more came.
    let ended = |told: &Told| !is_open(told) || told.thread.is_none();
    assert!(last.values().all(|told| ended(told)), "seed {seed}: a digest stays open");

    // What is critical is told in time, and in full.
    let critical: Vec<&&Told> =
        told.iter().filter(|told| told.notice.severity == Severity::Critical).collect();
    let mut texts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for told in &critical {
        let lines = told.notice.text.lines().chain([told.notice.title.as_str()]);
        lines.for_each(|line| texts.entry(line.to_owned()).or_default().push(told.at));
    }
    for alone in plain.iter().filter(|told| told.notice.severity == Severity::Critical) {
        let in_time = texts
            .get(&alone.notice.title)
            .is_some_and(|times| times.iter().any(|at| (alone.at..=alone.at + 11).contains(at)));
        assert!(in_time, "seed {seed}: {} was not told in time", alone.notice.title);
    }

    // The rest keeps to the limit: a bucket of that size, drained at that rate, never runs over.
    let (burst, seconds) = limit;
    let mut level = 0i64;
    let mut before = 0;
    let mut known = BTreeSet::new();
    let mut edited: BTreeMap<&str, i64> = BTreeMap::new();
    for told in told.iter().filter(|told| told.notice.severity != Severity::Critical) {
        if let Some(thread) = &told.thread {
            let before = edited.insert(&thread.id, told.at);
            assert!(thread.last || before.is_none_or(|before| told.at - before >= every), "seed {seed}");
            if !known.insert(&thread.id) {
                continue;
            }
        }
        // In units in which a message takes `seconds`.
        level = (level - (told.at - before) * burst).max(0) + seconds;
        before = told.at;
        assert!(level <= (burst + 1) * seconds, "seed {seed}: over the limit at {}", told.at);
    }
}

#[test]
fn storms_of_all_kinds_lose_nothing_exceed_nothing_and_survive_any_restart_1() {
    storms(0..5);
}

#[test]
fn storms_of_all_kinds_lose_nothing_exceed_nothing_and_survive_any_restart_2() {
    storms(5..10);
}

#[test]
fn storms_of_all_kinds_lose_nothing_exceed_nothing_and_survive_any_restart_3() {
    storms(10..15);
}

#[test]
fn storms_of_all_kinds_lose_nothing_exceed_nothing_and_survive_any_restart_4() {
    storms(15..20);
}

fn storms(seeds: Range<u64>) {
    for seed in seeds {
        let rng = &mut StdRng::seed_from_u64(seed);
        let (rules, mut plain_rules) = rules(rng);
        plain_rules.push(TOLD.to_owned());
        let (burst, minutes) = (rng.random_range(1..40), rng.random_range(1..20));
        let after = rng.random_range(0..20);
        let quiet = if rng.random_bool(0.5) { "quiet = { from = '22:00', to = '06:30' }" } else { "" };
        let more = format!(
            "limit = '{burst}/{minutes}m'\ndigest = {{ after = '{after}s', every = '15s' }}\n{quiet}"
        );
        let targets = [("chat", true, ""), ("mail", false, "min_severity = 'warning'")];
        let some = section(&rules, &more);
        let mut one = World::with(&some, &targets);
        let mut other = World::with(&some, &targets);
        let mut plain = World::with(&section(&plain_rules, "limit = 'none'"), &targets);
        let mut now = at(0);
        for n in 0..EVENTS {
            // A burst, a trickle, or a calm.
            let pause = match rng.random_range(0..1_000) {
                0 => rng.random_range(0..20_000),
                1..100 => rng.random_range(0..100),
                _ => 0,
            };
            now = UnixNanos(now.0 + pause * SECOND + rng.random_range(0..SECOND / 4));
            let event = any_event(rng, n, now);
            let mute =
                rng.random_bool(0.001).then(|| UnixNanos(now.0 + rng.random_range(-100..10_000) * SECOND));
            for world in [&mut one, &mut other, &mut plain] {
                world.give(now, Input::Event(&event));
            }
            for world in [&mut one, &mut other] {
                if let Some(until) = mute {
                    world.give(now, Input::Mute { destination: "chat", until });
                }
            }
            if rng.random_bool(0.02) {
                other.restart();
            }
        }
        for world in [&mut one, &mut other, &mut plain] {
            world.until(UnixNanos(now.0 + 4 * 86_400 * SECOND));
            world.restart();
        }
        assert!(one.told == other.told, "seed {seed}: a restart changed something");
        for (name, ..) in targets {
            let of = |told: &'static str, world: &World| -> Vec<Told> {
                world.told.iter().filter(|one| one.to == told).cloned().collect()
            };
            let (told, alone) = (of(name, &one), of(name, &plain));
            let refs = |told| Vec::from_iter(told);
            judge(seed, &refs(told.iter()), &refs(alone.iter()), (burst, minutes * 60), 15);
        }
    }
}

/// Presence is not counted event by event; it keeps to the limits and the bounds all the same, and ends as the hub says.
#[test]
fn nodes_that_come_and_go_in_a_storm_are_told_within_the_limit_and_the_same_after_restarts() {
    for seed in 0..8 {
        let rng = &mut StdRng::seed_from_u64(seed);
        let config = "limit = '5/10m'\naway = { repeat = '1h', severity = 'warning' }";
        let (mut one, mut other) = (World::new(config), World::new(config));
        let mut now = at(0);
        for n in 0..2_000 {
            let pause = if rng.random_bool(0.05) { rng.random_range(0..300) } else { 0 };
            now = UnixNanos(now.0 + pause * SECOND + rng.random_range(0..SECOND));
            let detail = Detail::Hub(if rng.random_bool(0.6) {
                HubEvent::Disconnected { reason: String::new() }
            } else {
                HubEvent::Connected { address: String::new(), agent: String::new() }
            });
            let happened = Event { id: n.to_string(), ..event(rng.random_range(1..=200), now, detail) };
            let nodes: Vec<NodeSummary> = vec![];
            let lost = rng.random_range(0..500);
            for world in [&mut one, &mut other] {
                world.give(now, Input::Event(&happened));
                match lost {
                    0 => world.give(now, Input::HubLost),
                    1 => {
                        world.give(now, Input::HubBack);
                        world.give(now, Input::Nodes(&nodes));
                    }
                    _ => {}
                }
            }
            if rng.random_bool(0.05) {
                other.restart();
            }
        }
        for world in [&mut one, &mut other] {
            world.give(now, Input::HubBack);
            world.give(now, Input::Nodes(&[]));
            world.told();
            world.until(UnixNanos(now.0 + 86_400 * SECOND));
        }
        assert!(one.told == other.told, "seed {seed}");
        assert!(one.told.iter().all(|told| told.notice.kind != Kind::Away), "seed {seed}: nobody is away");
    }
}

/// Everything that is kept over a restart, as large as strangers can make it.
#[test]
fn the_memory_stays_within_its_bound_whatever_happens() {
    let long = "\"\\".repeat(30);
    let names: Vec<String> = (0..24).map(|i| format!("{long}{i}")).collect();
    let targets: Vec<(&str, bool, &str)> = names.iter().map(|name| (name.as_str(), true, "")).collect();
    let mut world = World::with(
        &format!(
            "limit = '1/1h'\nfirst_seen.enabled = false\n[[rules]]\nname = '{long}'\ntype = 'auth.*'\nuser = 'd*'\naction = 'digest'\ngroup_by = \
             ['user']\n[[rules]]\ntype = 'auth.accepted'\nseverity = 'critical'",
            long = "\"".repeat(60)
        ),
        &targets,
    );
    for i in 0..10_100u32 {
        let mut id = [7; 16];
        id[..4].copy_from_slice(&i.to_be_bytes());
        let name = format!("{i:0>63}");
        let gone = Detail::Hub(HubEvent::Disconnected { reason: String::new() });
        let away = Event { node: Some((NodeId(id), name.parse().unwrap())), ..event(1, at(0), gone) };
        world.event(&away);
    }
    let hostile = |i: u32, before: &str| format!("{before}{i}{}", "\"\\".repeat(200));
    for target in &names {
        world.give(at(0), Input::Mute { destination: target, until: at(1_000_000) });
    }
    for i in 0..1_500u32 {
        let action = [AuthAction::Failed, AuthAction::Su, AuthAction::Accepted][i as usize % 3];
        let [_, _, a, b] = i.to_be_bytes();
        let user = hostile(i % 500, if i % 2 == 0 { "d" } else { "e" });
        let user = if action == AuthAction::Accepted { &user[..200] } else { &user };
        let mut event = auth(1, at(0), action, user, &format!("10.1.{a}.{b}"));
        event.node = Some((NodeId([9; 16]), format!("{i:a>63}").parse().unwrap()));
        world.event(&event);
    }
    let size = serde_json::to_string(&world.core.memory()).unwrap().len();
    assert!((600 << 10..=1 << 20).contains(&size), "{size} bytes: the test fills it, and it is bounded");
    world.restart();
    world.until(at(3_000));
}
