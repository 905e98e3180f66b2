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

#[test]
fn sshd_is_understood() {
    crate::watch::auth::parse::cases::check(
        "sshd-session[9]",
        &[
            (
                "Accepted publickey for alice from ::ffff:192.0.2.7 port 4022 ssh2: RSA SHA256:abc",
                "accepted by=alice from=192.0.2.7:4022 method=publickey key=RSA SHA256:abc",
            ),
            (
                "Accepted publickey for alice from 2001:db8::7 port 4022 ssh2: ED25519-CERT SHA256:abc ID alice@ca (serial 7) CA ED25519 SHA256:def",
                "accepted by=alice from=2001:db8::7:4022 method=publickey key=ED25519-CERT SHA256:abc",
            ),
            (
                "Accepted password for alice from fe80::1%eth0 port 4022 ssh2",
                "accepted by=alice from=name:fe80::1%eth0:4022 method=password",
            ),
            ("Accepted password for alice from UNKNOWN port 65535 ssh2", "accepted by=alice method=password"),
            (
                "Accepted gssapi-with-mic for alice from host.example.net port 4022 ssh2: alice@EXAMPLE.NET",
                "accepted by=alice from=name:host.example.net:4022 method=gssapi-with-mic",
            ),
            (
                "Accepted keyboard-interactive/pam for alice from 192.0.2.7 port 4022 ssh2",
                "accepted by=alice from=192.0.2.7:4022 method=keyboard-interactive/pam",
            ),
            (
                "Failed none for invalid user admin from 192.0.2.7 port 4022 ssh2",
                "failed by=admin from=192.0.2.7:4022 method=none",
            ),
            (
                "Failed publickey for root from 192.0.2.7 port 4022 ssh2: RSA SHA256:abc",
                "failed by=root from=192.0.2.7:4022 method=publickey key=RSA SHA256:abc",
            ),
            (
                "message repeated 2 times: [ Failed password for root from 192.0.2.7 port 4022 ssh2]",
                "failed by=root from=192.0.2.7:4022 method=password x2",
            ),
            (
                "[ID 800047 auth.info] Failed password for root from 192.0.2.7 port 4022 ssh2",
                "failed by=root from=192.0.2.7:4022 method=password",
            ),
            ("Postponed publickey for alice from 192.0.2.7 port 4022 ssh2 [preauth]", "known"),
            ("Partial publickey for alice from 192.0.2.7 port 4022 ssh2: RSA SHA256:abc", "known"),
            ("Invalid user  from 192.0.2.7 port 4022", "invalid_user from=192.0.2.7:4022"),
            ("Illegal user admin from 192.0.2.7", "invalid_user by=admin from=192.0.2.7"),
            (
                "error: PAM: Authentication failure for illegal user admin from host.example.net",
                "failed Part by=admin from=name:host.example.net method=keyboard-interactive/pam why=Authentication failure",
            ),
            (
                "error: PAM: User not known to the underlying authentication module for root from 192.0.2.7 via 192.0.2.1",
                "failed Herald by=root from=192.0.2.7 method=keyboard-interactive/pam why=User not known to the underlying authentication module",
            ),
            (
                "error: maximum authentication attempts exceeded for root from 192.0.2.7 port 4022 ssh2 [preauth]",
                "failed Part by=root from=192.0.2.7:4022 why=maximum authentication attempts exceeded",
            ),
            (
                "Disconnecting: Too many authentication failures for root [preauth]",
                "disconnected by=root why=Too many authentication failures for root",
            ),
            (
                "Disconnecting: Too many authentication failures [preauth]",
                "disconnected why=Too many authentication failures",
            ),
            (
                "Disconnecting invalid user admin 192.0.2.7 port 4022: Too many authentication failures [preauth]",
                "disconnected by=admin from=192.0.2.7:4022 why=Too many authentication failures",
            ),
            (
                "Too many authentication failures for root [preauth]",
                "disconnected by=root why=Too many authentication failures for root",
            ),
            ("Connection closed by 192.0.2.7", "disconnected from=192.0.2.7"),
            (
                "Connection reset by authenticating user root 192.0.2.7 port 4022 [preauth]",
                "disconnected by=root from=192.0.2.7:4022",
            ),
            (
                "Connection from user alice 192.0.2.7 port 4022 timed out",
                "disconnected by=alice from=192.0.2.7:4022 why=timed out",
            ),
            (
                "Received disconnect from 192.0.2.7 port 4022:11: Bye Bye [preauth]",
                "disconnected Part from=192.0.2.7:4022 why=Bye Bye",
            ),
            (
                "Received disconnect from 192.0.2.7: 11: Bye Bye [preauth]",
                "disconnected from=192.0.2.7 why=Bye Bye",
            ),
            ("User bob not allowed because account is locked", "invalid_user by=bob why=account is locked"),
            (
                "User bob from host.example.net not allowed because none of user's groups are listed in AllowGroups",
                "invalid_user by=bob from=name:host.example.net why=none of user's groups are listed in AllowGroups",
            ),
            ("User child is on pid 4711", "known"),
            (
                "ROOT LOGIN REFUSED FROM 192.0.2.7",
                "invalid_user by=root from=192.0.2.7 why=root login refused",
            ),
            ("refused connect from 192.0.2.7 (192.0.2.7)", "probe from=192.0.2.7 why=refused connect"),
            (
                "refused connect from ::ffff:192.0.2.7 (::ffff:192.0.2.7)",
                "probe from=192.0.2.7 why=refused connect",
            ),
            (
                "drop connection #10 from [2001:db8::7]:4022 on [2001:db8::1]:22 penalty: failed authentication",
                "probe from=2001:db8::7:4022 why=penalty: failed authentication",
            ),
            (
                "Did not receive identification string from UNKNOWN port 65535",
                "probe why=no identification string",
            ),
            (
                "Bad protocol version identification '\\026\\003\\001' from 192.0.2.7",
                "probe from=192.0.2.7 why=bad protocol version identification",
            ),
            (
                "error: kex_exchange_identification: banner line contains invalid characters",
                "probe Herald why=kex_exchange_identification: banner line contains invalid characters",
            ),
            (
                "banner exchange: Connection from 192.0.2.7 port 4022: could not read protocol version",
                "probe from=192.0.2.7:4022 why=could not read protocol version",
            ),
            (
                "ssh_dispatch_run_fatal: Connection from invalid user admin 192.0.2.7 port 4022: incomplete message [preauth]",
                "probe by=admin from=192.0.2.7:4022 why=incomplete message",
            ),
            (
                "Unable to negotiate with 192.0.2.7 port 4022: no matching key exchange method found. Their offer: diffie-hellman-group1-sha1 [preauth]",
                "probe from=192.0.2.7:4022 why=no matching key exchange method found. Their offer: diffie-hellman-group1-sha1",
            ),
            (
                "fatal: Timeout before authentication for 192.0.2.7",
                "probe from=192.0.2.7 why=timeout before authentication",
            ),
            (
                "Timeout before authentication for connection from 192.0.2.7 to 192.0.2.1, pid = 4711",
                "probe from=192.0.2.7 why=timeout before authentication",
            ),
            (
                "Address 192.0.2.7 maps to host.example.net, but this does not map back to the address - POSSIBLE BREAK-IN ATTEMPT!",
                "probe Aside from=192.0.2.7 why=its name does not map back to the address",
            ),
            (
                "reverse mapping checking getaddrinfo for host.example.net [192.0.2.7] failed - POSSIBLE BREAK-IN ATTEMPT!",
                "probe Aside from=192.0.2.7 why=its name does not map back to the address",
            ),
            ("Connection from 192.0.2.7 port 4022 on 192.0.2.1 port 22", "known"),
            ("Starting session: command for alice from 192.0.2.7 port 4022 id 0", "known"),
        ],
    );
}
