//! What may not leave its file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use secmon_testkit::product::{Hub, Lab, Node, NodeSetup, Place};

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
