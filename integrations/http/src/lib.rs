//! The HTTP bridge: the hub for browsers and for programs that speak HTTP.
//!
//! - `server`: sockets, TLS, deadlines and limits of connections; what comes in goes to the router.
//! - [`access`]: tokens, sessions, peers of a Unix socket; every request has a [`access::Principal`] or is refused.
//! - `hub`: the bridge's side of the hub: one subscription for all, a ring of rendered events, connections for runs.
//! - `routes`: what is served below `/v1`, and the OpenAPI document of it.
//! - `page`: the web page, from the binary.
//! - [`problem`]: errors as RFC 9457.
//!
//! It narrows, never widens: the hub decides by the bridge's own user what the bridge may do at all; of that a token gives a part.

pub mod access;
mod config;
mod hub;
mod page;
pub mod problem;
mod routes;
mod server;

pub use config::{Config, ConfigError, Listen};

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

/// The name of the role, of its configuration and of its state folder.
pub const NAME: &str = "http";

/// Why the bridge cannot be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was tried, on what, and why it failed.
    #[error("{0}")]
    Start(String),
}

/// Where it works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The hub's socket.
    pub socket: PathBuf,
    /// The folder of its tokens.
    pub state_dir: PathBuf,
}

/// Checks, listens, and serves until it is cancelled; streams are ended then, and what still runs for a client is cancelled.
///
/// # Errors
/// The configuration makes no sense, or nothing can be listened on.
pub async fn run(config: Config, place: Place, cancel: CancellationToken) -> Result<(), HttpError> {
    server::serve(config, place, cancel).await
}
