use std::path::Path;

use super::*;

fn looker(dir: &Path) -> Looker {
    fs::create_dir_all(dir.join("net")).unwrap();
    Looker::new(dir.join("uapi"), dir.join("net"))
}

fn reason(sight: &Sight) -> &str {
    match &sight.facet {
        Facet::Unavailable(why) => &why.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_the_kernel_takes_is_a_name() {
    for good in ["wg0", "a", "wg-to.berlin_1", "123456789012345", "wgé", "..."] {
        assert_eq!(interface_name(good.as_bytes()), Some(good));
    }
    for bad in ["", ".", "..", "1234567890123456", "a b", "a/b", "a:b", "a\nb", "a\u{1b}[2J", "a\u{85}"] {
        assert_eq!(interface_name(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(interface_name(b"wg\xff"), None);
}

#[tokio::test]
async fn where_there_is_no_wireguard_there_are_no_peers() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("net/eth0")).unwrap();
    fs::write(dir.path().join("net/eth0/uevent"), "INTERFACE=eth0\nIFINDEX=2\n").unwrap();
    fs::write(dir.path().join("net/bonding_masters"), "").unwrap();
    let sight = looker(dir.path()).look(Scope::Everything).await;
    assert_eq!(sight.facet, Facet::Ready(Peers::new()));
    assert!(!sight.alive && !sight.refused && !sight.failed);
}

#[tokio::test]
async fn an_interface_of_the_kernel_is_not_passed_over_even_when_a_dead_socket_has_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    for name in ["wg1", "wg0"] {
        fs::create_dir(dir.path().join("net").join(name)).unwrap();
        fs::write(dir.path().join("net").join(name).join("uevent"), "DEVTYPE=wireguard\nIFINDEX=3\n")
            .unwrap();
    }
    fs::create_dir(dir.path().join("uapi")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("uapi/wg0.sock")).unwrap());
    let sight = looker.look(Scope::Everything).await;
    assert!(reason(&sight).starts_with("wg0 is a WireGuard interface of the kernel"));
    assert!(!sight.alive && sight.refused && !sight.failed);
}

#[tokio::test]
async fn interfaces_that_cannot_be_listed_do_not_look_like_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    fs::remove_dir(dir.path().join("net")).unwrap();
    let sight = looker.look(Scope::Everything).await;
    assert!(reason(&sight).starts_with("cannot list network interfaces") && sight.alive);
}

#[tokio::test]
async fn a_look_at_peers_alone_lists_nothing_again_unless_listing_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let kernel = dir.path().join("net/wg0");
    let add = || {
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("uevent"), "DEVTYPE=wireguard\n").unwrap();
    };
    assert_eq!(looker.look(Scope::Peers).await.facet, Facet::Ready(Peers::new()));
    add();
    assert_eq!(looker.look(Scope::Peers).await.facet, Facet::Ready(Peers::new()));
    assert!(reason(&looker.look(Scope::Everything).await).starts_with("wg0 is"));
    fs::remove_dir_all(dir.path().join("net")).unwrap();
    assert!(reason(&looker.look(Scope::Everything).await).starts_with("cannot list"));
    add();
    assert!(reason(&looker.look(Scope::Peers).await).starts_with("wg0 is"));
}

#[tokio::test]
async fn odd_files_are_ignored_but_not_without_bound() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    let uapi = dir.path().join("uapi");
    fs::create_dir(&uapi).unwrap();
    for odd in ["a-name-of-16-byt.sock", "a b.sock", ".sock", "wg0.conf", "...sock"] {
        fs::write(uapi.join(odd), "").unwrap();
    }
    assert_eq!(looker.look(Scope::Everything).await.facet, Facet::Ready(Peers::new()));
    assert_eq!(looker.odd.len(), 4);
    for number in 0..MAX_FILES {
        fs::write(uapi.join(number.to_string()), "").unwrap();
    }
    assert!(reason(&looker.look(Scope::Everything).await).contains("holds more than"));
}
