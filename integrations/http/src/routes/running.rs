//! A run that goes on: fed with its input, ended with its client, its token or the bridge.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::{Stream, stream};
use secmon_client::{ClientError, Run, RunEvent};
use secmon_protocol::{
    command::{OutputStream, RunEnd, Usage},
    ecs,
    ids::JobId,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{events::ended, run::broken};
use crate::{
    access::Principal,
    hub::{Hub, Over, Person},
    problem::Problem,
};

/// What happens in a run.
#[derive(Debug)]
pub(super) enum Step {
    Started { job: JobId, pid: u32 },
    Output { stream: OutputStream, data: Bytes },
    Ended { end: RunEnd, usage: Option<Usage> },
}

/// A run. Its drop cancels it.
pub(super) struct Running {
    run: Run,
    input: Option<Bytes>,
    hub: Arc<Hub>,
    ended: CancellationToken,
    /// The run's connection.
    _person: Person,
}

impl Running {
    pub(super) fn new(
        hub: &Arc<Hub>,
        who: &Principal,
        person: Person,
        run: Run,
        input: Option<Bytes>,
    ) -> Self {
        hub.counts.running.fetch_add(1, Ordering::Relaxed);
        Self { run, input, hub: hub.clone(), ended: ended(who), _person: person }
    }

    /// What happens next. By asking, the caller says that it is done with the step before.
    pub(super) async fn next(&mut self) -> Result<Step, Problem> {
        let (hub, ended) = (self.hub.clone(), self.ended.clone());
        tokio::select! {
            biased;
            () = hub.cancel().cancelled() => Err(super::events::over(&Over::Stopped)),
            () = ended.cancelled() => Err(super::events::over(&Over::Ended)),
            step = self.step() => Ok(step?),
        }
    }

    async fn step(&mut self) -> Result<Step, ClientError> {
        loop {
            return Ok(match self.run.next().await? {
                Some(RunEvent::Started { job, pid, .. }) => Step::Started { job, pid },
                Some(RunEvent::Output { stream, data }) => Step::Output { stream, data },
                Some(RunEvent::Exit { end, usage }) => Step::Ended { end, usage },
                Some(RunEvent::InputWanted) => {
                    self.feed().await?;
                    continue;
                }
                None => return Err(ClientError::ConnectionLost { reason: "the run is over".to_owned() }),
            });
        }
    }

    async fn feed(&mut self) -> Result<(), ClientError> {
        while let Some(input) = &mut self.input
            && self.run.input_room() > 0
        {
            // None is its end.
            let taken = self.run.send_input(input).await?;
            if input.is_empty() {
                self.input = None;
            } else {
                input.advance(taken);
            }
        }
        Ok(())
    }

    /// All of it as NDJSON, behind the line that it was started. It is read as fast as the client reads.
    pub(super) fn lines(self, started: Value) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let first = line(&json!({ "started": started }));
        stream::unfold((Some(self), Some(first)), async |(running, first)| {
            if let Some(first) = first {
                return Some((Ok(first), (running, None)));
            }
            let mut running = running?;
            Some(match running.next().await {
                Ok(Step::Output { stream, data }) => {
                    (Ok(line(&ecs::run_output(stream, &data))), (Some(running), None))
                }
                Ok(Step::Started { .. }) => (Ok(Bytes::new()), (Some(running), None)),
                Ok(Step::Ended { end, usage }) => {
                    (Ok(line(&ecs::run_ended(&end, usage.as_ref()))), (None, None))
                }
                Err(problem) => (Ok(line(&broken(&problem))), (None, None)),
            })
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hub.counts.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A line of NDJSON.
pub(super) fn line(value: &Value) -> Bytes {
    let mut out = BytesMut::from(ecs::line(value).as_bytes());
    out.put_u8(b'\n');
    out.freeze()
}
