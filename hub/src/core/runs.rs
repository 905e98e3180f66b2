//! Runs of commands: whose request is which run on which node, and where each of them stands.
//!
//! One model for both kinds. An *attached* run ends with its client and with its link, and is forgotten at its end. A
//! *job* (a detached run) goes on without both, and is kept for a while when it is over. Each has a row in the store
//! from the moment at which it is handed over or queued, so that a hub that was killed knows what it began.
//!
//! `ask` is what clients want, `attached` and `jobs` begin runs, `news` is what nodes say of them, `handshake` what a node
//! that comes holds, `spool` what is kept of output, `keep` what time brings, `audit` what is logged of refusals.

mod ask;
mod attached;
mod audit;
mod handshake;
mod jobs;
mod keep;
mod news;
mod spool;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use secmon_protocol::{
    command::{Arg, RunEnd, RunFailure, Usage},
    hub_event::{CommandRun, HubEvent, Requester},
    ids::{JobId, NodeId, NodeName, RequestId},
    limits::clip,
    message::client::{HubToClient, JobState, JobSummary},
    record::{Envelope, Origin},
    time::UnixNanos,
};

pub use self::{
    ask::{JobAsk, JobList, Wanted},
    attached::{MAX_CREDIT_PER_CLIENT, MAX_RUNS_PER_CLIENT, MAX_RUNS_PER_NODE, RunRequest},
    spool::Piece,
};
use self::{attached::Asker, audit::Audit, spool::Spool};
use super::{ClientId, Core, Dirty, Effect, Effects, Link, Now, Write};
use crate::access::Grants;

/// All that is kept about a run but its output.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// What others are told of it.
    pub summary: JobSummary,
    /// Its place among all runs: later ones have greater numbers.
    pub number: u64,
    /// Until when it may wait for its node; none where it may not.
    pub until: Option<UnixNanos>,
    /// Whether somebody wants it to end.
    pub cancelled: bool,
}

/// How much is kept of jobs; see `[jobs]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Bytes of output of one job.
    pub output: u64,
    /// Jobs that are over.
    pub keep: usize,
    /// How long such a one is kept.
    pub age: Duration,
}

impl Default for JobLimits {
    fn default() -> Self {
        Self { output: 1 << 20, keep: 1_000, age: Duration::from_secs(30 * 24 * 60 * 60) }
    }
}

/// What somebody wants to run.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Which node, in a person's words.
    pub node: String,
    /// Which command.
    pub label: String,
    /// With which arguments.
    pub args: Vec<Arg>,
    /// A fresh random number for the run.
    pub job: JobId,
    /// What the client may do.
    pub grants: Arc<Grants>,
    /// Who asks.
    pub by: Requester,
}

impl Wish {
    fn run(&self, detached: bool) -> CommandRun {
        CommandRun { label: self.label.clone(), args: self.args.clone(), ..self.bare(detached) }
    }

    /// Without what may be over a limit.
    fn bare(&self, detached: bool) -> CommandRun {
        CommandRun { job: self.job, label: String::new(), args: vec![], by: self.by.clone(), detached }
    }
}

/// One run.
#[derive(Debug)]
struct Run {
    row: JobRow,
    /// The client that asked and its number for it, until it goes away; none of a job.
    asker: Option<(ClientId, RequestId)>,
    /// Where it goes on: none of a job whose node is away, or has not yet said what it holds.
    link: Option<Link>,
    /// Output that the node may still send.
    credit: u32,
    /// Input that the client may still send; none where there is none to come.
    input: Option<u32>,
    /// Of a job.
    spool: Spool,
}

impl Run {
    fn new(row: JobRow) -> Self {
        Self { row, asker: None, link: None, credit: 0, input: None, spool: Spool::default() }
    }

    fn id(&self) -> JobId {
        self.row.summary.run.job
    }

    fn state(&self) -> JobState {
        self.row.summary.state
    }

    fn is_job(&self) -> bool {
        self.row.summary.run.detached
    }

    /// What it takes of memory where that is more than usual: its arguments, in bytes.
    fn weight(&self) -> usize {
        self.row.summary.run.args.iter().map(|arg| arg.name.len() + arg.value.len()).sum()
    }
}

/// All runs that are open, and the jobs that are over and kept.
#[derive(Debug, Default)]
pub(super) struct Runs {
    limits: JobLimits,
    all: BTreeMap<JobId, Run>,
    /// The requests of each client.
    askers: BTreeMap<ClientId, Asker>,
    /// The open runs of each node, by their number.
    of_node: BTreeMap<NodeId, BTreeMap<u64, JobId>>,
    /// The jobs, by their number.
    jobs: BTreeMap<u64, JobId>,
    /// The jobs that are over, by the time of their end.
    over: BTreeSet<(UnixNanos, u64)>,
    /// The arguments of all jobs, in bytes.
    weight: usize,
    /// Those of the jobs that are over.
    weight_over: usize,
    /// No job that waits is given up before that.
    soonest: Option<UnixNanos>,
    /// Nodes that were too busy for a job, and when to try again.
    busy: BTreeMap<NodeId, Duration>,
    last: u64,
    dirty: BTreeMap<JobId, Dirty>,
    /// Attached runs that were open when the hub ended.
    cut_off: Vec<JobId>,
    /// Whether it was looked for jobs of nodes that are not known any more.
    settled: bool,
    audit: Audit,
}

impl Runs {
    /// Those that were kept, with the pieces of their output where they are open.
    pub(super) fn found(kept: Vec<(JobRow, Vec<Piece>)>, limits: JobLimits) -> Self {
        let mut runs = Self { limits, ..Self::default() };
        for (row, pieces) in kept {
            runs.last = runs.last.max(row.number);
            if !row.summary.run.detached {
                runs.cut_off.push(row.summary.run.job);
            }
            if let (JobState::Queued, Some(expires)) = (row.summary.state, row.until) {
                runs.expect(expires);
            }
            let spool = Spool::found(&pieces, row.summary.output, limits.output);
            runs.insert(Run { spool, ..Run::new(row) });
        }
        runs
    }

    /// After the store refused a batch: what is not stored stays.
    pub(super) fn restored(&mut self, kept: Vec<(JobRow, Vec<Piece>)>) -> Self {
        let audit = std::mem::take(&mut self.audit);
        Self { audit, ..Self::found(kept, self.limits) }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn insert(&mut self, run: Run) {
        let (id, number, summary) = (run.id(), run.row.number, &run.row.summary);
        if run.is_job() {
            self.jobs.insert(number, id);
            self.weight += run.weight();
        }
        if summary.state.is_over() {
            self.weight_over += run.weight();
            self.over.insert((summary.ended.unwrap_or(summary.made), number));
        } else {
            self.of_node.entry(summary.node).or_default().insert(number, id);
        }
        if let Some((client, request)) = run.asker {
            self.askers.entry(client).or_default().insert(request, id, run.credit);
        }
        self.all.insert(id, run);
    }

    /// Takes a run out of everything.
    fn remove(&mut self, id: JobId) -> Option<Run> {
        let run = self.all.remove(&id)?;
        self.close(&run);
        if run.is_job() {
            self.jobs.remove(&run.row.number);
            self.weight -= run.weight();
        }
        let summary = &run.row.summary;
        if self.over.remove(&(summary.ended.unwrap_or(summary.made), run.row.number)) {
            self.weight_over -= run.weight();
        }
        Some(run)
    }

    /// Takes a run out of what is open.
    fn close(&mut self, run: &Run) {
        let node = run.row.summary.node;
        if let Some(open) = self.of_node.get_mut(&node) {
            open.remove(&run.row.number);
            if open.is_empty() {
                self.of_node.remove(&node);
            }
        }
        if let Some((client, request)) = run.asker {
            self.part(client, request, run.credit);
        }
    }

    /// Forgets a client's request.
    fn part(&mut self, client: ClientId, request: RequestId, credit: u32) {
        if let Some(asker) = self.askers.get_mut(&client) {
            asker.remove(request, credit);
            if asker.is_empty() {
                self.askers.remove(&client);
            }
        }
    }

    /// The open runs of a node, in their order.
    fn open_of(&self, node: NodeId) -> impl Iterator<Item = &Run> {
        self.of_node.get(&node).into_iter().flatten().filter_map(|(_, id)| self.all.get(id))
    }

    fn mark(&mut self, id: JobId, dirty: Dirty) {
        let was = self.dirty.entry(id).or_insert(dirty);
        *was = dirty.max(*was);
    }

    /// What waits to be written.
    pub(super) fn flush(&mut self, out: &mut Effects) {
        for (id, dirty) in std::mem::take(&mut self.dirty) {
            out.push(Effect::Store(match (self.all.get(&id), dirty) {
                (None, _) => Write::ForgetJob(id),
                (Some(run), Dirty::Whole) => Write::Job(Box::new(run.row.clone())),
                (Some(run), Dirty::Progress) => {
                    let JobSummary { output, dropped, .. } = run.row.summary;
                    Write::JobProgress { job: id, output, dropped }
                }
            }));
        }
    }
}

impl Core {
    /// Logs a record about a run; its node need not be known any more.
    fn tell_run(&mut self, now: Now, (node, name): (NodeId, NodeName), event: &HubEvent, out: &mut Effects) {
        self.publish(node, name, Origin::Hub, Envelope::hub(now.unix, event), out);
    }

    /// A run's process stands.
    fn mark_started(&mut self, now: Now, id: JobId, out: &mut Effects) {
        let Some(run) = self.runs.all.get_mut(&id) else { return };
        let summary = &mut run.row.summary;
        summary.state = JobState::Running;
        summary.started = Some(now.unix);
        let (about, event) =
            ((summary.node, summary.name.clone()), HubEvent::CommandStarted(summary.run.clone()));
        self.runs.mark(id, Dirty::Whole);
        self.tell_run(now, about, &event, out);
    }

    /// Ends a run: logs it, tells its client, forgets it unless it is a job.
    fn end_run(&mut self, now: Now, id: JobId, (end, usage): (RunEnd, Option<Usage>), out: &mut Effects) {
        let Some(mut run) = self.runs.remove(id) else { return };
        let handed_over = run.state() != JobState::Queued;
        let summary = &mut run.row.summary;
        let event = match refusal(&end).filter(|_| handed_over && summary.started.is_none()) {
            Some(reason) => HubEvent::CommandRefused { run: summary.run.clone(), reason },
            None => HubEvent::CommandFinished { run: summary.run.clone(), end: end.clone(), usage },
        };
        self.tell_run(now, (summary.node, summary.name.clone()), &event, out);
        if let Some((client, request)) = run.asker {
            out.push(Effect::ToClient(client, HubToClient::Exit { request, end: end.clone(), usage }));
        }
        self.runs.mark(id, Dirty::Whole);
        if summary.run.detached {
            summary.state = state_of(&end);
            (summary.ended, summary.end, summary.usage) = (Some(now.unix), Some(end), usage);
            // What there is of it is in the store; how it lies there is of no use any more.
            (run.link, run.spool) = (None, Spool::default());
            self.runs.insert(run);
            self.keep_newest(now);
        }
    }
}

/// Where a job stands that ended so.
fn state_of(end: &RunEnd) -> JobState {
    match end {
        RunEnd::Exited(_) | RunEnd::Signalled(_) | RunEnd::TimedOut | RunEnd::TooMuchOutput => {
            JobState::Finished
        }
        RunEnd::Cancelled => JobState::Cancelled,
        RunEnd::Failed { why: RunFailure::Lost | RunFailure::Stopped, .. } => JobState::Lost,
        RunEnd::Failed { why: RunFailure::Expired, .. } => JobState::Expired,
        RunEnd::Failed { .. } => JobState::Failed,
    }
}

/// Why a run was not started, where it was handed over and ended so without a process.
fn refusal(end: &RunEnd) -> Option<String> {
    match end {
        RunEnd::Failed { why: RunFailure::Lost, .. } => None,
        RunEnd::Failed { message, .. } => Some(message.clone()),
        RunEnd::Cancelled => Some("it was cancelled before its process stood".to_owned()),
        _ => None,
    }
}

fn failed(why: RunFailure, message: impl Into<String>) -> RunEnd {
    RunEnd::Failed { why, message: message.into() }
}

fn clipped(end: RunEnd) -> RunEnd {
    match end {
        RunEnd::Failed { why, message } => RunEnd::Failed { why, message: clip(&message).to_owned() },
        end => end,
    }
}

#[cfg(test)]
impl Wish {
    pub(super) fn run_of(&self, detached: bool) -> CommandRun {
        self.run(detached)
    }
}

#[cfg(test)]
impl Core {
    /// How many runs a client has open.
    pub(super) fn open_of_client(&self, client: ClientId) -> usize {
        self.runs.all.values().filter(|run| run.asker.is_some_and(|(asker, _)| asker == client)).count()
    }

    /// What the arguments of all jobs take.
    pub(super) fn weight_of_jobs(&self) -> usize {
        self.runs.weight
    }

    /// Whether every index says what the runs themselves say.
    pub(super) fn runs_are_consistent(&self) -> bool {
        let runs = &self.runs;
        let open = || runs.all.values().filter(|run| !run.state().is_over());
        let jobs = || runs.all.values().filter(|run| run.is_job());
        let indexed: usize = runs.of_node.values().map(BTreeMap::len).sum();
        let asked: usize = runs.askers.values().map(Asker::len).sum();
        let credit: u64 = runs.askers.values().map(|asker| u64::from(asker.credit())).sum();
        let asking = || runs.all.values().filter(|run| run.asker.is_some());
        indexed == open().count()
            && open().all(|run| runs.of_node[&run.row.summary.node][&run.row.number] == run.id())
            && runs.jobs.len() == jobs().count()
            && runs.over.len() == jobs().filter(|run| run.state().is_over()).count()
            && runs.weight == jobs().map(Run::weight).sum::<usize>()
            && runs.weight_over == jobs().filter(|run| run.state().is_over()).map(Run::weight).sum::<usize>()
            && asked == asking().count()
            && credit == asking().map(|run| u64::from(run.credit)).sum::<u64>()
    }
}
