//! Whether those whom the rules name can get to the socket at all: connecting takes the right to write the socket's file
//! and to search each folder above it, unix(7). An edge; what it finds is a warning, for an ACL may say otherwise.

use std::{collections::BTreeSet, ffi::CString, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tracing::warn;

use super::{
    Access,
    rules::{Named, Resolved},
};

/// Most accounts that one warning names.
const TOLD: usize = 5;
/// The right to write, of the others' three bits of a mode.
const WRITE: u32 = 0o2;
/// The right to search a folder.
const SEARCH: u32 = 0o1;

/// What has to be passed on the way to the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Door {
    path: String,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Which right it takes.
    needs: u32,
}

impl Door {
    fn at(path: &Path, needs: u32) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let path = path.display().to_string();
        Ok(Self { path, mode: meta.mode(), uid: meta.uid(), gid: meta.gid(), needs })
    }

    /// As the kernel decides: the first of owner, group and others that fits, and no other. path_resolution(7)
    fn lets(&self, who: &Reach) -> bool {
        let shift = match who.uid {
            Some(0) => return true,
            Some(uid) if uid == self.uid => 6,
            _ if who.groups.contains(&self.gid) => 3,
            _ => 0,
        };
        (self.mode >> shift) & self.needs != 0
    }
}

/// Somebody with his groups.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reach {
    /// None: anybody with the groups.
    uid: Option<u32>,
    groups: BTreeSet<u32>,
}

impl Reach {
    fn of(user: &User) -> Self {
        let uid = Some(user.uid.as_raw());
        let all = CString::new(user.name.as_str())
            .map_err(|_| nix::errno::Errno::EINVAL)
            .and_then(|name| getgrouplist(&name, user.gid));
        // Where the groups cannot be told, its own is still known.
        let groups = all.unwrap_or_else(|_| vec![user.gid]);
        Self { uid, groups: groups.into_iter().map(Gid::as_raw).collect() }
    }
}

/// Says in the log which accounts of the rules cannot get to the socket, and what is in their way.
pub(crate) fn warn_of_closed_doors(access: &Access, socket: &Path) {
    if !access.has_rules() {
        return;
    }
    let Some(doors) = doors(socket) else { return };
    for (at, rule) in access.rules.iter().enumerate() {
        let (shut_out, door) = shut_out(rule, &doors);
        let Some(door) = door else { continue };
        warn!(
            rule = at + 1,
            accounts = shut_out.join(", "),
            path = door.path,
            mode = format!("{:04o}", door.mode & 0o7777),
            "an [[access]] rule names accounts that the socket's permissions seem to keep out: set socket.group to a group \
             that they are in, or socket.mode to \"0666\""
        );
    }
}

fn doors(socket: &Path) -> Option<Vec<Door>> {
    // Folders by their real names, whatever links the configured path goes through.
    let folder = fs::canonicalize(socket.parent()?).ok()?;
    let above = folder.ancestors().map(|dir| Door::at(dir, SEARCH));
    let mut doors: Vec<Door> = above.collect::<io::Result<_>>().ok()?;
    doors.insert(0, Door::at(socket, WRITE).ok()?);
    Some(doors)
}

/// The accounts that cannot pass, and the first door that is closed to one of them.
fn shut_out<'a>(rule: &Resolved, doors: &'a [Door]) -> (Vec<String>, Option<&'a Door>) {
    let (mut names, mut door) = (vec![], None);
    let groups = rule.groups.iter().map(|group| (group, of_group(group)));
    for (account, ways) in rule.users.iter().map(|user| (user, vec![of_user(user)])).chain(groups) {
        let closed = |who: &Reach| doors.iter().find(|door| !door.lets(who));
        let Some(first) = ways.first().and_then(closed) else { continue };
        if ways.iter().all(|who| closed(who).is_some()) {
            names.push(account.name.clone());
            door = door.or(Some(first));
        }
    }
    if names.len() > TOLD {
        names.truncate(TOLD);
        names.push("…".to_owned());
    }
    (names, door)
}

fn of_user(user: &Named) -> Reach {
    match User::from_uid(Uid::from_raw(user.number)) {
        Ok(Some(known)) => Reach::of(&known),
        _ => Reach { uid: Some(user.number), groups: BTreeSet::new() },
    }
}

/// The group by itself, and its members, who may have other groups that let them in.
fn of_group(group: &Named) -> Vec<Reach> {
    let mut ways = vec![Reach { uid: None, groups: BTreeSet::from([group.number]) }];
    if let Ok(Some(known)) = Group::from_gid(Gid::from_raw(group.number)) {
        let members = known.mem.iter().filter_map(|name| User::from_name(name).ok().flatten());
        ways.extend(members.map(|user| Reach::of(&user)));
    }
    ways
}

#[cfg(test)]
mod tests {
    use secmon_protocol::message::client::Role;

    use super::*;

    fn door(mode: u32, gid: u32, needs: u32) -> Door {
        Door { path: format!("/{mode:o}"), mode, uid: 0, gid, needs }
    }

    fn rule(users: &[u32], groups: &[u32]) -> Resolved {
        let named = |numbers: &[u32]| {
            numbers.iter().map(|&number| Named { number, name: number.to_string() }).collect()
        };
        let (nodes, commands) = (vec![], vec![]);
        Resolved { users: named(users), groups: named(groups), role: Role::Viewer, nodes, commands }
    }

    #[test]
    fn who_is_not_in_the_sockets_group_is_shut_out_unless_all_are_let_in() {
        let of = |mode| [door(mode, 4_000_001, WRITE), door(0o755, 0, SEARCH)];
        let rule = rule(&[4_000_000], &[4_000_001, 4_000_002]);
        let closed = of(0o660);
        let (names, first) = shut_out(&rule, &closed);
        assert_eq!((names, first), (vec!["4000000".to_owned(), "4000002".to_owned()], Some(&closed[0])));
        assert_eq!(shut_out(&rule, &of(0o666)), (vec![], None));
    }

    #[test]
    fn a_folder_that_may_not_be_searched_is_in_the_way_of_everybody_but_root() {
        let doors = [door(0o666, 0, WRITE), door(0o700, 0, SEARCH)];
        assert_eq!(shut_out(&rule(&[4_000_000], &[]), &doors).1, Some(&doors[1]));
        assert_eq!(shut_out(&rule(&[0], &[]), &doors), (vec![], None));
    }

    #[test]
    fn the_doors_are_the_socket_and_each_folder_above_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hub.sock");
        fs::write(&file, "").unwrap();
        let doors = doors(&file).unwrap();
        assert_eq!(doors[0].needs, WRITE);
        assert!(doors[1..].iter().all(|door| door.needs == SEARCH) && doors.last().unwrap().path == "/");
    }
}
