//! Two real WireGuard interfaces in two network namespaces.

use secmon_testkit::{
    json::text,
    need::Need::{Namespaces, Program, Tun},
    product::{Hub, Lab, Node, NodeSetup, Place},
    realm::Realm,
    require,
    wireguard::Tunnel,
};

#[test]
fn a_handshake_between_two_interfaces_puts_the_peer_online() {
    require!(Namespaces, Tun, Program("wireguard-go"), Program("wg"));
    let (lab, here, there) = (Lab::new(), Realm::with_secmon("here"), Realm::new("there"));
    here.join(&there, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let one = Tunnel::start(&here, "wg0", "10.78.0.1/24");
    let other = Tunnel::start(&there, "wg0", "10.78.0.2/24");
    let hub = Hub::start(&lab, Place::In(&here));
    let setup = NodeSetup { wireguard: true, ..NodeSetup::quiet(&lab) };
    let _node = Node::join(&lab, Place::In(&here), &hub, "gate1", &setup);
    hub.wait_for_facet("gate1", "wg_peers", "ready");
    let mut watch = hub.watch(&["--type", "wg.*"]);

    one.add_peer(&other, "10.77.0.2", "10.78.0.2/32");
    other.add_peer(&one, "10.77.0.1", "10.78.0.1/32");
    let added = watch.find_type("wg.peer_added");
    assert!(added.to_string().contains(&other.public_key), "{added}");
    let online = watch.find_type("wg.peer_online");
    assert!(online.to_string().contains(&other.public_key), "{online}");
    assert_eq!(text(&online, "host.name"), "gate1", "{online}");
    assert!(one.latest_handshake() > 0);
    let shown = hub.json(&["show", "gate1"]).remove(0);
    let peers = shown["secmon"]["wg_peers"].as_array().expect("an array of peers");
    assert_eq!(peers.len(), 1, "{shown}");
    assert!(shown.to_string().contains("10.77.0.2"), "the endpoint is shown\n{shown}");

    one.remove_peer(&other);
    let removed = watch.find_type("wg.peer_removed");
    assert!(removed.to_string().contains(&other.public_key), "{removed}");
    for line in watch.process().output().out().lines().chain(hub.process().output().err().lines()) {
        assert!(!line.contains("private_key") && !line.contains("preshared_key"), "{line}");
    }
}
