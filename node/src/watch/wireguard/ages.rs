//! Handshake times that are computed from ages, made steady: computed anew at each look, they would differ by
//! how long the answer took, and every look would find a change. Pure.

use std::collections::BTreeMap;

use secmon_protocol::{
    time::UnixNanos,
    wireguard::{WgPeer, WgPublicKey},
};

/// Two computed times that are at most this far apart are of the same handshake. An answer takes far less, and
/// two handshakes of one peer are at least five seconds apart (REKEY_TIMEOUT, whitepaper §6.1). Nanoseconds.
const SAME: u64 = 1_000_000_000;

/// The handshakes of one interface, as they were first computed.
pub(super) type Handshakes = BTreeMap<WgPublicKey, UnixNanos>;

/// Gives each peer the time that its handshake was given `before`, if it is the same, and returns all of them.
#[must_use]
pub(super) fn steady(
    peers: &mut BTreeMap<WgPublicKey, WgPeer>,
    before: &Handshakes,
    now: UnixNanos,
) -> Handshakes {
    let mut handshakes = Handshakes::new();
    for (key, peer) in peers {
        let Some(computed) = peer.latest_handshake else { continue };
        let known = before.get(key).copied().filter(|known| known.0.abs_diff(computed.0) <= SAME);
        let time = known.unwrap_or(computed);
        handshakes.insert(*key, time);
        peer.latest_handshake = Some(time);
        peer.online = WgPeer::is_online(Some(time), now);
    }
    handshakes
}

#[cfg(test)]
mod tests {
    use secmon_protocol::wireguard::ONLINE_FOR;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const NOW: i64 = 1_800_000_000 * SECOND;

    fn peers(handshake: Option<i64>) -> BTreeMap<WgPublicKey, WgPeer> {
        let peer = WgPeer {
            endpoint: None,
            allowed_ips: Vec::new(),
            latest_handshake: handshake.map(UnixNanos),
            rx_bytes: 0,
            tx_bytes: 0,
            keepalive: None,
            online: handshake.is_some(),
        };
        [(WgPublicKey([1; 32]), peer)].into()
    }

    fn seen(handshake: Option<i64>, before: &Handshakes, now: i64) -> (Option<i64>, bool, Handshakes) {
        let mut peers = peers(handshake);
        let after = steady(&mut peers, before, UnixNanos(now));
        let peer = &peers[&WgPublicKey([1; 32])];
        (peer.latest_handshake.map(|time| time.0), peer.online, after)
    }

    #[test]
    fn a_handshake_keeps_its_time_until_the_next_one() {
        let (time, online, known) = seen(Some(NOW), &Handshakes::new(), NOW);
        assert_eq!((time, online), (Some(NOW), true));
        let (time, _, known) = seen(Some(NOW + SECOND / 100), &known, NOW + SECOND);
        assert_eq!(time, Some(NOW));
        let (time, _, known) = seen(Some(NOW - SECOND / 100), &known, NOW + 2 * SECOND);
        assert_eq!(time, Some(NOW));
        // The edge is that of the time which was reported.
        let (_, online, known) = seen(Some(NOW + SECOND / 2), &known, NOW + ONLINE_FOR + 1);
        assert!(!online);
        let (time, online, known) = seen(Some(NOW + 120 * SECOND), &known, NOW + ONLINE_FOR + 1);
        assert_eq!((time, online), (Some(NOW + 120 * SECOND), true));
        let (time, _, known) = seen(None, &known, NOW + 400 * SECOND);
        assert!(time.is_none() && known.is_empty());
    }
}
