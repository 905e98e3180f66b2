//! `run --detach` and `--queue-for`: a command that goes on without this program.

use futures::StreamExt as _;
use secmon_protocol::{
    ecs,
    message::{
        ErrorCode,
        client::{JobState, JobSummary},
    },
};

use super::{RunArgs, What, given, resolve, targets::Targets, unknown, usage};
use crate::{
    Client, ClientError,
    cli::{
        Common, Failure,
        failure::complain,
        screen::{note, print, print_json},
    },
    render,
};

/// How many jobs are asked for at once.
const ASKED_AT_ONCE: usize = 16;

pub(super) async fn detach(
    args: &RunArgs,
    targets: &Targets,
    what: &What,
    common: &Common,
) -> Result<u8, Failure> {
    let client = common.connect().await?;
    match targets {
        Targets::One(node) => {
            let job = match submit(&client, node, what, args).await {
                Ok(job) => job,
                Err(Failure::Client(error)) => {
                    return Err(match unknown(&client, node, what, &error).await {
                        Some(message) => Failure::Other { message, code: error.exit_code() },
                        None => hinted(error.into(), args),
                    });
                }
                Err(other) => return Err(other),
            };
            if args.json {
                print_json([ecs::job(&job)])?;
            } else {
                print(&format!("{}\n", job.run.job))?;
            }
            next(std::slice::from_ref(&job));
            Ok(0)
        }
        several => {
            let targets = resolve(several, &client.list().await?)?;
            let asked: Vec<_> =
                targets.iter().map(|target| (target.name.clone(), target.id.to_string())).collect();
            let mut jobs = futures::stream::iter(asked)
                .map(|(name, id)| {
                    let client = &client;
                    async move { (name, submit(client, &id, what, args).await) }
                })
                .buffered(ASKED_AT_ONCE);
            let (mut made, mut failed) = (vec![], 0);
            while let Some((name, job)) = jobs.next().await {
                match job {
                    Ok(job) => {
                        if args.json {
                            print_json([ecs::job(&job)])?;
                        } else {
                            print(&format!("{}  {name}\n", job.run.job))?;
                        }
                        made.push(job);
                    }
                    Err(error) => {
                        failed += 1;
                        let why = hinted(error, args).to_string();
                        // Some refusals begin with the name.
                        let named = why.starts_with(&name);
                        complain(&if named { why } else { format!("{name}: {why}") });
                    }
                }
            }
            next(&made);
            Ok(u8::from(failed > 0))
        }
    }
}

async fn submit(client: &Client, node: &str, what: &What, args: &RunArgs) -> Result<JobSummary, Failure> {
    // A node that is away has told what it offers, too; it decides when it comes.
    if !what.args.is_empty()
        && let Some(info) = client.commands(node).await?.into_iter().find(|info| info.label == what.label)
    {
        given::check(&info, &what.args).map_err(usage)?;
    }
    Ok(client.submit(node, &what.label, what.args.clone(), args.queue_for).await?)
}

/// A node that is away can be waited for.
fn hinted(failure: Failure, args: &RunArgs) -> Failure {
    match &failure {
        Failure::Client(error @ ClientError::Request(refusal))
            if refusal.code == ErrorCode::NodeAway
                && args.queue_for.is_none()
                && !refusal.message.contains("--queue-for") =>
        {
            let message = format!("{error}; --queue-for 8h waits for it");
            Failure::Other { message, code: error.exit_code() }
        }
        _ => failure,
    }
}

/// Says what can be done now.
fn next(jobs: &[JobSummary]) {
    let waiting = jobs.iter().filter(|job| job.state == JobState::Queued).count();
    match jobs {
        [] => {}
        [job] => {
            let id = render::shortest_ids(jobs).remove(0);
            if waiting > 0 {
                note(&format!("{} is away or busy: the job waits for it", job.name));
            }
            note(&format!(
                "follow it with `secmon job output {id} --follow`, end it with `secmon job cancel {id}`"
            ));
        }
        jobs => {
            let wait = if waiting > 0 {
                format!(", {waiting} of them queued until their nodes are there and ready")
            } else {
                String::new()
            };
            note(&format!("{} jobs{wait}; `secmon jobs` shows how they stand", jobs.len()));
        }
    }
}
