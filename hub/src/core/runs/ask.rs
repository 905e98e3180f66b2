//! What is asked about jobs: lists, one of them, its end.

use std::sync::Arc;

use secmon_protocol::{
    command::RunEnd,
    hub_event::Requester,
    ids::{JobId, NodeId, NodeName},
    limits::{MAX_JOBS, clip},
    message::{
        ErrorCode, Refusal,
        client::{JobState, JobSummary},
        node::HubToNode,
    },
};

use super::{
    super::{Core, Dirty, Effect, Effects, Now},
    Run,
    attached::second,
};
use crate::access::Grants;

/// Most memory of one list, beside what every job has: arguments are long where somebody makes them so.
const MAX_LIST: usize = 8 << 20;

/// A question about one job.
#[derive(Debug, Clone)]
pub struct JobAsk {
    /// Its number, or a beginning of it that no other job has.
    pub job: String,
    /// What the client may do.
    pub grants: Arc<Grants>,
    /// Who asks.
    pub by: Requester,
}

/// Which nodes somebody asks about.
pub type Wanted = Box<dyn Fn(NodeId, &NodeName) -> bool + Send>;

/// Which jobs are wanted.
pub struct JobList {
    /// Of which nodes.
    pub nodes: Wanted,
    /// In which states; none: all.
    pub states: Vec<JobState>,
    /// At most so many; 0: as many as an answer has.
    pub limit: u32,
}

impl Core {
    /// The jobs that are wanted, the latest first, and whether there are more.
    pub fn list_jobs(&self, wanted: &JobList) -> (Vec<JobSummary>, bool) {
        let limit = match wanted.limit {
            0 => MAX_JOBS,
            limit => MAX_JOBS.min(usize::try_from(limit).unwrap_or(MAX_JOBS)),
        };
        let fits = |run: &&Run| {
            let summary = &run.row.summary;
            (wanted.states.is_empty() || wanted.states.contains(&summary.state))
                && (wanted.nodes)(summary.node, &summary.name)
        };
        let (mut jobs, mut weight) = (vec![], 0);
        for run in self.runs.jobs.values().rev().filter_map(|id| self.runs.all.get(id)).filter(fits) {
            weight += run.weight();
            if jobs.len() == limit || weight > MAX_LIST {
                return (jobs, true);
            }
            jobs.push(run.row.summary.clone());
        }
        (jobs, false)
    }

    /// One job as it stands.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn job(&self, asked: &JobAsk) -> Result<JobSummary, Refusal> {
        self.find_job(asked).map(|run| run.row.summary.clone())
    }

    /// A job whose output somebody wants.
    ///
    /// # Errors
    /// There is none, or several; or he may not read it, which is logged.
    pub fn job_to_read(
        &mut self,
        now: Now,
        asked: &JobAsk,
        out: &mut Effects,
    ) -> Result<JobSummary, Refusal> {
        let job = self.job(asked)?;
        self.permit(now, asked, ("read the output of job", &job), out)?;
        Ok(job)
    }

    /// Somebody wants a job to end.
    ///
    /// # Errors
    /// There is none, or several; it is over; or he may not, which is logged.
    pub fn cancel_job(&mut self, now: Now, asked: &JobAsk, out: &mut Effects) -> Result<JobSummary, Refusal> {
        let job = self.job(asked)?;
        self.permit(now, asked, ("cancel job", &job), out)?;
        let id = job.run.job;
        if job.state.is_over() {
            let since = job.ended.map_or(String::new(), |ended| format!(" since {}", second(ended)));
            let message = format!("job {id} is over{since}: it is {}", job.state.as_str());
            return Err(Refusal::new(ErrorCode::JobState, message));
        }
        if job.state == JobState::Queued {
            self.end_run(now, id, (RunEnd::Cancelled, None), out);
        } else if let Some(run) = self.runs.all.get_mut(&id) {
            // Where its node is away it hears of it when it comes.
            // Asked again, it is on its way.
            if !std::mem::replace(&mut run.row.cancelled, true) {
                if let Some(link) = run.link {
                    out.push(Effect::ToNode(link, HubToNode::Cancel { job: id }));
                }
                self.runs.mark(id, Dirty::Whole);
            }
        }
        self.job(&JobAsk { job: id.to_string(), ..asked.clone() })
    }

    fn permit(
        &mut self,
        now: Now,
        asked: &JobAsk,
        (what, job): (&str, &JobSummary),
        out: &mut Effects,
    ) -> Result<(), Refusal> {
        if job.run.by.uid == asked.by.uid {
            return Ok(());
        }
        let permitted = asked.grants.may_run(&job.name, &job.run.label);
        if let Err(refusal) = &permitted {
            self.log_denial(now, &asked.by, (what, job), refusal, out);
        }
        permitted
    }

    /// A job that who asks may see, by its number or the beginning of it.
    fn find_job(&self, asked: &JobAsk) -> Result<&Run, Refusal> {
        let visible = |run: &&Run| {
            let summary = &run.row.summary;
            run.is_job() && (summary.run.by.uid == asked.by.uid || asked.grants.may_view(&summary.name))
        };
        let unknown = |message| Err(Refusal::new(ErrorCode::UnknownJob, message));
        let Some((first, last)) = range(&asked.job) else {
            let wanted = clip(&asked.job);
            return unknown(format!(
                "{wanted:?} is no job's number: that has 16 hexadecimal digits, of which the first will do; see `secmon \
                 jobs`"
            ));
        };
        let mut fitting = self.runs.all.range(first..=last).map(|(_, run)| run).filter(visible);
        match (fitting.next(), fitting.next()) {
            (Some(run), None) => Ok(run),
            (None, _) => {
                unknown(format!("there is no job {}, or it is no longer kept; see `secmon jobs`", asked.job))
            }
            (Some(_), Some(_)) => {
                unknown(format!("several jobs have a number that begins with {}; give more of it", asked.job))
            }
        }
    }
}

/// The numbers that begin with these digits.
fn range(prefix: &str) -> Option<(JobId, JobId)> {
    let digits = (1..=16).contains(&prefix.len()) && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(prefix, 16).ok().filter(|_| digits)?;
    let rest = 4 * (16 - u32::try_from(prefix.len()).ok()?);
    let first = number.checked_shl(rest)?;
    Some((JobId(first), JobId(first | 1_u64.checked_shl(rest)?.wrapping_sub(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_number_stands_for_all_that_begin_so() {
        let of = |prefix| range(prefix).map(|(first, last)| (first.0, last.0));
        assert_eq!(of("f"), Some((0xf << 60, u64::MAX)));
        assert_eq!(of("00000000000000aB"), Some((0xab, 0xab)));
        assert_eq!(of("0"), Some((0, u64::MAX >> 4)));
        for wrong in ["", "g", "+1", "-1", " 1", "00000000000000000"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}
