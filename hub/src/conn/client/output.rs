//! What a job has printed, read from the store as fast as its client grants it; a task beside the others, as a
//! subscription is.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use secmon_protocol::{
    command::OutputStream,
    ids::{JobId, RequestId},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::{
        ErrorCode, Refusal,
        client::{HubToClient, JobSummary},
    },
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::{Shared, requests::Requests, subscription::Outgoing};
use crate::{
    actor::Message,
    core::JobAsk,
    store::{Printed, StoreError},
};

/// Most jobs whose output one client reads at once.
const MAX_OUTPUTS: usize = 32;

/// The outputs that a client reads.
#[derive(Default)]
pub(super) struct Outputs(HashMap<RequestId, Output>);

struct Output {
    task: AbortOnDropHandle<()>,
    /// As many permits as bytes that may be sent.
    credit: Arc<Semaphore>,
}

impl Outputs {
    /// Grants one more; none where the request is not one of these.
    pub(super) fn grant(&mut self, request: RequestId, credit: u32) -> Option<Result<(), Refusal>> {
        let output = self.0.get(&request)?;
        let (has, more) = (output.credit.available_permits(), credit as usize);
        if has + more > OUTPUT_WINDOW as usize {
            self.0.remove(&request);
            return Some(Err(too_much()));
        }
        output.credit.add_permits(more);
        Some(Ok(()))
    }

    /// Ends one; whether there was one.
    pub(super) fn cancel(&mut self, request: RequestId) -> bool {
        self.0.remove(&request).is_some()
    }
}

fn too_much() -> Refusal {
    Refusal::new(ErrorCode::Protocol, format!("the credit for a job's output is at most {OUTPUT_WINDOW}"))
}

impl Requests {
    /// Begins to send a job's output.
    pub(super) async fn output(
        &mut self,
        request: RequestId,
        job: String,
        (follow, credit): (bool, u32),
    ) -> Result<(), Refusal> {
        self.outputs.0.retain(|_, output| !output.task.is_finished());
        if self.outputs.0.contains_key(&request) || self.subscriptions.contains_key(&request) {
            return Err(Refusal::new(ErrorCode::Protocol, "the request's number is taken"));
        }
        if self.outputs.0.len() >= MAX_OUTPUTS {
            let message =
                format!("a client may read the output of {MAX_OUTPUTS} jobs at once; end one first");
            return Err(Refusal::new(ErrorCode::TooMany, message));
        }
        if credit > OUTPUT_WINDOW {
            return Err(too_much());
        }
        let asked = self.job_ask(job);
        let job = self.shared.actor.ask(|reply| Message::ReadJob(asked, reply)).await?;
        let credit = Arc::new(Semaphore::new(credit as usize));
        let reading = Reading {
            request,
            job: job.run.job,
            // From now on that number alone is meant.
            asked: self.job_ask(job.run.job.to_string()),
            follow,
            place: 0,
            credit: credit.clone(),
            out: self.events.clone(),
            shared: self.shared.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(reading.run(job)));
        self.outputs.0.insert(request, Output { task, credit });
        Ok(())
    }
}

/// Why no more is sent.
enum Stop {
    /// The client's connection has ended.
    Gone,
    /// The client is told.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One output on its way.
struct Reading {
    request: RequestId,
    job: JobId,
    asked: JobAsk,
    follow: bool,
    /// Bytes of the output that were sent, or told to be missing.
    place: u64,
    credit: Arc<Semaphore>,
    out: mpsc::Sender<Outgoing>,
    shared: Arc<Shared>,
}

impl Reading {
    async fn run(mut self, job: JobSummary) {
        let request = self.request;
        let last = match self.read(job).await {
            Ok(job) => HubToClient::Job { request, job: Box::new(job) },
            Err(Stop::Refused(refusal)) => HubToClient::Error { request, refusal },
            Err(Stop::Gone) => return,
        };
        // Where the client is gone nobody is left to be told.
        let _ = self.send(last).await;
    }

    /// Sends what there is, and what comes where it is followed; the job as it stands then.
    async fn read(&mut self, mut job: JobSummary) -> Result<JobSummary, Stop> {
        let mut grown = self.shared.actor.watch_jobs();
        loop {
            grown.borrow_and_update();
            if self.follow {
                // What it had printed when it stood so is in the store.
                job = self.ask().await?;
            }
            while self.place < job.output {
                let found = self.shared.log.output(self.job, self.place).await.map_err(unreadable)?;
                if found.is_empty() {
                    self.missing(job.output).await?;
                }
                for piece in found {
                    self.piece(piece).await?;
                }
            }
            if job.state.is_over() {
                return Ok(job);
            }
            if !self.follow {
                return Ok(self.ask().await?);
            }
            tokio::select! {
                changed = grown.changed() => changed.map_err(|_| Stop::Gone)?,
                () = self.out.closed() => return Err(Stop::Gone),
            }
        }
    }

    async fn ask(&self) -> Result<JobSummary, Refusal> {
        let asked = self.asked.clone();
        self.shared.actor.ask(|reply| Message::Job(asked, reply)).await
    }

    /// Everything before this place that was not sent is not kept.
    async fn missing(&mut self, to: u64) -> Result<(), Stop> {
        if to > self.place {
            let bytes = to - self.place;
            self.place = to;
            self.send(HubToClient::OutputMissing { request: self.request, bytes }).await?;
        }
        Ok(())
    }

    async fn piece(&mut self, piece: Printed) -> Result<(), Stop> {
        let Printed { at, stream, mut data } = piece;
        self.missing(at).await?;
        let sent = usize::try_from(self.place - at).unwrap_or(usize::MAX).min(data.len());
        let mut rest = data.split_off(sent);
        while !rest.is_empty() {
            let len = self.granted(rest.len().min(MAX_CHUNK)).await?;
            self.chunk(stream, rest.split_to(len)).await?;
        }
        Ok(())
    }

    async fn chunk(&mut self, stream: OutputStream, data: Bytes) -> Result<(), Stop> {
        self.place += data.len() as u64;
        self.send(HubToClient::Output { request: self.request, stream, data }).await
    }

    /// Waits until something may be sent, and takes the credit for as much of `len` as may.
    async fn granted(&self, len: usize) -> Result<usize, Stop> {
        let least = tokio::select! {
            least = self.credit.acquire_many(MIN_CHUNK_COST) => least.map_err(|_| Stop::Gone)?,
            () = self.out.closed() => return Err(Stop::Gone),
        };
        least.forget();
        let more = (chunk_cost(len) - MIN_CHUNK_COST) as usize;
        // Nobody else takes any.
        let more = self.credit.forget_permits(more);
        Ok(len.min(MIN_CHUNK_COST as usize + more))
    }

    async fn send(&self, message: HubToClient) -> Result<(), Stop> {
        self.out.send(Outgoing::Message(message)).await.map_err(|_| Stop::Gone)
    }
}

fn unreadable(error: StoreError) -> Stop {
    warn!(%error, "cannot read a job's output for a client");
    let message = format!("the hub cannot read what it keeps of the job's output: {error}; try again");
    Stop::Refused(Refusal::new(ErrorCode::Internal, message))
}
