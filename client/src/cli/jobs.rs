//! `jobs` and `job`: commands that go on without a client.

use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use secmon_protocol::{
    command::{OutputStream, RunEnd},
    ecs,
    limits::{MAX_JOBS, MAX_PATTERNS},
    message::client::{JobFilter, JobState, JobSummary},
};
use tokio::{
    io::AsyncWriteExt as _,
    signal::unix::{SignalKind, signal},
};

use super::{
    Common, EXIT_CODES, Failure, complete,
    failure::complain,
    out::stdout,
    run::{FAILED, exit_code},
    screen::{look, note, now, print, print_json},
};
use crate::{JobEvent, render};

const JOBS_EXAMPLES: &str = "\
Examples:
  secmon jobs
  secmon jobs --state queued --state running
  secmon jobs --node 'web*' --json | jq -r '.secmon.command.job'";

const JOB_EXAMPLES: &str = "\
Examples:
  secmon job show 3f9a21c4
  secmon job output 3f9a21c4 --follow
  secmon job cancel 3f9a21c4

A beginning of the number that no other job has is enough.";

/// So many jobs are listed unless somebody says otherwise: a few screens.
const SHOWN: u32 = 100;

/// Arguments of `jobs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = JOBS_EXAMPLES, after_long_help = format!("{JOBS_EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct JobsArgs {
    /// Only jobs of nodes whose name or id matches; * and ? are wildcards; may be given several times
    #[arg(long, value_name = "PATTERN", add = ArgValueCompleter::new(complete::node))]
    node: Vec<String>,
    /// Only jobs in this state; may be given several times
    #[arg(long, value_name = "STATE", value_parser = states())]
    state: Vec<String>,
    /// At most so many, the latest [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_JOBS as i64))]
    limit: Option<u32>,
    /// Print one JSON object per job
    #[arg(long)]
    json: bool,
}

/// Arguments of `job`.
#[derive(Debug, Clone, Args)]
#[command(after_help = JOB_EXAMPLES, after_long_help = format!("{JOB_EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct JobArgs {
    #[command(subcommand)]
    what: JobCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum JobCommand {
    /// Show one job in full
    Show {
        /// The job's number, or a beginning of it
        #[arg(add = ArgValueCompleter::new(complete::job))]
        job: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print what a job has printed, each stream on its own
    Output {
        /// The job's number, or a beginning of it
        #[arg(add = ArgValueCompleter::new(complete::job))]
        job: String,
        /// Wait for what it prints next, until it is over; then end as it did
        #[arg(short, long)]
        follow: bool,
    },
    /// End a job, or take it out of the queue
    Cancel {
        /// The job's number, or a beginning of it
        #[arg(add = ArgValueCompleter::new(complete::job))]
        job: String,
    },
}

fn states() -> clap::builder::PossibleValuesParser {
    JobState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().into()
}

pub(super) async fn jobs(args: &JobsArgs, common: &Common) -> Result<u8, Failure> {
    if args.node.len() > MAX_PATTERNS {
        let message = format!("too many patterns: at most {MAX_PATTERNS} are allowed");
        return Err(Failure::Other { message, code: 2 });
    }
    let wanted = |state: &JobState| args.state.iter().any(|word| word == state.as_str());
    let states = JobState::ALL.into_iter().filter(wanted).collect();
    let filter = JobFilter { nodes: args.node.clone(), states, limit: args.limit.unwrap_or(SHOWN) };
    let asked = !args.node.is_empty() || !args.state.is_empty();
    let (jobs, more) = common.connect().await?.jobs(filter).await?;
    if jobs.is_empty() && !args.json {
        note(if asked { "no such jobs" } else { "no jobs yet; `secmon run NODE LABEL --detach` makes one" });
    }
    if args.json {
        print_json(jobs.iter().map(ecs::job))?;
    } else {
        print(&render::jobs(&jobs, now(), &look()))?;
    }
    if more && args.limit.is_none() {
        note(&format!("there are more than these {}; --limit, --node and --state choose", jobs.len()));
    }
    Ok(0)
}

pub(super) async fn job(args: &JobArgs, common: &Common) -> Result<u8, Failure> {
    match &args.what {
        JobCommand::Show { job, json } => {
            let job = common.connect().await?.job(job).await?;
            if *json {
                print_json([ecs::job(&job)])?;
            } else {
                print(&render::job(&job, now(), &look()))?;
            }
            Ok(0)
        }
        JobCommand::Output { job, follow } => output(job, *follow, common).await,
        JobCommand::Cancel { job } => {
            let job = common.connect().await?.cancel_job(job).await?;
            note(&match job.state {
                JobState::Cancelled => format!("{} is cancelled", job.run.job),
                state if state.is_over() => format!("{} is over: {}", job.run.job, state.as_str()),
                _ => format!("{} on {} was told to end", job.run.job, job.name),
            });
            Ok(0)
        }
    }
}

async fn output(job: &str, follow: bool, common: &Common) -> Result<u8, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let code = tokio::select! {
        ended = copy(job, follow, common) => return ended,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    // Who is used to `run` may think that it is over.
    if follow {
        note("the job goes on; `secmon job cancel` ends it");
    }
    Ok(code)
}

async fn copy(job: &str, follow: bool, common: &Common) -> Result<u8, Failure> {
    let client = common.connect().await?;
    if follow {
        // Who waits for a node that is away would else see nothing at all.
        let job = client.job(job).await?;
        if job.state == JobState::Queued {
            note(&format!("{} on {} is queued; waiting for it to start", job.run.label, job.name));
        }
    }
    let mut output = client.job_output(job, follow).await?;
    let (mut out, mut err) = (stdout(), tokio::io::stderr());
    loop {
        match output.next().await? {
            Some(JobEvent::Output { stream: OutputStream::Stdout, data }) => {
                out.write_all(&data).await?;
                out.flush().await?;
            }
            Some(JobEvent::Output { stream: OutputStream::Stderr, data }) => {
                err.write_all(&data).await?;
                err.flush().await?;
            }
            Some(JobEvent::Missing { bytes }) => {
                complain(&format!(
                    "{bytes} bytes ({}) are missing here: they are not kept",
                    render::bytes(bytes)
                ));
            }
            Some(JobEvent::End(job)) if follow => return Ok(as_it_ended(&job)),
            Some(JobEvent::End(job)) => {
                if job.output == 0 {
                    note(&format!(
                        "{} on {} has printed nothing: it is {}",
                        job.run.label,
                        job.name,
                        job.state.as_str()
                    ));
                }
                return Ok(0);
            }
            None => return Ok(0),
        }
    }
}

/// The exit code of the job, and what that cannot say.
fn as_it_ended(job: &JobSummary) -> u8 {
    match &job.end {
        Some(end @ (RunEnd::Exited(_) | RunEnd::Signalled(_))) => exit_code(end),
        Some(end) => {
            complain(&format!("{} on {} {}", job.run.label, job.name, render::run_end(end)));
            exit_code(end)
        }
        None => {
            complain(&format!("{} on {}: the job is {}", job.run.label, job.name, job.state.as_str()));
            FAILED
        }
    }
}
