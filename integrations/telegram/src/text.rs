//! HTML for Telegram: escaped, and cut to what a message holds.
