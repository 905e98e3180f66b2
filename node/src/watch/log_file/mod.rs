//! What tells one log file from another, and where a log went when it was rotated; for all who follow a log.
//!
//! What must not live here: reading on, and what is in a log.

pub(in crate::watch) mod position;
pub(in crate::watch) mod rotation;
