//! The thread that has the database.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{Store, StoreError};
use crate::run::NotifyError;

/// Each destination's task and the actor wait for an answer before they ask again; a full queue makes them wait a little longer.
const QUEUE: usize = 16;
/// How long until a disk that was full is tried again.
const AGAIN: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce(&mut Store, &AtomicBool) + Send>;

/// The way to the thread, which ends when the last of these is dropped. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct StoreThread {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
    closing: Arc<AtomicBool>,
}

/// What waits for the end of the thread.
#[derive(Debug)]
pub(crate) struct Ending(oneshot::Receiver<()>);

impl Ending {
    /// Waits until the database is closed.
    pub(crate) async fn ended(self) {
        // Its sender is dropped at the end, however that came.
        let _ = self.0.await;
    }
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(mut store: Store) -> io::Result<(Self, Ending)> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (end, ended) = oneshot::channel();
        let closing = Arc::new(AtomicBool::new(false));
        let (path, gone) = (store.path.clone(), closing.clone());
        thread::Builder::new().name("secmon-store".to_owned()).spawn(move || {
            while let Some(job) = queue.blocking_recv() {
                job(&mut store, &gone);
            }
            drop(store);
            drop(end);
        })?;
        Ok((Self { jobs, path, closing }, Ending(ended)))
    }

    /// Does something with the database, as often as it takes: a disk that is full is waited for, for whoever asks must not go
    /// on without what it wrote. Not safe to cancel in this sense: it is done all the same.
    ///
    /// # Errors
    /// The database refuses for good, or the notifier ends.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        mut act: impl FnMut(&mut Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NotifyError> {
        let (answer, waiting) = oneshot::channel();
        let job = Box::new(move |store: &mut Store, closing: &AtomicBool| {
            // Whoever no longer waits for an answer needs none.
            let _ = answer.send(patiently(what, store, closing, &mut act));
        });
        let gone = || StoreError::Refused("the notifier ends".to_owned()).at(what, &self.path);
        self.jobs.send(job).await.map_err(|_| gone())?;
        waiting.await.map_err(|_| gone())?.map_err(|error| error.at(what, &self.path))
    }

    /// From now on nothing is tried twice.
    pub(crate) fn closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }
}

fn patiently<T>(
    what: &'static str,
    store: &mut Store,
    closing: &AtomicBool,
    act: &mut impl FnMut(&mut Store) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut told = false;
    loop {
        match act(store) {
            Err(StoreError::Passing(reason)) if !closing.load(Ordering::Relaxed) => {
                if !std::mem::replace(&mut told, true) {
                    let path = store.path.display();
                    tracing::error!(%path, what, reason, "the store cannot be written; nothing goes on until it can");
                }
                thread::park_timeout(AGAIN);
            }
            result => {
                if told && result.is_ok() {
                    tracing::info!("the store can be written again");
                }
                return result;
            }
        }
    }
}
