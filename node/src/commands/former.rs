//! The runs of one connection, as they were before the executor: until the link speaks to that.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use secmon_protocol::{
    command::{CommandInfo, RunEnd, RunFailure},
    ids::JobId,
    limits::OUTPUT_WINDOW,
    message::node::NodeToHub,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{CommandsSection, MAX_RUNS, allowlist::Allowlist, former_process as process};

/// Answers "no" that may wait for the hub to read them. A hub that asks on without reading is not a hub.
const MAX_REFUSALS: usize = 64;

/// What may be run, and what runs, over all connections of a node's life.
#[derive(Debug)]
pub struct Commands {
    allowlist: Allowlist,
    tasks: TaskTracker,
}

impl Commands {
    /// Reads the allowlist. A file that may not be trusted or read is logged, and nothing may run.
    #[must_use]
    pub fn new(section: &CommandsSection) -> Self {
        Self { allowlist: Allowlist::open(section.allowlist.as_deref()), tasks: TaskTracker::new() }
    }

    /// What may be run, by label.
    #[must_use]
    pub fn infos(&self) -> Vec<CommandInfo> {
        self.allowlist.infos()
    }

    /// Reads the allowlist again if its file has changed; what may be run now, if so.
    pub fn refresh(&mut self) -> Option<Vec<CommandInfo>> {
        self.allowlist.refresh().then(|| self.infos())
    }

    /// For the runs of one connection, whose messages go to `out`.
    #[must_use]
    pub fn runs(&self, out: mpsc::Sender<NodeToHub>) -> Runs {
        let lost = CancellationToken::new();
        Runs {
            jobs: HashMap::new(),
            out,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            tasks: self.tasks.clone(),
            lost: lost.clone(),
            _guard: lost.drop_guard(),
        }
    }

    /// Waits for the processes of all connections that have ended; each has been told to end.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The runs of one connection. Dropped with it, which ends all of them.
#[derive(Debug)]
pub struct Runs {
    jobs: HashMap<JobId, Handle>,
    out: mpsc::Sender<NodeToHub>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    lost: CancellationToken,
    _guard: DropGuard,
}

#[derive(Debug)]
struct Handle {
    /// Alive as long as the run is.
    credit: Weak<Semaphore>,
    cancel: CancellationToken,
}

/// The hub sent something about a run that breaks the protocol.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// Two runs of one number.
    #[error("a second run with the number of one that has not ended")]
    Twice,
    /// Refused runs whose answers it does not read.
    #[error("more than {MAX_REFUSALS} refused runs whose answers it has not read")]
    Flood,
    /// More credit than there is to grant.
    #[error("more than {OUTPUT_WINDOW} bytes of credit for one run")]
    Credit,
}

impl Runs {
    /// Starts `label`, or says why not; either way the run ends with an Exit.
    ///
    /// # Errors
    /// The hub breaks the protocol.
    pub fn start(
        &mut self,
        commands: &Commands,
        job: JobId,
        label: &str,
        credit: u32,
    ) -> Result<(), RunsError> {
        self.jobs.retain(|_, run| run.credit.strong_count() > 0);
        if self.jobs.contains_key(&job) {
            return Err(RunsError::Twice);
        }
        if credit > OUTPUT_WINDOW {
            return Err(RunsError::Credit);
        }
        let entry = match commands.allowlist.find(label) {
            _ if self.jobs.len() >= MAX_RUNS => {
                let message = format!("{MAX_RUNS} commands are running on this node; wait for one to end");
                Err((RunFailure::Busy, message))
            }
            found => found,
        };
        let out = self.out.clone();
        let entry = match entry {
            Ok(entry) => entry.clone(),
            Err((why, message)) => {
                // In a task: the queue may be full, and the link must go on reading.
                let permit = Arc::clone(&self.refusals).try_acquire_owned().map_err(|_| RunsError::Flood)?;
                self.tasks.spawn(async move {
                    let _ = out
                        .send(NodeToHub::Exit { job, end: RunEnd::Failed { why, message }, usage: None })
                        .await;
                    drop(permit);
                });
                return Ok(());
            }
        };
        let credit = Arc::new(Semaphore::new(credit as usize));
        let cancel = self.lost.child_token();
        self.jobs.insert(job, Handle { credit: Arc::downgrade(&credit), cancel: cancel.clone() });
        let label = label.to_owned();
        self.tasks.spawn(async move {
            tracing::info!(%label, job = job.0, "command started");
            let end = process::run(&entry, job, &out, &credit, &cancel).await;
            tracing::info!(%label, job = job.0, ?end, "command ended");
            // The connection may be gone; then the hub has written the end itself.
            let _ = out.send(NodeToHub::Exit { job, end, usage: None }).await;
        });
        Ok(())
    }

    /// More output of a run may be sent. One that has ended is past caring.
    ///
    /// # Errors
    /// The hub breaks the protocol.
    pub fn credit(&self, job: JobId, credit: u32) -> Result<(), RunsError> {
        let Some(held) = self.jobs.get(&job).and_then(|run| run.credit.upgrade()) else { return Ok(()) };
        if held.available_permits() + credit as usize > OUTPUT_WINDOW as usize {
            return Err(RunsError::Credit);
        }
        held.add_permits(credit as usize);
        Ok(())
    }

    /// Ends a run. One that has ended is past caring.
    pub fn cancel(&self, job: JobId) {
        if let Some(run) = self.jobs.get(&job) {
            run.cancel.cancel();
        }
    }
}
