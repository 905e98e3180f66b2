//! What PAM modules say through any program: `MODULE(SERVICE:TYPE): TEXT`, Linux-PAM `pam_syslog(3)`,
//! `modules/pam_unix` and its neighbours; and the older `PROGRAM(pam_unix)[PID]: TEXT`.
//!
//! `pam_unix` carries, because every distribution has it in every stack. A second module that refuses the
//! same password makes no second event, and is the event where `pam_unix` was not asked (accounts of a
//! domain).

use secmon_protocol::auth::AuthAction::{self, AccountChanged, Failed, SessionClosed, SessionOpened};

use super::{
    Role::{self, Carrier, Part, StandIn},
    frame::Body,
    shape::{Fields, Found, Shape, first, nothing, number, shape, source},
};

/// The rank of another module than pam_unix.
const OTHER_MODULE: Role = StandIn(1);

/// What `pam_unix` says, and what other modules say in the same words.
#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    shape("session opened for user ", "session opened for user root(uid=0) by alice(uid=1001)",
        Some((SessionOpened, Carrier)), &[], session_opened),
    shape("session closed for user ", "session closed for user alice",
        Some((SessionClosed, Carrier)), &[],
        |rest, _| Fields { target: Some(rest), ..Fields::new(SessionClosed) }.into()),
    shape("authentication failure; ",
        "authentication failure; logname= uid=0 euid=0 tty=ftp ruser=bob rhost=192.0.2.7  user=alice",
        Some((Failed, Carrier)), &["bob", "alice"], authentication_failure),
    shape("check pass; user", "check pass; user unknown", Some((Failed, Part)), &[],
        |_, _| Fields { reason: Some("user unknown"), ..Fields::of(Failed, Part) }.into()),
    shape("auth could not identify password for ", "auth could not identify password for [bob]",
        Some((Failed, Part)), &["bob"], |rest, _| Fields {
            user: rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')),
            reason: Some("could not identify password"),
            ..Fields::of(Failed, Part)
        }.into()),
    shape("conversation failed", "conversation failed", Some((Failed, Part)), &[],
        |_, _| Fields { reason: Some("conversation failed"), ..Fields::of(Failed, Part) }.into()),
    shape("password changed for ", "password changed for alice", Some((AccountChanged, Carrier)), &[],
        |rest, _| Fields { target: Some(rest), reason: Some("password changed"), ..Fields::new(AccountChanged) }.into()),
    shape("account ", "account bob has expired (account expired)", Some((Failed, Part)), &[], refused),
    shape("expired password for user ", "expired password for user bob (password aged)", None, &[], nothing),
    shape("password for user ", "password for user bob will expire in 3 days", None, &[], nothing),
    shape("could not identify user ", "could not identify user (from getpwnam(bob))", Some((Failed, Part)), &["bob"], refused),
    shape("bad username [", "bad username [-x]", Some((Failed, Part)), &["-x"], refused),
    shape("", "2 more authentication failures; logname= uid=0 euid=0 tty=ftp ruser=bob rhost=192.0.2.7  user=alice",
        Some((Failed, Carrier)), &["bob", "alice"], more_failures),
];

/// What other modules say of why they refuse somebody.
#[rustfmt::skip]
const REFUSALS: &[(&str, Shape)] = &[
    ("pam_faillock", shape("Consecutive login failures for user ",
        "Consecutive login failures for user bob account temporarily locked", Some((Failed, Part)), &[], locked)),
    ("pam_faillock", shape("", "3 failures for user bob account temporarily locked", Some((Failed, Part)), &[],
        |rest, body| locked(rest.split_once("failures for user ")?.1, body))),
    ("pam_tally", shape("user ", "user root (0) tally 5, deny 3", Some((Failed, Part)), &[], refused)),
    ("pam_tally2", shape("user ", "user root (0) tally 5, deny 3", Some((Failed, Part)), &[], refused)),
    ("pam_access", shape("access denied for user ", "access denied for user `bob' from `192.0.2.7'",
        Some((Failed, Part)), &["bob"], refused)),
    ("pam_succeed_if", shape("requirement ", "requirement \"uid >= 1000\" not met by user \"bob\"",
        Some((Failed, Part)), &["bob"], refused)),
    ("pam_listfile", shape("Refused user ", "Refused user bob for service vsftpd", Some((Failed, Part)), &["bob"], refused)),
    ("pam_wheel", shape("Access denied ", "Access denied to 'root' for 'alice'", Some((Failed, Part)), &[], refused)),
    ("pam_limits", shape("Too many logins ", "Too many logins (max 1) for bob", Some((Failed, Part)), &[], refused)),
    ("pam_nologin", shape("", "Refused user bob", Some((Failed, Part)), &[], refused)),
    ("pam_time", shape("", "bob may not log in now", Some((Failed, Part)), &[], refused)),
    ("pam_sss", shape("received for user ", "received for user bob: 7 (Authentication failure)", Some((Failed, Part)), &["bob"], refused)),
];

/// What unix_chkpwd says, which pam_unix starts where the asking program may not read the passwords itself.
/// That program's own line is the carrier.
#[rustfmt::skip]
pub(super) const CHKPWD: &[Shape] = &[
    shape("password check failed for user ", "password check failed for user (bob)", Some((Failed, Part)), &[],
        |rest, _| Fields {
            user: rest.strip_prefix('(').and_then(|r| r.strip_suffix(')')),
            reason: Some("password check failed"),
            ..Fields::of(Failed, Part)
        }.into()),
    shape("could not obtain user info ", "could not obtain user info (bob)", Some((Failed, Part)), &["bob"], refused),
    shape("check pass; user", "check pass; user unknown", Some((Failed, Part)), &[], refused),
    shape("account ", "account bob has expired (account expired)", Some((Failed, Part)), &[], refused),
];

/// All shapes, each with a module that says so.
pub(super) fn every_shape() -> impl Iterator<Item = (&'static str, &'static Shape)> {
    SHAPES
        .iter()
        .map(|shape| ("pam_unix", shape))
        .chain(REFUSALS.iter().map(|(module, shape)| (*module, shape)))
}

/// A whole message of each shape.
pub(super) fn examples() -> impl Iterator<Item = String> {
    every_shape().map(|(module, shape)| format!("{module}(vsftpd:auth): {}", shape.example))
}

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
    let of_module = || {
        let mut shapes = REFUSALS.iter().filter(|(name, _)| *name == module);
        shapes.find_map(|(_, shape)| shape.read(body))
    };
    let found = match module {
        "pam_unix" => first(SHAPES, body),
        _ => of_module().or_else(|| first(SHAPES, body)),
    };
    let Found::Event(mut fields) = found? else { return Some(Found::Nothing) };
    fields.service = Some(service);
    if fields.role == Carrier {
        fields.role = match (fields.action, module) {
            (Failed, _) if has_own_carrier(program) => Part,
            (_, "pam_unix") => Carrier,
            (Failed, _) => OTHER_MODULE,
            // pam_systemd's or pam_sss's session is pam_unix's.
            _ => return Some(Found::Nothing),
        };
    }
    fields.into()
}

/// Programs that report each refused password in a line of their own. sudo and su are none: what they write
/// is the end of it, a command or a change of user that was denied, and nothing where a later try was right.
fn has_own_carrier(program: &str) -> bool {
    matches!(program, "sshd" | "sshd-session" | "sshd-auth" | "dropbear")
}

/// The message is the reason.
fn refused<'m>(_: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    Fields { reason: Some(body.text), ..Fields::of(Failed, Part) }.into()
}

/// `U account temporarily locked`.
fn locked<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let user = rest.strip_suffix(" account temporarily locked").unwrap_or(rest);
    Fields { user: Some(user), reason: Some(body.text), ..Fields::of(Failed, Part) }.into()
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

/// `N more authentication failure[s]; …`.
pub(super) fn more_failures<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
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

    use super::super::{Parsed, Role, parse_line, tests::context};

    fn parsed(tag: &str, message: &str) -> Parsed {
        parse_line(format!("Nov 21 03:34:11 vm {tag}: {message}").as_bytes(), &context())
    }

    fn event(tag: &str, message: &str) -> AuthEvent {
        match parsed(tag, message) {
            Parsed::Event(heard) => *heard.event,
            other => panic!("{message}: {other:?}"),
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
        let role = |tag: &str, message: &str| match parsed(tag, message) {
            Parsed::Event(heard) => (heard.event.action, heard.role),
            other => panic!("{message}: {other:?}"),
        };
        for tag in ["sshd[1]", "sshd-session[1]", "dropbear[1]"] {
            let own = role(tag, &format!("pam_unix(sshd:auth): {failure}"));
            assert_eq!(own, (AuthAction::Failed, Role::Part), "{tag}");
        }
        for tag in ["sudo", "su[2]", "vsftpd[1]"] {
            let own = role(tag, &format!("pam_unix({tag}:auth): {failure}"));
            assert_eq!(own, (AuthAction::Failed, Role::Carrier), "{tag}");
            let other = role(tag, &format!("pam_sss({tag}:auth): {failure}"));
            assert_eq!(other, (AuthAction::Failed, Role::StandIn(1)), "{tag}");
        }
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
