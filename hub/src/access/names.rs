//! What the system knows of users and groups: the names in rules become numbers when the hub starts, and the numbers of a
//! peer become names. An edge, which waits for whatever nsswitch.conf(5) names.

use std::{collections::BTreeSet, io, os::fd::AsFd};

use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User, geteuid},
};

use super::{
    Access,
    rules::{Named, Resolved},
    section::{AccessSection, Account, OVERFLOW, wrong},
};
use crate::HubError;

/// Most groups of a peer whose names are looked up for it, so that nobody keeps the hub busy with his 65,536 groups.
const MAX_NAMED: usize = 64;

impl Access {
    /// The rules with the numbers of whom they name, as they are now.
    ///
    /// # Errors
    /// A name that the system does not know: a slip of the pen would lock somebody out in silence.
    pub(crate) fn resolve(sections: &[AccessSection]) -> Result<Self, HubError> {
        let rules = sections
            .iter()
            .enumerate()
            .map(|(at, section)| resolved(section).map_err(|reason| wrong(at, &reason)));
        Ok(Self::new(geteuid().as_raw(), rules.collect::<Result<_, _>>()?))
    }
}

fn resolved(section: &AccessSection) -> Result<Resolved, String> {
    let all = |accounts: &[Account], kind| {
        accounts.iter().map(|account| number(account, kind)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Resolved {
        users: all(&section.users, Kind::User)?,
        groups: all(&section.groups, Kind::Group)?,
        role: section.role,
        nodes: section.nodes.clone().unwrap_or_default(),
        commands: section.commands.clone().unwrap_or_default(),
    })
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    User,
    Group,
}

fn number(account: &Account, kind: Kind) -> Result<Named, String> {
    let word = match kind {
        Kind::User => "user",
        Kind::Group => "group",
    };
    let number = match account {
        Account::Number(number) => *number,
        Account::Name(name) => {
            let found: Result<Option<u32>, Errno> = match kind {
                Kind::User => User::from_name(name).map(|user| user.map(|user| user.uid.as_raw())),
                Kind::Group => Group::from_name(name).map(|group| group.map(|group| group.gid.as_raw())),
            };
            match found {
                Ok(Some(number)) => number,
                Ok(None) => return Err(unknown(word, name)),
                Err(error) => return Err(format!("cannot look up the {word} {name:?}: {error}")),
            }
        }
    };
    if number == OVERFLOW {
        return Err(format!(
            "the {word} {account} has the number {OVERFLOW}, which the kernel gives to everybody whom it cannot name \
             (user namespaces), so that the rule would be about all of them; choose another {word}"
        ));
    }
    Ok(Named { number, name: account.to_string() })
}

fn unknown(word: &str, name: &str) -> String {
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let hint = if digits { "; a number is written without quotes" } else { "" };
    format!("there is no {word} called {name:?}{hint}")
}

/// The groups of who is at the other end, as of the moment at which it connected: SO_PEERGROUPS. Where the kernel does not
/// tell them (before Linux 4.13, and in some sandboxes) it has its own alone, and the error is told.
pub(crate) fn peer_groups(socket: impl AsFd, own: u32) -> (BTreeSet<u32>, Option<io::Error>) {
    let (mut groups, failed) = match secmon_sys::peer_groups(socket) {
        Ok(groups) => (groups.into_iter().collect::<BTreeSet<_>>(), None),
        Err(error) => (BTreeSet::new(), Some(error)),
    };
    groups.insert(own);
    (groups, failed)
}

/// The name of a user, where it has one.
pub(crate) fn user(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// The groups with their names, as far as they have one; `own` first.
pub(crate) fn groups(own: u32, groups: &BTreeSet<u32>) -> Vec<(u32, Option<String>)> {
    let others = groups.iter().copied().filter(|gid| *gid != own);
    let name = |gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
    let mut all: Vec<(u32, Option<String>)> =
        std::iter::once(own).chain(others).map(|gid| (gid, None)).collect();
    all.iter_mut().take(MAX_NAMED).for_each(|(gid, found)| *found = name(*gid));
    all
}

#[cfg(test)]
mod tests {
    use secmon_protocol::message::client::Role;

    use super::*;

    fn section(users: Vec<Account>, groups: Vec<Account>) -> AccessSection {
        AccessSection { users, groups, role: Role::Viewer, nodes: None, commands: None }
    }

    fn error(section: AccessSection) -> String {
        let fine = self::section(vec![Account::Number(1)], vec![]);
        Access::resolve(&[fine, section]).unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_nobody_has_is_an_error_that_names_the_rule() {
        let name = |text: &str| vec![Account::Name(text.into())];
        let said = error(section(name("no-such-user"), vec![]));
        assert!(said.starts_with("access: rule 2 of [[access]]: there is no user called"), "{said}");
        let said = error(section(vec![], name("no-such-group")));
        assert!(said.contains("there is no group called \"no-such-group\""), "{said}");
        assert!(error(section(name("1001"), vec![])).ends_with("a number is written without quotes"));
    }

    #[test]
    fn what_stands_for_everybody_without_a_number_is_no_user() {
        assert!(error(section(vec![Account::Number(OVERFLOW)], vec![])).contains("user namespaces"));
        assert!(error(section(vec![], vec![Account::Number(OVERFLOW)])).contains("choose another group"));
    }

    #[test]
    fn names_become_the_numbers_that_they_have() {
        let root = || vec![Account::Name("root".into())];
        let access =
            Access::resolve(&[section(root(), root()), section(vec![Account::Number(4711)], vec![])]);
        let rules = access.unwrap().rules;
        let named = |number, name: &str| vec![Named { number, name: name.into() }];
        assert_eq!((&rules[0].users, &rules[0].groups), (&named(0, "root"), &named(0, "root")));
        assert_eq!(rules[1].users, named(4711, "4711"));
    }

    #[test]
    fn a_peers_own_group_comes_first_and_of_too_many_some_have_no_name() {
        let told = groups(7, &(0..200).collect());
        assert_eq!((told.len(), told[0].0, told[1].0), (200, 7, 0));
        assert_eq!(told[1].1.as_deref(), Some("root"));
        assert!(told[MAX_NAMED..].iter().all(|(_, name)| name.is_none()));
    }
}
