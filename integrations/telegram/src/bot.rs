//! The conversation: commands, keyboards, runs.
