//! What time brings: jobs that waited for too long, and those that are no longer kept.

use secmon_protocol::{command::RunFailure, ids::JobId, message::client::JobState, time::UnixNanos};

use super::{
    super::{Core, Dirty, Effects, Now, enrol::later},
    Run, Runs, failed,
    jobs::MAX_WEIGHT,
};

/// Most jobs that are forgotten at once, so that none of the batches in which they go is large.
const AT_ONCE: usize = 256;

/// Most memory that the arguments of the jobs that are over take, in bytes: half of what all may, so that long arguments
/// of jobs that are long over keep nobody from having new ones.
pub(super) const MAX_WEIGHT_OVER: usize = MAX_WEIGHT / 2;

impl Runs {
    /// A job waits, until then.
    pub(super) fn expect(&mut self, expires: UnixNanos) {
        self.soonest = Some(self.soonest.map_or(expires, |soonest| soonest.min(expires)));
    }

    /// The jobs whose time is over. Looks at all that wait, for the one that was the next may have gone.
    fn expired(&mut self, now: UnixNanos) -> Vec<JobId> {
        if self.soonest.is_none() {
            return vec![];
        }
        let waiting = |run: &&Run| run.state() == JobState::Queued;
        let due = |run: &Run| run.row.until.unwrap_or(UnixNanos(i64::MAX));
        let open = self.of_node.values().flat_map(|open| open.values());
        let waiting = || open.clone().filter_map(|id| self.all.get(id)).filter(waiting);
        let expired = waiting().filter(|run| due(run) <= now).map(Run::id).collect();
        self.soonest = waiting().map(due).filter(|due| *due > now).min();
        expired
    }
}

impl Core {
    /// Whether something here is due within seconds or minutes, so that [`Core::handle_tick`] is to be called each second.
    /// Else once a minute is enough, for jobs that have been over for too long.
    #[must_use]
    pub fn waits_for_time(&self) -> bool {
        let runs = &self.runs;
        let open = !runs.settled || !runs.cut_off.is_empty() || !self.cut_off.is_empty();
        open || runs.soonest.is_some() || !runs.busy.is_empty() || runs.audit.counts()
    }

    /// Time has passed. To be called as [`Core::waits_for_time`] says.
    pub fn handle_tick(&mut self, now: Now, out: &mut Effects) {
        self.settle(now, out);
        for job in self.runs.expired(now.unix) {
            let end = failed(RunFailure::Expired, "its node did not take it before its time was over");
            self.end_run(now, job, (end, None), out);
        }
        let again = self.runs.busy.iter().filter(|(_, until)| **until <= now.mono);
        let again: Vec<_> = again.map(|(node, _)| *node).collect();
        for node in again {
            self.dispatch(now, node, out);
        }
        self.keep_newest(now);
        self.tell_unlogged(now, out);
    }

    /// Ends the runs of which only the store knows: attached ones that were open when the last process was killed, or
    /// the store refused a batch, and jobs of nodes that are gone.
    pub(in crate::core) fn settle_runs(&mut self, now: Now, out: &mut Effects) {
        for id in std::mem::take(&mut self.runs.cut_off) {
            let end = failed(RunFailure::Lost, "the hub ended before the command's end");
            self.end_run(now, id, (end, None), out);
        }
        if !std::mem::replace(&mut self.runs.settled, true) {
            let gone: Vec<_> =
                self.runs.of_node.keys().filter(|id| !self.nodes.contains_key(id)).copied().collect();
            for node in gone {
                self.end_jobs_of_node(now, node, out);
            }
        }
    }

    /// Forgets the jobs that are over and too many, too large together, or too old.
    pub(super) fn keep_newest(&mut self, now: Now) {
        let limits = self.runs.limits;
        for _ in 0..AT_ONCE {
            let Some((ended, number)) = self.runs.over.first().copied() else { return };
            let fit = self.runs.over.len() <= limits.keep && self.runs.weight_over <= MAX_WEIGHT_OVER;
            if fit && later(ended, limits.age) > now.unix {
                return;
            }
            let Some(id) = self.runs.jobs.get(&number).copied() else { return };
            self.runs.remove(id);
            self.runs.mark(id, Dirty::Whole);
        }
    }
}
