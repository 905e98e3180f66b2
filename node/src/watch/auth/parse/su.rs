//! What su and runuser say of their own: util-linux `login-utils/su-common.c` and shadow `src/su.c`.

use secmon_protocol::auth::AuthAction;

use super::{
    frame::Body,
    shape::{Fields, Found, Shape},
};

/// In the order in which they are tried.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        prefix: "(to ",
        example: "(to alice) root on pts/0",
        gives: Some(AuthAction::Su),
        rest: |rest, body| util_linux(AuthAction::Su, rest, body),
    },
    Shape {
        prefix: "FAILED SU (to ",
        example: "FAILED SU (to root) alice on none",
        gives: Some(AuthAction::SuFailed),
        rest: |rest, body| util_linux(AuthAction::SuFailed, rest, body),
    },
    Shape {
        prefix: "Successful su for ",
        example: "Successful su for root by alice",
        gives: Some(AuthAction::Su),
        rest: |rest, body| shadow(AuthAction::Su, rest, body),
    },
    Shape {
        prefix: "FAILED su for ",
        example: "FAILED su for root by alice",
        gives: Some(AuthAction::SuFailed),
        rest: |rest, body| shadow(AuthAction::SuFailed, rest, body),
    },
    // shadow says the same again in the older form; the sentence above is the carrier.
    Shape { prefix: "+ ", example: "+ /dev/pts/0 alice:root", gives: None, rest: older },
    Shape { prefix: "- ", example: "- /dev/pts/0 alice:root", gives: None, rest: older },
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

fn older<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    rest.contains(':').then_some(Found::Nothing)
}
