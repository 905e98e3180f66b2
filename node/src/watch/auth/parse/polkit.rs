//! What polkit says: pkexec (`src/programs/pkexec.c`) of commands, polkitd
//! (`polkitbackendinteractiveauthority.c`) of who proved to be whom.

use secmon_protocol::auth::AuthAction::{Sudo, SudoDenied};

use super::{
    Role::Carrier,
    frame::Body,
    shape::{Fields, Found, Shape, nothing, shape},
};

/// pkexec has one kind of line.
#[rustfmt::skip]
pub(super) const PKEXEC: &[Shape] = &[
    shape("", "alice: Executing command [USER=root] [TTY=/dev/pts/0] [CWD=/home/alice] [COMMAND=/usr/bin/id]",
        Some((Sudo, Carrier)), &["/home/alice", "/usr/bin/id"], |rest, body| pkexec(true, rest, body)),
    shape("", "bob: Error executing command as another user: Not authorized [USER=root] [TTY=/dev/pts/0] [CWD=/home/bob] [COMMAND=/usr/bin/id]",
        Some((SudoDenied, Carrier)), &["/home/bob", "/usr/bin/id"], |rest, body| pkexec(false, rest, body)),
];

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const POLKITD: &[Shape] = &[
    shape("Operator of ",
        "Operator of unix-session:2 successfully authenticated as unix-user:root to gain ONE-SHOT authorization for action org.freedesktop.policykit.exec for unix-process:4711:20731 [pkexec id] (owned by unix-user:alice)",
        Some((Sudo, Carrier)), &["pkexec id"], |rest, body| operator(true, rest, body)),
    shape("Operator of ",
        "Operator of unix-session:2 FAILED to authenticate to gain authorization for action org.freedesktop.policykit.exec for unix-process:4711:20731 [pkexec id] (owned by unix-user:alice)",
        Some((SudoDenied, Carrier)), &["pkexec id"], |rest, body| operator(false, rest, body)),
    shape("Registered Authentication Agent for ",
        "Registered Authentication Agent for unix-session:2 (system bus name :1.23 [/usr/bin/gnome-shell], object path /org/freedesktop/PolicyKit1/AuthenticationAgent, locale C)",
        None, &[], nothing),
    shape("Unregistered Authentication Agent for ",
        "Unregistered Authentication Agent for unix-session:2 (system bus name :1.23, object path /org/freedesktop/PolicyKit1/AuthenticationAgent, locale C) (disconnected from bus)",
        None, &[], nothing),
    shape("Loading rules from directory ", "Loading rules from directory /etc/polkit-1/rules.d", None, &[], nothing),
    shape("Finished loading", "Finished loading, compiling and executing 2 rules", None, &[], nothing),
    shape("Acquired the name ", "Acquired the name org.freedesktop.PolicyKit1 on the system bus", None, &[], nothing),
    shape("Started polkitd", "Started polkitd version 126", None, &[], nothing),
];

/// `U: MESSAGE [USER=T] [TTY=] [CWD=] [COMMAND=]`. Directory and command are the caller's words, and neither
/// is quoted: where they can be parted in two ways, neither is believed.
fn pkexec<'m>(ran: bool, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.split_once(": ")?;
    let (message, rest) = rest.split_once(" [USER=")?;
    let (target, rest) = rest.split_once("] [TTY=")?;
    let (tty, rest) = rest.split_once("] [CWD=")?;
    let fields = match message {
        "Executing command" if ran => Fields::new(Sudo),
        "Executing command" => return None,
        _ if ran => return None,
        _ => {
            let message =
                message.strip_prefix("Error executing command as another user: ").unwrap_or(message);
            Fields { reason: Some(message), ..Fields::new(SudoDenied) }
        }
    };
    let fields = Fields { user: Some(user), target: Some(target), tty: Some(tty), ..fields };
    let mut ways = rest.match_indices("] [COMMAND=");
    let (Some((at, gap)), None) = (ways.next(), ways.next()) else { return fields.into() };
    if body.cut {
        return fields.into();
    }
    let command = rest[at + gap.len()..].strip_suffix(']')?;
    Fields { cwd: Some(&rest[..at]), command: Some(command), ..fields }.into()
}

/// `SCOPE successfully authenticated as T to gain KIND authorization for action ACTION for PROCESS [COMMAND]
/// (owned by U)` or `SCOPE FAILED to authenticate to gain …`. COMMAND is the asking process's own, and hostile:
/// U is read from the end.
fn operator<'m>(proved: bool, rest: &'m str, body: &Body<'m>) -> Option<Found<'m>> {
    let (start, after) = rest.split_once(" to gain ")?;
    let fields = if proved {
        let (_, target) = start.split_once(" successfully authenticated as ")?;
        Fields { target: Some(target.strip_prefix("unix-user:").unwrap_or(target)), ..Fields::new(Sudo) }
    } else {
        start.ends_with(" FAILED to authenticate").then(|| Fields::new(SudoDenied))?
    };
    let (_, after) = after.split_once("authorization for action ")?;
    let (action, after) = after.split_once(" for ")?;
    let fields = Fields { reason: Some(action), ..fields };
    if body.cut {
        return fields.into();
    }
    let user =
        after.strip_suffix(')').and_then(|a| a.rsplit_once(" (owned by unix-user:")).map(|(_, user)| user);
    Fields { user, ..fields }.into()
}
