//! What may not leave its file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secmon_testkit::{
    json::at,
    memory,
    need::Need::{Namespaces, Program, Tun},
    product::{Hub, Lab, Node, NodeSetup, Place},
    realm::{Realm, innermost},
    require,
    wait::eventually,
    wireguard::Tunnel,
};

/// Every file under a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn private_keys_are_readable_by_their_owner_alone_and_appear_nowhere_else() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    let mut keys = 0;
    for state in [hub.state(), node.state()] {
        for file in files(state) {
            let holds_key =
                fs::read(&file).unwrap_or_default().windows(11).any(|text| text == b"PRIVATE KEY");
            if holds_key {
                keys += 1;
                let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", file.display());
            }
        }
    }
    assert!(keys >= 2, "the hub's CA and the node have a key each, {keys} were found");
    let socket = fs::metadata(hub.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(socket, 0o660, "the socket serves its owner and group");
    for log in [hub.process().output(), node.process().output()] {
        assert!(!log.err().contains("PRIVATE KEY") && !log.err().contains("secmon1."), "{log}");
    }
}

/// A key in every form in which it may be lying about: as bytes, as a UAPI socket tells it, and as wg(8) does.
fn forms(base64: &str) -> [Vec<u8>; 3] {
    let bytes = STANDARD.decode(base64).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [bytes, hex.into_bytes(), base64.as_bytes().to_vec()]
}

/// The kernel's own interfaces: `kernel_wireguard::no_key_of_the_kernel_stays_in_the_nodes_memory`.
#[test]
fn no_key_of_a_userspace_interface_stays_in_the_nodes_memory() {
    require!(Namespaces, Tun, Program("wireguard-go"), Program("wg"));
    let (lab, here, there) = (Lab::new(), Realm::with_secmon("here"), Realm::new("there"));
    here.join(&there, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let one = Tunnel::start(&here, "wg0", "10.78.0.1/24");
    let other = Tunnel::start(&there, "wg0", "10.78.0.2/24");
    one.add_peer(&other, "10.77.0.2", "10.78.0.2/32");
    let set = "umask 077; wg genpsk >/run/psk && wg set wg0 peer $0 preshared-key /run/psk && cat /run/psk";
    let preshared = here.check("bash", &["-c", set, &other.public_key]);
    let private = here.check("wg", &["show", "wg0", "private-key"]);

    let hub = Hub::start(&lab, Place::In(&here));
    let setup = NodeSetup { wireguard: true, ..NodeSetup::quiet(&lab) };
    let node = Node::join(&lab, Place::In(&here), &hub, "gate1", &setup);
    let shown = |count: usize| {
        eventually("the peers", || {
            let shown = hub.json(&["show", "gate1"]).remove(0);
            (at(&shown, "secmon.wg_peers")?.as_array()?.len() == count).then_some(())
        });
    };
    shown(1);
    // A second look at least, and what goes with it.
    let twin = STANDARD.encode("another peer, which is not there");
    here.check("wg", &["set", "wg0", "peer", &twin, "allowed-ips", "10.9.9.9/32"]);
    shown(2);

    let needles = [forms(&private), forms(&preshared), forms(&other.public_key)].concat();
    let (found, searched) = memory::search(innermost(node.process().pid()), &needles).unwrap();
    assert!(found[6] > 0, "the search finds what is there: {found:?} in {searched} bytes");
    assert_eq!(found[..6], [0; 6], "private and preshared key, as bytes, hex and base64: {found:?}");
}
