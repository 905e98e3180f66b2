use secmon_protocol::wireguard::WgPublicKey;

use super::*;

type Seen = Facet<WgPeerKey, WgPeer>;

const SECOND: i64 = 1_000_000_000;
/// Some moment of the wall clock.
const NOW: UnixNanos = UnixNanos(1_800_000_000 * SECOND);

fn key(number: u8) -> WgPeerKey {
    WgPeerKey { interface: "wg0".to_owned(), public_key: WgPublicKey([number; 32]) }
}

/// A peer whose latest handshake is `age` nanoseconds before [`NOW`].
fn peer(age: Option<i64>, bytes: u64) -> WgPeer {
    let latest_handshake = age.map(|age| UnixNanos(NOW.0 - age));
    WgPeer {
        endpoint: None,
        allowed_ips: vec!["10.0.0.1/32".to_owned()],
        latest_handshake,
        rx_bytes: bytes,
        tx_bytes: 2 * bytes,
        keepalive: None,
        online: WgPeer::is_online(latest_handshake, NOW),
    }
}

fn ready(peers: impl IntoIterator<Item = WgPeer>) -> Seen {
    Facet::Ready((1..).zip(peers).map(|(number, peer)| (key(number), peer)).collect())
}

fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

const PACE: Pace = Pace { fastest: Duration::from_secs(1), slowest: Duration::from_secs(5) };

fn reporter(counters_every: u64) -> Reporter {
    Reporter::new(PACE, secs(counters_every))
}

/// How long a reporter that has just seen a peer with a handshake of this age, and no change, waits.
fn after_handshake(age: i64) -> Duration {
    let mut reporter = reporter(60);
    let now = Instant::now();
    assert!(reporter.handle_seen(ready([peer(Some(age), 0)]), now).is_some());
    reporter.until_next_look(NOW, now)
}

#[test]
fn without_handshakes_and_changes_looks_are_far_apart() {
    let mut reporter = reporter(60);
    let now = Instant::now();
    assert_eq!(reporter.until_next_look(NOW, now), PACE.slowest);
    assert!(reporter.handle_seen(ready([peer(None, 0)]), now).is_some());
    assert_eq!(reporter.until_next_look(NOW, now), PACE.slowest);
}

#[test]
fn after_a_change_looks_come_soon_and_then_ever_farther_apart() {
    let mut reporter = reporter(60);
    let start = Instant::now();
    let _ = reporter.handle_seen(ready([]), start);
    assert!(reporter.handle_seen(ready([peer(None, 0)]), start).is_some());
    let (mut waits, mut now) = (Vec::new(), start);
    while now - start < secs(60) {
        let wait = reporter.until_next_look(NOW, now);
        waits.push(wait);
        now += wait;
        assert!(reporter.handle_seen(ready([peer(None, 0)]), now).is_none());
    }
    assert!(waits[..9].iter().all(|wait| *wait == PACE.fastest), "{waits:?}");
    assert!(waits.is_sorted() && waits.last() == Some(&PACE.slowest), "{waits:?}");
    assert!(waits.len() < 30, "{waits:?}");
}

#[test]
fn a_peer_that_talks_and_shakes_hands_every_two_minutes_is_no_reason_for_haste() {
    let mut reporter = reporter(60);
    let (start, minute) = (Instant::now(), 60);
    let (mut looks, mut since_start) = (0, Duration::ZERO);
    while since_start < secs(60 * minute) {
        let wall = UnixNanos(NOW.0 + i64::try_from(since_start.as_nanos()).unwrap());
        let seconds = since_start.as_secs();
        let handshake = UnixNanos(NOW.0 + i64::try_from(seconds / 120 * 120).unwrap() * SECOND);
        let online = WgPeer::is_online(Some(handshake), wall);
        assert!(online);
        let seen = ready([WgPeer { latest_handshake: Some(handshake), online, ..peer(None, seconds) }]);
        let _ = reporter.handle_seen(seen, start + since_start);
        since_start += reporter.until_next_look(wall, start + since_start);
        looks += 1;
    }
    assert!(looks <= 60 * minute / PACE.slowest.as_secs() + 1, "{looks} looks in an hour");
}

#[test]
fn looks_that_cost_much_are_rarer_but_not_without_bound() {
    let mut reporter = reporter(60);
    let now = Instant::now();
    let _ = reporter.handle_seen(ready([]), now);
    reporter.handle_stir(now);
    for (cost_us, wait) in [
        (100, PACE.fastest),
        (2_000, PACE.fastest),
        (4_000, secs(2)),
        (20_000, secs(10)),
        (500_000, MOST_SLOW * PACE.slowest),
    ] {
        reporter.handle_cost(Duration::from_micros(cost_us));
        assert_eq!(reporter.until_next_look(NOW, now), wait, "{cost_us} us");
    }
    // A peer that goes offline meanwhile does not make them more frequent.
    assert!(reporter.handle_seen(ready([peer(Some(ONLINE_FOR - SECOND), 0)]), now).is_some());
    assert_eq!(reporter.until_next_look(NOW, now), MOST_SLOW * PACE.slowest);
}

#[test]
fn a_stir_makes_looks_come_soon_though_nothing_is_news() {
    let mut reporter = reporter(60);
    let now = Instant::now();
    let _ = reporter.handle_seen(ready([]), now);
    reporter.handle_stir(now);
    assert!(reporter.handle_seen(ready([]), now).is_none());
    assert_eq!(reporter.until_next_look(NOW, now), PACE.fastest);
}

#[test]
fn counters_that_move_are_no_reason_for_haste() {
    let mut reporter = reporter(0);
    let now = Instant::now();
    let _ = reporter.handle_seen(ready([peer(None, 1)]), now);
    assert!(reporter.handle_seen(ready([peer(None, 2)]), now).is_some());
    assert_eq!(reporter.until_next_look(NOW, now), PACE.slowest);
}

#[test]
fn a_look_comes_just_after_the_moment_at_which_a_peer_goes_offline() {
    for (age, wait) in [
        (0, PACE.slowest),
        (ONLINE_FOR - 6 * SECOND, PACE.slowest),
        (ONLINE_FOR - 2 * SECOND, secs(2) + JUST_AFTER),
        (ONLINE_FOR - SECOND / 2, Duration::from_millis(500) + JUST_AFTER),
        (ONLINE_FOR - 1, Duration::from_nanos(1) + JUST_AFTER),
        (ONLINE_FOR, JUST_AFTER),
        (ONLINE_FOR + 1, PACE.slowest),
        (NOW.0, PACE.slowest),
        // A clock that was set back leaves handshakes in the future.
        (-3600 * SECOND, PACE.slowest),
        (i64::MIN + NOW.0 + 1, PACE.slowest),
    ] {
        assert_eq!(after_handshake(age), wait, "{age}");
    }
}

#[test]
fn both_edges_of_online_make_looks_come_soon() {
    for (before, after) in
        [(Some(ONLINE_FOR + 1), Some(0)), (None, Some(0)), (Some(SECOND), Some(ONLINE_FOR + 1))]
    {
        let mut reporter = reporter(60);
        let now = Instant::now();
        let _ = reporter.handle_seen(ready([peer(before, 0)]), now);
        assert!(reporter.handle_seen(ready([peer(after, 0)]), now).is_some());
        assert_eq!(reporter.until_next_look(NOW, now), PACE.fastest, "{before:?} to {after:?}");
    }
}

#[test]
fn the_look_at_the_edge_finds_the_peer_offline_and_reports_it() {
    let handshake = UnixNanos(NOW.0 - ONLINE_FOR + SECOND / 10);
    let sight = |wall: UnixNanos| {
        let online = WgPeer::is_online(Some(handshake), wall);
        ready([WgPeer { latest_handshake: Some(handshake), online, ..peer(None, 0) }])
    };
    let mut reporter = reporter(60);
    let now = Instant::now();
    assert!(reporter.handle_seen(sight(NOW), now).is_some());
    let wait = reporter.until_next_look(NOW, now);
    assert!(wait < secs(1));
    let then = UnixNanos(NOW.0 + i64::try_from(wait.as_nanos()).unwrap());
    let Some(Facet::Ready(peers)) = reporter.handle_seen(sight(then), now + wait) else { panic!() };
    assert!(!peers[&key(1)].online);
    assert!(reporter.handle_seen(sight(then), now + wait).is_none());
}

#[test]
fn counters_alone_are_reported_once_in_their_time() {
    let mut reporter = reporter(60);
    let start = Instant::now();
    assert!(reporter.handle_seen(ready([peer(None, 1)]), start).is_some());
    for second in 1..60 {
        assert_eq!(reporter.handle_seen(ready([peer(None, 1 + second)]), start + secs(second)), None);
    }
    let due = reporter.handle_seen(ready([peer(None, 61)]), start + secs(60));
    assert_eq!(due, Some(ready([peer(None, 61)])));
    assert_eq!(reporter.handle_seen(ready([peer(None, 62)]), start + secs(61)), None);
    // Counters that stand still are never news.
    assert_eq!(reporter.handle_seen(ready([peer(None, 61)]), start + secs(600)), None);
}

#[test]
fn a_change_of_one_peer_brings_its_counters_and_leaves_those_of_the_others() {
    let mut reporter = reporter(60);
    let start = Instant::now();
    let _ = reporter.handle_seen(ready([peer(None, 1), peer(None, 1)]), start);
    let seen = reporter.handle_seen(ready([peer(Some(SECOND), 5), peer(None, 5)]), start + secs(1));
    assert_eq!(seen, Some(ready([peer(Some(SECOND), 5), peer(None, 1)])));
    // It does not put off the counters of the others.
    let seen = reporter.handle_seen(ready([peer(Some(SECOND), 9), peer(None, 9)]), start + secs(60));
    assert_eq!(seen, Some(ready([peer(Some(SECOND), 9), peer(None, 9)])));
}

#[test]
fn peers_that_come_and_go_are_news_at_once() {
    let mut reporter = reporter(60);
    let now = Instant::now();
    assert!(reporter.handle_seen(ready([]), now).is_some());
    assert!(reporter.handle_seen(ready([peer(None, 1)]), now).is_some());
    let two = [peer(None, 2), peer(None, 1)];
    assert_eq!(reporter.handle_seen(ready(two), now), Some(ready([peer(None, 1), peer(None, 1)])));
    // One goes as another comes: as many as before, and still news.
    let swapped = Facet::Ready([(key(1), peer(None, 1)), (key(3), peer(None, 1))].into());
    assert_eq!(reporter.handle_seen(swapped.clone(), now), Some(swapped));
    assert!(reporter.handle_seen(ready([]), now).is_some());
}

#[test]
fn an_interface_that_cannot_be_read_is_told_once_and_ends_when_it_can() {
    let mut reporter = reporter(60);
    let now = Instant::now();
    let blind = || Seen::unavailable("no answer", "restart it");
    assert_eq!(reporter.handle_seen(blind(), now), Some(blind()));
    assert_eq!(reporter.handle_seen(blind(), now), None);
    assert_eq!(reporter.until_next_look(NOW, now), PACE.slowest);
    assert!(reporter.handle_seen(ready([peer(None, 3)]), now).is_some());
    assert_eq!(reporter.until_next_look(NOW, now), PACE.fastest);
}
