//! All runs of the node, over all its connections. Pure: what the hub, the executor and the memory of numbers say
//! goes in; what they are to be told is taken out, each when there is room for it. [`super`] has both in order.

mod remember;

use std::collections::{HashMap, VecDeque};

use secmon_protocol::{
    command::{CommandInfo, MAX_LABEL, RunEnd, RunFailure, check_args},
    ids::JobId,
    limits::{MAX_HELD_JOBS, OUTPUT_WINDOW},
    message::{
        node::{HeldJob, HubToNode, NodeToHub, Order},
        runner::{NodeToRunner, RunnerToNode},
    },
};

use remember::SETTLED;
pub(super) use remember::{Answer, Write};

use super::{
    MAX_ATTACHED, MAX_KEPT, MAX_OPEN, MAX_REFUSALS, Violation,
    run::{Bond, Flow, Run, Stage},
};

/// Orders that wait for the executor; while there are more, nothing is taken from the hub. The executor takes them
/// at once, or it hangs.
const ORDERS: usize = 64;
/// Bytes of output that wait for a connection that is slow; while there are more, the executor waits with all
/// runs. What lies here is on its way, as is what lies in the socket.
const UNSENT: usize = 512 << 10;
/// See the module.
#[derive(Debug, Default)]
pub(super) struct Core {
    commands: Vec<CommandInfo>,
    runs: HashMap<JobId, Run>,
    link: Option<Link>,
    orders: VecDeque<NodeToRunner>,
    writes: Vec<Write>,
    /// Why nothing is started any more.
    closed: Option<(RunFailure, &'static str)>,
}

/// One connection.
#[derive(Debug)]
struct Link {
    commands_due: bool,
    /// What is told of detached jobs before anything else of a run.
    held: Option<Vec<HeldJob>>,
    /// Ends of runs that never were.
    refusals: VecDeque<(JobId, RunEnd)>,
    /// Those that have something to tell, in turn.
    ready: VecDeque<JobId>,
    heartbeats: u32,
}

impl Core {
    /// There is a connection.
    pub(super) fn handle_link_up(&mut self) {
        self.handle_link_down();
        let mut held: Vec<HeldJob> = self
            .runs
            .iter_mut()
            .filter(|(_, run)| run.bond == Bond::Detached && !run.dead)
            .map(|(job, run)| run.held(*job))
            .collect();
        held.sort_by_key(|held| held.job);
        let (refusals, ready) = (VecDeque::new(), VecDeque::new());
        self.link = Some(Link { commands_due: true, held: Some(held), refusals, ready, heartbeats: 0 });
    }

    /// There is none any more: what is attached to it ends, and what is detached waits for the next one.
    pub(super) fn handle_link_down(&mut self) {
        if self.link.take().is_none() {
            return;
        }
        let orders = &mut self.orders;
        self.runs.retain(|job, run| {
            run.rewind();
            if run.is_over() && run.fleeting {
                return false;
            }
            if run.bond == Bond::Attached && !run.dead {
                orders.extend(run.bury(*job));
            }
            true
        });
    }

    /// The hub says something about a run, or lives.
    ///
    /// # Errors
    /// It breaks the protocol; the connection is to be ended.
    pub(super) fn handle_hub(&mut self, message: HubToNode) -> Result<(), Violation> {
        let Some(link) = &mut self.link else { return Ok(()) };
        match message {
            HubToNode::Run(order) => return self.run(order),
            HubToNode::Ping { .. } => link.heartbeats = link.heartbeats.saturating_add(1),
            HubToNode::Cancel { job } => self.cancel(job),
            HubToNode::Credit { job, credit } => {
                let Some(run) = self.living(job) else { return Ok(()) };
                let more = run.output.credit(credit).map_err(|_| Violation::Credit)?;
                self.grant(job, more);
            }
            HubToNode::Stdin { job, data } => {
                let Some(run) = self.living(job) else { return Ok(()) };
                let order = run.input(job, data)?;
                self.orders.extend(order);
            }
            HubToNode::Resume { job, have } => {
                let Some(run) = self.living(job) else { return Ok(()) };
                match (run.bond, run.flow) {
                    (Bond::Attached, _) => return Err(Violation::Attached),
                    (Bond::Detached, Flow::All) => return Err(Violation::Resumed),
                    (Bond::Detached, Flow::End) if run.told_end => {}
                    (Bond::Detached, _) => self.resume(job, have),
                }
            }
            HubToNode::Forget { job } => return self.forget(job),
            // The link's own.
            HubToNode::Welcome(_)
            | HubToNode::Reject(_)
            | HubToNode::Ack { .. }
            | HubToNode::Resync
            | HubToNode::Fragment(_) => {}
        }
        Ok(())
    }

    /// A run that the hub may speak of. Of any other it may speak, too: its word was on the way when the run ended.
    fn living(&mut self, job: JobId) -> Option<&mut Run> {
        self.runs.get_mut(&job).filter(|run| !run.dead)
    }

    fn run(&mut self, order: Order) -> Result<(), Violation> {
        let job = order.job;
        if order.label.is_empty() || order.label.len() > MAX_LABEL {
            return Err(Violation::Label(order.label.len()));
        }
        check_args(&order.args).map_err(Violation::Args)?;
        if order.credit > OUTPUT_WINDOW {
            return Err(Violation::Credit);
        }
        if let Some(run) = self.runs.get(&job) {
            // A hub that was restored from a backup does not know that it had this one started.
            let may_go_on = order.detached && run.bond == Bond::Detached && !run.dead;
            if !may_go_on || run.flow != Flow::Waits {
                return Err(Violation::Twice);
            }
            self.resume(job, 0);
            return Ok(());
        }
        if let Some((why, message)) = self.closed.map(|(why, text)| (why, text.to_owned())) {
            return self.refuse(job, RunEnd::Failed { why, message });
        }
        if let Some(message) = self.full(&order) {
            return self.refuse(job, RunEnd::Failed { why: RunFailure::Busy, message });
        }
        let settled = self.link.as_ref().is_some_and(|link| link.heartbeats >= SETTLED);
        let (run, start) = Run::new(order, settled);
        if run.bond == Bond::Detached {
            self.writes.push(Write::Remember(job));
        }
        self.runs.insert(job, run);
        self.orders.extend(start);
        Ok(())
    }

    /// Why there is no room for another one, in words. How many may run side by side is the executor's business.
    fn full(&self, order: &Order) -> Option<String> {
        let bond = if order.detached { Bond::Detached } else { Bond::Attached };
        let alike = self.runs.values().filter(|run| run.bond == bond).count();
        if self.runs.values().filter(|run| !run.is_over()).count() >= MAX_OPEN {
            return Some(format!("{MAX_OPEN} commands are open on this node; wait for one to end"));
        }
        match bond {
            Bond::Attached if alike >= MAX_ATTACHED => {
                Some(format!("the hub has not read the ends of {MAX_ATTACHED} commands; wait for that"))
            }
            Bond::Detached if alike >= MAX_HELD_JOBS => Some(format!(
                "this node holds {MAX_HELD_JOBS} jobs whose ends its hub has not kept; wait for that"
            )),
            Bond::Attached => None,
            Bond::Detached => {
                let kept = |run: &Run| if run.is_over() { run.output.cost() } else { run.output.window() };
                let detached = self.runs.values().filter(|run| run.bond == Bond::Detached);
                let sum: u64 = detached.map(|run| u64::from(kept(run))).sum();
                (sum + u64::from(order.credit) > MAX_KEPT).then(|| {
                    format!(
                        "the jobs of this node may hold {} MiB of output for its hub; wait for one to end",
                        MAX_KEPT >> 20
                    )
                })
            }
        }
    }

    fn refuse(&mut self, job: JobId, end: RunEnd) -> Result<(), Violation> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if link.refusals.len() >= MAX_REFUSALS {
            return Err(Violation::Flood);
        }
        link.refusals.push_back((job, end));
        Ok(())
    }

    fn cancel(&mut self, job: JobId) {
        let Some(run) = self.living(job) else { return };
        if run.flow == Flow::Waits {
            run.flow = Flow::End;
        }
        let order = run.cancel(job);
        self.orders.extend(order);
        self.wake(job);
    }

    /// What it prints goes to this connection, from `have` on.
    fn resume(&mut self, job: JobId, have: u64) {
        let Some(run) = self.living(job) else { return };
        run.flow = Flow::All;
        let more = run.output.resume(have);
        self.grant(job, more);
        self.wake(job);
    }

    /// The executor may send more of a run's output.
    fn grant(&mut self, job: JobId, credit: u32) {
        if credit > 0 && self.runs.get(&job).is_some_and(|run| matches!(run.stage, Stage::Given)) {
            self.orders.push_back(NodeToRunner::Credit { job, credit });
        }
    }

    fn forget(&mut self, job: JobId) -> Result<(), Violation> {
        let Some(run) = self.living(job) else { return Ok(()) };
        if run.bond == Bond::Attached {
            return Err(Violation::Attached);
        }
        if run.is_over() {
            self.runs.remove(&job);
        } else {
            let order = run.bury(job);
            self.orders.extend(order);
        }
        Ok(())
    }

    /// The executor says something.
    pub(super) fn handle_news(&mut self, news: RunnerToNode) {
        match news {
            RunnerToNode::Commands(commands) => {
                if let Some(link) = &mut self.link {
                    link.commands_due |= self.commands != commands;
                }
                self.commands = commands;
            }
            RunnerToNode::Started { job, pid } => {
                let Some(run) = self.runs.get_mut(&job) else { return };
                run.pid = Some(pid);
                self.wake(job);
            }
            RunnerToNode::Output { job, stream, data } => {
                let Some(run) = self.living(job) else { return };
                if run.output.push(stream, data).is_err() {
                    // Before it counts as over: what is over is not told to end.
                    let order = run.cancel(job);
                    run.fail(
                        RunFailure::Lost,
                        "the runner sent more of its output than it may; it is ended".to_owned(),
                    );
                    self.orders.extend(order);
                }
                self.wake(job);
            }
            RunnerToNode::StdinCredit { job, credit } => {
                let Some(run) = self.living(job) else { return };
                let order = run.grant_input(job, credit);
                self.orders.extend(order);
                self.wake(job);
            }
            RunnerToNode::Exit { job, end, usage } => {
                let Some(run) = self.runs.get_mut(&job) else { return };
                if run.dead {
                    self.runs.remove(&job);
                    return;
                }
                if run.is_over() {
                    return;
                }
                if run.bond == Bond::Detached && run.pid.is_none() && never_started(&end) {
                    // It may be tried again, under the same number.
                    self.writes.push(Write::Forget(job));
                    run.fleeting = true;
                }
                run.stage = Stage::Over(end, usage);
                self.settle(job);
            }
            // The greeting is over, and messages come whole.
            RunnerToNode::Welcome { .. } | RunnerToNode::Reject(_) | RunnerToNode::Fragment(_) => {}
        }
    }

    /// The executor has ended, and everything with it.
    pub(super) fn handle_executor_gone(&mut self) {
        if self.closed.is_none() {
            // One that stops keeps its word on what may be run, for when it is back.
            self.handle_news(RunnerToNode::Commands(vec![]));
        }
        let closed = *self.closed.get_or_insert((
            RunFailure::Stopped,
            "the part of the node that runs commands has ended; see the node's log, and restart it",
        ));
        self.orders.clear();
        self.runs.retain(|_, run| !run.dead);
        let given = |run: &Run| matches!(run.stage, Stage::Given);
        let jobs: Vec<JobId> = self.runs.iter().filter(|(_, run)| given(run)).map(|(job, _)| *job).collect();
        for job in jobs {
            if let Some(run) = self.runs.get_mut(&job) {
                run.fail(closed.0, closed.1.to_owned());
            }
            self.settle(job);
        }
    }

    /// The node is stopping: nothing is started any more. What runs is the executor's to end.
    pub(super) fn handle_stop(&mut self) {
        self.closed = Some((RunFailure::Stopped, "the node is stopping; run it again when it is back"));
    }

    /// A run that is over and that nobody waits for goes; one that has something to tell gets in line.
    fn settle(&mut self, job: JobId) {
        let over = self.runs.get(&job).is_some_and(|run| run.is_over() && run.fleeting);
        if over && self.link.is_none() {
            self.runs.remove(&job);
        }
        self.wake(job);
    }

    fn wake(&mut self, job: JobId) {
        let (Some(link), Some(run)) = (&mut self.link, self.runs.get_mut(&job)) else { return };
        if !run.queued && !run.dead && run.has_message() {
            run.queued = true;
            link.ready.push_back(job);
        }
    }

    /// Whether there may be a message for the hub.
    pub(super) fn has_message(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            link.commands_due || link.held.is_some() || !link.refusals.is_empty() || !link.ready.is_empty()
        })
    }

    /// What the hub is to be told next: what may be run and what is held come first, then all runs in turn.
    pub(super) fn poll_message(&mut self) -> Option<NodeToHub> {
        let link = self.link.as_mut()?;
        if std::mem::take(&mut link.commands_due) {
            return Some(NodeToHub::Commands(self.commands.clone()));
        }
        if let Some(held) = link.held.take() {
            return Some(NodeToHub::Jobs(held));
        }
        if let Some((job, end)) = link.refusals.pop_front() {
            return Some(NodeToHub::Exit { job, end, usage: None });
        }
        while let Some(job) = link.ready.pop_front() {
            let Some(run) = self.runs.get_mut(&job) else { continue };
            let message = run.next_message(job);
            run.queued = run.has_message();
            if run.queued {
                link.ready.push_back(job);
            }
            if run.told_end && run.fleeting {
                self.runs.remove(&job);
            }
            if message.is_some() {
                return message;
            }
        }
        None
    }

    /// Whether there is an order for the executor.
    pub(super) fn has_order(&self) -> bool {
        !self.orders.is_empty()
    }

    /// What the executor is to be told next.
    pub(super) fn poll_order(&mut self) -> Option<NodeToRunner> {
        self.orders.pop_front()
    }

    /// Whether there is something to be done to the memory of numbers.
    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// What is to be done to the memory of numbers, in this order; each Remember is to be answered.
    pub(super) fn take_writes(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.writes)
    }

    /// Whether the hub is listened to. Not while the executor does not take what it is told.
    pub(super) fn takes_hub(&self) -> bool {
        self.orders.len() < ORDERS
    }

    /// Whether the executor is listened to. Not while a connection does not take what runs have printed.
    pub(super) fn takes_news(&self) -> bool {
        let Some(link) = &self.link else { return true };
        let unsent = |job| self.runs.get(job).map_or(0, |run| run.output.unsent());
        let mut sum = 0;
        link.ready.iter().all(|job| {
            sum += unsent(job);
            sum < UNSENT
        })
    }

    /// Whether the hub has, or cannot get, everything there is of runs.
    pub(super) fn is_idle(&self) -> bool {
        self.link
            .as_ref()
            .is_none_or(|link| link.refusals.is_empty() && self.runs.values().all(|run| run.dead))
    }
}

/// Whether a run that ended so, and whose process never stood, was not started for sure.
fn never_started(end: &RunEnd) -> bool {
    use RunFailure::{BadArgument, Busy, Refused, Spawn, UnknownLabel};
    matches!(end, RunEnd::Failed { why: UnknownLabel | Busy | Spawn | Refused | BadArgument, .. })
}

#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile;
#[cfg(test)]
#[path = "model_tests.rs"]
mod model;
#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
