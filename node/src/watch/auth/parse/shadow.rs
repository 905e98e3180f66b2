//! What the programs that change accounts say: shadow `src/*.c` (and `libmisc`), adduser and chpasswd of
//! BusyBox. Only root, and gpasswd's administrators, make them write; but names may be odd.

use secmon_protocol::auth::AuthAction::AccountChanged;

use super::{
    Role::{self, Carrier, Part, StandIn},
    frame::Body,
    shape::{Fields, Found, Reader, Shape, nothing, shape},
};

/// The programs that write such lines.
pub(super) const PROGRAMS: &[&str] = &[
    "useradd",
    "userdel",
    "usermod",
    "groupadd",
    "groupdel",
    "groupmod",
    "groupmems",
    "gpasswd",
    "passwd",
    "chage",
    "chpasswd",
    "chgpasswd",
    "chfn",
    "chsh",
    "newusers",
    "newgrp",
    "sg",
    "vipw",
    "vigr",
    "pwck",
    "grpck",
    "pwconv",
    "pwunconv",
    "grpconv",
    "grpunconv",
    "adduser",
    "deluser",
    "addgroup",
    "delgroup",
];

/// pam_unix carries a changed password where there is PAM.
const OWN: Role = StandIn(2);

const CHANGED: Option<(secmon_protocol::auth::AuthAction, Role)> = Some((AccountChanged, Carrier));
const TWIN: Option<(secmon_protocol::auth::AuthAction, Role)> = Some((AccountChanged, Part));

/// In the order in which they are tried.
#[rustfmt::skip]
pub(super) const SHAPES: &[Shape] = &[
    shape("new user: name=", "new user: name=alice, UID=1001, GID=1001, home=/home/alice, shell=/bin/bash, from=/dev/pts/0",
        CHANGED, &[], |rest, _| {
            let (user, rest) = rest.split_once(", UID=")?;
            let tty = rest.rsplit_once(", from=").map(|(_, tty)| tty);
            Fields { target: Some(user), tty, reason: Some("new user"), ..Fields::new(AccountChanged) }.into()
        }),
    shape("delete user '", "delete user 'alice'", CHANGED, &[], |rest, _| user("user deleted", rest)),
    shape("failed adding user '", "failed adding user 'alice', exit code: 9", CHANGED, &[], failed),
    shape("failed adding user ", "failed adding user alice, data deleted", CHANGED, &[], failed),
    shape("new group: name=", "new group: name=staff, GID=1001", CHANGED, &[], |rest, _| {
        let name = rest.split_once(", GID=").map_or(rest, |(name, _)| name);
        Fields { group: Some(name), reason: Some("new group"), ..Fields::new(AccountChanged) }.into()
    }),
    // groupadd says `new group` as well.
    shape("group added to ", "group added to /etc/group: name=staff, GID=1001", TWIN, &[], |rest, _| {
        let (_, name) = rest.split_once(": name=")?;
        let name = name.split_once(", GID=").map_or(name, |(name, _)| name);
        Fields { group: Some(name), ..Fields::of(AccountChanged, Part) }.into()
    }),
    shape("group changed in ", "group changed in /etc/group (group staff/1001, new gid: 1002)", CHANGED, &[], |rest, _| {
        let role = if rest.starts_with("/etc/gshadow") || rest.starts_with("/etc/passwd") { Part } else { Carrier };
        let name = rest.split_once("(group ").and_then(|(_, r)| r.split_once('/')).map(|(name, _)| name);
        Fields { group: name, reason: Some("group changed"), ..Fields::of(AccountChanged, role) }.into()
    }),
    shape("removed group '", "removed group 'alice' owned by 'alice'", CHANGED, &[],
        |rest, _| owned_group(Carrier, rest)),
    shape("removed shadow group '", "removed shadow group 'alice' owned by 'alice'", TWIN, &[],
        |rest, _| owned_group(Part, rest)),
    shape("group '", "group 'staff' removed", CHANGED, &[], |rest, _| {
        let (name, rest) = rest.rsplit_once("' removed")?;
        // groupdel says it of each file, and then without one.
        let role = if rest.starts_with(" from ") { Part } else { Carrier };
        Fields { group: Some(name), reason: Some("group removed"), ..Fields::of(AccountChanged, role) }.into()
    }),
    shape("add group '", "add group 'staff' to '/etc/gshadow'", CHANGED, &[], |rest, _| {
        let (name, _) = rest.split_once("' to '")?;
        Fields { group: Some(name), reason: Some("new group"), ..Fields::new(AccountChanged) }.into()
    }),
    shape("add '", "add 'alice' to group 'sudo'", CHANGED, &[], |rest, _| member("added to group", rest)),
    shape("delete '", "delete 'alice' from group 'sudo'", CHANGED, &[], |rest, _| member("removed from group", rest)),
    shape("change '", "change 'alice' to 'bob' in group 'sudo'", CHANGED, &[], |rest, _| renamed_member(rest)),
    shape("change admin '", "change admin 'alice' to 'bob' in shadow group 'sudo'", TWIN, &[], |rest, _| renamed_member(rest)),
    shape("change user name '", "change user name 'alice' to 'bob'", CHANGED, &[], |rest, _| {
        let (name, _) = rest.split_once("' to '")?;
        Fields { target: Some(name), reason: Some("user renamed"), ..Fields::new(AccountChanged) }.into()
    }),
    shape("change user '", "change user 'alice' shell from '/bin/sh' to '/bin/bash'", CHANGED, &[], |rest, body| {
        let (name, rest) = rest.split_once("' ")?;
        let what = rest.split_once(" from '").map_or(rest, |(what, _)| what);
        let _ = body;
        Fields { target: Some(name), reason: Some(what), ..Fields::new(AccountChanged) }.into()
    }),
    shape("lock user '", "lock user 'alice' password", CHANGED, &[], |rest, _| user("password locked", rest)),
    shape("unlock user '", "unlock user 'alice' password", CHANGED, &[], |rest, _| user("password unlocked", rest)),
    shape("user '", "user 'alice' (login 'alice' on pts/0) switched to group 'staff'", None, &[], nothing),
    shape("user ", "user alice added by root to group sudo", CHANGED, &[], gpasswd_member),
    shape("password of group ", "password of group staff changed by root", CHANGED, &[], gpasswd_group),
    shape("access to group ", "access to group staff restricted by root", CHANGED, &[], gpasswd_group),
    shape("administrators of group ", "administrators of group staff set by root to alice", CHANGED, &[], gpasswd_group),
    shape("members of group ", "members of group staff set by root to alice,bob", CHANGED, &[], gpasswd_group),
    shape("password for '", "password for 'alice' changed by 'root'", Some((AccountChanged, OWN)), &[], |rest, _| {
        let (name, by) = rest.split_once("' changed")?;
        let by = by.strip_prefix(" by '").and_then(|b| b.strip_suffix('\''));
        Fields { user: by, target: Some(name), reason: Some("password changed"), ..Fields::of(AccountChanged, OWN) }.into()
    }),
    shape("password for ", "password for alice changed by root", Some((AccountChanged, OWN)), &[], |rest, _| {
        let (name, by) = rest.split_once(" changed by ")?;
        Fields { user: Some(by), target: Some(name), reason: Some("password changed"), ..Fields::of(AccountChanged, OWN) }.into()
    }),
    shape("password changed for ", "password changed for alice", Some((AccountChanged, OWN)), &[],
        |rest, _| Fields { target: Some(rest), reason: Some("password changed"), ..Fields::of(AccountChanged, OWN) }.into()),
    shape("password locked for '", "password locked for 'alice'", Some((AccountChanged, Part)), &[],
        |rest, _| Fields { failed: true, target: rest.strip_suffix('\''), reason: Some("password locked"), ..Fields::of(AccountChanged, Part) }.into()),
    shape("changed password expiry for ", "changed password expiry for alice", CHANGED, &[],
        |rest, _| Fields { target: Some(rest), reason: Some("password expiry changed"), ..Fields::new(AccountChanged) }.into()),
    shape("changed user '", "changed user 'alice' shell to '/bin/sh'", CHANGED, &[], |rest, _| {
        let (name, rest) = rest.split_once("' ")?;
        let what = rest.split_once(" to '").map_or(rest, |(what, _)| what);
        Fields { target: Some(name), reason: Some(what), ..Fields::new(AccountChanged) }.into()
    }),
    shape("file ", "file /etc/passwd edited", CHANGED, &[], |rest, body| {
        rest.strip_suffix(" edited")?;
        Fields { reason: Some(body.text), ..Fields::new(AccountChanged) }.into()
    }),
    shape("incorrect password for ", "incorrect password for bob", Some((AccountChanged, Carrier)), &[], |rest, _| {
        let name = rest.strip_prefix('\'').and_then(|r| r.strip_suffix('\'')).unwrap_or(rest);
        Fields { failed: true, target: Some(name), reason: Some("incorrect password"), ..Fields::new(AccountChanged) }.into()
    }),
    shape("Invalid password for group '", "Invalid password for group 'staff' from 'bob'", Some((AccountChanged, Carrier)), &[], |rest, _| {
        let (name, by) = rest.split_once("' from '")?;
        Fields {
            failed: true,
            user: by.strip_suffix('\''),
            group: Some(name),
            reason: Some("invalid password"),
            ..Fields::new(AccountChanged)
        }.into()
    }),
    shape("useradd defaults: ", "useradd defaults: GROUP=100, HOME=/home, SHELL=/bin/sh, INACTIVE=-1, EXPIRE=, SKEL=/etc/skel, CREATE_MAIL_SPOOL=no, LOG_INIT=yes",
        CHANGED, &[], |_, _| Fields { reason: Some("useradd defaults"), ..Fields::new(AccountChanged) }.into()),
    shape("", "bob failed to add user bob to group sudo: Permission denied", Some((AccountChanged, Carrier)), &[], gpasswd_failed as Reader),
];

/// `T'[ …]`.
fn user<'m>(what: &'m str, rest: &'m str) -> Option<Found<'m>> {
    let (name, _) = rest.rsplit_once('\'')?;
    Fields { target: Some(name), reason: Some(what), ..Fields::new(AccountChanged) }.into()
}

/// `T[']…` of a user that could not be made.
fn failed<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (name, _) = rest.rsplit_once(", ")?;
    let name = name.strip_suffix('\'').unwrap_or(name);
    Fields {
        failed: true,
        target: Some(name),
        reason: Some("failed adding user"),
        ..Fields::new(AccountChanged)
    }
    .into()
}

/// `G' owned by 'T'`. It went with the user, who has a line of his own.
fn owned_group(role: Role, rest: &str) -> Option<Found<'_>> {
    let name = rest.split_once("' owned by '").map_or(rest, |(name, _)| name);
    let name = name.strip_suffix('\'').unwrap_or(name);
    Fields { group: Some(name), reason: Some("group removed"), ..Fields::of(AccountChanged, role) }.into()
}

/// `T' to|from [shadow ]group 'G'`. The line about the shadow group is a twin of the other's.
fn member<'m>(what: &'m str, rest: &'m str) -> Option<Found<'m>> {
    let (name, rest) = rest.split_once("' to ").or_else(|| rest.split_once("' from "))?;
    let (role, group) = match rest.strip_prefix("shadow group '") {
        Some(group) => (Part, group),
        None => (Carrier, rest.strip_prefix("group '")?),
    };
    let group = Some(group.strip_suffix('\'').unwrap_or(group));
    Fields { target: Some(name), group, reason: Some(what), ..Fields::of(AccountChanged, role) }.into()
}

/// `T' to 'U' in [shadow ]group 'G'`.
fn renamed_member(rest: &str) -> Option<Found<'_>> {
    let (name, rest) = rest.split_once("' to '")?;
    let (_, rest) = rest.split_once("' in ")?;
    let (role, group) = match rest.strip_prefix("shadow group '") {
        Some(group) => (Part, group),
        None => (Carrier, rest.strip_prefix("group '")?),
    };
    Fields {
        target: Some(name),
        group: group.strip_suffix('\''),
        reason: Some("member renamed"),
        ..Fields::of(AccountChanged, role)
    }
    .into()
}

/// `T added by U to group G` and `T removed by U from group G`; after a failure of an older version `: WHY`.
fn gpasswd_member<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (what, (name, rest)) = [("added to group", " added by "), ("removed from group", " removed by ")]
        .into_iter()
        .find_map(|(what, words)| Some((what, rest.split_once(words)?)))?;
    let (by, group) = rest.split_once(" to group ").or_else(|| rest.split_once(" from group "))?;
    // It is said of each file, and then without one.
    let role = if group.contains(" in /etc/") { Part } else { Carrier };
    Fields {
        user: Some(by),
        target: Some(name),
        group: Some(group.split_once(" in /etc/").map_or(group, |(group, _)| group)),
        reason: Some(what),
        ..Fields::of(AccountChanged, role)
    }
    .into()
}

/// `G changed|removed|restricted|set by U[ to LIST][ in FILE]`.
fn gpasswd_group<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (before, by) = rest.split_once(" by ")?;
    let (group, what) = before.rsplit_once(' ')?;
    let role = if by.contains(" in /etc/") { Part } else { Carrier };
    let by = by.split_once(' ').map_or(by, |(by, _)| by);
    Fields { user: Some(by), group: Some(group), reason: Some(what), ..Fields::of(AccountChanged, role) }
        .into()
}

/// `U failed to WHAT`, by gpasswd.
fn gpasswd_failed<'m>(rest: &'m str, _: &Body<'m>) -> Option<Found<'m>> {
    let (by, what) = rest.split_once(" failed to ")?;
    if by.contains(' ') || !what.contains("group ") {
        return None;
    }
    Fields { failed: true, user: Some(by), reason: Some(what), ..Fields::new(AccountChanged) }.into()
}
