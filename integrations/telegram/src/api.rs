//! A thin client of the Telegram Bot API, <https://core.telegram.org/bots/api>.
