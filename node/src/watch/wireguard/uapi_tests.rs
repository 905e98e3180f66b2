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
    let Answer { peers, from_ages } = reader.into_answer(UnixNanos(200_000_000_000));
    assert!(!from_ages);
    let peer = peers.values().next().unwrap();
    assert_eq!(peer.endpoint, Some("[::1]:51820".parse().unwrap()));
    assert_eq!(peer.allowed_ips, ["10.0.0.2/32", "fd00::/64"]);
    assert_eq!(peer.latest_handshake, Some(UnixNanos(100_000_000_005)));
    assert_eq!((peer.rx_bytes, peer.tx_bytes, peer.keepalive, peer.online), (8, 7, None, true));
}

/// What boringtun 0.7.1 answered 6 s after a handshake, and what one would answer that says times.
#[test]
fn a_daemon_that_says_ages_is_understood_and_so_is_one_that_no_longer_does() {
    let now = UnixNanos(1_800_000_000 * SECOND);
    let read = |first: &str, seconds: i64, nanos: i64| {
        let text = format!(
            "{first}listen_port=51820\npublic_key={}\nlast_handshake_time_sec={seconds}\n\
             last_handshake_time_nsec={nanos}\nrx_bytes=92\ntx_bytes=148\nerrno=0\n\n",
            "ab".repeat(32)
        );
        let mut reader = Reader::default();
        assert_eq!(reader.feed(text.as_bytes()), Ok(text.len()));
        let answer = reader.into_answer(now);
        let peer = answer.peers.into_values().next().unwrap();
        (peer.latest_handshake.map(|time| time.0), peer.online, answer.from_ages)
    };
    let boringtun = format!("own_public_key={}\n", "cd".repeat(32));
    assert_eq!(read(&boringtun, 6, 250), (Some(now.0 - 6 * SECOND - 250), true, true));
    assert_eq!(read(&boringtun, 0, 0), (Some(now.0), true, true));
    assert_eq!(read(&boringtun, 181, 0), (Some(now.0 - 181 * SECOND), false, true));
    assert_eq!(read(&boringtun, 1_799_999_990, 0), (Some(now.0 - 10 * SECOND), true, false));
    // wireguard-go on a machine whose clock was not set when it shook hands.
    assert_eq!(read("", 6, 250), (Some(6 * SECOND + 250), false, false));
    assert_eq!(read("", 0, 0), (None, false, false));
}

#[test]
fn a_refusal_is_an_error() {
    assert_eq!(Reader::default().feed(b"errno=13\n\n"), Err(UapiError::Errno(13)));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let line = format!("{}\n", "key_of_the_future=1".repeat(50));
    let mut reader = Reader::default();
    let fed = (0..2 * MAX_REPLY / line.len()).find_map(|_| reader.feed(line.as_bytes()).err());
    assert_eq!(fed, Some(UapiError::ReplyTooLong));
}

#[test]
fn endpoints_and_networks_come_in_every_form_of_the_daemons() {
    for (given, read) in [
        ("192.0.2.1:51820", Some("192.0.2.1:51820")),
        ("[2001:db8::1]:1", Some("[2001:db8::1]:1")),
        ("[fe80::1%eth0]:1", Some("[fe80::1]:1")),
        ("[fe80::1%eth0:1", None),
        ("192.0.2.1", None),
        ("host:1", None),
    ] {
        assert_eq!(endpoint(given.as_bytes()), read.map(|text| text.parse().unwrap()), "{given}");
    }
    for (given, read) in [
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("2001:0db8::/32", Some("2001:db8::/32")),
        ("::/0", Some("::/0")),
        ("10.0.0.0/33", None),
        ("10.0.0.0", None),
    ] {
        assert_eq!(network(given.as_bytes()).as_deref(), read, "{given}");
    }
}

#[test]
fn lines_that_make_no_sense_are_errors_that_name_the_line() {
    let key = &PEER[PEER.find("public_key").unwrap()..][..76];
    for (text, error) in [
        ("nonsense\n".to_owned(), UapiError::Line(1)),
        ("listen_port=1\nrx_bytes=1\n".to_owned(), UapiError::NoPeer(2)),
        ("public_key=11\n".to_owned(), UapiError::Value { line: 1, key: "public_key" }),
        (format!("{key}rx_bytes=-1\n"), UapiError::Value { line: 2, key: "rx_bytes" }),
        ("errno=x\n".to_owned(), UapiError::Value { line: 1, key: "errno" }),
    ] {
        assert_eq!(Reader::default().feed(text.as_bytes()), Err(error), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let _ = Reader::default().feed(&bytes);
    }
}
