//! What sshd says of its own: OpenSSH `auth.c`, `packet.c`, `monitor.c`. `sshd-session` and `sshd-auth`
//! of OpenSSH 9.8 and later say the same.

use memchr::memmem;
use secmon_protocol::auth::{AuthAction, Source};

use super::{
    frame::Body,
    shape::{Fields, Found, Shape, address_at_end, nothing, source},
};

/// In the order in which they are tried.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        prefix: "Failed ",
        example: "Failed password for invalid user x from 10.0.0.1 port 22 ssh2 from 127.0.0.1 port 37302 ssh2",
        gives: Some(AuthAction::Failed),
        rest: |rest, body| attempt(AuthAction::Failed, rest, body),
    },
    Shape {
        prefix: "Accepted ",
        example: "Accepted publickey for alice from 127.0.0.1 port 35126 ssh2: ED25519 SHA256:uwQvh4dOXpllpL2HAEZoJpy0KfKiAZqyuawdkTka3hY",
        gives: Some(AuthAction::Accepted),
        rest: |rest, body| attempt(AuthAction::Accepted, rest, body),
    },
    Shape {
        prefix: "Invalid user ",
        example: "Invalid user nosuch from 127.0.0.1 port 35140",
        gives: Some(AuthAction::InvalidUser),
        rest: invalid_user,
    },
    Shape {
        prefix: "Illegal user ",
        example: "Illegal user test from 192.0.2.7",
        gives: Some(AuthAction::InvalidUser),
        rest: invalid_user,
    },
    Shape {
        prefix: "Connection closed by ",
        example: "Connection closed by authenticating user root 127.0.0.1 port 37314 [preauth]",
        gives: Some(AuthAction::Disconnected),
        rest: connection_ended,
    },
    Shape {
        prefix: "Connection reset by ",
        example: "Connection reset by 192.0.2.7 port 4022 [preauth]",
        gives: Some(AuthAction::Disconnected),
        rest: connection_ended,
    },
    Shape {
        prefix: "Disconnected from ",
        example: "Disconnected from user alice 127.0.0.1 port 35126",
        gives: Some(AuthAction::Disconnected),
        rest: connection_ended,
    },
    Shape {
        prefix: "Disconnecting: ",
        example: "Disconnecting: Too many authentication failures for root [preauth]",
        gives: Some(AuthAction::Disconnected),
        rest: |rest, _| Fields { reason: Some(rest), ..Fields::new(AuthAction::Disconnected) }.into(),
    },
    Shape {
        prefix: "Disconnecting ",
        example: "Disconnecting authenticating user root 192.0.2.7 port 4022: Too many authentication failures [preauth]",
        gives: Some(AuthAction::Disconnected),
        rest: disconnecting,
    },
    Shape {
        prefix: "Received disconnect from ",
        example: "Received disconnect from 127.0.0.1 port 35126:11: disconnected by user",
        gives: None,
        rest: received_disconnect,
    },
    Shape {
        prefix: "Postponed ",
        example: "Postponed keyboard-interactive for root from 192.0.2.7 port 4022 ssh2 [preauth]",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "Partial ",
        example: "Partial publickey for root from 192.0.2.7 port 4022 ssh2: ED25519 SHA256:uwQvh4dOXpll",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "maximum authentication attempts exceeded for ",
        example: "error: maximum authentication attempts exceeded for root from 192.0.2.7 port 4022 ssh2 [preauth]",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "PAM: ",
        example: "error: PAM: Authentication failure for root from 192.0.2.7",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "PAM ",
        example: "PAM 1 more authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=alice",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "Connection from ",
        example: "Connection from 192.0.2.7 port 4022 on 192.0.2.1 port 22 rdomain \"\"",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "Starting session: ",
        example: "Starting session: shell on pts/0 for alice from 192.0.2.7 port 4022 id 0",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "Close session: ",
        example: "Close session: user alice from 192.0.2.7 port 4022 id 0",
        gives: None,
        rest: nothing,
    },
    Shape {
        prefix: "Server listening on ",
        example: "Server listening on 127.0.0.1 port 2222.",
        gives: None,
        rest: nothing,
    },
];

/// `M for [invalid user ]U from A port P ssh2[: DETAIL]`.
fn attempt<'m>(action: AuthAction, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (method, rest) = rest.split_once(" for ")?;
    if body.cut || method.contains(' ') {
        return None;
    }
    let mut fields = Fields { method: Some(method), ..Fields::new(action) };
    match split_attempt(action, rest) {
        Split::None => return None,
        Split::Doubtful => {}
        Split::At { user, source, detail } => {
            let user =
                user.strip_prefix("invalid user ").or(user.strip_prefix("illegal user ")).unwrap_or(user);
            fields.user = Some(user);
            fields.source = source;
            fields.fingerprint = detail.and_then(fingerprint);
        }
    }
    fields.into()
}

enum Split<'m> {
    None,
    /// It can be read in two ways.
    Doubtful,
    At {
        user: &'m str,
        source: Option<Source>,
        detail: Option<&'m str>,
    },
}

/// Finds the ` from A port P ssh2` that sshd wrote. A user name may hold another one before it, and the
/// id of a certificate one after it.
///
/// Where nothing, or only a key's type and fingerprint, follows the last one, it is sshd's: a certificate
/// id never stands last. Otherwise, of an accepted user the first is sshd's, for no account has such a name;
/// of a refused one it must be the only one, and where there are two, neither is believed.
fn split_attempt(action: AuthAction, rest: &str) -> Split<'_> {
    const MARK: &str = " ssh2";
    let (mut first, mut last) = (Split::None, Split::None);
    let mut count = 0;
    for at in memmem::find_iter(rest.as_bytes(), MARK) {
        let (head, tail) = (&rest[..at], &rest[at + MARK.len()..]);
        let detail = match tail.strip_prefix(": ") {
            None if !tail.is_empty() => continue,
            detail => detail,
        };
        // An absent user leaves `from` at the very start.
        let Some((before, source)) = address_at_end(head) else { continue };
        let Some(user) = before.strip_suffix(" from ") else { continue };
        count += 1;
        if count == 1 {
            first = Split::At { user, source, detail };
        } else {
            last = Split::At { user, source, detail };
        }
    }
    match &last {
        Split::None => first,
        Split::At { detail: Some(detail), .. } if !is_plain(detail) => match action {
            AuthAction::Accepted => first,
            _ => Split::Doubtful,
        },
        _ => last,
    }
}

/// Whether `detail` is `TYPE FINGERPRINT`, or a single word, and nothing else.
fn is_plain(detail: &str) -> bool {
    let mut words = detail.split(' ');
    words.next();
    words.next();
    words.next().is_none() && !detail.contains('"')
}

/// `TYPE FINGERPRINT` at the start of `detail`; of a certificate that is its own key, not the CA's.
fn fingerprint(detail: &str) -> Option<&str> {
    let kind = detail.find(' ')?;
    let print = &detail[kind + 1..];
    let length = print.find([' ', ',']).unwrap_or(print.len());
    print[..length].contains(':').then(|| &detail[..kind + 1 + length])
}

/// `U from A[ port P]`; U may be empty.
fn invalid_user<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if body.cut {
        return None;
    }
    let (before, source) = match address_at_end(rest) {
        Some(found) => found,
        None => {
            let (before, host) = rest.split_at(rest.rfind(' ')? + 1);
            (before, source(host, None))
        }
    };
    let user = before.strip_suffix("from ")?.trim_end_matches(' ');
    Fields { user: Some(user), source, ..Fields::new(AuthAction::InvalidUser) }.into()
}

/// `[invalid user U |authenticating user U |user U ]A[ port P]`; sshd that names a user names the port.
fn connection_ended<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if body.cut {
        return None;
    }
    let fields = match address_at_end(rest) {
        Some((before, source)) => {
            Fields { user: user_before(before)?, source, ..Fields::new(AuthAction::Disconnected) }
        }
        None if rest.contains(' ') || rest.is_empty() => return None,
        None => Fields { source: source(rest, None), ..Fields::new(AuthAction::Disconnected) },
    };
    fields.into()
}

/// The user in what stands before the address; the inner none is for "no user is named".
fn user_before(before: &str) -> Option<Option<&str>> {
    if before.is_empty() {
        return Some(None);
    }
    ["invalid user ", "authenticating user ", "user "]
        .iter()
        .find_map(|word| before.strip_prefix(word))
        .map(|user| Some(user.strip_suffix(' ').unwrap_or(user)))
}

/// `[invalid user U |authenticating user U ]A port P: REASON`. Both U and REASON may be the client's
/// words: where there is more than one way to part them, neither the user nor the address is believed.
fn disconnecting<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let mut ways = memmem::find_iter(rest.as_bytes(), ": ").filter_map(|at| {
        let (before, source) = address_at_end(&rest[..at])?;
        Some((user_before(before)?, source, &rest[at + 2..]))
    });
    let (user, source, reason) = ways.next()?;
    if body.cut || ways.next().is_some() {
        return Fields::new(AuthAction::Disconnected).into();
    }
    Fields { user, source, reason: Some(reason), ..Fields::new(AuthAction::Disconnected) }.into()
}

/// `A port P:CODE: MESSAGE`, which `Disconnected from` follows; or, before OpenSSH 7.2, `A: CODE: MESSAGE`.
fn received_disconnect<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (host, after) = rest.split_once(' ')?;
    let Some(host) = host.strip_suffix(':') else {
        return after.starts_with("port ").then_some(Found::Nothing);
    };
    let (_, reason) = after.split_once(": ")?;
    Fields { source: source(host, None), reason: Some(reason), ..Fields::new(AuthAction::Disconnected) }
        .into()
}

#[cfg(test)]
mod tests {
    use secmon_protocol::auth::AuthEvent;

    use super::super::{Parsed, parse_line, tests::context};

    fn event(message: &str) -> AuthEvent {
        let line = format!("2026-11-21T03:37:59.761322+00:00 vm sshd[84]: {message}");
        match parse_line(line.as_bytes(), &context()) {
            Parsed::Event(event) => *event,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn source(event: &AuthEvent) -> String {
        event.source.as_ref().map(|s| format!("{:?}", (&s.host, s.port))).unwrap_or_default()
    }

    const REAL: &str = "(Ip(127.0.0.1), Some(59792))";

    #[test]
    fn a_user_name_cannot_forge_the_address() {
        let failed = event(
            "Failed password for invalid user x from 10.0.0.1 port 22 ssh2 from 127.0.0.1 port 59792 ssh2",
        );
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
        let forged = event(&format!(
            "Accepted publickey for alice from 127.0.0.1 port 59792 ssh2: {cert} {evil} {ca}"
        ));
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
        assert_eq!(
            (source(&old).as_str(), old.reason.as_deref()),
            ("(Ip(192.0.2.7), None)", Some("Bye Bye"))
        );
        assert_eq!(
            event("message repeated 3 times: [ Failed password for root from ::1 port 1 ssh2]").count,
            3
        );
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
}
