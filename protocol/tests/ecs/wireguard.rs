//! WireGuard peers.

use secmon_protocol::{codec::encode_value, facet::FacetId, state::Op, wireguard::WgPeer};
use serde_json::{Value, json};

use crate::{
    common::{TIME_TEXT, diff, of_node, only},
    samples::{peer, peer_key},
};

const FACET: FacetId = FacetId::WG_PEERS;
const PUBLIC_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn added(new: &WgPeer) -> Op {
    Op::Added { facet: FACET, key: encode_value(&peer_key()), new: encode_value(new) }
}

fn changed(old: &WgPeer, new: &WgPeer) -> Op {
    let key = encode_value(&peer_key());
    Op::Changed { facet: FACET, key, old: encode_value(old), new: encode_value(new) }
}

/// What is said of [`peer`].
fn rest(online: bool) -> Value {
    json!({
        "source": { "ip": "192.0.2.9", "port": 51820 },
        "secmon": {
            "wg": {
                "interface": "wg0", "public_key": PUBLIC_KEY, "endpoint": "192.0.2.9:51820",
                "allowed_ips": ["10.0.0.2/32", "fd00::2/128"], "latest_handshake": TIME_TEXT,
                "rx_bytes": 1_000, "tx_bytes": 5_000_000_000_u64, "keepalive": 25, "online": online,
            },
        },
    })
}

#[test]
fn a_peer_that_was_added_and_is_online_is_two_events_with_ids_of_their_own() {
    let events = diff(&[added(&peer())]);
    assert_eq!(
        events,
        [
            of_node(0, "wg.peer_added", "network", &["creation"], rest(true)),
            of_node(1, "wg.peer_online", "network", &["connection", "start"], rest(true)),
        ]
    );
}

#[test]
fn a_peer_that_comes_and_goes_is_online_and_offline() {
    let (online, offline) = (peer(), WgPeer { online: false, ..peer() });
    assert_eq!(
        only(diff(&[changed(&offline, &online)])),
        of_node(0, "wg.peer_online", "network", &["connection", "start"], rest(true))
    );
    assert_eq!(
        only(diff(&[changed(&online, &offline)])),
        of_node(0, "wg.peer_offline", "network", &["connection", "end"], rest(false))
    );
}

#[test]
fn a_peer_whose_endpoint_changed_shows_the_new_one() {
    let moved = WgPeer { endpoint: "[::ffff:198.51.100.4]:7".parse().ok(), ..peer() };
    let event = only(diff(&[changed(&peer(), &moved)]));
    assert_eq!(event["secmon"]["type"], "wg.peer_changed");
    assert_eq!(event["event"]["type"], json!(["change"]));
    assert_eq!(event["source"], json!({ "ip": "198.51.100.4", "port": 7 }));
}

#[test]
fn counters_alone_are_no_event() {
    assert_eq!(
        diff(&[changed(&peer(), &WgPeer { rx_bytes: 9, tx_bytes: 9, ..peer() })]),
        Vec::<Value>::new()
    );
}

#[test]
fn a_peer_that_was_removed_has_nothing_that_it_never_had() {
    let bare = WgPeer {
        endpoint: None,
        allowed_ips: vec![],
        latest_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        keepalive: None,
        online: false,
    };
    let op = Op::Removed { facet: FACET, key: encode_value(&peer_key()), old: encode_value(&bare) };
    let rest = json!({
        "secmon": {
            "wg": {
                "interface": "wg0", "public_key": PUBLIC_KEY, "allowed_ips": [],
                "rx_bytes": 0, "tx_bytes": 0, "online": false,
            },
        },
    });
    assert_eq!(only(diff(&[op])), of_node(0, "wg.peer_removed", "network", &["deletion"], rest));
}
