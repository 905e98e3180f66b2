//! The fixtures are `/run/utmp` of a Debian 12 machine while two ssh clients were logged in (one over
//! IPv6), and after both had gone.

use proptest::prelude::*;

use super::*;

const LOGGED_IN: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-two-sshd-logins");
const LOGGED_OUT: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-after-logout");
const FIRST_KEY: &str = "pts/0:16550:1795232331908173";
const SECOND_KEY: &str = "pts/1:16553:1795232331915607";

struct All;
impl Processes for All {
    fn exists(&self, _: i32) -> bool {
        true
    }
}

struct Only(i32);
impl Processes for Only {
    fn exists(&self, pid: i32) -> bool {
        pid == self.0
    }
}

/// The same record as a 64-bit machine writes it.
fn widened(narrow: &[u8]) -> Vec<u8> {
    let number = |at: usize| i64::from(i32::from_le_bytes(narrow[at..at + 4].try_into().unwrap()));
    let mut wide = narrow[..336].to_vec();
    for at in [336, 340, 344] {
        wide.extend(number(at).to_le_bytes());
    }
    wide.extend(&narrow[348..]);
    wide.resize(400, 0);
    wide
}

fn with_host(host: &[u8]) -> Vec<u8> {
    let mut record = LOGGED_IN[..384].to_vec();
    record[76..332].fill(0);
    record[76..76 + host.len()].copy_from_slice(host);
    record
}

fn only_session(bytes: &[u8]) -> Session {
    let parsed = sessions(bytes, &All);
    assert_eq!(parsed.sessions.len(), 1, "{parsed:?}");
    parsed.sessions.into_values().next().unwrap()
}

#[test]
fn logins_that_a_real_sshd_wrote_are_read_whole() {
    let parsed = sessions(LOGGED_IN, &All);
    assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [FIRST_KEY, SECOND_KEY]);
    assert_eq!(
        parsed.sessions[FIRST_KEY],
        Session {
            user: "root".to_owned(),
            tty: Some("pts/0".to_owned()),
            remote: Some("::1".to_owned()),
            since: UnixNanos(1_795_232_331_908_173_000),
            leader: Some(16550),
            service: None,
            kind: SessionKind::Interactive,
            sources: BTreeSet::from([SessionSource::Utmp]),
        }
    );
    assert_eq!(parsed.sessions[SECOND_KEY].remote.as_deref(), Some("127.0.0.1"));
    assert_eq!((parsed.stale, parsed.bad, parsed.partial), (0, 0, 0));
}

#[test]
fn a_recorded_logout_ends_the_session() {
    assert_eq!(sessions(LOGGED_OUT, &All), Parsed::default());
}

#[test]
fn an_entry_whose_process_is_gone_is_no_session() {
    let parsed = sessions(LOGGED_IN, &Only(16553));
    assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [SECOND_KEY]);
    assert_eq!(parsed.stale, 1);
}

#[test]
fn the_address_stands_in_for_an_empty_host() {
    let mut both = with_host(b"");
    assert_eq!(only_session(&both).remote.as_deref(), Some("::1"));
    both = LOGGED_IN[384..].to_vec();
    both[76..332].fill(0);
    assert_eq!(only_session(&both).remote.as_deref(), Some("127.0.0.1"));
    both[348..364].fill(0);
    assert_eq!(only_session(&both).remote, None);
}

#[test]
fn a_host_is_a_place_a_display_or_neither() {
    use SessionKind::{Graphical, Interactive};
    for (host, remote, kind) in [
        ("gate.example.org", Some("gate.example.org"), Interactive),
        (":0", None, Graphical),
        (":1.0", None, Graphical),
        ("localhost:10.0", Some("localhost:10.0"), Interactive),
        ("tmux(1234).%0", None, Interactive),
        ("192.0.2.1:S.0", Some("192.0.2.1"), Interactive),
        (":S.0", None, Interactive),
        (":0:S.0", None, Graphical),
        ("mosh [77]", None, Interactive),
        ("192.0.2.1 via mosh [77]", Some("192.0.2.1"), Interactive),
    ] {
        let session = only_session(&with_host(host.as_bytes()));
        assert_eq!((session.remote.as_deref(), session.kind), (remote, kind), "{host}");
    }
}

#[test]
fn a_line_that_is_a_display_or_nothing_is_no_terminal() {
    for (line, tty, kind) in [
        (&b":0"[..], None, SessionKind::Graphical),
        (b"", None, SessionKind::Background),
        (b"/dev/tty1", Some("tty1"), SessionKind::Interactive),
    ] {
        let mut record = with_host(b"");
        record[8..40].fill(0);
        record[8..8 + line.len()].copy_from_slice(line);
        let session = only_session(&record);
        assert_eq!((session.tty.as_deref(), session.kind), (tty, kind));
    }
}

#[test]
fn names_without_an_end_and_texts_that_are_not_utf8_hide_nobody() {
    let mut record = with_host(b"caf\xe9.example");
    record[44..76].fill(b'u');
    let session = only_session(&record);
    assert_eq!(session.user, "u".repeat(32));
    assert_eq!(session.remote.as_deref(), Some("caf?.example"));
}

#[test]
fn one_bad_record_does_not_cost_the_others() {
    let mut bytes = LOGGED_IN.to_vec();
    bytes[0] = 99;
    let parsed = sessions(&bytes, &All);
    assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [SECOND_KEY]);
    assert_eq!(parsed.bad, 1);
}

#[test]
fn a_half_written_record_waits() {
    let parsed = sessions(&LOGGED_IN[..384 + 100], &All);
    assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [FIRST_KEY]);
    assert_eq!(parsed.partial, 100);
    assert!(sessions(&LOGGED_IN[..200], &All).sessions.is_empty());
}

#[test]
#[cfg(target_endian = "little")]
fn both_layouts_are_recognised_also_where_their_lengths_agree() {
    let narrow = &LOGGED_IN[384..];
    let wide = widened(narrow);
    for count in [1, 2, 24] {
        let parsed = sessions(&wide.repeat(count), &All);
        assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [SECOND_KEY], "{count} wide");
        assert_eq!(parsed.sessions[SECOND_KEY], only_session(narrow));
    }
    let parsed = sessions(&narrow.repeat(25), &All);
    assert_eq!(parsed.sessions.keys().collect::<Vec<_>>(), [SECOND_KEY]);
    assert_eq!(parsed.partial, 0);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), kind in 0u8..10) {
        let mut bytes = bytes;
        for at in (0..bytes.len()).step_by(384) {
            bytes[at] = kind;
            if let Some(high) = bytes.get_mut(at + 1) {
                *high = 0;
            }
        }
        let parsed = sessions(&bytes, &All);
        prop_assert!(parsed.sessions.len() + parsed.stale + parsed.bad <= bytes.len() / 384);
    }
}
