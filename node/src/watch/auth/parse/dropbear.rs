//! What dropbear says of its own: dropbear `src/svr-auth*.c`, `src/svr-session.c`, `src/svr-main.c`. It
//! puts `?` in the place of control characters before it quotes a name, but leaves quotes as they are.

use secmon_protocol::auth::AuthAction::{self, Accepted, Disconnected, Failed, InvalidUser};

use super::{
    Role::{Carrier, Part},
    frame::Body,
    shape::{Fields, Found, Shape, colon_source, nothing, number, quoted, shape},
};

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("Bad password attempt for '", "Bad password attempt for 'root' from 192.0.2.7:4022",
        Some((Failed, Carrier)), &["root"], |rest, body| attempt(Failed, "password", rest, body)),
    shape("Bad PAM password attempt for '", "Bad PAM password attempt for 'root' from 192.0.2.7:4022",
        Some((Failed, Carrier)), &["root"], |rest, body| attempt(Failed, "password", rest, body)),
    shape("Too-long password attempt for '", "Too-long password attempt for 'root' from 192.0.2.7:4022",
        Some((Failed, Carrier)), &["root"], |rest, body| attempt(Failed, "password", rest, body)),
    shape("Pubkey auth bad signature for '", "Pubkey auth bad signature for 'root' with key SHA256:uwQvh4dOXpll from 192.0.2.7:4022",
        Some((Failed, Carrier)), &[], |rest, body| attempt(Failed, "publickey", rest, body)),
    shape("Password auth succeeded for '", "Password auth succeeded for 'alice' from 192.0.2.7:4022",
        Some((Accepted, Carrier)), &[], |rest, body| attempt(Accepted, "password", rest, body)),
    shape("PAM password auth succeeded for '", "PAM password auth succeeded for 'alice' from 192.0.2.7:4022",
        Some((Accepted, Carrier)), &[], |rest, body| attempt(Accepted, "password", rest, body)),
    shape("Pubkey auth succeeded for '", "Pubkey auth succeeded for 'alice' with ssh-ed25519 key SHA256:uwQvh4dOXpll from 192.0.2.7:4022",
        Some((Accepted, Carrier)), &[], |rest, body| attempt(Accepted, "publickey", rest, body)),
    shape("Auth succeeded with blank password for '", "Auth succeeded with blank password for 'alice' from 192.0.2.7:4022",
        Some((Accepted, Carrier)), &[], |rest, body| attempt(Accepted, "none", rest, body)),
    shape("Login attempt for nonexistent user ", "Login attempt for nonexistent user from 192.0.2.7:4022",
        Some((InvalidUser, Carrier)), &[], nonexistent),
    shape("Login attempt with wrong user ", "Login attempt with wrong user nosuch from 192.0.2.7:4022",
        Some((InvalidUser, Carrier)), &["nosuch"], nonexistent),
    shape("User account '", "User account 'bob' is locked", Some((InvalidUser, Carrier)), &[],
        |rest, _| refused(rest.strip_suffix("' is locked")?, "account is locked")),
    shape("User '", "User 'bob' has invalid shell, rejected", Some((InvalidUser, Carrier)), &[], |rest, _| {
        let (user, reason) = rest.rsplit_once("' has ")?;
        refused(user, reason.strip_suffix(", rejected").unwrap_or(reason))
    }),
    shape("User ", "User alice executing login shell", None, &[], nothing),
    shape("root login rejected", "root login rejected", Some((InvalidUser, Carrier)), &[],
        |_, _| refused("root", "root login rejected")),
    shape("Logins are restricted to the group ", "Logins are restricted to the group ssh but user 'bob' is not a member",
        Some((InvalidUser, Carrier)), &[], |rest, _| {
            let (_, user) = rest.split_once(" but user '")?;
            refused(user.strip_suffix("' is not a member")?, "not a member of the group that may log in")
        }),
    shape("pam_authenticate() failed, ", "pam_authenticate() failed, rc=7, Authentication failure",
        Some((Failed, Part)), &[], pam),
    shape("pam_acct_mgmt() failed, ", "pam_acct_mgmt() failed, rc=13, User account has expired",
        Some((Failed, Part)), &[], pam),
    shape("Exit before auth", "Exit before auth from <192.0.2.7:4022>: (user 'root', 3 fails): Max auth tries reached - user 'root'",
        Some((Disconnected, Carrier)), &["user 'root'"], before_auth),
    shape("Exit (", "Exit (alice) from <192.0.2.7:4022>: Disconnect received", Some((Disconnected, Carrier)),
        &[], |rest, _| {
            let (user, rest) = rest.split_once(')')?;
            let (source, reason) = from_brackets(rest)?;
            Fields { user: Some(user), source, reason: Some(reason), ..Fields::new(Disconnected) }.into()
        }),
    shape("Early exit", "Early exit from <192.0.2.7:4022>: Bad argc", Some((Disconnected, Carrier)), &[], before_auth),
    shape("Child connection from ", "Child connection from 192.0.2.7:4022", None, &[], nothing),
    shape("Running in background", "Running in background", None, &[], nothing),
    shape("Not backgrounding", "Not backgrounding", None, &[], nothing),
];

/// `U'[ with [TYPE ]key FINGERPRINT] from A:P[, extra auth required]`.
fn attempt<'m>(action: AuthAction, method: &'m str, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if body.cut {
        return None;
    }
    if rest.ends_with(", extra auth required") {
        return Some(Found::Nothing);
    }
    let (before, host) = rest.rsplit_once(" from ")?;
    let fields = Fields { source: colon_source(host), method: Some(method), ..Fields::new(action) };
    if method != "publickey" {
        return Fields { user: Some(before.strip_suffix('\'')?), ..fields }.into();
    }
    let (user, key) = before.rsplit_once("' with ")?;
    Fields { user: Some(user), fingerprint: Some(key.strip_prefix("key ").unwrap_or(key)), ..fields }.into()
}

/// `[U ]from A:P`.
fn nonexistent<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (user, host) = rest.rsplit_once("from ").filter(|_| !body.cut)?;
    let user = user.strip_suffix(' ').unwrap_or(user);
    Fields { user: Some(user), source: colon_source(host), ..Fields::new(InvalidUser) }.into()
}

fn refused<'m>(user: &'m str, reason: &'m str) -> Option<Found<'m>> {
    Fields { user: Some(user), reason: Some(reason), ..Fields::new(InvalidUser) }.into()
}

/// `rc=N, REASON`.
fn pam<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (_, reason) = rest.split_once(", ")?;
    Fields { reason: Some(reason), ..Fields::of(Failed, Part) }.into()
}

/// `[ from <A:P>][:][ (user 'U', N fails)]: REASON`. U is an account, REASON may hold the client's words.
fn before_auth<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (source, rest) = match rest.strip_prefix(" (user ") {
        // Before 2018 the user stood in the place of the address.
        Some(_) => (None, rest.strip_prefix(' ')?),
        None => from_brackets(rest)?,
    };
    let (user, reason) = rest
        .strip_prefix("(user ")
        .and_then(quoted)
        .and_then(|(user, rest)| {
            let (fails, reason) = rest.strip_prefix(", ")?.split_once(" fails): ")?;
            number::<u32>(fails).map(|_| (Some(user), reason))
        })
        .unwrap_or((None, rest));
    Fields { user, source, reason: Some(reason), ..Fields::new(Disconnected) }.into()
}

/// `[ from <A:P>]: REST`.
fn from_brackets(text: &str) -> Option<(Option<secmon_protocol::auth::Source>, &str)> {
    match text.strip_prefix(" from <") {
        Some(text) => {
            let (address, rest) = text.split_once(">: ")?;
            Some((colon_source(address), rest))
        }
        None => text.strip_prefix(": ").map(|rest| (None, rest)),
    }
}
