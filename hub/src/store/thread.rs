//! The thread that owns the database.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use tokio::sync::oneshot;

use super::{Batch, Committed, Store, StoreError};
use crate::core::Kept;

/// The actor waits for each answer before it asks again, so that more than one never stands in the queue.
const QUEUE: usize = 1;

enum Job {
    Commit(Batch, oneshot::Sender<Result<Committed, StoreError>>),
    Load(oneshot::Sender<Result<Kept, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
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
                    Job::Commit(batch, answer) => drop(answer.send(store.commit(&batch))),
                    Job::Load(answer) => drop(answer.send(store.load())),
                    Job::Close(answer) => return drop(answer.send(store.close())),
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes a batch, whole or not at all.
    ///
    /// # Errors
    /// The database refuses, or its thread has ended.
    pub(crate) async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.ask(|answer| Job::Commit(batch, answer)).await
    }

    /// Says that the hub ended in order, and brings everything to the disk.
    ///
    /// # Errors
    /// As [`StoreThread::commit`].
    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.ask(Job::Close).await
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
