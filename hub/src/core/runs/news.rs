//! What a node says of the runs that it was given.

use bytes::Bytes;
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure, Usage},
    ids::JobId,
    limits::{OUTPUT_WINDOW, chunk_cost},
    message::{
        client::{HubToClient, JobState},
        node::{HubToNode, NodeToHub},
    },
};

use super::{
    super::{Core, Dirty, Effect, Effects, Link, Now},
    Run, clipped, spool,
};

/// What is wrong with what a node says; its connection ends with it.
type Wrong = &'static str;

impl Core {
    /// A node says something; its records are for [`Core::handle_records`].
    pub fn handle_message(&mut self, now: Now, link: Link, message: NodeToHub, out: &mut Effects) {
        match message {
            NodeToHub::Commands(commands) => {
                self.handle_commands(link, commands);
                if let Some(node) = self.links.get(&link).map(|(node, _)| *node) {
                    self.dispatch(now, node, out);
                }
            }
            NodeToHub::Started { job, pid } => self.handle_started(now, link, job, pid, out),
            NodeToHub::Output { job, stream, at, data } => {
                self.handle_output(now, link, job, (at, stream, data), out);
            }
            NodeToHub::Exit { job, end, usage } => self.handle_exit(now, link, job, (end, usage), out),
            NodeToHub::StdinCredit { job, credit } => self.handle_stdin_credit(now, link, job, credit, out),
            NodeToHub::Jobs(held) => self.handle_jobs(now, link, &held, out),
            // The connection keeps these for itself.
            NodeToHub::Hello(_) | NodeToHub::Records(_) | NodeToHub::Pong { .. } | NodeToHub::Fragment(_) => {
            }
        }
    }

    /// A run's process stands.
    pub fn handle_started(&mut self, now: Now, link: Link, job: JobId, pid: u32, out: &mut Effects) {
        if self.is_unwanted(link, job) {
            return;
        }
        let news = match self.run_on(link, job).map(|run| (run.state(), run.is_job(), run.asker)) {
            None => Err("the node said Started for a run that it was not given"),
            // It goes on, on another connection than the one on which this was said before.
            Some((JobState::Running, true, _)) => Ok(None),
            Some((JobState::Running, false, _)) => Err("the node said Started twice for a run"),
            Some((_, _, asker)) => {
                self.mark_started(now, job, out);
                Ok(asker)
            }
        };
        match news {
            Ok(Some((client, request))) => {
                let Some(run) = self.runs.all.get(&job) else { return };
                let node = run.row.summary.node;
                out.push(Effect::ToClient(client, HubToClient::Started { request, job, node, pid }));
            }
            Ok(None) => {}
            Err(wrong) => self.close(now, link, wrong, out),
        }
    }

    /// A run printed something, at most [`secmon_protocol::limits::MAX_CHUNK`] bytes.
    pub fn handle_output(
        &mut self,
        now: Now,
        link: Link,
        job: JobId,
        chunk: (u64, OutputStream, Bytes),
        out: &mut Effects,
    ) {
        if self.is_unwanted(link, job) {
            return;
        }
        if let Err(wrong) = self.take_output(link, job, chunk, out) {
            self.close(now, link, wrong, out);
        }
    }

    fn take_output(
        &mut self,
        link: Link,
        job: JobId,
        (at, stream, data): (u64, OutputStream, Bytes),
        out: &mut Effects,
    ) -> Result<(), Wrong> {
        let limit = self.runs.limits.output;
        let Some(run) = self.runs.all.get_mut(&job).filter(|run| run.link == Some(link)) else {
            return Err("the node sent output of a run that it was not given");
        };
        let cost = chunk_cost(data.len());
        let credit = run.credit.checked_sub(cost).ok_or("the node sent more output than it was granted")?;
        if let Some((client, request)) = run.asker {
            run.credit = credit;
            if let Some(asker) = self.runs.askers.get_mut(&client) {
                asker.spend(cost);
            }
            out.push(Effect::ToClient(client, HubToClient::Output { request, stream, data }));
        } else if run.is_job() {
            if at > spool::MAX_PRINTED - data.len() as u64 {
                return Err("the node sent output from a place that no job comes to");
            }
            run.spool.take(job, (at, stream, data), limit, |write| out.push(Effect::Store(write)));
            let summary = &mut run.row.summary;
            (summary.output, summary.dropped) = (run.spool.printed(), run.spool.dropped());
            self.runs.mark(job, Dirty::Progress);
            // Goes out once the output is written.
            out.push(Effect::ToNode(link, HubToNode::Credit { job, credit: cost }));
        } else {
            run.credit = credit;
        }
        Ok(())
    }

    /// A run takes more input.
    pub fn handle_stdin_credit(&mut self, now: Now, link: Link, job: JobId, credit: u32, out: &mut Effects) {
        if self.is_unwanted(link, job) {
            return;
        }
        let Some(run) = self.runs.all.get_mut(&job).filter(|run| run.link == Some(link)) else {
            return self.close(now, link, "the node asked for input of a run that it was not given", out);
        };
        // Nobody is there any more who could send any.
        let (Some((client, request)), Some(granted)) = (run.asker, run.input) else { return };
        match granted.checked_add(credit).filter(|sum| *sum <= OUTPUT_WINDOW) {
            Some(sum) => {
                run.input = Some(sum);
                out.push(Effect::ToClient(client, HubToClient::StdinCredit { request, credit }));
            }
            None => self.close(now, link, "the node asked for more input than may be on its way", out),
        }
    }

    /// A run is over.
    pub fn handle_exit(
        &mut self,
        now: Now,
        link: Link,
        job: JobId,
        (end, usage): (RunEnd, Option<Usage>),
        out: &mut Effects,
    ) {
        if self.is_unwanted(link, job) {
            if let Some(unwanted) = self.links.get_mut(&link).and_then(|(_, state)| state.unwanted.as_mut()) {
                unwanted.remove(&job);
            }
            return out.push(Effect::ToNode(link, HubToNode::Forget { job }));
        }
        let Some(run) = self.run_on(link, job) else {
            return self.close(now, link, "the node said Exit for a run that it was not given", out);
        };
        let (is_job, node, running) = (run.is_job(), run.row.summary.node, run.state() == JobState::Running);
        let ran = !matches!(end, RunEnd::Failed { .. } | RunEnd::Cancelled);
        if ran && !running {
            self.mark_started(now, job, out);
        }
        // A node that is about to stop takes nothing on, and all that waits for it would be lost one after the other. What
        // it had started after all it does not start again.
        let not_now =
            !running && matches!(end, RunEnd::Failed { why: RunFailure::Busy | RunFailure::Stopped, .. });
        if !(is_job && not_now && self.put_back(now, job, out)) {
            self.end_run(now, job, (clipped(end), usage), out);
            self.runs.busy.remove(&node);
        }
        if is_job {
            out.push(Effect::ToNode(link, HubToNode::Forget { job }));
        }
        self.dispatch(now, node, out);
    }

    fn run_on(&self, link: Link, job: JobId) -> Option<&Run> {
        self.runs.all.get(&job).filter(|run| run.link == Some(link))
    }

    /// Whether it is a job that the node holds and nobody wants any more.
    fn is_unwanted(&self, link: Link, job: JobId) -> bool {
        let state = self.links.get(&link).and_then(|(_, state)| state.unwanted.as_ref());
        state.is_some_and(|unwanted| unwanted.contains(&job))
    }
}
