//! What su and runuser say of their own: util-linux `login-utils/su-common.c`, shadow `src/su.c`, BusyBox
//! `loginutils/su.c`.

use secmon_protocol::auth::AuthAction::{self, Su, SuFailed};

use super::{
    Role::{self, Carrier, Part, StandIn},
    frame::Body,
    shape::{Fields, Found, Shape, nothing, shape},
};

/// BusyBox's and shadow's short form. Older versions of shadow write a sentence before it.
const SHORT: Role = StandIn(2);

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("(to ", "(to alice) root on pts/0", Some((Su, Carrier)), &["alice"],
        |rest, body| util_linux(Su, rest, body)),
    shape("FAILED SU (to ", "FAILED SU (to root) alice on none", Some((SuFailed, Carrier)), &["root"],
        |rest, body| util_linux(SuFailed, rest, body)),
    shape("FAILED RUNUSER (to ", "FAILED RUNUSER (to root) alice on none", Some((SuFailed, Carrier)), &["root"],
        |rest, body| util_linux(SuFailed, rest, body)),
    shape("Successful su for ", "Successful su for root by alice", Some((Su, Carrier)), &["root"],
        |rest, body| shadow(Su, rest, body)),
    shape("FAILED su for ", "FAILED su for root by alice", Some((SuFailed, Carrier)), &["root"],
        |rest, body| shadow(SuFailed, rest, body)),
    shape("+ ", "+ /dev/pts/0 alice:root", Some((Su, SHORT)), &["root"], |rest, _| short(Su, rest)),
    shape("- ", "- /dev/pts/0 alice:root", Some((SuFailed, SHORT)), &["root"], |rest, _| short(SuFailed, rest)),
    // Reasons of shadow's, before its `- TTY U:T`.
    shape("SU by ", "SU by alice to restricted account root", Some((SuFailed, Part)), &[], why),
    shape("DENIED su from ", "DENIED su from 'alice' to 'root' (/etc/suauth)", Some((SuFailed, Part)), &[], why),
    shape("Authentication failed for ", "Authentication failed for root", Some((SuFailed, Part)), &["root"], why),
    shape("No passwd entry for user ", "No passwd entry for user 'nosuch'", Some((SuFailed, Part)), &["nosuch"], why),
    shape("pam_authenticate: ", "pam_authenticate: Authentication failure", Some((SuFailed, Part)), &[], why),
    shape("pam_acct_mgmt: ", "pam_acct_mgmt: Permission denied", Some((SuFailed, Part)), &[], why),
    shape("Change user from ", "Change user from 'a' to 'b' as requested by PAM", None, &[], nothing),
];

/// `T) U on TTY`. T may be what the caller typed; U and TTY are not.
fn util_linux<'m>(action: AuthAction, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (rest, tty) = rest.rsplit_once(" on ")?;
    let (target, user) = rest.rsplit_once(") ")?;
    if body.cut {
        return None;
    }
    Fields { user: Some(user), target: Some(target), tty: Some(tty), ..Fields::new(action) }.into()
}

/// `T by U`. T may be what the caller typed; U is not.
fn shadow<'m>(action: AuthAction, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (target, user) = rest.rsplit_once(" by ")?;
    (!body.cut).then_some(())?;
    Fields { user: Some(user), target: Some(target), ..Fields::new(action) }.into()
}

/// `TTY U:T`. T may be what the caller typed; TTY and U are not, and hold neither space nor colon.
fn short(action: AuthAction, rest: &str) -> Option<Found<'_>> {
    let (tty, who) = rest.split_once(' ')?;
    let (user, target) = who.split_once(':')?;
    let known = |name: &&str| *name != "???";
    Fields {
        user: Some(user).filter(known),
        target: Some(target).filter(known),
        tty: Some(tty),
        ..Fields::of(action, SHORT)
    }
    .into()
}

/// The message is the reason.
fn why<'m>(_: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    Fields { reason: Some(body.text), ..Fields::of(SuFailed, Part) }.into()
}
