//! The secmon agent: watches one server and reports to its hub, and runs what its own allowlist allows.
//!
//! `watch` sees, `core` works out what changed, `outbox` keeps it on disk until the hub has it, `actor` owns both,
//! `link` carries records to the hub, `jobs` owns what the hub has asked to be run, over all connections, `commands`
//! runs of it what this server's administrator allows. [`run`] puts them together: one thread for the core and its disk, one for
//! everything else.

pub mod actor;
pub mod commands;
pub mod core;
mod facts;
pub mod identity;
pub mod jobs;
pub mod join;
mod link;
pub mod outbox;
pub mod privileges;
mod size;
mod tls;
mod trust;
pub mod watch;

use std::{path::PathBuf, time::Duration};

use secmon_protocol::{
    address::{DEFAULT_PORT, with_port},
    ids::Epoch,
    text::printable,
    time::UnixNanos,
    token::JoinToken,
};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::{core::Limits, size::ByteSize};

use crate::{
    actor::{Clock, Core, Observed},
    commands::CommandsSection,
    core::{Now, Start},
    identity::{Identity, IdentityError, StateDir},
    jobs::Jobs,
    join::JoinError,
    outbox::{Keeper, ShelfError},
    watch::{auth::AuthConfig, sessions::SessionsConfig, wireguard::WireguardConfig},
};

/// The node's version, as it tells the hub.
pub const AGENT: &str = env!("CARGO_PKG_VERSION");

/// What watchers have seen and the core has not taken. It fills where the disk hangs, or where old lines of the
/// auth log are more than the limit: then the watchers wait, and what they read stays in its source.
const OBSERVATIONS: usize = 256;
/// How long the hub may take, when the node is stopped, to acknowledge what is held, and to hear how runs were ended:
/// more than a command has between TERM and KILL. Records are on disk in any case.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the core may take to write what is left. Longer only on a disk that hangs, which nobody waits for.
const LAST_WRITE: Duration = Duration::from_secs(5);
/// The boot that the system is in, random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// `[node]` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// The hub's address, `HOST:PORT`, instead of the ones that the token named.
    pub hub: Option<String>,
    /// Disk for what the hub has not acknowledged; see [`OutboxSize`].
    pub outbox: OutboxSize,
}

/// `node.outbox`: from 1 MiB to 1 GiB, of which an index in memory costs up to an eighth when it is full of small
/// records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ByteSize")]
pub struct OutboxSize(ByteSize);

impl Default for OutboxSize {
    /// Some 200,000 events, or the largest state and much beside.
    fn default() -> Self {
        Self(ByteSize(64 << 20))
    }
}

impl TryFrom<ByteSize> for OutboxSize {
    type Error = String;
    fn try_from(size: ByteSize) -> Result<Self, Self::Error> {
        match size.0 {
            0x10_0000..=0x4000_0000 => Ok(Self(size)),
            _ => Err(format!("the outbox may be from 1MiB to 1GiB, not {size}")),
        }
    }
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
    /// `[limits]`.
    pub limits: Limits,
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
    /// A newer secmon has been here.
    #[error("cannot use {path}: {source}; run that version, or move the file aside (what it holds is then lost)",
        path = path.display())]
    Outbox {
        /// The database.
        path: PathBuf,
        /// Why.
        source: ShelfError,
    },
    /// The system has no thread left.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// A bug: the thread that holds everything together has ended.
    #[error("the core has ended, which is a bug; what is on disk is there for the next start")]
    Core,
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
    privileges::tell();

    let clock = Clock::new(now);
    let keeper = keeper(&state, config.node.outbox, config.limits, clock.now())?;
    let known = keeper.core.known();
    let (seen, state) = mpsc::channel(OBSERVATIONS);
    let (read, auth) = mpsc::channel(OBSERVATIONS);
    let stop = CancellationToken::new();
    let (core, mut owner) = core_on_a_thread(keeper, Observed { state, auth }, clock, &stop)?;
    let running = CancellationToken::new();
    let executor = commands::start(&config.commands, running.clone());
    let (jobs, runs) = jobs::jobs(executor, &config.state_dir, cancel.clone());
    // Its own, to be waited for when the link is gone.
    let mut runs = tokio::spawn(runs);
    let tasks = TaskTracker::new();
    tasks.spawn(watch::sessions::watch(config.sessions, known.clone(), seen.clone(), cancel.clone()));
    tasks.spawn(watch::wireguard::watch(config.wireguard, seen, cancel.clone()));
    tasks.spawn(watch::auth::watch(config.auth, known, read, cancel.clone()));
    let work =
        async { tokio::join!(link::keep(&papers, &core, &jobs), drain(&core, &jobs, &cancel, &running)) };
    let ended = tokio::select! {
        _ = work => Ok(()),
        // A node that watches and tells nobody would look well; one that ends is started again.
        _ = &mut owner => Err(NodeError::Core),
        _ = &mut runs => Err(NodeError::Core),
    };
    drop(jobs);
    running.cancel();
    if !runs.is_finished() {
        // A bug's panic was said by the runtime.
        let _ = runs.await;
    }
    ended?;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if timeout(LAST_WRITE, owner).await.is_err() {
        tracing::error!("the disk does not answer; what it has not taken is lost");
    }
    Ok(())
}

/// The core, from what is on disk.
fn keeper(state: &StateDir, size: OutboxSize, limits: Limits, now: Now) -> Result<Keeper, NodeError> {
    let path = state.path().join(outbox::FILE);
    let boot = std::fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().to_owned());
    let start = Start { fresh: Epoch(rand::random()), boot, capacity: size.0.0, limits, now };
    let mut keeper = Keeper::open(&path, start).map_err(|source| NodeError::Outbox { path, source })?;
    keeper.keep_room();
    Ok(keeper)
}

/// Runs the core on a thread of its own; what comes back resolves when that has ended.
fn core_on_a_thread(
    keeper: Keeper,
    observed: Observed,
    clock: Clock,
    stop: &CancellationToken,
) -> Result<(Core, oneshot::Receiver<()>), NodeError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(NodeError::Thread)?;
    let (core, task) = actor::core(keeper, observed, clock, stop.clone());
    let (ended, owner) = oneshot::channel();
    std::thread::Builder::new()
        .name("secmon-core".to_owned())
        .spawn(move || {
            runtime.block_on(task);
            // Whoever waits has given up.
            let _ = ended.send(());
        })
        .map_err(NodeError::Thread)?;
    Ok((core, owner))
}

/// When the node is stopped: ends what runs, waits until the hub has heard of that and has what is held, for a while,
/// and then ends the link.
async fn drain(core: &Core, jobs: &Jobs, cancel: &CancellationToken, running: &CancellationToken) {
    cancel.cancelled().await;
    running.cancel();
    let all = async { tokio::join!(core.drained(), jobs.drained()) };
    let in_time = timeout(DRAIN, all).await.is_ok();
    let records = core.head().borrow().held;
    if !in_time && records > 0 {
        tracing::warn!(
            records,
            "the hub did not acknowledge all in time; the rest is sent after the next start"
        );
    } else if !in_time {
        tracing::warn!("the hub did not take the ends of all jobs in time; it will call them lost");
    }
    core.end();
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
