//! The fixtures are `/run/utmp` of a Debian 12 machine while two ssh clients were logged in (one over
//! IPv6), and after both had gone.

use proptest::prelude::*;

use super::*;

const LOGGED_IN: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-two-sshd-logins");
const LOGGED_OUT: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-after-logout");
const FIRST_KEY: &str = "pts/0:16550:1795232331908173";
const SECOND_KEY: &str = "pts/1:16553:1795232331915607";

fn all(bytes: &[u8]) -> Vec<Entry> {
    entries(bytes, Layout::of(bytes)).0.collect()
}

fn logins(bytes: &[u8]) -> Vec<Login> {
    let login = |entry| match entry {
        Entry::Login(login) => Some(login),
        _ => None,
    };
    all(bytes).into_iter().filter_map(login).collect()
}

fn keys(bytes: &[u8]) -> Vec<String> {
    logins(bytes).iter().map(Login::key).collect()
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

fn only_login(bytes: &[u8]) -> Login {
    let mut logins = logins(bytes);
    assert_eq!(logins.len(), 1, "{logins:?}");
    logins.remove(0)
}

#[test]
fn logins_that_a_real_sshd_wrote_are_read_whole() {
    assert_eq!(keys(LOGGED_IN), [FIRST_KEY, SECOND_KEY]);
    let [first, second] = logins(LOGGED_IN).try_into().unwrap();
    let expected = Session {
        user: "root".to_owned(),
        tty: Some("pts/0".to_owned()),
        remote: Some("::1".to_owned()),
        since: UnixNanos(1_795_232_331_908_173_000),
        leader: Some(16550),
        service: None,
        kind: SessionKind::Interactive,
        sources: [SessionSource::Utmp].into(),
    };
    assert_eq!(first.session(), expected);
    assert_eq!(second.remote.as_deref(), Some("127.0.0.1"));
}

#[test]
fn a_logout_is_known_by_its_line_for_it_may_have_no_name() {
    let mut lines = all(LOGGED_OUT).into_iter().filter_map(|entry| match entry {
        Entry::Logout { line, .. } => Some(line),
        _ => None,
    });
    assert_eq!(lines.next().as_deref(), Some("pts/0"));
    assert!(logins(LOGGED_OUT).is_empty());
    let mut old = LOGGED_IN[..384].to_vec();
    old[44..76].fill(0);
    assert!(matches!(&all(&old)[..], [Entry::Logout { line, .. }] if line == "pts/0"));
}

#[test]
fn the_address_stands_in_for_an_empty_host() {
    let mut both = with_host(b"");
    assert_eq!(only_login(&both).remote.as_deref(), Some("::1"));
    both = LOGGED_IN[384..].to_vec();
    both[76..332].fill(0);
    assert_eq!(only_login(&both).remote.as_deref(), Some("127.0.0.1"));
    both[348..364].fill(0);
    assert_eq!(only_login(&both).remote, None);
}

#[test]
fn a_host_is_a_place_a_display_or_neither_and_tells_a_window_from_a_login() {
    use SessionKind::{Graphical, Interactive};
    use Sort::{Login, Roaming, Window};
    for (host, remote, kind, sort) in [
        ("gate.example.org", Some("gate.example.org"), Interactive, Login),
        (":0", None, Graphical, Window),
        (":1.0", None, Graphical, Window),
        ("localhost:10.0", Some("localhost:10.0"), Interactive, Window),
        ("tmux(1234).%0", None, Interactive, Window),
        ("192.0.2.1:S.0", Some("192.0.2.1"), Interactive, Window),
        (":S.0", None, Interactive, Window),
        (":0:S.0", None, Graphical, Window),
        ("mosh [77]", None, Interactive, Roaming),
        ("192.0.2.1 via mosh [77]", Some("192.0.2.1"), Interactive, Roaming),
    ] {
        let login = only_login(&with_host(host.as_bytes()));
        assert_eq!((login.remote.as_deref(), login.kind, login.sort), (remote, kind, sort), "{host}");
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
        let login = only_login(&record);
        assert_eq!((login.tty(), login.kind, login.sort), (tty, kind, Sort::Login));
    }
}

#[test]
fn names_without_an_end_and_texts_that_are_not_utf8_hide_nobody() {
    let mut record = with_host(b"caf\xe9.example");
    record[44..76].fill(b'u');
    let login = only_login(&record);
    assert_eq!(login.user, "u".repeat(32));
    assert_eq!(login.remote.as_deref(), Some("caf?.example"));
}

#[test]
fn one_bad_record_does_not_cost_the_others() {
    let mut bytes = LOGGED_IN.to_vec();
    bytes[0] = 99;
    assert_eq!(keys(&bytes), [SECOND_KEY]);
    assert_eq!(all(&bytes)[0], Entry::Bad);
}

#[test]
fn a_half_written_record_waits() {
    assert_eq!(keys(&LOGGED_IN[..384 + 100]), [FIRST_KEY]);
    assert_eq!(entries(&LOGGED_IN[..384 + 100], Layout::Narrow).1, 100);
    assert!(logins(&LOGGED_IN[..200]).is_empty());
}

#[test]
#[cfg(target_endian = "little")]
fn both_layouts_are_recognised_also_where_their_lengths_agree() {
    let narrow = &LOGGED_IN[384..];
    let wide = widened(narrow);
    for count in [1, 2, 24] {
        let found = logins(&wide.repeat(count));
        assert_eq!(found.len(), count, "{count} wide");
        assert!(found.iter().all(|login| *login == only_login(narrow)), "{count} wide");
    }
    let found = logins(&narrow.repeat(25));
    assert!(found.len() == 25 && found.iter().all(|login| login.key() == SECOND_KEY));
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
        let layout = Layout::of(&bytes);
        prop_assert_eq!(all(&bytes).len(), bytes.len() / layout.size());
    }
}
