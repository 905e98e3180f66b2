//! `[[access]]` of the configuration file, and what can be checked of it without asking the system.

use std::fmt;

use secmon_protocol::{limits::MAX_PATTERNS, message::client::Role};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use crate::HubError;

/// The key, in errors.
pub(super) const KEY: &str = "access";
/// Most rules: who asks is held against each when he connects.
const MAX_RULES: usize = 256;
/// Most users and most groups of one rule; for more there are groups.
const MAX_NAMES: usize = 256;
/// Longest pattern, in bytes, as in a filter.
const MAX_PATTERN: usize = 256;
/// What the kernel calls every user and group that has no number in the namespace of who asks, user_namespaces(7):
/// `nobody` and `nogroup`. It names no one.
pub(super) const OVERFLOW: u32 = 65_534;

/// One rule: whom it is about, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSection {
    /// Users, by name or number; one or many.
    #[serde(default, deserialize_with = "one_or_many")]
    pub users: Vec<Account>,
    /// Groups, by name or number; one or many.
    #[serde(default, deserialize_with = "one_or_many")]
    pub groups: Vec<Account>,
    /// What it makes of them.
    #[serde(deserialize_with = "role")]
    pub role: Role,
    /// Patterns of the nodes that it covers; one or many. Default: all.
    #[serde(default, deserialize_with = "some")]
    pub nodes: Option<Vec<String>>,
    /// Patterns of the commands that an operator may run; one or many. An operator's rule must say, no other may.
    #[serde(default, deserialize_with = "some")]
    pub commands: Option<Vec<String>>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// By its name.
    Name(String),
    /// By its number.
    Number(u32),
}

impl From<&str> for Account {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// Checks all rules but their names.
///
/// # Errors
/// The first that makes no sense.
pub(crate) fn check(rules: &[AccessSection]) -> Result<(), HubError> {
    if rules.len() > MAX_RULES {
        return Err(HubError::config(
            KEY,
            format!("{} rules are over the limit of {MAX_RULES}", rules.len()),
        ));
    }
    rules.iter().enumerate().try_for_each(|(at, rule)| rule.check().map_err(|reason| wrong(at, &reason)))
}

/// What is wrong with a rule; the first is at 0.
pub(super) fn wrong(at: usize, reason: &str) -> HubError {
    HubError::config(KEY, format!("rule {} of [[access]]: {reason}", at + 1))
}

impl AccessSection {
    fn check(&self) -> Result<(), String> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Err("it is about nobody; name users or groups".to_owned());
        }
        for (key, accounts) in [("users", &self.users), ("groups", &self.groups)] {
            if accounts.len() > MAX_NAMES {
                return Err(format!("{key} has {} entries, over the limit of {MAX_NAMES}", accounts.len()));
            }
        }
        patterns("nodes", self.nodes.as_deref())?;
        patterns("commands", self.commands.as_deref())?;
        let never = |c: char| !(c.is_ascii_alphanumeric() || "._-*?".contains(c));
        if let Some(bad) = self.nodes.iter().flatten().find(|pattern| pattern.contains(never)) {
            return Err(format!(
                "nodes: no node's name can match {bad:?}; a name has letters, digits, '.', '_' and '-', and in a \
                 pattern '*' stands for any text and '?' for one character"
            ));
        }
        match (self.role, &self.commands) {
            (Role::Operator, None) => {
                Err("an operator runs the commands that its rule names: say which with \
                                           commands = [\"restart-*\"], or [\"*\"] for all"
                    .to_owned())
            }
            (Role::Viewer, Some(_)) => {
                Err("a viewer runs no commands; leave commands out, or make it role = \"operator\""
                    .to_owned())
            }
            (Role::Admin, Some(_)) => {
                Err("an admin runs every command of its nodes; leave commands out, or make it \
                                           role = \"operator\""
                    .to_owned())
            }
            (Role::Operator, Some(_)) | (Role::Viewer | Role::Admin, None) => Ok(()),
        }
    }
}

fn patterns(key: &str, patterns: Option<&[String]>) -> Result<(), String> {
    match patterns {
        None => Ok(()),
        // What was emptied by a slip of the pen must not come to mean all.
        Some([]) => Err(format!("{key} is an empty list; leave it out, or say {key} = [\"*\"] for all")),
        Some(some) if some.len() > MAX_PATTERNS => {
            Err(format!("{key} has {} patterns, over the limit of {MAX_PATTERNS}", some.len()))
        }
        Some(some) => match some.iter().find(|pattern| pattern.is_empty() || pattern.len() > MAX_PATTERN) {
            Some(bad) => Err(format!("{key}: a pattern has 1 to {MAX_PATTERN} bytes, one has {}", bad.len())),
            None => Ok(()),
        },
    }
}

fn role<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
    let text = String::deserialize(from)?;
    let known = [Role::Viewer, Role::Operator, Role::Admin];
    known.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
        de::Error::custom(format!("there is no role {text:?}; it is \"viewer\", \"operator\" or \"admin\""))
    })
}

fn some<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    one_or_many(from).map(Some)
}

fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct OneOrMany<T>(std::marker::PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one entry or a list of them")
        }
        fn visit_str<E: de::Error>(self, one: &str) -> Result<Self::Value, E> {
            T::deserialize(de::value::StrDeserializer::new(one)).map(|one| vec![one])
        }
        fn visit_i64<E: de::Error>(self, one: i64) -> Result<Self::Value, E> {
            T::deserialize(de::value::I64Deserializer::new(one)).map(|one| vec![one])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    from.deserialize_any(OneOrMany(std::marker::PhantomData))
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Of;
        impl Visitor<'_> for Of {
            type Value = Account;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, as \"alice\", or a number, as 1001")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Account, E> {
                Ok(Account::Name(name.to_owned()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Account, E> {
                // The last number is none: setuid(2) takes it for "leave it as it is".
                match u32::try_from(number) {
                    Ok(number) if number != u32::MAX => Ok(Account::Number(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        from.deserialize_any(Of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(role: Role) -> AccessSection {
        let commands = (role == Role::Operator).then(|| vec!["restart-*".to_owned()]);
        AccessSection { users: vec![Account::Number(1)], groups: vec![], role, nodes: None, commands }
    }

    #[track_caller]
    fn wrong(rule: AccessSection, said: &str) {
        let error = check(&[self::rule(Role::Admin), rule]).unwrap_err().to_string();
        assert!(error.starts_with("access: rule 2 of [[access]]: ") && error.contains(said), "{error}");
    }

    #[test]
    fn what_a_rule_leaves_out_or_empties_never_means_more_than_it_says() {
        check(&[rule(Role::Viewer), rule(Role::Operator), rule(Role::Admin)]).unwrap();
        let operator = rule(Role::Operator);
        wrong(AccessSection { commands: None, ..operator.clone() }, "say which with commands");
        wrong(AccessSection { commands: Some(vec![]), ..operator.clone() }, "commands is an empty list");
        wrong(AccessSection { nodes: Some(vec![]), ..operator.clone() }, "nodes is an empty list");
        wrong(AccessSection { users: vec![], ..operator.clone() }, "about nobody");
        for (role, said) in [(Role::Viewer, "a viewer runs no commands"), (Role::Admin, "every command")] {
            wrong(AccessSection { role, ..operator.clone() }, said);
        }
    }

    #[test]
    fn patterns_and_rules_have_limits_and_what_no_node_can_match_is_a_slip() {
        let of = |nodes: Vec<String>| AccessSection { nodes: Some(nodes), ..rule(Role::Viewer) };
        check(&[of(vec!["*".into(), "web-?.example.org".into()])]).unwrap();
        wrong(of(vec!["web-[12]".into()]), "no node's name can match \"web-[12]\"");
        wrong(of(vec![String::new()]), "1 to 256 bytes, one has 0");
        wrong(of(vec!["x".repeat(257)]), "1 to 256 bytes, one has 257");
        wrong(of(vec!["x".into(); MAX_PATTERNS + 1]), "over the limit of 64");
        let users = vec![Account::Number(1); MAX_NAMES + 1];
        wrong(AccessSection { users, ..rule(Role::Viewer) }, "users has 257 entries");
        assert!(
            check(&vec![rule(Role::Viewer); MAX_RULES + 1]).unwrap_err().to_string().contains("257 rules")
        );
    }
}
