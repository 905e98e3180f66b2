//! Who is at the other end of a Unix socket: the kernel says it, and `[[users]]` says what he may.

use std::collections::BTreeSet;

use nix::unistd::{Uid, User, geteuid};
use secmon_protocol::message::client::Role;
use tokio::net::UnixStream;
use tracing::warn;

use super::{By, Principal};

/// Longest name that is said to the hub.
const MAX_NAME: usize = 64;

/// A rule of `[[users]]`, with numbers for names.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) whom: Whom,
    pub(crate) role: Role,
    pub(crate) nodes: Vec<String>,
    pub(crate) commands: Vec<String>,
}

/// Whom a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// A user.
    User(u32),
    /// All of a group.
    Group(u32),
}

/// Who may come by a Unix socket. Root and the bridge's own user may what the bridge may; for the rest the first rule counts
/// that is about them.
#[derive(Debug)]
pub(crate) struct Users {
    own: u32,
    rules: Vec<Rule>,
}

impl Users {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { own: geteuid().as_raw(), rules }
    }

    /// Who it is, by uid, and what he may; nothing for one whom no rule is about.
    ///
    /// # Errors
    /// The kernel does not say who it is.
    pub(crate) fn peer(&self, stream: &UnixStream) -> std::io::Result<(u32, Option<Principal>)> {
        // SO_PEERCRED, unix(7).
        let cred = stream.peer_cred()?;
        let mut groups = BTreeSet::from([cred.gid()]);
        if self.rules.iter().any(|rule| matches!(rule.whom, Whom::Group(_))) {
            match secmon_sys::peer_groups(stream) {
                Ok(others) => groups.extend(others),
                Err(error) => warn!(%error, uid = cred.uid(), "the kernel tells a peer's first group alone"),
            }
        }
        Ok((cred.uid(), self.principal(cred.uid(), &groups)))
    }

    fn principal(&self, uid: u32, groups: &BTreeSet<u32>) -> Option<Principal> {
        let of = |role, nodes: &[String], commands: &[String]| {
            Some(Principal::new(By::User, &name(uid), role, nodes, commands))
        };
        if uid == 0 || uid == self.own {
            return of(Role::Admin, &[], &[]);
        }
        let rule = self.rules.iter().find(|rule| match rule.whom {
            Whom::User(user) => user == uid,
            Whom::Group(group) => groups.contains(&group),
        })?;
        of(rule.role, &rule.nodes, &rule.commands)
    }
}

fn name(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    let fits = |name: &String| name.len() <= MAX_NAME && !name.contains(secmon_protocol::text::is_unsafe);
    known.filter(fits).unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_bridge_may_all_others_what_the_first_rule_about_them_says() {
        let rule = |whom, role, nodes: &str| Rule { whom, role, nodes: vec![nodes.into()], commands: vec![] };
        let users = Users {
            own: 990,
            rules: vec![
                rule(Whom::User(4_100_001), Role::Operator, "web*"),
                rule(Whom::Group(4_100_009), Role::Viewer, "*"),
            ],
        };
        let of = |uid: u32, gids: &[u32]| users.principal(uid, &gids.iter().copied().collect());
        for uid in [0, 990] {
            let all = of(uid, &[1]).unwrap();
            assert!(all.may_run("db1", "anything") && all.may_see_hub());
        }
        let first = of(4_100_001, &[4_100_009]).unwrap();
        assert_eq!(
            (first.role, &*first.name, first.who()),
            (Role::Operator, "uid 4100001", "user uid 4100001".into())
        );
        assert!(first.may_see("web1") && !first.may_see("db1"));
        assert_eq!(of(4_100_002, &[1, 4_100_009]).unwrap().role, Role::Viewer);
        assert!(of(4_100_002, &[1]).is_none());
    }
}
