//! The hub as a whole: real TLS on one side, the real socket on the other, in temporary folders.
#![expect(clippy::unwrap_used, reason = "clippy takes only the bodies of #[test] functions for tests")]

mod abuse;
mod access;
mod commands;
mod common;
mod corridor;
mod hostile;
mod jobs;
mod log;
mod people;
mod removal;
mod resumption;
