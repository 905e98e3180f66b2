//! A webhook of Discord, <https://discord.com/developers/docs/resources/webhook>.
