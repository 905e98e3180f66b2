//! One run of a command on a node: its output as it comes, its input as it is asked for, both under credit, and its
//! end.

use bytes::Bytes;
use secmon_protocol::{
    command::{OutputStream, RunEnd, Usage},
    ids::{JobId, NodeId},
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::client::{ClientToHub, HubToClient},
};

use crate::{
    ClientError,
    client::{Answers, unexpected},
};

/// Started, Exit, and what input is asked for: a node asks for more when a good part of what it asked for is read.
const OTHERS: usize = 16;
/// Smallest window: two of the largest chunks, so that one can be on its way while the other is written.
const LEAST_WINDOW: u32 = 2 * MAX_CHUNK as u32;

/// Messages between the connection's task and the reader of a run: as many chunks as the credit can pay
/// for, and the [`OTHERS`]. So a run that nobody reads holds up nobody else.
pub(crate) fn queue(window: u32) -> usize {
    (window / MIN_CHUNK_COST) as usize + OTHERS
}

/// How a run shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOptions {
    /// Whether there is input for it, should it read any; see [`Run::input_room`].
    pub stdin: bool,
    /// How many bytes of its output may be on their way here. Who has many runs at once takes a small window for each,
    /// for this is what each may cost in memory. Taken to be 128 KiB to 1 MiB.
    pub window: u32,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { stdin: false, window: OUTPUT_WINDOW }
    }
}

impl RunOptions {
    pub(crate) fn window(&self) -> u32 {
        self.window.clamp(LEAST_WINDOW, OUTPUT_WINDOW)
    }
}

/// What happens in a run, in order: Started, any number of Output and InputWanted, Exit. A run that could not be started
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
    /// It reads input, and there is more room for it: see [`Run::input_room`].
    InputWanted,
    /// How it ended.
    Exit {
        /// How.
        end: RunEnd,
        /// What it took; none where it was not started, or not seen to end.
        usage: Option<Usage>,
    },
}

/// A run. Dropping it cancels it.
#[derive(Debug)]
pub struct Run {
    answers: Answers,
    output: Window,
    /// Credit for input.
    input: u32,
    over: bool,
}

impl Run {
    pub(crate) fn new(answers: Answers, window: u32) -> Self {
        Self { answers, output: Window::new(window), input: 0, over: false }
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
        self.output.grant(&self.answers).await;
        let message = self.answers.next().await.inspect_err(|_| self.over = true)?;
        Ok(Some(match message {
            HubToClient::Started { job, node, pid, .. } => RunEvent::Started { job, node, pid },
            HubToClient::Output { stream, data, .. } => {
                self.output.handed_out(data.len());
                RunEvent::Output { stream, data }
            }
            HubToClient::StdinCredit { credit, .. } => {
                self.input = self.input.saturating_add(credit).min(OUTPUT_WINDOW);
                RunEvent::InputWanted
            }
            HubToClient::Exit { end, usage, .. } => {
                self.over = true;
                RunEvent::Exit { end, usage }
            }
            _ => {
                self.over = true;
                return Err(unexpected("a run was sent something else than output"));
            }
        }))
    }

    /// How many bytes [`Run::send_input`] takes now. 0 until the command reads input, and whenever it has not read what
    /// it was sent; [`RunEvent::InputWanted`] says that there may be room again.
    #[must_use]
    pub fn input_room(&self) -> usize {
        // The smallest piece costs that much, and so does the end.
        if self.over || self.input < MIN_CHUNK_COST { 0 } else { (self.input as usize).min(MAX_CHUNK) }
    }

    /// Sends input, or none for its end. At most [`Run::input_room`] bytes are taken; how many is answered.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send_input(&mut self, data: &[u8]) -> Result<usize, ClientError> {
        let room = self.input_room();
        if room == 0 {
            return Ok(0);
        }
        let data = Bytes::copy_from_slice(&data[..data.len().min(room)]);
        let taken = data.len();
        self.input = self.input.saturating_sub(chunk_cost(taken));
        self.answers.tell(ClientToHub::Stdin { request: self.answers.request(), data }).await?;
        Ok(taken)
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

/// The receiving end of output under credit.
#[derive(Debug)]
pub(crate) struct Window {
    /// Credit is granted in pieces of at least this size, so that small chunks do not cost a message each. A quarter of
    /// the window: the rest keeps the command busy meanwhile.
    piece: u32,
    /// Credit for output that was read and not granted again yet.
    owed: u32,
    /// Credit for the chunk that was handed out last; it counts as read when more is asked for.
    last: u32,
}

impl Window {
    pub(crate) fn new(window: u32) -> Self {
        Self { piece: window / 4, owed: 0, last: 0 }
    }

    /// A chunk of so many bytes is with the reader.
    pub(crate) fn handed_out(&mut self, len: usize) {
        self.last = chunk_cost(len);
    }

    /// The reader is done with it.
    pub(crate) async fn grant(&mut self, answers: &Answers) {
        self.owed = self.owed.saturating_add(std::mem::take(&mut self.last));
        if self.owed >= self.piece {
            let (request, credit) = (answers.request(), self.owed);
            // A connection that is gone says so to who asks next, behind what it brought before its end.
            let _ = answers.tell(ClientToHub::Credit { request, credit }).await;
            self.owed = 0;
        }
    }
}
