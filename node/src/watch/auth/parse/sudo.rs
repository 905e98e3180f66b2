//! What sudo says of its own, sudoers(5) "Event logging": `U : [REASON ; ]KEY=VALUE ; … ; COMMAND=C`.
//!
//! The working directory, the chroot and the environment are the caller's words and may hold ` ; `. So
//! may the command, which since 1.9.13 sudo quotes. Where a field may end in two places it is left out.

use std::borrow::Cow;

use secmon_protocol::auth::AuthAction::{Sudo, SudoDenied};

use super::{
    Role::{Carrier, Continuation},
    frame::Body,
    shape::{Fields, Found, Shape, shape},
};

/// sudo has one kind of line.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("", "   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id -u",
        Some((Sudo, Carrier)), &["home/alice"], ran),
    shape("", "   alice : (command continued) --verbose /srv",
        Some((Sudo, Continuation)), &["--verbose /srv"], continued),
    shape("", "     bob : user NOT in sudoers ; PWD=/tmp ; USER=root ; COMMAND=/usr/bin/ls",
        Some((SudoDenied, Carrier)), &["tmp"], denied),
];

/// The keys in sudo's order; the first that a line has ends the reason.
const FIRST_KEYS: [&str; 6] = ["HOST=", "TTY=", "CHROOT=", "PWD=", "USER=", "COMMAND="];

/// What sudo says when it refuses; in its words anywhere in the reason.
const REFUSALS: [&str; 15] = [
    "incorrect password attempt",
    "user NOT in sudoers",
    "user NOT authorized on host",
    "command not allowed",
    "is required",
    "not allowed to",
    "not permitted to",
    "no tty",
    "must have a tty",
    "account validation failure",
    "rejected in intercept mode",
    "command in current directory",
    "invalid shell for user",
    "unknown user ",
    "unknown group ",
];

fn ran<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.split_once(" : ")?;
    // sudo-rs leaves a space where it names no terminal.
    let rest = rest.trim_start_matches(' ');
    FIRST_KEYS.iter().any(|key| rest.starts_with(key)).then_some(())?;
    assignments(rest, Fields { user: Some(user), ..Fields::new(Sudo) }).into()
}

/// A line that is too long for syslog goes on in another one, `syslog_maxlen` of sudoers(5).
fn continued<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.split_once(" : ")?;
    let command = rest.strip_prefix("(command continued) ")?;
    (!user.contains(' ')).then_some(())?;
    Fields { user: Some(user), command: Some(command), ..Fields::of(Sudo, Continuation) }.into()
}

fn denied<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (user, rest) = rest.split_once(" : ")?;
    let (reason, rest) = rest.match_indices(" ; ").find_map(|(at, gap)| {
        let after = &rest[at + gap.len()..];
        FIRST_KEYS.iter().any(|key| after.starts_with(key)).then(|| (&rest[..at], after))
    })?;
    REFUSALS.iter().any(|words| reason.contains(words)).then_some(())?;
    let fields = Fields { user: Some(user), reason: Some(reason), ..Fields::new(SudoDenied) };
    // Of these reasons the end is the caller's word, and may look like what follows it.
    if ["unknown user ", "unknown group ", "not allowed to change "]
        .iter()
        .any(|words| reason.contains(words))
    {
        return fields.into();
    }
    assignments(rest, fields).into()
}

/// Reads `[HOST= ;] [TTY= ;] [CHROOT= ;] PWD= ; USER=T ; [GROUP= ;] [TSID= ;] [ENV= ;] COMMAND=C`.
fn assignments<'m>(text: &'m str, mut fields: Fields<'m>) -> Fields<'m> {
    let mut text = text;
    // Nobody but root chooses the first two.
    if let Some((_, after)) = text.strip_prefix("HOST=").and_then(|t| t.split_once(" ; ")) {
        text = after;
    }
    if let Some((tty, after)) = text.strip_prefix("TTY=").and_then(|t| t.split_once(" ; ")) {
        fields.tty = Some(tty);
        text = after;
    }
    let (head, command) = match text.strip_prefix("COMMAND=") {
        Some(command) => ("", command),
        None => text.split_once(" ; COMMAND=").unwrap_or((text, "")),
    };
    if unquoted(command).contains(" ; COMMAND=") || head.matches(" ; USER=").count() > 1 {
        return fields;
    }
    fields.command = Some(command);
    let (before, after) = match head.strip_prefix("USER=") {
        Some(after) => ("", after),
        None => head.split_once(" ; USER=").unwrap_or((head, "")),
    };
    fields.target = Some(after.split_once(" ; ").map_or(after, |(target, _)| target));
    fields.cwd = match before.strip_prefix("PWD=") {
        Some(cwd) => Some(cwd),
        // After a chroot, which is the caller's word as well.
        None => before.split_once(" ; PWD=").map(|(_, cwd)| cwd).filter(|cwd| !cwd.contains(" ; PWD=")),
    };
    fields
}

/// `command` without what it quotes; all of it where a quote has no end, for then it is no quote of sudo's.
fn unquoted(command: &str) -> Cow<'_, str> {
    if !command.contains('\'') {
        return Cow::Borrowed(command);
    }
    let mut bare = String::with_capacity(command.len());
    let mut quoted = false;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\'' => quoted = !quoted,
            other if !quoted => bare.push(other),
            _ => {}
        }
    }
    if quoted { Cow::Borrowed(command) } else { Cow::Owned(bare) }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::auth::{AuthAction, AuthEvent, Outcome};

    use super::super::{Parsed, parse_line, tests::context};

    fn parsed(message: &str) -> Parsed {
        parse_line(format!("Nov 21 03:38:16 vm sudo: {message}").as_bytes(), &context())
    }

    fn event(message: &str) -> AuthEvent {
        match parsed(message) {
            Parsed::Event(heard) => *heard.event,
            other => panic!("{message}: {other:?}"),
        }
    }

    #[test]
    fn a_command_is_the_rest_of_the_line() {
        let ran = event(
            "   alice : TTY=/dev/pts/0 ; PWD=/srv ; USER=root ; GROUP=adm ; COMMAND=/bin/true 'a ; USER=root ; COMMAND=/bin/x = y' 'sp ace'",
        );
        assert_eq!(ran.command.as_deref(), Some("/bin/true 'a ; USER=root ; COMMAND=/bin/x = y' 'sp ace'"));
        assert_eq!((ran.user.as_deref(), ran.target_user.as_deref()), (Some("alice"), Some("root")));
        assert_eq!((ran.tty.as_deref(), ran.cwd.as_deref()), (Some("pts/0"), Some("/srv")));
        let old = event("   alice : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh -c a ; B=c ; d = e");
        assert_eq!(old.command.as_deref(), Some("/bin/sh -c a ; B=c ; d = e"));
    }

    #[test]
    fn refusals_give_their_reason() {
        let bob = event("     bob : user NOT in sudoers ; PWD=/tmp ; USER=root ; COMMAND=/usr/bin/ls");
        assert_eq!((bob.action, bob.outcome), (AuthAction::SudoDenied, Outcome::Failure));
        assert_eq!(bob.reason.as_deref(), Some("user NOT in sudoers"));
        let tries =
            event("bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/ls");
        assert_eq!(tries.reason.as_deref(), Some("3 incorrect password attempts"));
        assert_eq!((tries.count, tries.tty.as_deref()), (1, Some("pts/1")));
        assert_eq!(parsed("bob : unable to resolve host vm ; TTY=pts/1 ; PWD=/"), Parsed::Unknown);
    }

    #[test]
    fn a_directory_cannot_forge_the_command_or_the_target() {
        for pwd in ["/tmp/a ; USER=nobody ; COMMAND=/bin/evil", "/a ; USER=x", "/a ; USER=x ; COMMAND=/b '"] {
            let real = "USER=root ; COMMAND=/bin/rm 'x y'";
            let event = event(&format!("   alice : PWD={pwd} ; {real}"));
            assert_eq!(event.user.as_deref(), Some("alice"));
            assert_eq!((event.target_user, event.command, event.cwd), (None, None, None), "{pwd}");
        }
    }
}
