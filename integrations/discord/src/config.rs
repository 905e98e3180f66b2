//! `discord.toml`: as written, and checked whole into destinations before anything is connected to.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use reqwest::{
    Client,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use secmon_notify::{
    Destination, Secret, SecretError, Service,
    config::{DestinationSection, NotifySection},
};
use serde::Deserialize;

use crate::{
    address::{self, DiscordUrl, Topic},
    discord::{self, Look, Shared, is_snowflake},
    ntfy::Ntfy,
    webhook::{Form, Key, Receiver},
};

/// Longest name of a destination, in characters.
const MAX_NAME: usize = 64;
/// Most destinations: each is a task and a queue.
const MAX_DESTINATIONS: usize = 256;
/// Longest name of a webhook at Discord, in characters.
const MAX_USERNAME: usize = 80;
/// Headers that are ours, or the connection's.
const OUR_HEADERS: [&str; 7] =
    ["content-type", "content-length", "host", "connection", "transfer-encoding", "user-agent", "expect"];

/// The configuration of the role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hub's socket; `--socket` wins.
    pub socket: Option<PathBuf>,
    /// The folder of what it keeps; `--state-dir` wins.
    pub state_dir: Option<PathBuf>,
    /// What is common to all roles that notify.
    pub notify: NotifySection,
    /// Webhooks of Discord.
    pub discord: Vec<DiscordSection>,
    /// Other webhooks.
    pub webhook: Vec<WebhookSection>,
    /// Topics of ntfy.
    pub ntfy: Vec<NtfySection>,
}

/// `[[discord]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscordSection {
    /// What it is called here.
    pub name: String,
    /// The file that holds its address; else the credential `discord-NAME`.
    pub url_file: Option<PathBuf>,
    /// The name that messages appear under; else the webhook's own.
    pub username: Option<String>,
    /// The https address of a picture; else the webhook's own.
    pub avatar: Option<String>,
    /// The thread of the channel that messages go into.
    pub thread_id: Option<String>,
    /// Rules.
    #[serde(default)]
    pub notify: DestinationSection,
}

/// `[[webhook]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSection {
    /// What it is called here.
    pub name: String,
    /// Its address, where that is no secret.
    pub url: Option<String>,
    /// The file that holds its address; else the credential `webhook-NAME`.
    pub url_file: Option<PathBuf>,
    /// The file that holds the secret to sign with; else the credential `webhook-NAME-secret`.
    pub secret_file: Option<PathBuf>,
    /// The file that holds the secret before it, while receivers are given the new one.
    pub old_secret_file: Option<PathBuf>,
    /// Sends without a signature.
    #[serde(default)]
    pub unsigned: bool,
    /// The file that holds a token for `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// Further headers; no secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What is posted.
    #[serde(default)]
    pub form: Form,
    /// Rules.
    #[serde(default)]
    pub notify: DestinationSection,
}

/// `[[ntfy]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NtfySection {
    /// What it is called here.
    pub name: String,
    /// The address of its topic, where that is no secret.
    pub url: Option<String>,
    /// The file that holds it; else the credential `ntfy-NAME`.
    pub url_file: Option<PathBuf>,
    /// The file that holds an access token; else the credential `ntfy-NAME-token`, if there is one.
    pub token_file: Option<PathBuf>,
    /// Whether the server (2.16 or newer) and the phones can update a notification: then a digest is one that changes.
    #[serde(default)]
    pub updates: bool,
    /// Rules.
    #[serde(default)]
    pub notify: DestinationSection,
}

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A secret.
    #[error("{section}: {source}")]
    Secret {
        /// Of which destination: `[[discord]] "ops"`.
        section: String,
        /// Why.
        source: SecretError,
    },
    /// A key.
    #[error("{section}: `{key}` {why}")]
    Key {
        /// Of which destination.
        section: String,
        /// Which key.
        key: String,
        /// What is wrong, and what to do; never a secret.
        why: String,
    },
    /// No destination.
    #[error(
        "the configuration names no destination, so there is nobody to tell: add a [[discord]], [[webhook]] or [[ntfy]]"
    )]
    Nobody,
    /// HTTP itself.
    #[error(transparent)]
    Http(secmon_notify::web::NoHttps),
}

/// Checks everything and reads the secrets.
pub(crate) fn destinations(config: &Config, client: &Client) -> Result<Vec<Destination>, ConfigError> {
    let mut names = Names::default();
    let shared = Shared::default();
    let mut all = Vec::new();
    let mut add = |name: &str, section: &DestinationSection, service: Arc<dyn Service>| {
        all.push(Destination { name: name.to_owned(), section: section.clone(), service });
    };
    for section in &config.discord {
        let at = names.take("discord", &section.name)?;
        add(&section.name, &section.notify, Arc::new(discord(&at, section, client, &shared)?));
    }
    for section in &config.webhook {
        let at = names.take("webhook", &section.name)?;
        add(&section.name, &section.notify, Arc::new(webhook(&at, section, client)?));
    }
    for section in &config.ntfy {
        let at = names.take("ntfy", &section.name)?;
        add(&section.name, &section.notify, Arc::new(ntfy(&at, section, client)?));
    }
    if all.is_empty() { Err(ConfigError::Nobody) } else { Ok(all) }
}

fn discord(
    at: &Section,
    section: &DiscordSection,
    client: &Client,
    shared: &Shared,
) -> Result<discord::Webhook, ConfigError> {
    let secret = at.secret("webhook's address", "url_file", section.url_file.as_ref(), "")?;
    let url = DiscordUrl::parse(secret.expose()).map_err(at.wrong("url_file"))?;
    if let Some(thread) = section.thread_id.as_deref().filter(|thread| !is_snowflake(thread)) {
        return Err(at.wrong("thread_id")(format!(
            "is {thread:?}, and not the id of a thread, which is a number"
        )));
    }
    if let Some(username) = &section.username {
        username_is_fine(username).map_err(at.wrong("username"))?;
    }
    if let Some(avatar) = &section.avatar {
        address::service(avatar).map_err(at.wrong("avatar"))?;
    }
    let look = Look { username: section.username.clone(), avatar: section.avatar.clone() };
    Ok(discord::Webhook::new(client.clone(), url, section.thread_id.clone(), look, shared.clone()))
}

/// <https://discord.com/developers/docs/resources/webhook#create-webhook>.
fn username_is_fine(name: &str) -> Result<(), String> {
    let lower = name.to_lowercase();
    if name.trim().is_empty() || name.chars().count() > MAX_USERNAME {
        return Err(format!("must have 1 to {MAX_USERNAME} characters"));
    }
    match ["discord", "clyde"].into_iter().find(|word| lower.contains(word)) {
        Some(word) => Err(format!("holds `{word}`, which Discord does not take as a name")),
        None => Ok(()),
    }
}

fn webhook(at: &Section, section: &WebhookSection, client: &Client) -> Result<Receiver, ConfigError> {
    let (key, url) = at.address(section.url.as_deref(), section.url_file.as_ref())?;
    let url = address::service(url.expose()).map_err(at.wrong(key))?;
    let mut keys = Vec::new();
    if section.unsigned {
        for (key, file) in
            [("secret_file", &section.secret_file), ("old_secret_file", &section.old_secret_file)]
        {
            if file.is_some() {
                return Err(at.wrong(key)(
                    "stands beside `unsigned = true`: leave one of them out".to_owned(),
                ));
            }
        }
    } else {
        let secret =
            at.secret("secret to sign with", "secret_file", section.secret_file.as_ref(), "-secret")?;
        keys.push(Key::new(&secret).map_err(at.wrong("secret_file"))?);
        if section.old_secret_file.is_some() {
            let old = at.secret("old secret", "old_secret_file", section.old_secret_file.as_ref(), "")?;
            keys.push(Key::new(&old).map_err(at.wrong("old_secret_file"))?);
        }
    }
    let mut headers = headers(at, section)?;
    if section.token_file.is_some() {
        let token = at.secret("token", "token_file", section.token_file.as_ref(), "")?;
        headers.insert(AUTHORIZATION, bearer(&token).map_err(at.wrong("token_file"))?);
    }
    Ok(Receiver::new(client.clone(), url, section.form, keys, headers))
}

fn headers(at: &Section, section: &WebhookSection) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &section.headers {
        let wrong = |why: &str| at.wrong(&format!("headers.{name}"))(why.to_owned());
        let key: HeaderName = name.parse().map_err(|_| wrong("is not the name of a header"))?;
        if OUR_HEADERS.contains(&key.as_str()) || key.as_str().starts_with("webhook-") {
            return Err(wrong("is a header that secmon sets itself"));
        }
        if key == AUTHORIZATION {
            return Err(wrong(
                "would have a secret in this file: put the token into a file, and name it by `token_file`",
            ));
        }
        headers.insert(key, value.parse().map_err(|_| wrong("has characters that no header may have"))?);
    }
    Ok(headers)
}

fn bearer(token: &Secret) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| "holds characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn ntfy(at: &Section, section: &NtfySection, client: &Client) -> Result<Ntfy, ConfigError> {
    let (key, url) = at.address(section.url.as_deref(), section.url_file.as_ref())?;
    let topic = Topic::parse(url.expose()).map_err(at.wrong(key))?;
    let token = match at.secret("access token", "token_file", section.token_file.as_ref(), "-token") {
        Ok(token) => Some(token),
        Err(ConfigError::Secret { source: SecretError::None { .. }, .. }) => None,
        Err(error) => return Err(error),
    };
    if let Some(token) = &token {
        bearer(token).map_err(at.wrong("token_file"))?;
    }
    Ok(Ntfy::new(client.clone(), topic, token, section.updates))
}

/// A destination, for errors and credentials.
struct Section {
    kind: &'static str,
    name: String,
}

impl Section {
    fn text(&self) -> String {
        format!("[[{}]] {:?}", self.kind, self.name)
    }

    fn wrong(&self, key: &str) -> impl Fn(String) -> ConfigError + use<> {
        let (section, key) = (self.text(), key.to_owned());
        move |why| ConfigError::Key { section: section.clone(), key: key.clone(), why }
    }

    /// From its file, or from the credential `KIND-NAME` with `suffix`.
    fn secret(
        &self,
        what: &'static str,
        key: &'static str,
        file: Option<&PathBuf>,
        suffix: &str,
    ) -> Result<Secret, ConfigError> {
        let credential = format!("{}-{}{suffix}", self.kind, self.name);
        Secret::load(what, key, file.map(PathBuf::as_path), &credential)
            .map_err(|source| ConfigError::Secret { section: self.text(), source })
    }

    /// An address that may be a secret, and the key that it came from.
    fn address(
        &self,
        url: Option<&str>,
        file: Option<&PathBuf>,
    ) -> Result<(&'static str, Secret), ConfigError> {
        match (url, file) {
            (Some(_), Some(_)) => {
                Err(self.wrong("url")("stands beside `url_file`: leave one of them out".to_owned()))
            }
            (Some(url), None) => Ok(("url", Secret::new(url.to_owned()))),
            (None, file) => Ok(("url_file", self.secret("address", "url_file", file, "")?)),
        }
    }
}

/// The names that are taken, over all kinds.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn take(&mut self, kind: &'static str, name: &str) -> Result<Section, ConfigError> {
        let section = Section { kind, name: name.to_owned() };
        let wrong = section.wrong("name");
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(sound) {
            return Err(wrong(format!("must be 1 to {MAX_NAME} letters, digits, `-`, `_` and `.`")));
        }
        if !self.0.insert(name.to_owned()) {
            return Err(wrong(
                "is another destination's already: what waits for it on disk is found by its name".to_owned(),
            ));
        }
        if self.0.len() > MAX_DESTINATIONS {
            return Err(wrong(format!("is one too many: there may be {MAX_DESTINATIONS} destinations")));
        }
        Ok(section)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
