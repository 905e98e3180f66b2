//! Jobs: how they begin, wait for their node, and are handed over.

use std::{collections::BTreeMap, time::Duration};

use secmon_protocol::{
    hub_event::HubEvent,
    ids::{JobId, NodeId},
    limits::{MAX_HELD_JOBS, OUTPUT_WINDOW},
    message::{
        ErrorCode, Refusal,
        client::{JobState, JobSummary},
        node::{HubToNode, Order},
    },
    time::UnixNanos,
};

use super::{
    super::{Core, Dirty, Effect, Effects, Link, Now, enrol::later},
    JobRow, Run, Runs, Wish,
    attached::{away, check, summary},
};

/// Longest time for which a job may wait for its node.
const MAX_WAIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Most jobs that are open, on all nodes.
const MAX_JOBS_OPEN: usize = 10_000;
/// Most jobs of one node that are open: as many as it may say that it holds.
const MAX_JOBS_PER_NODE: usize = MAX_HELD_JOBS;
/// Most jobs that one node is given side by side; the others wait, in their order. It runs attached commands as well.
const SIDE_BY_SIDE: usize = 8;
/// Most memory that the arguments of all jobs take, in bytes.
pub(super) const MAX_WEIGHT: usize = 64 << 20;
/// A job for a node that has come but not yet said what it holds waits at least so long: it says that at once.
const COMING: Duration = Duration::from_secs(60);
/// A node that was too busy for a job is asked again after this, or when one of its runs has ended.
const BUSY: Duration = Duration::from_secs(5);

impl Runs {
    /// Makes room for the arguments of one more job: those that are over go first, the oldest before the others. Whether
    /// there is room now.
    fn make_room(&mut self, weight: usize) -> bool {
        while self.weight + weight > MAX_WEIGHT {
            let Some((_, number)) = self.over.first().copied() else { return false };
            let Some(id) = self.jobs.get(&number).copied() else { return false };
            self.remove(id);
            self.mark(id, Dirty::Whole);
        }
        true
    }
}

impl Run {
    /// Whether its time is over: that for which it may wait, else the moment in which what comes at once comes.
    pub(super) fn is_late(&self, now: Now) -> bool {
        self.row.until.unwrap_or_else(|| later(self.row.summary.made, COMING)) <= now.unix
    }
}

impl Core {
    /// A client wants a job: it is handed over at once, or waits for `wait` where its node cannot take it.
    ///
    /// # Errors
    /// The hub refuses, which is logged.
    pub fn submit(
        &mut self,
        now: Now,
        wish: Wish,
        wait: Duration,
        out: &mut Effects,
    ) -> Result<JobSummary, Refusal> {
        match self.try_submit(now, &wish, wait, out) {
            Ok(()) => self
                .runs
                .all
                .get(&wish.job)
                .map(|run| run.row.summary.clone())
                .ok_or_else(|| Refusal::new(ErrorCode::Internal, "the job ended at once")),
            Err(refusal) => {
                self.log_refusal(now, &wish, true, &refusal, out);
                Err(refusal)
            }
        }
    }

    fn try_submit(
        &mut self,
        now: Now,
        wish: &Wish,
        wait: Duration,
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        let too_many = |message: String| Err(Refusal::new(ErrorCode::TooMany, message));
        check(wish)?;
        if wait > MAX_WAIT {
            return too_many("a job may wait for at most 30 days; ask for less".to_owned());
        }
        let node = self.able(now, wish)?;
        let (id, name, online) = (node.row.id, node.row.name.clone(), node.online);
        if online.is_none() && wait.is_zero() {
            return Err(away(node, "start `secmon node` there, or let the job wait with --queue-for"));
        }
        let open = self.runs.jobs.len() - self.runs.over.len();
        if open >= MAX_JOBS_OPEN {
            return too_many(format!("{MAX_JOBS_OPEN} jobs are open, the limit; wait for some to end"));
        }
        let there = self.runs.open_of(id).filter(|run| run.is_job()).count();
        if there >= MAX_JOBS_PER_NODE {
            return too_many(format!("{MAX_JOBS_PER_NODE} jobs of {name} are open; wait for one to end"));
        }
        if wait.is_zero() && there >= SIDE_BY_SIDE {
            return too_many(format!(
                "{name} has {there} jobs, and is given {SIDE_BY_SIDE} side by side; let this one wait with --queue-for"
            ));
        }
        let (job, number) = (wish.job, self.runs.next());
        if self.runs.all.contains_key(&job) {
            return Err(Refusal::new(ErrorCode::Internal, "the job's random number is taken; try again"));
        }
        let until = (!wait.is_zero()).then(|| later(now.unix, wait));
        let row =
            JobRow { summary: summary(now, (id, name), wish.run(true)), number, until, cancelled: false };
        let run = Run::new(row);
        if !self.runs.make_room(run.weight()) {
            return too_many(
                "the arguments of all jobs take too much memory; wait for some to end".to_owned(),
            );
        }
        self.runs.insert(run);
        self.runs.mark(job, Dirty::Whole);
        self.dispatch(now, id, out);
        self.wait(now, job, out);
        Ok(())
    }

    /// Logs that a job waits, if it does.
    pub(super) fn wait(&mut self, now: Now, job: JobId, out: &mut Effects) {
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        if run.state() != JobState::Queued || run.row.summary.expires.is_some() {
            return;
        }
        // Without a time of its own it waits for what comes at once.
        let expires = run.row.until.unwrap_or_else(|| later(now.unix, COMING));
        run.row.until = Some(expires);
        let summary = &mut run.row.summary;
        summary.expires = Some(expires);
        let about = (summary.node, summary.name.clone());
        let event = HubEvent::CommandQueued { run: summary.run.clone(), expires };
        self.runs.expect(expires);
        self.runs.mark(job, Dirty::Whole);
        self.tell_run(now, about, &event, out);
    }

    /// Hands over what waits for a node, in order, as far as that is ready for it.
    pub(super) fn dispatch(&mut self, now: Now, node: NodeId, out: &mut Effects) {
        let Some((link, commands)) =
            self.nodes.get(&node).and_then(|node| Some((node.online?.0, &node.row.commands)))
        else {
            return;
        };
        let ready = self.links.get(&link).is_some_and(|(_, state)| state.unwanted.is_some());
        if !ready || self.runs.busy.get(&node).is_some_and(|until| *until > now.mono) {
            return;
        }
        self.runs.busy.remove(&node);
        let (mut there, mut of_label, mut next) = (0, BTreeMap::<&str, u32>::new(), vec![]);
        for run in self.runs.open_of(node).filter(|run| run.state() != JobState::Queued) {
            there += usize::from(run.is_job());
            *of_label.entry(&run.row.summary.run.label).or_default() += 1;
        }
        // One whose time is over is not run after all, however late the next tick is.
        let waits = |run: &&Run| {
            run.state() == JobState::Queued && run.row.until.is_none_or(|until| until > now.unix)
        };
        for run in self.runs.open_of(node).filter(waits) {
            if there == SIDE_BY_SIDE {
                break;
            }
            // What the node would only say to be busy for holds up nothing that it would run. One that may not wait is
            // for the node to refuse.
            let label = run.row.summary.run.label.as_str();
            let found = commands.binary_search_by(|command| command.label.as_str().cmp(label));
            let most = found.ok().and_then(|at| commands[at].concurrency).unwrap_or(u32::MAX).max(1);
            let same = of_label.entry(label).or_default();
            if *same < most || run.row.until.is_none() {
                (there, *same) = (there + 1, *same + 1);
                next.push(run.id());
            }
        }
        for job in next {
            self.hand_over(job, link, out);
        }
    }

    /// Hands a job over; that it may be there is written before it goes out.
    pub(super) fn hand_over(&mut self, job: JobId, link: Link, out: &mut Effects) {
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        (run.link, run.credit) = (Some(link), OUTPUT_WINDOW);
        run.row.summary.state = JobState::Sent;
        let (label, args) = (run.row.summary.run.label.clone(), run.row.summary.run.args.clone());
        let order = Order { job, label, args, credit: OUTPUT_WINDOW, stdin: false, detached: true };
        self.runs.mark(job, Dirty::Whole);
        out.push(Effect::ToNode(link, HubToNode::Run(order)));
    }

    /// A node was too busy for a job, or about to stop: it waits again if it may. Whether it does.
    pub(super) fn put_back(&mut self, now: Now, job: JobId, out: &mut Effects) -> bool {
        let Some(run) = self.runs.all.get_mut(&job) else { return false };
        let waits = run.row.until.is_some_and(|until| until > now.unix) && !run.row.cancelled;
        if waits {
            let node = run.row.summary.node;
            run.row.summary.state = JobState::Queued;
            let until = run.row.until.unwrap_or(UnixNanos(0));
            run.link = None;
            self.runs.expect(until);
            self.runs.busy.insert(node, now.mono + BUSY);
            self.runs.mark(job, Dirty::Whole);
            self.wait(now, job, out);
        }
        waits
    }
}
