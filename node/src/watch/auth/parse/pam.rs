//! What PAM modules say through any program: `MODULE(SERVICE:TYPE): TEXT`, Linux-PAM `pam_syslog(3)` and
//! `modules/pam_unix`; and the older `PROGRAM(pam_unix)[PID]: TEXT`.
//!
//! Only `pam_unix` makes events: every distribution has it in every stack, and a second module that
//! refuses the same password must not make a second event.

use secmon_protocol::auth::AuthAction;

use super::{
    frame::Body,
    shape::{Fields, Found, Shape, nothing, number, source},
};

/// What `pam_unix` says.
const SHAPES: &[Shape] = &[
    Shape {
        prefix: "session opened for user ",
        example: "session opened for user root(uid=0) by alice(uid=1001)",
        gives: Some(AuthAction::SessionOpened),
        rest: session_opened,
    },
    Shape {
        prefix: "session closed for user ",
        example: "session closed for user alice",
        gives: Some(AuthAction::SessionClosed),
        rest: |rest, _| Fields { target: Some(rest), ..Fields::new(AuthAction::SessionClosed) }.into(),
    },
    Shape {
        prefix: "authentication failure; ",
        example: "authentication failure; logname= uid=0 euid=0 tty=ftp ruser=bob rhost=192.0.2.7  user=bob",
        gives: Some(AuthAction::Failed),
        rest: authentication_failure,
    },
    Shape { prefix: "check pass; ", example: "check pass; user unknown", gives: None, rest: nothing },
    Shape {
        prefix: "auth could not identify password for ",
        example: "auth could not identify password for [bob]",
        gives: None,
        rest: nothing,
    },
    Shape { prefix: "conversation failed", example: "conversation failed", gives: None, rest: nothing },
    Shape {
        prefix: "",
        example: "2 more authentication failures; logname= uid=0 euid=0 tty=ftp ruser= rhost=192.0.2.7  user=bob",
        gives: Some(AuthAction::Failed),
        rest: more_failures,
    },
];

/// Reads a line that starts with the name of a module.
pub(super) fn read<'m>(program: &str, body: &Body<'m>) -> Option<Found<'m>> {
    let (module, rest) = body.text.split_once('(')?;
    let (service, text) = rest.split_once("): ")?;
    // pam_unix writes its type as well; what has no type is no line of pam_syslog(3).
    let (service, _) = service.split_once(':')?;
    if module.contains(' ') || service.contains(' ') {
        return None;
    }
    read_module(program, service, module, &Body { text, ..*body })
}

/// Reads what `module` said through `program` for `service`.
pub(super) fn read_module<'m>(
    program: &str,
    service: &'m str,
    module: &str,
    body: &Body<'m>,
) -> Option<Found<'m>> {
    let found = SHAPES.iter().find_map(|shape| shape.read(body))?;
    Some(match found {
        Found::Event(fields)
            if module == "pam_unix" && !(fields.action == AuthAction::Failed && has_own_carrier(program)) =>
        {
            Found::Event(Fields { service: Some(service), ..fields })
        }
        _ => Found::Nothing,
    })
}

/// Programs that report each refused password in a line of their own. sudo and su are none: what they write
/// is the end of it, a command or a change of user that was denied, and nothing where a later try was right.
fn has_own_carrier(program: &str) -> bool {
    matches!(program, "sshd" | "sshd-session" | "sshd-auth")
}

/// `T[(uid=n)] by [U](uid=n)`.
fn session_opened<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (target, user) = rest.rsplit_once(" by ")?;
    let user = without_uid(user)?;
    let target = without_uid(target).unwrap_or(target);
    Fields { user: Some(user), target: Some(target), ..Fields::new(AuthAction::SessionOpened) }.into()
}

/// `NAME(uid=n)` without its end.
fn without_uid(text: &str) -> Option<&str> {
    let (name, uid) = text.strip_suffix(')')?.rsplit_once("(uid=")?;
    number::<u64>(uid).map(|_| name)
}

fn more_failures<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (times, rest) = rest.split_once(" more authentication failure")?;
    let times = number(times)?;
    let rest = rest.strip_prefix("s; ").or(rest.strip_prefix("; "))?;
    match authentication_failure(rest, body)? {
        Found::Event(fields) => Fields { times: Some(times), ..fields }.into(),
        nothing @ Found::Nothing => Some(nothing),
    }
}

/// `logname=L uid=n euid=n tty=T ruser=R rhost=A [ user=U]`. R and U are both what the client typed, with
/// A between them: where ` rhost=` stands more than once, neither the address nor the user is believed.
fn authentication_failure<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let mut fields = Fields::new(AuthAction::Failed);
    let (before, after) = rest.split_once(" rhost=")?;
    if body.cut || after.contains(" rhost=") {
        return fields.into();
    }
    let (host, user) = after.split_once(' ').unwrap_or((after, ""));
    fields.source = source(host, None);
    fields.user = user.trim_start_matches(' ').strip_prefix("user=");
    fields.tty = before
        .split_once(" tty=")
        .and_then(|(_, tty)| tty.split_once(" ruser="))
        .map(|(tty, _)| tty)
        // Services without a terminal put their own name there.
        .filter(|tty| tty.starts_with("/dev/") || tty.starts_with("tty") || tty.starts_with("pts/"));
    fields.into()
}

#[cfg(test)]
mod tests {
    use secmon_protocol::auth::{AuthAction, AuthEvent};

    use super::super::{Parsed, parse_line, tests::context};
    use super::*;

    fn parsed(tag: &str, message: &str) -> Parsed {
        parse_line(format!("Nov 21 03:34:11 vm {tag}: {message}").as_bytes(), &context())
    }

    fn event(tag: &str, message: &str) -> AuthEvent {
        match parsed(tag, message) {
            Parsed::Event(event) => *event,
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn every_shape_reads_its_example() {
        for shape in SHAPES {
            let got = match parsed("vsftpd[1]", &format!("pam_unix(vsftpd:auth): {}", shape.example)) {
                Parsed::Event(event) => Some(event.action),
                Parsed::Known => None,
                Parsed::Unknown => panic!("no shape fits {}", shape.example),
            };
            assert_eq!(got, shape.gives, "{}", shape.example);
        }
    }

    #[test]
    fn sessions_name_both_users() {
        let opened =
            event("sudo", "pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1001)");
        assert_eq!(opened.action, AuthAction::SessionOpened);
        assert_eq!((opened.user.as_deref(), opened.target_user.as_deref()), (Some("alice"), Some("root")));
        assert_eq!(opened.service.as_deref(), Some("sudo"));
        let sshd =
            event("sshd[9]", "pam_unix(sshd:session): session opened for user alice(uid=1001) by (uid=0)");
        assert_eq!((sshd.user, sshd.target_user.as_deref()), (None, Some("alice")));
        let old = event("su(pam_unix)[9]", "session opened for user cyrus by (uid=0)");
        assert_eq!((old.program.as_str(), old.target_user.as_deref()), ("su", Some("cyrus")));
        let closed = event("su[119]", "pam_unix(su-l:session): session closed for user alice");
        assert_eq!((closed.target_user.as_deref(), closed.service.as_deref()), (Some("alice"), Some("su-l")));
    }

    #[test]
    fn a_refused_password_is_one_event_of_one_carrier() {
        let failure =
            "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=127.0.0.1  user=alice";
        for tag in ["sshd[1]", "sshd-session[1]"] {
            assert_eq!(parsed(tag, &format!("pam_unix(sshd:auth): {failure}")), Parsed::Known, "{tag}");
        }
        for tag in ["sudo", "su[2]"] {
            assert_eq!(event(tag, &format!("pam_unix({tag}:auth): {failure}")).action, AuthAction::Failed);
        }
        assert_eq!(parsed("vsftpd[1]", &format!("pam_sss(vsftpd:auth): {failure}")), Parsed::Known);
        let ftp = event("vsftpd[1]", &format!("pam_unix(vsftpd:auth): {failure}"));
        assert_eq!((ftp.action, ftp.user.as_deref()), (AuthAction::Failed, Some("alice")));
        let more = event(
            "vsftpd[1]",
            "pam_unix(vsftpd:auth): 2 more authentication failures; logname= uid=0 euid=0 tty=ftp ruser= rhost=192.0.2.7 ",
        );
        assert_eq!((more.count, more.user, more.source.is_some()), (2, None, true));
    }

    #[test]
    fn a_name_that_holds_an_address_makes_neither_believed() {
        for (ruser, user) in [("x rhost=10.0.0.1  user=root", ""), ("", "x rhost=10.0.0.1  user=root")] {
            let event = event(
                "vsftpd[1]",
                &format!(
                    "pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser={ruser} rhost=192.0.2.7  user={user}"
                ),
            );
            assert_eq!((event.source, event.user), (None, None));
        }
    }
}
