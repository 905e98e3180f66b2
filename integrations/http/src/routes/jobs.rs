//! `/v1/jobs`: detached commands, what they printed, and their end.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use futures::stream;
use secmon_client::{Client, ClientError, JobEvent, JobOutput, pattern::Patterns};
use secmon_protocol::{
    ecs,
    limits::MAX_JOBS,
    message::client::{JobFilter, JobState, JobSummary},
    text::printable,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    answer::{self, JSON},
    events::{ended, over},
    query::{Caller, In, Params},
    run::{broken, person},
    running::line,
    schema,
};
use crate::{
    access::Principal,
    hub::{Hub, Over, Person},
    problem::Problem,
};

/// How long the hub may take to refuse before the answer begins.
const FIRST_WITHIN: Duration = Duration::from_millis(500);
/// Jobs of an answer where the question does not say.
const USUALLY: usize = 100;

/// Jobs, the latest first.
#[utoipa::path(
    get,
    path = "/v1/jobs",
    tag = "jobs",
    operation_id = "listJobs",
    params(
        ("node" = Option<Vec<String>>, Query, description = "Only of nodes whose name or id matches; may be given several times"),
        ("label" = Option<Vec<String>>, Query, description = "Only of commands whose label matches; may be given several times"),
        ("state" = Option<Vec<schema::JobState>>, Query, description = "Only in this state; may be given several times"),
        ("limit" = Option<u32>, Query, description = "Most jobs of the answer", minimum = 1, maximum = 1000, example = 100),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The jobs; `more` says whether there are others", body = schema::Jobs, headers(("ETag" = String, description = "Changes when the answer does"))),
        (status = 304, description = "As it was"),
    ),
)]
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    mut params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let nodes = params.patterns("node")?;
    let labels = Patterns::new(&params.patterns("label")?);
    let states = params.patterns("state")?.iter().map(|word| state(word)).collect::<Result<Vec<_>, _>>()?;
    let limit = params.number("limit", 1, MAX_JOBS)?.unwrap_or(USUALLY);
    params.done()?;
    // Of those who see all the hub picks as many as are wanted; else some of what it sends is left out here.
    let asked = if who.may_see_hub() && labels.matches_all() { limit } else { MAX_JOBS };
    let filter = JobFilter { nodes, states, limit: u32::try_from(asked).unwrap_or(u32::MAX) };
    let ask = |client: Client| {
        let filter = filter.clone();
        async move { client.jobs(filter).await }
    };
    let (mut jobs, mut more) = hub.ask(ask).await?;
    jobs.retain(|job| who.may_see(job.name.as_str()) && labels.matches(&job.run.label));
    more |= jobs.len() > limit;
    jobs.truncate(limit);
    let jobs: Vec<Value> = jobs.iter().map(ecs::job).collect();
    Ok(answer::tagged(&headers, JSON, answer::body(&json!({ "jobs": jobs, "more": more }))))
}

fn state(word: &str) -> Result<JobState, Problem> {
    let found = JobState::ALL.into_iter().find(|state| state.as_str() == word);
    found.ok_or_else(|| {
        let all: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
        super::query::bad(format!("state: there is no {word:?}; there are {}", all.join(", ")))
    })
}

/// One job.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}",
    tag = "jobs",
    operation_id = "getJob",
    params(
        ("id" = String, Path, description = "Its number, or a beginning of it that no other job has", example = "0f3a5b7c9d1e2f40"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag` of an earlier answer"),
    ),
    responses(
        (status = 200, description = "The job", body = schema::Job, headers(("ETag" = String, description = "Changes when the answer does"))),
        (status = 304, description = "As it was"),
        (status = 404, description = "No such job, or none that may be seen", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn one(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In(id): In<String>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    params.done()?;
    let job = get(&hub, &who, &id).await?;
    Ok(answer::tagged(&headers, JSON, answer::body(&ecs::job(&job))))
}

/// What a job has printed.
///
/// NDJSON: pieces of the output (`stream`, and `data` in Base64), `{"missing":BYTES}` where some are not kept, and at last the job
/// as it stands.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/output",
    tag = "jobs",
    operation_id = "getJobOutput",
    params(
        ("id" = String, Path, description = "As in `/v1/jobs/{id}`", example = "0f3a5b7c9d1e2f40"),
        ("follow" = Option<bool>, Query, description = "Go on with what it prints, until it is over"),
    ),
    responses(
        (status = 200, description = "The output", body = String, content_type = "application/x-ndjson"),
        (status = 403, description = "Who may not run it may not read it", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job, or none that may be seen", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn output(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In(id): In<String>,
    mut params: Params,
) -> Result<Response, Problem> {
    let follow = params.flag("follow")?;
    params.done()?;
    let job = of_own(&hub, &who, &id).await?;
    let person = person(&hub, &who).await?;
    let output = person.job_output(&job.run.job.to_string(), follow).await?;
    let mut reading = Reading { output, hub, ended: ended(&who), _person: person };
    // What the hub refuses is known by the first piece, if there is one: a job that is followed may print nothing for hours.
    let first = timeout(FIRST_WITHIN, reading.next()).await.ok().transpose()?;
    let parts = stream::unfold((Some(reading), first), async |(reading, first)| {
        let mut reading = reading?;
        let event = match first {
            Some(first) => Ok(first),
            None => reading.next().await,
        };
        let (value, more) = match event {
            Ok(JobEvent::Output { stream, data }) => (ecs::run_output(stream, &data), Some(reading)),
            Ok(JobEvent::Missing { bytes }) => (json!({ "missing": bytes }), Some(reading)),
            Ok(JobEvent::End(job)) => (ecs::job(&job), None),
            Err(problem) => (broken(&problem), None),
        };
        Some((Ok::<Bytes, Infallible>(line(&value)), (more, None)))
    });
    Ok(answer::stream("application/x-ndjson", Body::from_stream(parts)))
}

/// Output that is read for a client.
struct Reading {
    output: JobOutput,
    hub: Arc<Hub>,
    ended: CancellationToken,
    _person: Person,
}

impl Reading {
    async fn next(&mut self) -> Result<JobEvent, Problem> {
        tokio::select! {
            biased;
            () = self.hub.cancel().cancelled() => Err(over(&Over::Stopped)),
            () = self.ended.cancelled() => Err(over(&Over::Ended)),
            event = self.output.next() => match event? {
                Some(event) => Ok(event),
                None => Err(ClientError::ConnectionLost { reason: "its output is over".to_owned() }.into()),
            },
        }
    }
}

/// Ends a job, or takes it out of the queue.
#[utoipa::path(
    post,
    path = "/v1/jobs/{id}/cancel",
    tag = "jobs",
    operation_id = "cancelJob",
    params(("id" = String, Path, description = "As in `/v1/jobs/{id}`", example = "0f3a5b7c9d1e2f40")),
    responses(
        (status = 200, description = "The job; its end is under way", body = schema::Job),
        (status = 403, description = "Who may not run it may not end it", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such job, or none that may be seen", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn cancel(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In(id): In<String>,
    params: Params,
) -> Result<Response, Problem> {
    params.done()?;
    let job = of_own(&hub, &who, &id).await?;
    let job = person(&hub, &who).await?.cancel_job(&job.run.job.to_string()).await?;
    Ok(answer::json(StatusCode::OK, &ecs::job(&job)))
}

/// A job that may be seen.
async fn get(hub: &Hub, who: &Principal, id: &str) -> Result<JobSummary, Problem> {
    let asked = Arc::<str>::from(id);
    let get = |client: Client| {
        let id = asked.clone();
        async move { client.job(&id).await }
    };
    let unknown = || {
        let detail = format!("there is no job \"{}\", or you may not see it", printable(id));
        Problem::new(StatusCode::NOT_FOUND, "unknown_job", detail)
    };
    match hub.ask(get).await {
        Ok(job) if who.may_see(job.name.as_str()) => Ok(job),
        Ok(_) => Err(unknown()),
        Err(error) => {
            let problem = Problem::from(error);
            // That several begin so tells of those that may not be seen.
            Err(if problem.status == 404 && !who.may_see_hub() { unknown() } else { problem })
        }
    }
}

/// A job that who asks could have started.
async fn of_own(hub: &Hub, who: &Principal, id: &str) -> Result<JobSummary, Problem> {
    let job = get(hub, who, id).await?;
    if who.may_run(job.name.as_str(), &job.run.label) {
        return Ok(job);
    }
    let detail = format!(
        "you may not run \"{}\" on {}, nor what concerns its jobs",
        printable(&job.run.label),
        job.name
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail))
}
