//! What login says of its own: util-linux `login-utils/login.c`, shadow `src/login.c`, BusyBox
//! `loginutils/login.c`. Names are what somebody typed at a terminal; a host is what the program that
//! started login (telnetd, rlogind) passed on.

use secmon_protocol::auth::AuthAction::{self, Accepted, Failed};

use super::{
    Role::{self, Carrier, StandIn},
    frame::Body,
    shape::{Fields, Found, Shape, nothing, number, quoted, shape, source},
};

/// PAM's line is the carrier where there is PAM.
const OWN: Role = StandIn(2);

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("FAILED LOGIN ", "FAILED LOGIN (1) on '/dev/tty1' from 'host.example.net' FOR 'nosuch', Authentication failure",
        Some((Failed, OWN)), &["nosuch"], failed),
    shape("TOO MANY LOGIN TRIES ", "TOO MANY LOGIN TRIES (5) FROM tty1 FOR nosuch, Have exhausted maximum number of retries for service",
        Some((Failed, OWN)), &["nosuch"], failed),
    shape("invalid password for ", "invalid password for 'bob' on 'tty1' from '192.0.2.7'",
        Some((Failed, OWN)), &["bob"], |rest, body| of_user(Failed, "invalid password", rest, body)),
    shape("exceeded failure limit for ", "exceeded failure limit for 'bob'  on 'tty1'",
        Some((Failed, OWN)), &["bob"], |rest, body| of_user(Failed, "exceeded failure limit", rest, body)),
    shape("invalid login time for ", "invalid login time for 'bob' on 'tty1'",
        Some((Failed, OWN)), &["bob"], |rest, body| of_user(Failed, "invalid login time", rest, body)),
    shape("LOGIN '", "LOGIN 'bob' REFUSED  on 'tty1'", Some((Failed, OWN)), &["bob"], |rest, body| {
        let (user, rest) = rest.rsplit_once("' REFUSED ")?;
        let fields = Fields { user: Some(user), reason: Some("login refused"), ..Fields::of(Failed, OWN) };
        place(rest, fields, body).into()
    }),
    shape("ILLEGAL ROOT LOGIN ", "ILLEGAL ROOT LOGIN  on 'tty1'", Some((Failed, OWN)), &[], |rest, body| {
        let fields = Fields { user: Some("root"), reason: Some("illegal root login"), ..Fields::of(Failed, OWN) };
        place(rest, fields, body).into()
    }),
    shape("REPEATED login failures", "REPEATED login failures on 'tty1'", None, &[], nothing),
    shape("ROOT LOGIN ", "ROOT LOGIN ON tty1", Some((Accepted, Carrier)), &[], root),
    shape("root login ", "root login on 'tty1' from '192.0.2.7'", Some((Accepted, Carrier)), &[], root),
    shape("LOGIN ON ", "LOGIN ON pts/3 BY alice FROM 192.0.2.7", Some((Accepted, Carrier)), &[], |rest, _| {
        let (tty, rest) = rest.split_once(" BY ")?;
        let (user, host) = rest.split_once(" FROM ").unwrap_or((rest, ""));
        Fields { user: Some(user), tty: Some(tty), source: source(host, None), ..Fields::new(Accepted) }.into()
    }),
    // `LOGIN ON` says the same again.
    shape("DIALUP AT ", "DIALUP AT ttyS0 BY alice", None, &[], nothing),
    shape("'", "'alice' logged in  on 'tty1'", Some((Accepted, Carrier)), &[], |rest, body| {
        let (user, rest) = rest.split_once("' logged in")?;
        place(rest, Fields { user: Some(user), ..Fields::new(Accepted) }, body).into()
    }),
];

/// `N FROM A FOR U, REASON` and `SESSION FROM A FOR U, REASON` of util-linux, where A is a terminal where there
/// is no host; `(N)[ on 'TTY'[ from 'A']] FOR 'U'[, REASON]` of shadow.
fn failed<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if body.cut {
        return None;
    }
    let fields = Fields::of(Failed, OWN);
    let (count, rest) = rest.split_once(' ')?;
    let inner = count.strip_prefix('(').and_then(|c| c.strip_suffix(')'));
    if !(count == "SESSION" || number::<u32>(inner.unwrap_or(count)).is_some()) {
        return None;
    }
    // util-linux writes its number in brackets as well where it gives up.
    if let Some(rest) = rest.strip_prefix("FROM ") {
        let (from, rest) = rest.split_once(" FOR ")?;
        let (user, reason) = rest.rsplit_once(", ")?;
        let fields =
            Fields { user: Some(user).filter(|u| *u != "(unknown)"), reason: Some(reason), ..fields };
        return match is_terminal(from) {
            true => Fields { tty: Some(from), ..fields },
            false => Fields { source: source(from, None), ..fields },
        }
        .into();
    }
    let (at, rest) = match rest.strip_prefix("FOR '") {
        Some(rest) => ("", rest),
        None => rest.split_once(" FOR '")?,
    };
    let (user, reason) = match rest.rsplit_once("', ") {
        Some((user, reason)) => (user, Some(reason)),
        None => (rest.strip_suffix('\'')?, None),
    };
    // shadow's word for a name that may be a password typed in its place.
    let fields = Fields { user: Some(user).filter(|u| *u != "UNKNOWN"), reason, ..fields };
    place(at, fields, body).into()
}

/// `'U' on 'TTY'[ from 'A']`. U is what somebody typed.
fn of_user<'m>(action: AuthAction, reason: &'m str, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.strip_prefix('\'')?.rsplit_once(" on '")?;
    let user = user.trim_end_matches(' ').strip_suffix('\'')?;
    if body.cut {
        return None;
    }
    let fields = Fields { user: Some(user), reason: Some(reason), ..Fields::of(action, OWN) };
    let (tty, rest) = rest.split_once('\'')?;
    let host = rest.strip_prefix(" from ").and_then(quoted).map(|(host, _)| host);
    Fields { tty: Some(tty), source: host.and_then(|h| source(h, None)), ..fields }.into()
}

/// `ON TTY[ FROM A]` or `[ ]on 'TTY'[ from 'A']`.
fn root<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let fields = Fields { user: Some("root"), ..Fields::new(Accepted) };
    if let Some(rest) = rest.strip_prefix("ON ") {
        let (tty, host) = rest.split_once(" FROM ").unwrap_or((rest, ""));
        return Fields { tty: Some(tty), source: source(host, None), ..fields }.into();
    }
    place(rest, fields, body).into()
}

/// `[ ]on 'TTY'[ from 'A']`, which no typed name stands before.
fn place<'m>(text: &'m str, fields: Fields<'m>, _: &Body<'m>) -> Fields<'m> {
    let Some((tty, rest)) = text.trim_start_matches(' ').strip_prefix("on ").and_then(quoted) else {
        return fields;
    };
    let host = rest.strip_prefix(" from ").and_then(quoted).map(|(host, _)| host);
    Fields { tty: Some(tty), source: host.and_then(|h| source(h, None)), ..fields }
}

/// Whether what stands in the place of a host is the name of a terminal.
fn is_terminal(name: &str) -> bool {
    ["/dev/", "tty", "pts/", "hvc", "console", "xvc", "sclp"].iter().any(|start| name.starts_with(start))
}
