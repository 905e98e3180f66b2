//! `http.toml`: what may be written, and what is wrong with it before anything is listened on.

mod section;
mod settings;

pub use section::{Config, Listen};
pub(crate) use settings::{Settings, TlsFiles};

/// Why a configuration makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
