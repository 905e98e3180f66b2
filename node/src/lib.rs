//! The secmon agent: watches one server and reports to its hub, and runs what its own allowlist allows.
//!
//! `watch` sees, `core` works out what changed and keeps it until the hub has it, `actor` owns the core,
//! `link` carries records to the hub, `commands` runs what the hub asks for and this server's administrator
//! allows. [`run`] puts them together; everything fits one thread.

pub mod actor;
pub mod commands;
pub mod core;
mod facts;
pub mod identity;
pub mod join;
mod link;
mod tls;
mod trust;
pub mod watch;

use std::path::PathBuf;

use secmon_protocol::{
    address::{DEFAULT_PORT, with_port},
    ids::Epoch,
    text::printable,
    time::UnixNanos,
    token::JoinToken,
};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    commands::{Commands, CommandsSection},
    core::NodeCore,
    identity::{Identity, IdentityError, StateDir},
    join::JoinError,
    watch::{Known, auth::AuthConfig, sessions::SessionsConfig, wireguard::WireguardConfig},
};

/// The node's version, as it tells the hub.
pub const AGENT: &str = env!("CARGO_PKG_VERSION");

/// Memory for what the hub has not acknowledged, in bytes; more than the largest record.
const OUTBOX: usize = 32 << 20;
/// What watchers have seen and the core has not taken. The core does no I/O, so this hardly ever fills.
const OBSERVATIONS: usize = 256;

/// `[node]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// The hub's address, `HOST:PORT`, instead of the ones that the token named.
    pub hub: Option<String>,
}

/// What a node is told when it starts.
#[derive(Debug)]
pub struct NodeConfig {
    /// The folder for its papers.
    pub state_dir: PathBuf,
    /// A token to join with, where it has no papers yet.
    pub join: Option<JoinToken>,
    /// `[node]`.
    pub node: NodeSection,
    /// `[sessions]`.
    pub sessions: SessionsConfig,
    /// `[wireguard]`.
    pub wireguard: WireguardConfig,
    /// `[auth]`.
    pub auth: AuthConfig,
    /// `[commands]`.
    pub commands: CommandsSection,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The state folder.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Joining.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It has no papers and no token.
    #[error(
        "this node has not joined a hub ({path} holds no papers); run `secmon enroll NAME` on the hub and paste \
         the line that it prints here", path = path.display()
    )]
    NotJoined {
        /// The state folder.
        path: PathBuf,
    },
    /// It belongs to another hub than the token's.
    #[error(
        "{path} holds the papers of another hub, by the name {name}; to move this node to the token's hub, \
         stop it, remove that folder and join again", path = path.display()
    )]
    OtherHub {
        /// The state folder.
        path: PathBuf,
        /// The node's name there.
        name: String,
    },
    /// `node.hub` is no address.
    #[error("node.hub = {0:?} is no address; write HOST or HOST:PORT")]
    Hub(String),
    /// Its papers do not fit each other.
    #[error(transparent)]
    Papers(#[from] tls::TlsError),
}

/// Joins if it has to, then watches, reports and runs commands until `cancel`. A hub that is away is no
/// error; the node tries for ever.
///
/// # Errors
/// It could not start; see [`NodeError`].
pub async fn run(config: NodeConfig, cancel: CancellationToken) -> Result<(), NodeError> {
    let hub = config
        .node
        .hub
        .as_deref()
        .map(|text| with_port(text, DEFAULT_PORT).ok_or_else(|| NodeError::Hub(text.to_owned())))
        .transpose()?;
    let state = StateDir::open(&config.state_dir)?;
    let identity = tokio::select! {
        identity = papers(&state, config.join.as_ref()) => identity?,
        () = cancel.cancelled() => return Ok(()),
    };
    let addresses = hub.map_or_else(|| identity.addresses.clone(), |hub| vec![hub]);
    let papers = link::Papers::of(&identity, addresses)?;
    tracing::info!(name = %identity.name, hub = ?papers.addresses, "watching");

    let mut commands = Commands::new(&config.commands);
    let (observations, observed) = mpsc::channel(OBSERVATIONS);
    // Another numbering each time: what the last process had not delivered is gone with it.
    let core = NodeCore::new(Epoch(rand::random()), OUTBOX);
    let (core, owner) = actor::core(core, observed, now, cancel.clone());
    let tasks = TaskTracker::new();
    tasks.spawn(owner);
    let known = Known::default();
    tasks.spawn(watch::sessions::watch(config.sessions, known.clone(), observations.clone(), cancel.clone()));
    tasks.spawn(watch::wireguard::watch(config.wireguard, observations.clone(), cancel.clone()));
    tasks.spawn(watch::auth::watch(config.auth, known, observations, cancel));
    link::keep(&papers, &core, &mut commands).await;
    commands.ended().await;
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// The papers in the state folder, or the ones that the token gets. A token of the same hub comes first, for
/// a node that was enrolled anew; a spent one does no harm, so that it may stay in a unit file.
async fn papers(state: &StateDir, token: Option<&JoinToken>) -> Result<Identity, NodeError> {
    match (state.identity()?, token) {
        (Some(identity), None) => Ok(identity),
        (None, None) => Err(NodeError::NotJoined { path: state.path().to_owned() }),
        (None, Some(token)) => join_and_save(state, token).await,
        (Some(identity), Some(token)) => {
            if !identity.ca_set.iter().any(|ca| tls::fingerprint(ca) == token.ca_fingerprint) {
                let (path, name) = (state.path().to_owned(), identity.name.to_string());
                return Err(NodeError::OtherHub { path, name });
            }
            match join_and_save(state, token).await {
                Err(NodeError::Join(error)) => {
                    tracing::warn!(name = %identity.name, error = %printable(&error.to_string()), "going on with the papers of an earlier joining");
                    Ok(identity)
                }
                other => other,
            }
        }
    }
}

async fn join_and_save(state: &StateDir, token: &JoinToken) -> Result<Identity, NodeError> {
    let identity = join::join(token).await?;
    state.save(&identity)?;
    tracing::info!(name = %identity.name, "joined; later starts need no token");
    Ok(identity)
}

/// The server's clock.
pub(crate) fn now() -> UnixNanos {
    jiff::Timestamp::now().into()
}
