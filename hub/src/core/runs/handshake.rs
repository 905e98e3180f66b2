//! What a node holds that comes, held against what the hub gave to it.

use std::collections::{BTreeMap, BTreeSet};

use secmon_protocol::{
    command::{RunEnd, RunFailure},
    ids::{JobId, NodeId},
    limits::OUTPUT_WINDOW,
    message::{
        client::JobState,
        node::{HeldJob, HubToNode},
    },
};

use super::{
    super::{Core, Dirty, Effect, Effects, Link, Now},
    Run, failed,
};

/// What becomes of a job whose node has come.
enum Verdict {
    /// It goes on there; whether its process stands.
    GoesOn(bool),
    /// It may never have arrived.
    SendAgain,
    /// It is over.
    Over(RunEnd),
    /// It has waited, and goes on waiting for its turn.
    Waits,
}

impl Core {
    /// A node says which jobs it holds: once, before anything else about jobs.
    pub fn handle_jobs(&mut self, now: Now, link: Link, held: &[HeldJob], out: &mut Effects) {
        let Some((id, state)) = self.links.get_mut(&link) else { return };
        if state.unwanted.is_some() {
            return self.close(now, link, "the node said twice which jobs it holds", out);
        }
        let id = *id;
        let mut held: BTreeMap<JobId, bool> = held.iter().map(|job| (job.job, job.pid.is_some())).collect();
        state.unwanted = Some(BTreeSet::new());
        let ours = self.runs.open_of(id).filter(|run| run.is_job());
        let ours: Vec<_> =
            ours.map(|run| (run.id(), verdict(now, run, held.get(&run.id()).copied()))).collect();
        for (job, verdict) in ours {
            held.remove(&job);
            match verdict {
                Verdict::GoesOn(stands) => self.go_on(now, job, link, stands, out),
                Verdict::SendAgain => self.hand_over(job, link, out),
                Verdict::Over(end) => self.end_run(now, job, (end, None), out),
                Verdict::Waits => {}
            }
        }
        // Nobody waits for these: the hub's store is older than they are, or their end is written already.
        for job in held.into_keys() {
            let over = self.runs.all.get(&job).filter(|run| run.row.summary.node == id);
            let have = over.map_or(0, |run| run.row.summary.output);
            if let Some((_, state)) = self.links.get_mut(&link) {
                state.unwanted.get_or_insert_default().insert(job);
            }
            out.push(Effect::ToNode(link, HubToNode::Cancel { job }));
            // Without it the node would keep the end to itself.
            out.push(Effect::ToNode(link, HubToNode::Resume { job, have }));
        }
        self.dispatch(now, id, out);
    }

    fn go_on(&mut self, now: Now, job: JobId, link: Link, stands: bool, out: &mut Effects) {
        let Some(run) = self.runs.all.get_mut(&job) else { return };
        (run.link, run.credit) = (Some(link), OUTPUT_WINDOW);
        let (have, cancelled) = (run.spool.printed(), run.row.cancelled);
        if run.state() == JobState::Queued {
            run.row.summary.state = JobState::Sent;
            self.runs.mark(job, Dirty::Whole);
        }
        if stands && self.runs.all.get(&job).is_some_and(|run| run.state() == JobState::Sent) {
            self.mark_started(now, job, out);
        }
        out.push(Effect::ToNode(link, HubToNode::Resume { job, have }));
        if cancelled {
            out.push(Effect::ToNode(link, HubToNode::Cancel { job }));
        }
    }

    /// Ends all runs of a node that is removed.
    pub(in crate::core) fn end_jobs_of_node(&mut self, now: Now, node: NodeId, out: &mut Effects) {
        let open: Vec<_> = self.runs.open_of(node).map(|run| (run.id(), run.state())).collect();
        for (job, state) in open {
            let message = match state {
                JobState::Queued => "its node was removed before it was handed over; it did not run",
                _ => "its node was removed; whether it went on there is not known",
            };
            self.end_run(now, job, (failed(RunFailure::Lost, message), None), out);
        }
        self.runs.busy.remove(&node);
    }
}

fn verdict(now: Now, run: &Run, held: Option<bool>) -> Verdict {
    let lost = |message: &str| Verdict::Over(failed(RunFailure::Lost, message));
    match (run.state(), held) {
        // A queued one, too: a power cut may have taken from the store that it was handed over.
        (_, Some(stands)) => Verdict::GoesOn(stands),
        (JobState::Queued, None) => Verdict::Waits,
        (JobState::Sent, None) if run.row.cancelled => lost(
            "it was cancelled while its node was away, which does not have it; whether it ran there is not known",
        ),
        (JobState::Sent, None) if run.is_late(now) => lost(
            "it was handed over just before its node went away, which does not have it, and its time is over; whether \
             it ran there is not known",
        ),
        // A node never starts two of one number: it says so if it had started this one.
        (JobState::Sent, None) => Verdict::SendAgain,
        (_, None) => lost("its node, or secmon there, was restarted before its end"),
    }
}
