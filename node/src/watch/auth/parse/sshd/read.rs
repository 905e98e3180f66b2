//! How sshd's messages are read. Whoever connects chooses user names, reasons and versions; the shapes are
//! in the table above, and the rule for every one of them: what sshd wrote last stands last.

use memchr::memmem;
use secmon_protocol::auth::{AuthAction, Source};

use crate::watch::auth::parse::{
    Role,
    frame::Body,
    pam,
    shape::{Fields, Found, address_at_end, number, source},
};

/// `M for [invalid user ]U from A port P ssh2[: DETAIL]`.
pub(super) fn attempt<'m>(action: AuthAction, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
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
pub(super) fn invalid_user<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
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
pub(super) fn connection_ended<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
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
pub(super) fn disconnecting<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
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

/// `A port P:CODE: MESSAGE`, which `Disconnected from` follows; or, before OpenSSH 7.2, `A: CODE: MESSAGE`,
/// which stands alone. The message is the client's.
pub(super) fn received_disconnect<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (host, after) = rest.split_once(' ')?;
    if let Some(host) = host.strip_suffix(':') {
        let (_, reason) = after.split_once(": ")?;
        return Fields {
            source: source(host, None),
            reason: Some(reason),
            ..Fields::new(AuthAction::Disconnected)
        }
        .into();
    }
    let (port, after) = after.strip_prefix("port ")?.split_once(':')?;
    let (_, reason) = after.split_once(": ").unwrap_or(("", after));
    Fields {
        source: source(host, Some(number(port)?)),
        reason: Some(reason),
        ..Fields::of(AuthAction::Disconnected, Role::Part)
    }
    .into()
}

/// `REASON for [illegal user ]U from A[ via H]`: what keyboard-interactive came to. sshd's own `Failed` follows
/// for a user that does not exist, or is one failure too many; for others it does not at the usual log level.
pub(super) fn pam_reason<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (reason, rest) = rest.split_once(" for ")?;
    let (rest, host) = rest.rsplit_once(" from ")?;
    // `A via H`: H is this host's own name for itself.
    let (rest, host) = match host.split_once(" via ") {
        Some((host, _)) => (rest, host),
        None => (rest, host),
    };
    if body.cut || host.contains(' ') {
        return None;
    }
    let known = rest.strip_prefix("illegal user ").or(rest.strip_prefix("invalid user "));
    Fields {
        user: Some(known.unwrap_or(rest)),
        source: source(host, None),
        method: Some("keyboard-interactive/pam"),
        reason: Some(reason),
        ..Fields::of(AuthAction::Failed, if known.is_some() { Role::Part } else { Role::Herald })
    }
    .into()
}

/// `N more authentication failures; …`, as sshd itself wrote it for PAM.
pub(super) fn pam_more<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if rest.starts_with("service(") {
        // `PAM service(sshd) ignoring max retries; 6 > 3`
        return Some(Found::Nothing);
    }
    match pam::more_failures(rest, body)? {
        Found::Event(fields) => Fields { role: Role::Part, ..fields }.into(),
        nothing @ Found::Nothing => Some(nothing),
    }
}

/// `[invalid user ]U from A port P ssh2`.
pub(super) fn max_attempts<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (user, source) = match address_at_end(rest.strip_suffix(" ssh2")?) {
        Some((before, source)) if !body.cut => (before.strip_suffix(" from ")?, source),
        _ => return None,
    };
    Fields {
        user: Some(user.strip_prefix("invalid user ").unwrap_or(user)),
        source,
        reason: Some("maximum authentication attempts exceeded"),
        ..Fields::of(AuthAction::Failed, Role::Part)
    }
    .into()
}

/// The whole rest is a reason, and may end with the user's name; before OpenSSH 7.2.
pub(super) fn old_too_many<'m>(_: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let reason = body.text.strip_prefix("Disconnecting: ").unwrap_or(body.text);
    let user = reason.strip_prefix("Too many authentication failures for ");
    Fields { user, reason: Some(reason), ..Fields::new(AuthAction::Disconnected) }.into()
}

/// `U [from A ]not allowed because REASON`. U is an account of the host.
pub(super) fn not_allowed<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (who, reason) = rest.split_once(" not allowed because ")?;
    let (user, source) = match who.rsplit_once(" from ") {
        Some((user, host)) => (user, source(host, None)),
        None => (who, None),
    };
    Fields { user: Some(user), source, reason: Some(reason), ..Fields::new(AuthAction::InvalidUser) }.into()
}

/// `A[ port P]`.
pub(super) fn root_refused<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let source = bare_address(rest)?;
    Fields {
        user: Some("root"),
        source,
        reason: Some("root login refused"),
        ..Fields::new(AuthAction::InvalidUser)
    }
    .into()
}

/// An address that is all of `text`, with or without its port.
fn bare_address(text: &str) -> Option<Option<Source>> {
    match address_at_end(text) {
        Some(("", source)) => Some(source),
        _ if text.is_empty() || text.contains(' ') => None,
        _ => Some(source(text, None)),
    }
}

/// `H (A)`, by libwrap. H is what the address calls itself.
pub(super) fn refused_connect<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (host, address) = match rest.strip_suffix(')').and_then(|r| r.rsplit_once(" (")) {
        Some(found) => found,
        None => (rest, rest),
    };
    if body.cut || address.contains(' ') || (host.is_empty() && address.is_empty()) {
        return None;
    }
    Fields {
        source: source(address, None),
        reason: Some("refused connect"),
        ..Fields::new(AuthAction::Probe)
    }
    .into()
}

/// `#N from [A]:P on [B]:Q REASON`.
pub(super) fn drop_connection<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (_, rest) = rest.strip_prefix('#')?.split_once(" from [")?;
    let (host, rest) = rest.split_once("]:")?;
    let (port, rest) = rest.split_once(" on [")?;
    let (_, rest) = rest.split_once("]:")?;
    let reason = rest.split_once(' ').map(|(_, reason)| reason);
    Fields { source: source(host, number(port)), reason, ..Fields::new(AuthAction::Probe) }.into()
}

/// `A[ port P]`, or `X' from A[ port P]`, where X is the client's.
pub(super) fn no_identification<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if body.cut {
        return None;
    }
    let address = if body.text.starts_with("Bad ") { rest.rsplit_once("' from ")?.1 } else { rest };
    let words = if body.text.starts_with("Bad ") {
        "bad protocol version identification"
    } else {
        "no identification string"
    };
    Fields { source: bare_address(address)?, reason: Some(words), ..Fields::new(AuthAction::Probe) }.into()
}

/// The message is the reason.
pub(super) fn probe_words<'m>(_: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    Fields { reason: Some(body.text), ..Fields::of(AuthAction::Probe, Role::Herald) }.into()
}

/// `[invalid user U |authenticating user U ]A port P: REASON`, where the address is the first thing that can
/// be one only if no user stands before it; see [`disconnecting`].
pub(super) fn address_and_more<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    match disconnecting(rest, body)? {
        Found::Event(fields) => Fields { action: AuthAction::Probe, ..fields }.into(),
        nothing @ Found::Nothing => Some(nothing),
    }
}

/// `A port P`, or `connection from A to B, pid = N`.
pub(super) fn timeout<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let fields = Fields { reason: Some("timeout before authentication"), ..Fields::new(AuthAction::Probe) };
    if let Some(rest) = rest.strip_prefix("connection from ") {
        let (host, _) = rest.split_once(" to ").or_else(|| rest.split_once(", "))?;
        return Fields { source: source(host, None), ..fields }.into();
    }
    let (before, source) = match address_at_end(rest) {
        Some(found) if !body.cut => found,
        _ => ("", bare_address(rest)?),
    };
    Fields { user: user_before(before)?, source, ..fields }.into()
}

/// What a name server says of the address is that of whoever owns the address. Shown, and no more: the address
/// stands in every other line of the connection, and many honest ones have no name.
pub(super) fn mapping<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (address, reason) = match body.text.as_bytes().first() {
        // `A maps to H, but this does not map back to the address.`
        Some(b'A') => (rest.split_once(" maps to ")?.0, "its name does not map back to the address"),
        // `H [A] failed.`
        Some(b'r') => {
            (rest.rsplit_once(" [")?.1.split_once(']')?.0, "its name does not map back to the address")
        }
        // `"H" is set up for A, ignoring`
        _ => (rest.rsplit_once(" is set up for ")?.1.split_once(',')?.0, "its name is an address"),
    };
    if body.cut || address.contains(' ') {
        return None;
    }
    Fields {
        source: source(address, None),
        reason: Some(reason),
        ..Fields::of(AuthAction::Probe, Role::Aside)
    }
    .into()
}

/// `A port P on B port Q[ rdomain "R"]`, which says that somebody connects; `[user U ]A port P timed out`, which
/// says that somebody has gone; `A port P with IP opts: …`, which says that he is turned away.
pub(super) fn connection_from<'m>(rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    if let Some(rest) = rest.strip_suffix(" timed out") {
        return match connection_ended(rest, body)? {
            Found::Event(fields) => Fields { reason: Some("timed out"), ..fields }.into(),
            nothing @ Found::Nothing => Some(nothing),
        };
    }
    if let Some((address, _)) = rest.split_once(" with IP opts: ") {
        return Fields {
            source: bare_address(address)?,
            reason: Some("IP options"),
            ..Fields::new(AuthAction::Probe)
        }
        .into();
    }
    if rest.contains(" on ") {
        return Some(Found::Nothing);
    }
    address_and_more(rest, body)
}

/// `[TYPE] FP signature for [invalid user ]U from A port P rejected: REASON`.
pub(super) fn signature_rejected<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (before, reason) = rest.rsplit_once(" rejected: ")?;
    let (before, source) = address_at_end(before)?;
    let (_, user) = before.strip_suffix(" from ")?.split_once(" signature for ")?;
    let reason = Some(reason.trim_end_matches(' '));
    Fields { user: Some(user), source, reason, ..Fields::of(AuthAction::Failed, Role::Part) }.into()
}
