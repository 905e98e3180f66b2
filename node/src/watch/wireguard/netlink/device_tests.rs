//! The fixtures are what Linux 6.1 (Debian 12) answered to `WG_CMD_GET_DEVICE` in a virtual machine, datagram by
//! datagram, each after its length (u32, little-endian). Their private and preshared keys, and the public ones that
//! belong to them, were replaced by texts of the same length.

use proptest::prelude::*;

use super::{super::message::Answers, *};

const HANDSHAKE: &[u8] = include_bytes!("../../../../tests/fixtures/wg_handshake.netlink");
const SPLIT: &[u8] = include_bytes!("../../../../tests/fixtures/wg_split.netlink");
const EMPTY: &[u8] = include_bytes!("../../../../tests/fixtures/wg_empty.netlink");

/// What they were recorded with: the number of the family, and of the question.
const FAMILY_NUMBER: u16 = 32;
const SEQUENCE: u32 = 1;

fn datagrams(mut recorded: &[u8]) -> Vec<&[u8]> {
    let mut datagrams = Vec::new();
    while let Some((length, rest)) = recorded.split_first_chunk::<4>() {
        let (datagram, rest) = rest.split_at(usize::try_from(u32::from_le_bytes(*length)).unwrap());
        datagrams.push(datagram);
        recorded = rest;
    }
    datagrams
}

fn feed(recorded: &[u8]) -> DeviceReader {
    let (mut answers, mut reader) = (Answers::new(SEQUENCE, FAMILY_NUMBER), DeviceReader::default());
    for datagram in datagrams(recorded) {
        assert!(!answers.are_complete());
        answers.feed(datagram, |body| reader.feed(body)).unwrap();
    }
    assert!(answers.are_complete() && !answers.are_inconsistent());
    reader
}

fn key(text: &[u8; 32]) -> WgPublicKey {
    WgPublicKey(*text)
}

#[test]
fn what_the_kernel_says_of_a_peer_is_read_and_no_secret_is_kept() {
    // wg(8) showed the same: 1795254949 the latest handshake, 212 bytes received and 304 sent.
    let at = UnixNanos(1_795_254_949 * 1_000_000_000);
    let reader = feed(HANDSHAKE);
    let shown = format!("{reader:?}");
    let secret = format!("{:?}", b"secret").replace(['[', ']'], "");
    assert!(!shown.contains(&secret) && String::from_utf8_lossy(HANDSHAKE).contains("secret"), "{shown}");
    let peers = reader.into_peers(UnixNanos(at.0 + 100_000_000_000));
    assert_eq!(peers.len(), 2);
    let met = &peers[&key(b"the public key of peer number 01")];
    assert_eq!(met.endpoint, Some("10.77.0.2:51820".parse().unwrap()));
    assert_eq!(met.allowed_ips, ["10.78.0.2/32", "fd00:78::/64"]);
    let handshake = met.latest_handshake.unwrap();
    assert!((at.0..at.0 + 1_000_000_000).contains(&handshake.0), "{handshake:?}");
    assert_eq!((met.rx_bytes, met.tx_bytes, met.keepalive, met.online), (212, 304, Some(1), true));
    let other = &peers[&key(b"the public key of peer number 02")];
    assert_eq!(other.endpoint, Some("[2001:db8::7]:51820".parse().unwrap()));
    assert_eq!((other.latest_handshake, other.keepalive, other.online), (None, Some(25), false));
    assert!(other.allowed_ips.is_empty());
    assert!(!feed(HANDSHAKE).into_peers(UnixNanos(handshake.0 + 180_000_000_001)).values().any(|p| p.online));
}

#[test]
fn a_peer_that_goes_on_in_the_next_message_is_one_peer() {
    let recorded = datagrams(SPLIT);
    let needle = b"the one with so many networks...".as_slice();
    let holds = |datagram: &&[u8]| datagram.windows(needle.len()).any(|window| window == needle);
    assert!(recorded.len() > 1 && recorded.iter().all(holds), "it is in every datagram");
    let peers = feed(SPLIT).into_peers(UnixNanos(0));
    assert_eq!(peers.len(), 71);
    let many = &peers[&key(b"the one with so many networks...")];
    assert_eq!((many.allowed_ips.len(), many.keepalive), (601, Some(25)));
    let mut distinct = many.allowed_ips.clone();
    distinct.dedup();
    assert_eq!(distinct.len(), 601);
    assert!(distinct.contains(&"192.0.2.0/24".to_owned()) && distinct.contains(&"fd00:258::/48".to_owned()));
    for n in 1..=70 {
        let name: [u8; 32] = format!("peer number {n:020}").into_bytes().try_into().unwrap();
        assert_eq!(peers[&key(&name)].allowed_ips, [format!("10.0.{n}.0/24")]);
    }
}

#[test]
fn an_interface_without_peers_has_none() {
    assert!(feed(EMPTY).into_peers(UnixNanos(0)).is_empty());
}

#[test]
fn addresses_that_make_no_sense_are_errors() {
    let inet = |family: i32, rest: &[u8]| [&u16::try_from(family).unwrap().to_ne_bytes(), rest].concat();
    assert_eq!(endpoint(&inet(AF_INET, &[0, 80, 192, 0, 2, 1])).unwrap(), "192.0.2.1:80".parse().unwrap());
    for wrong in [vec![], inet(AF_INET, &[0, 80, 192]), inet(AF_INET6, &[0; 10]), inet(99, &[0; 30])] {
        assert_eq!(endpoint(&wrong), Err(Wrong::Malformed("an endpoint")), "{wrong:?}");
    }
    assert_eq!(timespec(&[0; 16]), Ok(None));
    assert_eq!(timespec(&[0; 12]), Err(Wrong::Malformed("a time")));
    let most = [i64::MAX.to_ne_bytes(), i64::MAX.to_ne_bytes()].concat();
    assert_eq!(timespec(&most), Ok(Some(UnixNanos(i64::MAX))));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut reader = DeviceReader::default();
        let _ = reader.feed(&bytes);
        prop_assert!(reader.peers.len() <= bytes.len() / 36);
    }

    /// Nearly right is where parsers break.
    #[test]
    fn no_change_of_a_real_answer_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = datagrams(HANDSHAKE)[0].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut reader = DeviceReader::default();
        let _ = Answers::new(SEQUENCE, FAMILY_NUMBER).feed(&bytes, |body| reader.feed(body));
        prop_assert!(reader.into_peers(UnixNanos(0)).len() <= bytes.len() / 36);
    }
}
