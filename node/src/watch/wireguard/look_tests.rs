use std::path::Path;

use super::*;

/// A kernel with these interfaces, each with one peer whose key begins with its index.
#[derive(Debug, Default)]
struct FakeKernel {
    interfaces: BTreeMap<String, u32>,
    /// Interfaces cannot be listed.
    is_silent: bool,
    /// What every question about peers gets.
    refusal: Option<fn() -> netlink::Failure>,
}

impl Kernel for FakeKernel {
    async fn interfaces(&mut self) -> Result<BTreeMap<String, u32>, netlink::Failure> {
        if self.is_silent { Err(netlink::Failure::Timeout) } else { Ok(self.interfaces.clone()) }
    }

    async fn peers(&mut self, index: u32) -> Result<BTreeMap<WgPublicKey, WgPeer>, netlink::Failure> {
        match self.refusal {
            Some(refusal) => Err(refusal()),
            None => Ok([(WgPublicKey([u8::try_from(index).unwrap(); 32]), peer())].into()),
        }
    }
}

fn peer() -> WgPeer {
    WgPeer {
        endpoint: None,
        allowed_ips: Vec::new(),
        latest_handshake: None,
        rx_bytes: 0,
        tx_bytes: 0,
        keepalive: None,
        online: false,
    }
}

fn looker(dir: &Path) -> Looker<FakeKernel> {
    looker_with(dir, &[])
}

fn looker_with(dir: &Path, interfaces: &[(&str, u32)]) -> Looker<FakeKernel> {
    let interfaces = interfaces.iter().map(|(name, index)| ((*name).to_owned(), *index)).collect();
    Looker::new(vec![dir.join("uapi"), dir.join("old")], FakeKernel { interfaces, ..FakeKernel::default() })
}

/// Interfaces and the first bytes of their peers' keys.
fn peers(sight: &Sight) -> Vec<(&str, u8)> {
    match &sight.facet {
        Facet::Ready(peers) => peers.keys().map(|key| (&*key.interface, key.public_key.0[0])).collect(),
        other => panic!("{other:?}"),
    }
}

/// A daemon that gives one answer, a peer whose key consists of this byte, again and again.
fn serve(socket: &Path, key: u8) {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut [0; 7]).await;
            let text = format!("public_key={}\nerrno=0\n\n", format!("{key:02x}").repeat(32));
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, text.as_bytes()).await;
        }
    });
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
    let sight = looker(dir.path()).look(Scope::Everything).await;
    assert_eq!(sight.facet, Facet::Ready(Peers::new()));
    assert!(!sight.alive && !sight.refused && !sight.failed && !sight.moved);
}

#[tokio::test]
async fn peers_of_the_kernel_and_of_sockets_old_and_new_are_seen_together() {
    let dir = tempfile::tempdir().unwrap();
    for (folder, socket, key) in [("uapi", "wg1.sock", 11), ("old", "wg2.sock", 12)] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        serve(&dir.path().join(folder).join(socket), key);
    }
    let sight = looker_with(dir.path(), &[("wg0", 10), ("wg3", 13)]).look(Scope::Everything).await;
    assert_eq!(peers(&sight), [("wg0", 10), ("wg1", 11), ("wg2", 12), ("wg3", 13)]);
    assert!(sight.alive && !sight.failed);
}

#[tokio::test]
async fn an_interface_of_the_kernel_is_not_seen_twice_because_of_a_socket_dead_or_alive() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("uapi")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("uapi/wg0.sock")).unwrap());
    serve(&dir.path().join("uapi/wg1.sock"), 99);
    let mut looker = looker_with(dir.path(), &[("wg0", 1), ("wg1", 2)]);
    let sight = looker.look(Scope::Everything).await;
    assert_eq!(peers(&sight), [("wg0", 1), ("wg1", 2)]);
    assert!(sight.alive && !sight.refused && !sight.failed);
}

#[tokio::test]
async fn a_socket_that_two_folders_have_is_asked_where_somebody_listens() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["uapi", "old"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("uapi/wg0.sock")).unwrap());
    serve(&dir.path().join("old/wg0.sock"), 5);
    let sight = looker(dir.path()).look(Scope::Everything).await;
    assert_eq!(peers(&sight), [("wg0", 5)]);
}

#[tokio::test]
async fn without_the_right_to_ask_the_kernel_there_is_a_remedy_and_no_haste() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker_with(dir.path(), &[("wg0", 1)]);
    looker.kernel.refusal = Some(|| netlink::Failure::Forbidden);
    let sight = looker.look(Scope::Everything).await;
    assert!(reason(&sight).starts_with("cannot read WireGuard interface wg0: the kernel tells"));
    assert!(matches!(&sight.facet, Facet::Unavailable(why) if why.remedy.contains("CAP_NET_ADMIN")));
    assert!(sight.alive && !sight.failed);
}

#[tokio::test]
async fn an_interface_that_goes_before_it_is_asked_is_no_failure_and_one_that_changes_is_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker_with(dir.path(), &[("wg0", 1)]);
    looker.kernel.refusal = Some(|| netlink::Failure::Gone);
    let sight = looker.look(Scope::Everything).await;
    assert!(peers(&sight).is_empty() && !sight.failed);
    looker.kernel.refusal = Some(|| netlink::Failure::Unsteady);
    let sight = looker.look(Scope::Everything).await;
    assert!(sight.failed && reason(&sight).contains("its peers changed"));
}

#[tokio::test]
async fn interfaces_that_cannot_be_listed_do_not_look_like_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    looker.kernel.is_silent = true;
    let sight = looker.look(Scope::Everything).await;
    assert!(reason(&sight).starts_with("cannot list the WireGuard interfaces") && sight.alive);
}

#[tokio::test]
async fn a_look_at_peers_alone_lists_nothing_again_unless_listing_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut looker = looker(dir.path());
    assert_eq!(peers(&looker.look(Scope::Peers).await), []);
    looker.kernel.interfaces = [("wg0".to_owned(), 1)].into();
    assert_eq!(peers(&looker.look(Scope::Peers).await), []);
    let sight = looker.look(Scope::Everything).await;
    assert_eq!(peers(&sight), [("wg0", 1)]);
    assert!(sight.moved);
    assert!(!looker.look(Scope::Everything).await.moved);
    looker.kernel.is_silent = true;
    assert!(reason(&looker.look(Scope::Everything).await).starts_with("cannot list"));
    looker.kernel.is_silent = false;
    assert_eq!(peers(&looker.look(Scope::Peers).await), [("wg0", 1)]);
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
