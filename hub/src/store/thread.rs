//! The thread that owns the database.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use tokio::sync::oneshot;

use super::{Store, StoreError};
use crate::core::{Kept, Write};

/// The actor waits for each answer before it asks again, so that more than one never stands in the queue.
const QUEUE: usize = 1;

enum Job {
    Commit(Vec<Write>, oneshot::Sender<Result<(), StoreError>>),
    Load(oneshot::Sender<Result<Kept, StoreError>>),
}

/// The way to the database's thread, which ends when this is dropped.
pub(crate) struct StoreThread {
    jobs: Option<SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(mut store: Store) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("secmon-store".to_owned()).spawn(move || {
            for job in queue {
                // Whoever no longer waits for an answer needs none.
                match job {
                    Job::Commit(writes, answer) => drop(answer.send(store.commit(&writes))),
                    Job::Load(answer) => drop(answer.send(store.load())),
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes a batch, whole or not at all.
    ///
    /// # Errors
    /// The database refuses, or its thread has ended.
    pub(crate) async fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.ask(|answer| Job::Commit(writes, answer)).await
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// As [`StoreThread::commit`].
    pub(crate) async fn load(&self) -> Result<Kept, StoreError> {
        self.ask(Job::Load).await
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, waiting) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        jobs.try_send(job(answer)).map_err(|_| StoreError::Gone)?;
        waiting.await.map_err(|_| StoreError::Gone)?
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        // The queue's end is what ends the thread; it has nothing left to write.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
