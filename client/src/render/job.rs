//! Jobs: a table of many, and one in full.

use std::collections::HashSet;

use secmon_protocol::{
    message::client::{JobState, JobSummary},
    time::UnixNanos,
};

use super::{
    Look, bytes, duration,
    sentence::{command, requester, run_end},
    table::table,
    units::took,
};

/// Fewest digits of a job's number that are shown.
const LEAST_DIGITS: usize = 8;
/// All of them.
const DIGITS: usize = 16;

/// The numbers of jobs, as short as they can be told apart among themselves, and no shorter than eight digits.
#[must_use]
pub fn shortest_ids(jobs: &[JobSummary]) -> Vec<String> {
    let all: HashSet<String> = jobs.iter().map(|job| job.run.job.to_string()).collect();
    let apart = |digits: usize| {
        let short: HashSet<&str> = all.iter().map(|id| &id[..digits]).collect();
        short.len() == all.len()
    };
    let digits = (LEAST_DIGITS..DIGITS).find(|digits| apart(*digits)).unwrap_or(DIGITS);
    jobs.iter().map(|job| job.run.job.to_string()[..digits].to_owned()).collect()
}

/// Jobs as a table, in the order in which they come; empty when there are none.
#[must_use]
pub fn jobs(jobs: &[JobSummary], now: UnixNanos, look: &Look) -> String {
    if jobs.is_empty() {
        return String::new();
    }
    let rows = jobs
        .iter()
        .zip(shortest_ids(jobs))
        .map(|(job, id)| {
            vec![
                id,
                job.name.to_string(),
                job.state.as_str().to_owned(),
                look.moment(job.made, now),
                time(job, now).map_or_else(|| "-".to_owned(), took),
                requester(&job.run.by),
                command(&job.run),
                result(job, now),
            ]
        })
        .collect();
    table(&["JOB", "NODE", "STATE", "MADE", "TIME", "USER", "COMMAND", "RESULT"], rows, look)
}

/// How long its process has run, in nanoseconds.
fn time(job: &JobSummary, now: UnixNanos) -> Option<i64> {
    let until = job.ended.or((!job.state.is_over()).then_some(now))?;
    Some(until.0.saturating_sub(job.started?.0))
}

fn result(job: &JobSummary, now: UnixNanos) -> String {
    match (&job.end, job.state, job.expires) {
        (Some(end), ..) => run_end(end),
        (None, JobState::Queued, Some(expires)) => {
            format!("waits {} more", duration(expires.0.saturating_sub(now.0)))
        }
        _ => "-".to_owned(),
    }
}

/// One job with everything that is known of it.
#[must_use]
pub fn job(job: &JobSummary, now: UnixNanos, look: &Look) -> String {
    let moment = |at: Option<UnixNanos>| at.map_or_else(String::new, |at| look.moment(at, now));
    let mut output = bytes(job.output);
    if job.dropped > 0 {
        output.push_str(&format!(", of which {} are not kept", bytes(job.dropped)));
    }
    let expires = if job.state == JobState::Queued { moment(job.expires) } else { String::new() };
    let mut lines = vec![
        ("Job", job.run.job.to_string()),
        ("Command", command(&job.run)),
        ("Node", format!("{} ({})", job.name, job.node)),
        ("User", requester(&job.run.by)),
        ("State", job.state.as_str().to_owned()),
        ("Made", look.moment(job.made, now)),
        ("Waits until", expires),
        ("Started", moment(job.started)),
        ("Ended", moment(job.ended)),
        ("Result", job.end.as_ref().map_or_else(String::new, run_end)),
        ("Output", output),
    ];
    if let Some(usage) = &job.usage {
        let nanos = |n: u64| took(i64::try_from(n).unwrap_or(i64::MAX));
        lines.push(("Time", nanos(usage.wall_ns)));
        lines.push(("CPU", format!("{} user, {} system", nanos(usage.user_ns), nanos(usage.system_ns))));
        lines.push(("Memory", format!("at most {}", bytes(usage.max_rss))));
    }
    lines
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{} {value}\n", look.bold(&format!("{name:<11}"))))
        .collect()
}
