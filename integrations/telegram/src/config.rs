//! `telegram.toml`: as it is written, and checked whole before anything is connected to.

use std::{collections::HashSet, path::PathBuf};

use reqwest::Url;
use secmon_notify::config::DestinationSection;
use secmon_protocol::text::printable;
use serde::Deserialize;

use crate::{
    access::Role,
    api::{ChatId, UserId},
};

/// Telegram's own API.
const API: &str = "https://api.telegram.org";
/// Longest name of a chat or a person, in bytes: it stands in the hub's log beside every command.
const MAX_NAME: usize = 32;
/// Most chats, and most people: far more than one bot can tell in time (30 messages a second).
const MAX_ENTRIES: usize = 256;
/// Most patterns of one entry.
const MAX_PATTERNS: usize = 64;
/// The credential of systemd with the token.
pub(crate) const CREDENTIAL: &str = "telegram-token";

/// The configuration of the bot.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hub's socket; `--socket` wins.
    pub socket: Option<PathBuf>,
    /// The folder of what it keeps; `--state-dir` wins.
    pub state_dir: Option<PathBuf>,
    /// A file with the token; else the credential `telegram-token`.
    pub(crate) token_file: Option<PathBuf>,
    /// Where the Bot API is.
    pub(crate) api: String,
    /// What is common to all roles that notify.
    pub notify: secmon_notify::config::NotifySection,
    /// The chats that are told what happens, or in which people may speak with the bot.
    pub(crate) chats: Vec<ChatSection>,
    /// The people.
    pub(crate) users: Vec<UserSection>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            socket: None,
            state_dir: None,
            token_file: None,
            api: API.to_owned(),
            notify: secmon_notify::config::NotifySection::default(),
            chats: vec![],
            users: vec![],
        }
    }
}

/// `[[chats]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatSection {
    pub(crate) id: ChatId,
    pub(crate) name: String,
    /// The topic of a forum.
    #[serde(default)]
    pub(crate) thread: Option<i64>,
    /// Whether it is told what happens.
    #[serde(default = "yes")]
    pub(crate) tell: bool,
    /// What everybody in the chat may do.
    #[serde(default)]
    pub(crate) role: Option<Role>,
    #[serde(default)]
    pub(crate) nodes: Vec<String>,
    #[serde(default)]
    pub(crate) commands: Vec<String>,
    /// The rules of what it is told.
    #[serde(default)]
    pub(crate) notify: DestinationSection,
}

/// `[[users]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSection {
    pub(crate) id: UserId,
    pub(crate) name: String,
    pub(crate) role: Role,
    #[serde(default)]
    pub(crate) nodes: Vec<String>,
    #[serde(default)]
    pub(crate) commands: Vec<String>,
}

fn yes() -> bool {
    true
}

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The token.
    #[error(transparent)]
    Token(#[from] secmon_notify::SecretError),
    /// Anything else: what, and what to do.
    #[error("{0}")]
    Wrong(String),
}

impl Config {
    /// Checks everything that stands in the file.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.wrong().map_or(Ok(()), |wrong| Err(ConfigError::Wrong(wrong)))
    }

    fn wrong(&self) -> Option<String> {
        if let Err(wrong) = base(&self.api) {
            return Some(wrong);
        }
        for (what, count) in [("[[chats]]", self.chats.len()), ("[[users]]", self.users.len())] {
            if count > MAX_ENTRIES {
                return Some(format!("there are {count} of {what}, over the limit of {MAX_ENTRIES}"));
            }
        }
        let (mut names, mut places) = (HashSet::new(), HashSet::new());
        for chat in &self.chats {
            let at = format!("[[chats]] {:?}", chat.name);
            if let Some(wrong) = named(&at, &chat.name) {
                return Some(wrong);
            }
            if !names.insert(&chat.name) {
                return Some(format!(
                    "{at}: there is another chat of that name; each needs its own, for `test` and the log"
                ));
            }
            if !places.insert((chat.id, chat.thread)) {
                return Some(format!(
                    "{at}: there is another chat with the id {} (and that thread)",
                    chat.id.0
                ));
            }
            if chat.id.0 == 0 {
                return Some(format!(
                    "{at}: no chat has the id 0; the bot logs the ids of chats that write to it"
                ));
            }
            if chat.thread.is_some_and(|thread| thread <= 0 || chat.id.is_private()) {
                return Some(format!("{at}: `thread` is the number of a topic of a group, over 0"));
            }
            if let Some(wrong) = role(&at, chat.role, &chat.nodes, &chat.commands) {
                return Some(wrong);
            }
            if !chat.tell && chat.role.is_none() && self.users.is_empty() {
                return Some(format!(
                    "{at}: it is told nothing (`tell = false`), and nobody may ask anything there: give it a `role`, or name [[users]]"
                ));
            }
        }
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        for user in &self.users {
            let at = format!("[[users]] {:?}", user.name);
            if let Some(wrong) = named(&at, &user.name) {
                return Some(wrong);
            }
            if !names.insert(&user.name) || !ids.insert(user.id) {
                return Some(format!("{at}: there is another user of that name or id"));
            }
            if user.id.0 <= 0 {
                return Some(format!(
                    "{at}: the id of a person is over 0 (groups have negative ones, and belong into [[chats]])"
                ));
            }
            if let Some(wrong) = role(&at, Some(user.role), &user.nodes, &user.commands) {
                return Some(wrong);
            }
        }
        None
    }
}

/// The base of all requests. Plain HTTP is for a Bot API server on this machine alone.
fn base(api: &str) -> Result<(), String> {
    let url = Url::parse(api).map_err(|error| format!("api: {api:?} is not an address: {error}"))?;
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => {
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        None => false,
    };
    match url.scheme() {
        "https" if url.host_str().is_some() => {}
        "http" if loopback => {}
        "http" => {
            return Err(format!(
                "api: {api:?} would send the token in the clear: write https://, or use a Bot API server on this machine"
            ));
        }
        _ => return Err(format!("api: {api:?} is not an https:// address")),
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("api: it is the address of a server, without user, query or fragment".to_owned());
    }
    Ok(())
}

fn named(at: &str, name: &str) -> Option<String> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Some(format!("{at}: a name has 1 to {MAX_NAME} bytes"));
    }
    if printable(name) != name || name.contains(['(', ')']) {
        return Some(format!("{at}: a name is plain text, without parentheses: it stands in the hub's log"));
    }
    None
}

fn role(at: &str, role: Option<Role>, nodes: &[String], commands: &[String]) -> Option<String> {
    for (key, patterns) in [("nodes", nodes), ("commands", commands)] {
        if patterns.len() > MAX_PATTERNS {
            return Some(format!("{at}: `{key}` has over {MAX_PATTERNS} patterns"));
        }
        if patterns.iter().any(String::is_empty) {
            return Some(format!("{at}: a pattern in `{key}` is empty; \"*\" is all"));
        }
    }
    match role {
        None if !nodes.is_empty() || !commands.is_empty() => {
            Some(format!("{at}: `nodes` and `commands` are for a `role`, and there is none"))
        }
        Some(Role::Operator) if commands.is_empty() => {
            Some(format!("{at}: an operator needs `commands`, the labels that may be run (\"*\" for all)"))
        }
        Some(role @ (Role::Viewer | Role::Admin)) if !commands.is_empty() => {
            Some(format!("{at}: `commands` are for operators; a {} has no use for them", role.as_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_configuration_that_makes_sense_is_taken() {
        checked(
            r#"
            token_file = "/etc/secmon/telegram-token"
            api = "http://127.0.0.1:8081"
            [[chats]]
            id = -1001234567890
            name = "ops"
            thread = 7
            [[chats]]
            id = 12345
            name = "alice"
            tell = false
            [[users]]
            id = 12345
            name = "alice"
            role = "operator"
            nodes = ["web*"]
            commands = ["*"]
            "#,
        )
        .unwrap();
        checked("").unwrap();
    }

    #[test]
    fn every_mistake_is_named_with_what_to_do() {
        let all = [
            "api = 'http://example.org'",
            "api = 'ftp://x'",
            "api = 'https://u:p@x'",
            "chat = 1",
            "[[chats]]\nid = 1\nname = ''",
            "[[chats]]\nid = 1\nname = 'a(b)'",
            "[[chats]]\nid = 1\nname = 'a'\n[[chats]]\nid = 2\nname = 'a'",
            "[[chats]]\nid = 1\nname = 'a'\n[[chats]]\nid = 1\nname = 'b'",
            "[[chats]]\nid = 1\nname = 'a'\nthread = 3",
            "[[chats]]\nid = 1\nname = 'a'\ntell = false",
            "[[chats]]\nid = 1\nname = 'a'\nnodes = ['x']",
            "[[chats]]\nid = 1\nname = 'a'\nrole = 'operator'",
            "[[users]]\nid = 1\nname = 'a'\nrole = 'viewer'\ncommands = ['x']",
            "[[users]]\nid = -1\nname = 'a'\nrole = 'viewer'",
            "[[users]]\nid = 1\nname = 'a'\nrole = 'root'",
        ]
        .map(|text| checked(text).unwrap_err());
        insta::assert_snapshot!(all.join("\n"), @r#"
        api: "http://example.org" would send the token in the clear: write https://, or use a Bot API server on this machine
        api: "ftp://x" is not an https:// address
        api: it is the address of a server, without user, query or fragment
        unknown field `chat`, expected one of `socket`, `state_dir`, `token_file`, `api`, `notify`, `chats`, `users`
        [[chats]] "": a name has 1 to 32 bytes
        [[chats]] "a(b)": a name is plain text, without parentheses: it stands in the hub's log
        [[chats]] "a": there is another chat of that name; each needs its own, for `test` and the log
        [[chats]] "b": there is another chat with the id 1 (and that thread)
        [[chats]] "a": `thread` is the number of a topic of a group, over 0
        [[chats]] "a": it is told nothing (`tell = false`), and nobody may ask anything there: give it a `role`, or name [[users]]
        [[chats]] "a": `nodes` and `commands` are for a `role`, and there is none
        [[chats]] "a": an operator needs `commands`, the labels that may be run ("*" for all)
        [[users]] "a": `commands` are for operators; a viewer has no use for them
        [[users]] "a": the id of a person is over 0 (groups have negative ones, and belong into [[chats]])
        unknown variant `root`, expected one of `viewer`, `operator`, `admin`
        "#);
    }
}
