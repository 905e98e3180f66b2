//! The secmon agent.
pub mod watch;
