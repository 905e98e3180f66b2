//! What doas says of its own: opendoas `doas.c`, `pam.c`, `shadow.c`, and OpenBSD's `doas.c`.

use secmon_protocol::auth::AuthAction::{Su, SuFailed};

use super::{
    Role::Carrier,
    frame::Body,
    shape::{Fields, Found, Shape, shape},
};

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("command not permitted for ", "command not permitted for bob: cat /etc/shadow",
        Some((SuFailed, Carrier)), &["cat /etc/shadow"], |rest, _| {
            let (user, command) = rest.split_once(": ")?;
            Fields {
                user: Some(user),
                command: Some(command),
                reason: Some("command not permitted"),
                ..Fields::new(SuFailed)
            }.into()
        }),
    shape("failed auth for ", "failed auth for bob", Some((SuFailed, Carrier)), &[],
        |rest, _| Fields { user: Some(rest), reason: Some("failed auth"), ..Fields::new(SuFailed) }.into()),
    shape("tty required for ", "tty required for bob", Some((SuFailed, Carrier)), &[],
        |rest, _| Fields { user: Some(rest), reason: Some("tty required"), ..Fields::new(SuFailed) }.into()),
    shape("", "alice ran command id -u as root from /home/alice", Some((Su, Carrier)),
        &["id -u", "/home/alice"], ran),
];

/// `U ran command C as T from D`. U is an account; C and D are the caller's words, with T between them: where
/// they can be parted in two ways, none of the three is believed. OpenBSD writes no D before 6.7.
fn ran<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.split_once(" ran command ")?;
    if user.contains(' ') {
        return None;
    }
    let fields = Fields { user: Some(user), ..Fields::new(Su) };
    let mut ways = rest.match_indices(" as ");
    let (Some((at, gap)), None) = (ways.next(), ways.next()) else { return fields.into() };
    let (command, rest) = (&rest[..at], &rest[at + gap.len()..]);
    let (target, cwd) = match rest.split_once(" from ") {
        Some((target, cwd)) => (target, Some(cwd)),
        None => (rest, None),
    };
    if body.cut {
        return fields.into();
    }
    Fields { target: Some(target), command: Some(command), cwd, ..fields }.into()
}
