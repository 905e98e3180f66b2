//! `discord.toml`.

use std::path::PathBuf;

use serde::Deserialize;

/// The configuration of the role.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hub's socket; `--socket` wins.
    pub socket: Option<PathBuf>,
    /// The folder of what it keeps; `--state-dir` wins.
    pub state_dir: Option<PathBuf>,
    /// What is common to all roles that notify.
    pub notify: secmon_notify::config::NotifySection,
}

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A secret.
    #[error(transparent)]
    Secret(#[from] secmon_notify::SecretError),
    /// Anything else: what, and what to do.
    #[error("{0}")]
    Wrong(String),
}
