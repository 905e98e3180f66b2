//! What real and crafted lines of sshd make.

use secmon_protocol::auth::AuthEvent;

use crate::watch::auth::parse::{Parsed, parse_line, tests::context};

fn event(message: &str) -> AuthEvent {
    let line = format!("2026-11-21T03:37:59.761322+00:00 vm sshd[84]: {message}");
    match parse_line(line.as_bytes(), &context()) {
        Parsed::Event(heard) => *heard.event,
        other => panic!("{line}: {other:?}"),
    }
}

fn source(event: &AuthEvent) -> String {
    event.source.as_ref().map(|s| format!("{:?}", (&s.host, s.port))).unwrap_or_default()
}

const REAL: &str = "(Ip(127.0.0.1), Some(59792))";

#[test]
fn a_user_name_cannot_forge_the_address() {
    let failed =
        event("Failed password for invalid user x from 10.0.0.1 port 22 ssh2 from 127.0.0.1 port 59792 ssh2");
    assert_eq!(failed.user.as_deref(), Some("x from 10.0.0.1 port 22 ssh2"));
    assert_eq!((source(&failed).as_str(), failed.method.as_deref()), (REAL, Some("password")));
    let invalid = event("Invalid user x from 10.0.0.1 port 22 ssh2 from 127.0.0.1 port 59792");
    assert_eq!(invalid.user.as_deref(), Some("x from 10.0.0.1 port 22 ssh2"));
    assert_eq!(source(&invalid), REAL);
    let closed = event(
        "Connection closed by invalid user x from 10.0.0.1 port 22 ssh2 127.0.0.1 port 59792 [preauth]",
    );
    assert_eq!(closed.user.as_deref(), Some("x from 10.0.0.1 port 22 ssh2"));
    assert_eq!((source(&closed).as_str(), closed.preauth), (REAL, true));
}

#[test]
fn a_certificate_id_cannot_forge_the_address() {
    let cert = "ED25519-CERT SHA256:93unMSAXvLhGDmle1s+A8DB7ytqrd0uRjGUxlu3tcNo ID";
    let ca = "(serial 0) CA ED25519 SHA256:m21pKuHMbVzCTwhEU3pKZ04S0VuM6wrElkRm+YMI9mo";
    let plain =
        event(&format!("Accepted publickey for alice from 127.0.0.1 port 59792 ssh2: {cert} alice {ca}"));
    assert_eq!((plain.user.as_deref(), source(&plain).as_str()), (Some("alice"), REAL));
    assert_eq!(plain.fingerprint.as_deref(), cert.strip_suffix(" ID"));
    let evil = "evil from 10.0.0.1 port 22 ssh2: ED25519 SHA256:abc";
    let forged =
        event(&format!("Accepted publickey for alice from 127.0.0.1 port 59792 ssh2: {cert} {evil} {ca}"));
    assert_eq!((forged.user.as_deref(), source(&forged).as_str()), (Some("alice"), REAL));
    assert_eq!(forged.fingerprint.as_deref(), cert.strip_suffix(" ID"));
    let refused = event(&format!(
        "Failed publickey for invalid user alice from 127.0.0.1 port 59792 ssh2: {cert} {evil} {ca}"
    ));
    assert_eq!((refused.user, refused.source, refused.fingerprint), (None, None, None));
}

#[test]
fn an_empty_user_is_absent() {
    let invalid = event("Invalid user  from 127.0.0.1 port 59792");
    assert_eq!((invalid.user.as_deref(), source(&invalid).as_str()), (None, REAL));
    let failed = event("Failed none for invalid user  from 127.0.0.1 port 59792 ssh2");
    assert_eq!((failed.user.as_deref(), source(&failed).as_str()), (None, REAL));
    assert_eq!(event("Illegal user a from b from 192.0.2.7").user.as_deref(), Some("a from b"));
}

#[test]
fn older_and_stranger_addresses_are_read() {
    assert_eq!(
        source(&event("Failed password for root from ::ffff:192.0.2.7 port 5 ssh2")),
        "(Ip(192.0.2.7), Some(5))"
    );
    assert_eq!(source(&event("Connection closed by fe80::1%eth0")), "(Name(\"fe80::1%eth0\"), None)");
    assert_eq!(event("Failed password for root from UNKNOWN port 65535 ssh2").source, None);
    let old = event("Received disconnect from 192.0.2.7: 11: Bye Bye [preauth]");
    assert_eq!((source(&old).as_str(), old.reason.as_deref()), ("(Ip(192.0.2.7), None)", Some("Bye Bye")));
    assert_eq!(event("message repeated 3 times: [ Failed password for root from ::1 port 1 ssh2]").count, 3);
}

#[test]
fn a_reason_in_the_clients_words_cannot_forge_the_address() {
    let plain =
        event("Disconnecting invalid user bob 127.0.0.1 port 59792: Too many authentication failures");
    assert_eq!((plain.user.as_deref(), source(&plain).as_str()), (Some("bob"), REAL));
    assert_eq!(plain.reason.as_deref(), Some("Too many authentication failures"));
    let doubtful = event(
        "Disconnecting invalid user bob 127.0.0.1 port 59792: Change of username or service not allowed: (bob,x) -> (user a 10.0.0.1 port 1: x,y)",
    );
    assert_eq!((doubtful.user, doubtful.source), (None, None));
}
