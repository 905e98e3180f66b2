use proptest::prelude::*;

use super::*;

const PEER: &str = "private_key=1111111111111111111111111111111111111111111111111111111111111111\nlisten_port=51820\n\
public_key=b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33\n\
preshared_key=2222222222222222222222222222222222222222222222222222222222222222\nprotocol_version=1\n\
endpoint=[::1]:51820\nlast_handshake_time_sec=100\nlast_handshake_time_nsec=5\ntx_bytes=7\nrx_bytes=8\n\
persistent_keepalive_interval=0\nallowed_ip=fd00::/64\nallowed_ip=10.0.0.2/32\nnew_key=1\nerrno=0\n\n";

#[test]
fn a_peer_is_read_and_no_secret_is_kept() {
    let mut reader = Reader::default();
    assert_eq!(reader.feed(PEER.as_bytes()), Ok(PEER.len()));
    let shown = format!("{reader:?}");
    assert!(
        reader.is_complete()
            && !shown.contains("1111")
            && !shown.contains("2222")
            && !shown.contains("17, 17")
    );
    let peers = reader.into_peers(UnixNanos(200_000_000_000));
    let peer = peers.values().next().unwrap();
    assert_eq!(peer.endpoint, Some("[::1]:51820".parse().unwrap()));
    assert_eq!(peer.allowed_ips, ["10.0.0.2/32", "fd00::/64"]);
    assert_eq!(peer.latest_handshake, Some(UnixNanos(100_000_000_005)));
    assert_eq!((peer.rx_bytes, peer.tx_bytes, peer.keepalive, peer.online), (8, 7, None, true));
}

#[test]
fn a_refusal_is_an_error() {
    assert_eq!(Reader::default().feed(b"errno=13\n\n"), Err(UapiError::Errno(13)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = Reader::default().feed(&bytes);
    }
}
