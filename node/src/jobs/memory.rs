//! The numbers, and the thread that they are on while their disk is waited for: it lives for one transaction, so that
//! a slow disk stops neither runs nor heartbeats, and a node without detached jobs has no thread for them.

use std::path::PathBuf;

use secmon_protocol::ids::JobId;
use tokio::sync::oneshot;

use super::{
    core::{Answer, Write},
    numbers::Numbers,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// None while a thread has them, and after it was lost with them.
    numbers: Option<Numbers>,
    work: Option<Work>,
}

#[derive(Debug)]
struct Work {
    asked: Vec<JobId>,
    done: oneshot::Receiver<(Numbers, Vec<(JobId, Answer)>)>,
}

impl Memory {
    /// Of the numbers in the file at `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, numbers: None, work: None }
    }

    /// Whether it takes no writes now.
    pub(super) fn works(&self) -> bool {
        self.work.is_some()
    }

    /// Begins to write.
    pub(super) fn begin(&mut self, writes: Vec<Write>) {
        let asked = writes
            .iter()
            .filter_map(|write| match write {
                Write::Remember(job) => Some(*job),
                Write::Forget(_) | Write::Renew => None,
            })
            .collect();
        let (tell, done) = oneshot::channel();
        let mut numbers = self.numbers.take().unwrap_or_else(|| Numbers::at(self.path.clone()));
        let started = std::thread::Builder::new().name("secmon-jobs".to_owned()).spawn(move || {
            let answers = numbers.apply(&writes);
            // Nobody waits for it any more when the node has ended.
            let _ = tell.send((numbers, answers));
        });
        if let Err(error) = started {
            tracing::error!(%error, "cannot start a thread for the memory of started jobs; jobs are refused");
        }
        self.work = Some(Work { asked, done });
    }

    /// Waits until what was begun is done; for ever when nothing was. Safe to be dropped while it waits.
    pub(super) async fn done(&mut self) -> Vec<(JobId, Answer)> {
        let Some(work) = &mut self.work else { return std::future::pending().await };
        let answers = match (&mut work.done).await {
            Ok((numbers, answers)) => {
                self.numbers = Some(numbers);
                answers
            }
            Err(_) => {
                let failed = || Answer::Failed("there was no thread for it".to_owned());
                work.asked.iter().map(|job| (*job, failed())).collect()
            }
        };
        self.work = None;
        answers
    }
}
