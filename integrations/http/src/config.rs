//! `http.toml`.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use serde::Deserialize;

/// The configuration of the bridge.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The hub's socket; `--socket` wins.
    pub socket: Option<PathBuf>,
    /// The folder of what it keeps; `--state-dir` wins.
    pub state_dir: Option<PathBuf>,
    /// Where it listens; `--listen` wins.
    pub listen: Vec<Listen>,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// `ADDR:PORT`.
    Tcp(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path behind it, as in unix:/run/secmon-http/http.sock".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| format!("{text:?} is neither ADDR:PORT, as in 127.0.0.1:8080, nor unix:PATH")),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
