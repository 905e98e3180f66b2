//! The rules with their users and groups as numbers, and what they give to whom. Pure.

use std::collections::BTreeSet;

use secmon_protocol::message::{
    ErrorCode, Refusal,
    client::{Role, Rule},
};

use super::{Grants, section::OVERFLOW};

/// Who is at the other end of the socket, as the kernel says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The user's name, where it has one.
    pub user: Option<String>,
    /// Its own group.
    pub gid: u32,
    /// All its groups: its own, and the supplementary ones.
    pub groups: BTreeSet<u32>,
}

/// A user or a group of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) number: u32,
    /// As the rule calls it.
    pub(super) name: String,
}

/// One rule of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolved {
    pub(super) users: Vec<Named>,
    pub(super) groups: Vec<Named>,
    pub(super) role: Role,
    /// Empty: all.
    pub(super) nodes: Vec<String>,
    /// Empty: all that the role runs.
    pub(super) commands: Vec<String>,
}

/// Who may do what: the built-in rule, and those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// The hub's own user.
    own: u32,
    pub(super) rules: Vec<Resolved>,
}

impl Access {
    pub(super) fn new(own: u32, rules: Vec<Resolved>) -> Self {
        Self { own, rules }
    }

    /// Whether there are rules beside the built-in one.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether the hub runs as the user whose number the kernel gives to everybody whom it cannot name, all of whom are then
    /// the hub's own user.
    #[must_use]
    pub fn is_nobodys(&self) -> bool {
        self.own == OVERFLOW
    }

    /// Whether a user is root or the hub's own, who are admins whatever the rules say.
    #[must_use]
    pub fn is_built_in(&self, uid: u32) -> bool {
        self.built_in(uid).is_some()
    }

    /// What a peer may do.
    ///
    /// # Errors
    /// No rule is about it.
    pub fn grants(&self, peer: &Peer) -> Result<Grants, Refusal> {
        let mut rules: Vec<Rule> = self.built_in(peer.uid).into_iter().collect();
        rules.extend(self.rules.iter().enumerate().filter_map(|(at, rule)| rule.told(at, peer)));
        match rules.is_empty() {
            true => Err(self.turned_away(peer)),
            false => Ok(Grants::of(rules)),
        }
    }

    fn built_in(&self, uid: u32) -> Option<Rule> {
        let who = match uid {
            0 => "root",
            uid if uid == self.own => "the hub's own user",
            _ => return None,
        };
        let name = format!("built in ({who})");
        Some(Rule { name, role: Role::Admin, nodes: vec![], commands: vec![] })
    }

    /// Why nobody's rule is about a peer, for the log, which says itself who he is.
    #[must_use]
    pub fn why_not(&self) -> String {
        let rules = match self.rules.len() {
            0 => "there are no [[access]] rules".to_owned(),
            1 => "the one [[access]] rule names neither the user nor a group of it".to_owned(),
            many => format!("none of the {many} [[access]] rules names the user or a group of it"),
        };
        format!("it takes a rule; {rules}")
    }

    fn turned_away(&self, peer: &Peer) -> Refusal {
        let (uid, own) = (peer.uid, self.own);
        let user = peer.user.as_ref().map_or(String::new(), |user| format!(" ({user})"));
        let wanted = peer.user.as_ref().map_or(uid.to_string(), |user| format!("\"{user}\""));
        let rules = match self.rules.len() {
            0 => "it has no [[access]] rules".to_owned(),
            1 => "its one [[access]] rule names neither this user nor a group of it".to_owned(),
            many => format!("none of its {many} [[access]] rules names this user or a group of it"),
        };
        let message = format!(
            "uid {uid}{user} may not use this hub: it serves root, its own user (uid {own}) and whom its configuration \
             names, and {rules}; use sudo, or have a rule added there, as: [[access]] users = [{wanted}] role = \"viewer\""
        );
        Refusal::new(ErrorCode::NotPermitted, message)
    }
}

impl Resolved {
    /// The rule as it applies to a peer; the first is at 0.
    fn told(&self, at: usize, peer: &Peer) -> Option<Rule> {
        let user = self.users.iter().find(|user| user.number == peer.uid).map(|user| ("user", user));
        let group = || {
            let found = self.groups.iter().find(|group| peer.groups.contains(&group.number));
            found.map(|group| ("group", group))
        };
        let (kind, whom) = user.or_else(group)?;
        Some(Rule {
            name: format!("[[access]] {} ({kind} {})", at + 1, whom.name),
            role: self.role,
            nodes: self.nodes.clone(),
            commands: self.commands.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(number: u32, name: &str) -> Named {
        Named { number, name: name.into() }
    }

    fn access() -> Access {
        let rule = |users: &[Named], groups: &[Named], role| Resolved {
            users: users.to_vec(),
            groups: groups.to_vec(),
            role,
            nodes: vec!["web-*".into()],
            commands: if role == Role::Operator { vec!["restart-*".into()] } else { vec![] },
        };
        Access::new(
            990,
            vec![
                rule(&[named(1001, "alice")], &[named(50, "staff")], Role::Viewer),
                rule(&[], &[named(27, "ops")], Role::Operator),
            ],
        )
    }

    fn peer(uid: u32, groups: &[u32]) -> Peer {
        Peer { uid, user: None, gid: 4711, groups: groups.iter().copied().collect() }
    }

    fn names(peer: &Peer) -> Vec<String> {
        access().grants(peer).unwrap().rules().iter().map(|rule| rule.name.clone()).collect()
    }

    #[test]
    fn root_and_the_hubs_own_user_are_admins_whatever_the_rules_say() {
        assert_eq!(names(&peer(0, &[])), ["built in (root)"]);
        assert_eq!(names(&peer(990, &[27])), ["built in (the hub's own user)", "[[access]] 2 (group ops)"]);
        Access::new(990, vec![]).grants(&peer(990, &[])).unwrap();
    }

    #[test]
    fn a_peer_has_the_rules_of_its_user_and_of_each_of_its_groups() {
        assert_eq!(names(&peer(1001, &[50, 1001])), ["[[access]] 1 (user alice)"]);
        assert_eq!(
            names(&peer(1002, &[7, 27, 50])),
            ["[[access]] 1 (group staff)", "[[access]] 2 (group ops)"]
        );
    }

    #[test]
    fn whom_no_rule_is_about_is_turned_away_with_the_rule_that_would_let_him_in() {
        // The numbers of users and of groups are not each other's.
        let refusal = access().grants(&peer(27, &[1001, 990, 0])).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::NotPermitted);
        for said in ["uid 27 may not use this hub", "none of its 2", "users = [27]", "sudo"] {
            assert!(refusal.message.contains(said), "{refusal}");
        }
        let bob = Peer { user: Some("bob".into()), ..peer(1000, &[]) };
        let refusal = Access::new(990, vec![]).grants(&bob).unwrap_err().message;
        assert!(refusal.contains("uid 1000 (bob)") && refusal.contains("users = [\"bob\"]"), "{refusal}");
        assert!(refusal.contains("no [[access]] rules"), "{refusal}");
    }
}
