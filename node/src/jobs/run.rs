//! One run: how far it has come, and what of it the hub has been told over this connection. Pure.

use secmon_protocol::{
    command::{Arg, RunEnd, RunFailure, Usage},
    ids::JobId,
    limits::{MAX_CHUNK, chunk_cost},
    message::{
        node::{HeldJob, NodeToHub, Order},
        runner::NodeToRunner,
    },
};

use bytes::Bytes;

use super::{
    Violation,
    output::{Keep, Output},
};

/// Whose run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bond {
    /// The connection's: it ends with that.
    Attached,
    /// Its own: it goes on while there is no connection, and what it prints waits.
    Detached,
}

/// How far it has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its number is being written down; then it is started.
    Remembering {
        label: String,
        args: Vec<Arg>,
        /// Whether the memory of numbers may be made anew for it, should that be damaged: what the hub handed over before the
        /// damage had come again when this was ordered, and it was not done for it before.
        may_renew: bool,
    },
    /// The executor has it.
    Given,
    /// It is over.
    Over(RunEnd, Option<Usage>),
}

/// What goes to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing: there is no connection, or the hub has not said yet where to go on.
    Waits,
    /// Everything.
    All,
    /// The end alone: the hub has cancelled it without asking for its output.
    End,
}

/// Whether the end of a run's input has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    Open,
    /// It has, before the executor was ready for any input.
    Waits,
    Passed,
}

/// A run's input.
#[derive(Debug)]
struct Input {
    /// Whether somebody sends any.
    wanted: bool,
    /// Whether the executor takes any.
    taken: bool,
    /// Granted by the executor and not told to the hub.
    due: u32,
    /// Told to the hub and not used by it.
    left: u32,
    end: InputEnd,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) bond: Bond,
    pub(super) stage: Stage,
    pub(super) flow: Flow,
    pub(super) pid: Option<u32>,
    pub(super) output: Output,
    input: Input,
    /// Whether the hub knows, over this connection, that the process stands; and that it is over.
    told_start: bool,
    pub(super) told_end: bool,
    /// Whether the executor was told to end it.
    pub(super) cancelled: bool,
    /// Nobody wants to hear of it any more: it is there until the executor has ended it.
    pub(super) dead: bool,
    /// It is forgotten as soon as its end is told.
    pub(super) fleeting: bool,
    /// Whether it stands in the queue of those that have something to tell.
    pub(super) queued: bool,
}

impl Run {
    /// A run that flows on this connection, and what the executor is told; a detached one is remembered first. `may_renew`
    /// is as in [`Stage::Remembering`].
    pub(super) fn new(order: Order, may_renew: bool) -> (Self, Option<NodeToRunner>) {
        let Order { job, label, args, credit, stdin, detached } = order;
        let (bond, keep) = match detached {
            true => (Bond::Detached, Keep::UntilCredited),
            false => (Bond::Attached, Keep::UntilSent),
        };
        // A detached job outlives whoever could send it anything.
        let stdin = stdin && !detached;
        let (stage, start) = match detached {
            true => (Stage::Remembering { label, args, may_renew }, None),
            false => (Stage::Given, Some(NodeToRunner::Start { job, label, args, credit, stdin })),
        };
        let input = Input { wanted: stdin, taken: false, due: 0, left: 0, end: InputEnd::Open };
        let run = Self {
            bond,
            stage,
            flow: Flow::All,
            pid: None,
            output: Output::new(keep, credit),
            input,
            told_start: false,
            told_end: false,
            cancelled: false,
            dead: false,
            fleeting: !detached,
            queued: false,
        };
        (run, start)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(..))
    }

    /// It is over for a reason of secmon's.
    pub(super) fn fail(&mut self, why: RunFailure, message: String) {
        self.stage = Stage::Over(RunEnd::Failed { why, message }, None);
    }

    /// There is a new connection: what the hub is told of it at first.
    pub(super) fn held(&mut self, job: JobId) -> HeldJob {
        (self.told_start, self.told_end) = (self.pid.is_some(), false);
        HeldJob { job, pid: self.pid }
    }

    /// The connection is lost.
    pub(super) fn rewind(&mut self) {
        self.flow = Flow::Waits;
        self.queued = false;
        self.output.rewind();
    }

    /// Ends it: what the executor has to be told, if it was not.
    pub(super) fn cancel(&mut self, job: JobId) -> Option<NodeToRunner> {
        let first = !std::mem::replace(&mut self.cancelled, true);
        (first && matches!(self.stage, Stage::Given)).then_some(NodeToRunner::Cancel { job })
    }

    /// Nobody wants to hear of it any more.
    pub(super) fn bury(&mut self, job: JobId) -> Option<NodeToRunner> {
        self.dead = true;
        self.flow = Flow::Waits;
        self.output.clear();
        self.cancel(job)
    }

    /// The executor takes so much more input. What it is told at once, if that is all that there is.
    pub(super) fn grant_input(&mut self, job: JobId, credit: u32) -> Option<NodeToRunner> {
        self.input.taken = true;
        match self.input.end {
            InputEnd::Open => self.input.due = self.input.due.saturating_add(credit),
            InputEnd::Waits => {
                self.input.end = InputEnd::Passed;
                return Some(NodeToRunner::Stdin { job, data: Bytes::new() });
            }
            InputEnd::Passed => {}
        }
        None
    }

    /// A piece of input from the hub.
    ///
    /// # Errors
    /// The hub breaks the protocol.
    pub(super) fn input(&mut self, job: JobId, data: Bytes) -> Result<Option<NodeToRunner>, Violation> {
        if data.len() > MAX_CHUNK {
            return Err(Violation::Chunk(data.len()));
        }
        if !self.input.wanted {
            return Err(Violation::NoInput);
        }
        if self.input.end != InputEnd::Open {
            return Err(Violation::InputAfterEnd);
        }
        if data.is_empty() {
            self.input.end = if self.input.taken { InputEnd::Passed } else { InputEnd::Waits };
        } else {
            let left = self.input.left.checked_sub(chunk_cost(data.len()));
            self.input.left = left.ok_or(Violation::Input)?;
        }
        let pass = matches!(self.stage, Stage::Given) && self.input.taken;
        Ok(pass.then_some(NodeToRunner::Stdin { job, data }))
    }

    /// Whether there is something that the hub is to be told now.
    pub(super) fn has_message(&self) -> bool {
        let end = self.is_over() && !self.told_end;
        match self.flow {
            Flow::Waits => false,
            Flow::End => end,
            Flow::All => {
                let start = !self.told_start && self.pid.is_some();
                start || self.input.due > 0 || self.output.has_next() || end
            }
        }
    }

    /// What the hub is told next. The start comes first, then what may be sent to it and what it has printed, and
    /// the end comes last.
    pub(super) fn next_message(&mut self, job: JobId) -> Option<NodeToHub> {
        if self.flow == Flow::Waits {
            return None;
        }
        if self.flow == Flow::All {
            if let Some(pid) = self.pid.filter(|_| !self.told_start) {
                self.told_start = true;
                return Some(NodeToHub::Started { job, pid });
            }
            if self.input.due > 0 {
                let credit = std::mem::take(&mut self.input.due);
                self.input.left = self.input.left.saturating_add(credit);
                return Some(NodeToHub::StdinCredit { job, credit });
            }
            if let Some(chunk) = self.output.next() {
                return Some(NodeToHub::Output { job, stream: chunk.stream, at: chunk.at, data: chunk.data });
            }
        }
        match &self.stage {
            Stage::Over(end, usage) if !self.told_end => {
                self.told_end = true;
                Some(NodeToHub::Exit { job, end: end.clone(), usage: *usage })
            }
            _ => None,
        }
    }
}
