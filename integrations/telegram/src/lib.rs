//! The Telegram bot: what happens, told in chats; and questions and commands from those who may.
//!
//! `api` is a thin client of the Bot API; `bot` is the conversation, a pure core and the task that owns it; `chat` is the
//! [`secmon_notify::Service`] of one chat; `access` says who may do what; `text` escapes and cuts. The configuration is checked whole by
//! [`Telegram::new`] before anything is connected to.

mod access;
mod api;
mod bot;
mod chat;
mod config;
mod patience;
mod text;

use std::sync::Arc;

pub use config::{Config, ConfigError};
use secmon_notify::{
    Destination, Secret,
    run::{Notifier, NotifyError, Place},
};
use tokio_util::sync::CancellationToken;

pub use self::bot::{BotError, InboxError};
use self::{
    access::Access,
    api::{Api, Spot},
    bot::{Bot, Parts},
    chat::Chat,
};

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
    /// The conversation.
    #[error(transparent)]
    Bot(#[from] BotError),
}

/// A bot, checked and not connected yet.
#[derive(Debug)]
pub struct Telegram {
    config: Config,
    api: Api,
}

impl Telegram {
    /// Checks the configuration and reads the token.
    ///
    /// # Errors
    /// It makes no sense, or there is no token.
    pub fn new(config: Config) -> Result<Self, TelegramError> {
        config.check()?;
        let token =
            Secret::load("token of the bot", "token_file", config.token_file.as_deref(), config::CREDENTIAL)
                .map_err(ConfigError::Token)?;
        if !is_token(token.expose()) {
            let words = "the token of the bot is not one: @BotFather's look like 123456789:AAE…, in one line";
            return Err(ConfigError::Wrong(words.to_owned()).into());
        }
        let api = Api::new(&config.api, &token).map_err(|error| ConfigError::Wrong(error.to_string()))?;
        Ok(Self { config, api })
    }

    /// Its chats that are told what happens.
    #[must_use]
    pub fn destinations(&self) -> Vec<Destination> {
        let told = self.config.chats.iter().filter(|chat| chat.tell);
        told.map(|chat| Destination {
            name: chat.name.clone(),
            section: chat.notify.clone(),
            service: Arc::new(Chat {
                api: self.api.clone(),
                spot: Spot { chat: chat.id, thread: chat.thread },
            }),
        })
        .collect()
    }

    /// Works until it is cancelled.
    ///
    /// # Errors
    /// Nothing that time mends: the token is not valid, the hub turns it away, the disk fails.
    pub async fn run(self, place: Place, cancel: CancellationToken) -> Result<(), TelegramError> {
        let destinations = self.destinations();
        // Whichever of the two ends takes the other with it.
        let stop = cancel.child_token();
        let (notifier, handle) = if destinations.is_empty() {
            (None, None)
        } else {
            let (notifier, handle) = Notifier::open(place.clone(), self.config.notify.clone(), destinations)?;
            (Some(notifier), Some(handle))
        };
        let told = self.config.chats.iter().filter(|chat| chat.tell);
        let parts = Parts {
            api: self.api.clone(),
            socket: place.socket.clone(),
            agent: place.agent.clone(),
            state_dir: &place.state_dir,
            notify: handle,
            access: Access::new(&self.config.chats, &self.config.users),
            destinations: told.map(|c| (Spot { chat: c.id, thread: c.thread }, c.name.clone())).collect(),
        };
        let bot = Bot::new(parts, stop.clone())?;
        let notify = async {
            let result = match notifier {
                Some(notifier) => notifier.run(stop.clone()).await,
                None => {
                    stop.cancelled().await;
                    Ok(())
                }
            };
            stop.cancel();
            result
        };
        let talk = async {
            let result = Box::pin(bot.run()).await;
            stop.cancel();
            result
        };
        let (told, talked) = tokio::join!(Box::pin(notify), talk);
        talked?;
        Ok(told?)
    }
}

/// Whether it can stand in an address as a token does, <https://core.telegram.org/bots/api#authorizing-your-bot>.
fn is_token(text: &str) -> bool {
    text.split_once(':').is_some_and(|(id, secret)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        !id.is_empty()
            && id.chars().all(|c| c.is_ascii_digit())
            && !secret.is_empty()
            && secret.chars().all(plain)
    })
}
