//! One run of a command on a node: its output as it comes, under credit, and its end.

use bytes::Bytes;
use secmon_protocol::{
    command::{OutputStream, RunEnd},
    ids::{JobId, NodeId},
    limits::{MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::client::{ClientToHub, HubToClient},
};

use crate::{
    ClientError,
    client::{Answers, unexpected},
};

/// Messages between the connection's task and the reader of a run: as many chunks as the credit can pay
/// for, and Started and Exit. So a run that nobody reads holds up nobody else.
pub(crate) const QUEUE: usize = (OUTPUT_WINDOW / MIN_CHUNK_COST) as usize + 2;
/// Credit is granted in pieces of at least this size, so that small chunks do not cost a message each. A
/// quarter of the window: the rest keeps the command busy meanwhile.
const GRANT: u32 = OUTPUT_WINDOW / 4;

/// What happens in a run, in order: Started, any number of Output, Exit. A run that could not be started
/// has only its Exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEvent {
    /// Its process stands.
    Started {
        /// The run's number.
        job: JobId,
        /// The node.
        node: NodeId,
        /// The process on the node.
        pid: u32,
    },
    /// What it printed.
    Output {
        /// Where.
        stream: OutputStream,
        /// The bytes, unmodified.
        data: Bytes,
    },
    /// How it ended.
    Exit(RunEnd),
}

/// A run. Dropping it cancels it.
#[derive(Debug)]
pub struct Run {
    answers: Answers,
    /// Credit for output that was read and not granted again yet.
    owed: u32,
    /// Credit for the chunk that was handed out last; it counts as read when more is asked for.
    last: u32,
    over: bool,
}

impl Run {
    pub(crate) fn new(answers: Answers) -> Self {
        Self { answers, owed: 0, last: 0, over: false }
    }

    /// What happens next; none after Exit. By asking, the caller says that it is done with the chunk
    /// before, and the command may print as much again: who writes chunks out before asking for more
    /// slows the command down to the pace of the writing. Safe to cancel.
    ///
    /// # Errors
    /// The hub or the node refused the run, or the connection broke; nothing more will come.
    pub async fn next(&mut self) -> Result<Option<RunEvent>, ClientError> {
        if self.over {
            return Ok(None);
        }
        self.owed = self.owed.saturating_add(std::mem::take(&mut self.last));
        if self.owed >= GRANT {
            let (request, credit) = (self.answers.request(), self.owed);
            // A connection that is gone says so below, behind what it brought before its end.
            let _ = self.answers.tell(ClientToHub::Credit { request, credit }).await;
            self.owed = 0;
        }
        let message = self.answers.next().await.inspect_err(|_| self.over = true)?;
        Ok(Some(match message {
            HubToClient::Started { job, node, pid, .. } => RunEvent::Started { job, node, pid },
            HubToClient::Output { stream, data, .. } => {
                self.last = chunk_cost(data.len());
                RunEvent::Output { stream, data }
            }
            HubToClient::Exit { end, .. } => {
                self.over = true;
                RunEvent::Exit(end)
            }
            _ => {
                self.over = true;
                return Err(unexpected("a run was sent something else than output"));
            }
        }))
    }

    /// Asks the node to end the command and its process group. What it still prints and its Exit come
    /// from [`Run::next`].
    ///
    /// # Errors
    /// The connection broke.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        self.answers.tell(ClientToHub::Cancel { request: self.answers.request() }).await
    }
}
