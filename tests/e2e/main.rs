//! The real `secmon` against real programs: what its users are promised, seen from outside.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

mod access;
mod auth_log;
mod auth_sources;
mod bench;
mod check;
mod commands;
mod delivery;
mod discord;
mod fleet;
mod http_access;
mod http_api;
mod http_runs;
mod http_schema;
mod jobs;
mod joining;
mod kernel_wireguard;
mod login;
mod many;
mod mistakes;
mod network;
mod notify;
mod outbox;
mod page;
mod parse;
mod parse_logins;
mod restart;
mod runner;
mod secrets;
mod telegram;
mod tls;
mod up;
mod watch_resume;
mod wire;
mod wireguard;
