//! A hub with a log, and services that do what a test wants: for notifiers that are killed, held up and turned away.

mod hub;
mod service;

use std::{path::PathBuf, time::Duration};

use secmon_notify::{
    Destination,
    run::{Handle, Notifier, NotifyError, Place},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::{hub::Hub, service::Double};

/// Every login is a message of its own, at once.
pub(crate) const RULES: &str =
    "rules = [{ type = \"auth.accepted\", severity = \"info\" }]\ndefaults = false\nlimit = \"none\"";

/// Waits for a condition.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..3_000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited 30 s in vain for {what}")
}

/// A folder with a hub in it, and the services that a notifier has.
pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) hub: Hub,
    pub(crate) doubles: Vec<Double>,
    rules: String,
}

/// A notifier that runs.
pub(crate) struct Running {
    task: JoinHandle<Result<(), NotifyError>>,
    pub(crate) handle: Handle,
    cancel: CancellationToken,
}

impl Lab {
    pub(crate) fn new(doubles: Vec<Double>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::start(&folder.path().join("hub.sock"));
        Self { folder, hub, doubles, rules: RULES.to_owned() }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn open(&self) -> Result<(Notifier, Handle), NotifyError> {
        let place = Place {
            socket: self.folder.path().join("hub.sock"),
            agent: "secmon-test 1".to_owned(),
            state_dir: self.state(),
        };
        let destinations = self.doubles.iter().map(|double| Destination {
            name: double.name().to_owned(),
            section: toml::from_str(&self.rules).unwrap(),
            service: std::sync::Arc::new(double.clone()),
        });
        Notifier::open(place, toml::from_str("first_seen.enabled = false").unwrap(), destinations.collect())
    }

    /// Starts a notifier as soon as an earlier one has let go of the folder.
    pub(crate) async fn start(&self) -> Running {
        let (notifier, handle) = eventually("the folder to be free", || match self.open() {
            Err(NotifyError::Store { what: "lock", .. }) => None,
            other => Some(other.unwrap()),
        })
        .await;
        let cancel = CancellationToken::new();
        let task = tokio::spawn(notifier.run(cancel.clone()));
        Running { task, handle, cancel }
    }
}

impl Running {
    /// Drops everything that it does where it stands, as a kill would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Ends it as a signal does.
    pub(crate) async fn stop(self) -> Result<(), NotifyError> {
        self.cancel.cancel();
        self.task.await.unwrap()
    }

    /// How it ended by itself.
    pub(crate) async fn ended(self) -> Result<(), NotifyError> {
        tokio::time::timeout(Duration::from_secs(30), self.task).await.expect("it goes on").unwrap()
    }
}
