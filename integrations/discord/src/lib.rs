//! Messages to Discord, to ntfy, and to any webhook: `discord`, `ntfy` and `webhook` each put a notice into their service's form;
//! all else is `secmon-notify`'s. The configuration is checked whole by [`Discord::new`] before anything is connected to.

mod address;
mod config;
mod discord;
mod ntfy;
mod webhook;

pub use config::{Config, ConfigError, DiscordSection, NtfySection, WebhookSection};
pub use webhook::Form;

use secmon_notify::{
    Destination,
    config::NotifySection,
    run::{Notifier, NotifyError, Place},
    web,
};
use tokio_util::sync::CancellationToken;

/// The name of the role, of its configuration and of its state folder.
pub const NAME: &str = "discord";

/// Why it cannot be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum DiscordError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The notifier.
    #[error(transparent)]
    Notify(#[from] NotifyError),
}

/// All destinations, checked and not connected yet.
#[derive(Debug)]
pub struct Discord {
    notify: NotifySection,
    destinations: Vec<Destination>,
}

impl Discord {
    /// Checks the configuration and reads the secrets.
    ///
    /// # Errors
    /// It makes no sense, or a secret is lacking.
    pub fn new(config: Config) -> Result<Self, DiscordError> {
        let client = web::client().map_err(ConfigError::Http)?;
        let destinations = config::destinations(&config, &client)?;
        Ok(Self { notify: config.notify, destinations })
    }

    /// Where messages go.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        self.destinations.clone()
    }

    /// Works until it is cancelled.
    ///
    /// # Errors
    /// Nothing that time mends: the hub turns it away, the disk fails.
    pub async fn run(self, place: Place, cancel: CancellationToken) -> Result<(), DiscordError> {
        let (notifier, _) = Notifier::open(place, self.notify, self.destinations)?;
        Ok(notifier.run(cancel).await?)
    }
}
