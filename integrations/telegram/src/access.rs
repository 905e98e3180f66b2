//! Who may do what through the bot: what the configuration says of people and chats. It only narrows: the hub's own rules and the node's allowlist come
//! behind it. Pure.

use secmon_client::pattern::Patterns;
use serde::Deserialize;

use crate::{
    api::{ChatId, UserId},
    config::{ChatSection, UserSection},
};

/// What somebody may do. The order is that of the variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Ask.
    Viewer,
    /// And run the commands that are named.
    Operator,
    /// And run all of them, and cancel what others run.
    Admin,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// One thing that the configuration allows.
#[derive(Debug, Clone)]
struct Grant {
    role: Role,
    nodes: Patterns,
    commands: Patterns,
}

/// What a person may do in a chat: what he may do himself, and what everybody there may. They add up, and none lends its
/// commands to the nodes of the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rights(Vec<Grant>);

impl Rights {
    pub(crate) fn role(&self) -> Option<Role> {
        self.0.iter().map(|grant| grant.role).max()
    }

    pub(crate) fn sees(&self, node: &str) -> bool {
        self.0.iter().any(|grant| grant.nodes.matches(node))
    }

    /// Whether he is an operator of something.
    pub(crate) fn runs_something(&self) -> bool {
        self.role() >= Some(Role::Operator)
    }

    /// Whether he may run a command on a node, as far as we are asked.
    pub(crate) fn runs(&self, node: &str, label: &str) -> bool {
        self.0.iter().any(|grant| {
            grant.nodes.matches(node)
                && match grant.role {
                    Role::Viewer => false,
                    Role::Operator => grant.commands.matches(label),
                    Role::Admin => true,
                }
        })
    }

    /// Whether he may run anything on a node.
    pub(crate) fn runs_on(&self, node: &str) -> bool {
        self.0.iter().any(|grant| grant.role >= Role::Operator && grant.nodes.matches(node))
    }
}

/// A person who is spoken with.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    /// The name in the configuration; of somebody who has rights by the chat alone, his number.
    pub(crate) name: String,
    pub(crate) rights: Rights,
}

/// All who are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    users: Vec<(UserId, String, Grant)>,
    chats: Vec<(ChatId, Option<Grant>)>,
}

impl Access {
    pub(crate) fn new(chats: &[ChatSection], users: &[UserSection]) -> Self {
        let users = users.iter().map(|user| {
            let grant = Grant {
                role: user.role,
                nodes: Patterns::new(&user.nodes),
                commands: Patterns::new(&user.commands),
            };
            (user.id, user.name.clone(), grant)
        });
        let mut known: Vec<(ChatId, Option<Grant>)> = vec![];
        for chat in chats {
            let grant = chat.role.map(|role| Grant {
                role,
                nodes: Patterns::new(&chat.nodes),
                commands: Patterns::new(&chat.commands),
            });
            // A forum may stand there once for each of its topics.
            match known.iter_mut().find(|(id, _)| *id == chat.id) {
                Some((_, there)) if there.is_none() => *there = grant,
                Some(_) => {}
                None => known.push((chat.id, grant)),
            }
        }
        Self { users: users.collect(), chats: known }
    }

    /// Who it is, if somebody in a chat is to be answered at all: a chat that is known, or his own, and a right.
    pub(crate) fn person(&self, user: UserId, chat: ChatId) -> Option<Person> {
        let known_chat = self.chats.iter().find(|(id, _)| *id == chat);
        let own = chat.is_private() && chat.0 == user.0;
        let named = self.users.iter().find(|(id, ..)| *id == user);
        if known_chat.is_none() && !(own && named.is_some()) {
            return None;
        }
        let mut grants: Vec<Grant> = named.iter().map(|(.., grant)| grant.clone()).collect();
        grants.extend(known_chat.and_then(|(_, grant)| grant.clone()));
        if grants.is_empty() {
            return None;
        }
        let name = named.map_or_else(|| user.0.to_string(), |(_, name, _)| name.clone());
        Some(Person { id: user, name, rights: Rights(grants) })
    }

    /// Every chat in which somebody may speak with us.
    pub(crate) fn spoken_in(&self) -> Vec<ChatId> {
        let mut all: Vec<ChatId> = self.chats.iter().map(|(id, _)| *id).collect();
        all.extend(
            self.users
                .iter()
                .map(|(id, ..)| ChatId(id.0))
                .filter(|id| !self.chats.iter().any(|(chat, _)| chat == id)),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn access() -> Access {
        let config: Config = toml::from_str(
            r#"
            [[chats]]
            id = -100
            name = "ops"
            role = "viewer"
            nodes = ["web*"]

            [[chats]]
            id = -200
            name = "news"

            [[users]]
            id = 1
            name = "alice"
            role = "operator"
            nodes = ["db*"]
            commands = ["tail"]

            [[users]]
            id = 2
            name = "bob"
            role = "admin"
            "#,
        )
        .unwrap();
        Access::new(&config.chats, &config.users)
    }

    #[test]
    fn who_or_what_is_not_known_is_nobody() {
        let access = access();
        let nobody = |user, chat| access.person(UserId(user), ChatId(chat)).is_none();
        assert!(nobody(9, 9), "a stranger");
        assert!(nobody(9, -200), "a stranger where only news are told");
        assert!(nobody(1, -300), "a known person in a group that is not");
        assert!(nobody(1, 2), "in somebody else's chat");
        assert!(!nobody(1, 1) && !nobody(1, -200) && !nobody(9, -100));
    }

    #[test]
    fn what_a_person_and_what_a_chat_may_adds_up_and_is_not_lent() {
        let access = access();
        let alice = access.person(UserId(1), ChatId(-100)).unwrap();
        assert_eq!(alice.rights.role(), Some(Role::Operator));
        assert!(alice.rights.sees("web-1") && alice.rights.sees("db-1") && !alice.rights.sees("mail"));
        assert!(alice.rights.runs("db-1", "tail") && !alice.rights.runs("db-1", "restart"));
        assert!(!alice.rights.runs("web-1", "tail") && !alice.rights.runs_on("web-1"));
        assert!(!access.person(UserId(1), ChatId(1)).unwrap().rights.sees("web-1"));
        let stranger = access.person(UserId(9), ChatId(-100)).unwrap();
        assert!(!stranger.rights.runs_something() && stranger.rights.sees("web-1"));
        assert_eq!(stranger.name, "9");
        assert!(access.person(UserId(2), ChatId(2)).unwrap().rights.runs("any", "thing"));
    }
}
