//! `POST /v1/nodes/{node}/commands/{label}`: a run whose output streams, one that is waited for, or a job.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use secmon_client::RunOptions;
use secmon_protocol::{
    command::{Arg, OutputStream, RunEnd, RunFailure, check_args},
    ecs,
    text::printable,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    answer, nodes,
    query::{Caller, In, Params, bad},
    running::{Running, Step},
    schema,
};
use crate::{
    access::Principal,
    hub::{Hub, Person},
    problem::Problem,
};

/// The longest time that a job may wait for its node.
const QUEUE_AT_MOST: Duration = Duration::from_secs(30 * 86_400);
/// Output that is kept for who waits for the whole, both streams together, in bytes: where he does not say, and at most.
const KEPT: usize = 1 << 20;
const KEPT_AT_MOST: usize = 8 << 20;

/// What is run with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct With {
    args: Map<String, Value>,
    stdin: Option<String>,
}

/// How the answer shall be.
enum Form {
    Stream,
    Wait { most: usize },
    Detach { queue: Option<Duration> },
}

/// Runs a command.
///
/// By default the answer is NDJSON: `{"started":{"job","pid"}}`, then pieces of the output as they come (`stream`, and `data` in
/// Base64), at last how it ended (`end`, `exit_code`, `usage` …). A client that goes away cancels the run; one that reads slowly
/// slows it down. With `wait` there is one object at the end; with `detach` it becomes a job.
#[utoipa::path(
    post,
    path = "/v1/nodes/{node}/commands/{label}",
    tag = "commands",
    operation_id = "runCommand",
    params(
        ("node" = String, Path, description = "As in `/v1/nodes/{node}`", example = "web1"),
        ("label" = String, Path, description = "Which command", example = "tail"),
        ("wait" = Option<bool>, Query, description = "Answer once, with everything, when it has ended"),
        ("max_output" = Option<u32>, Query, description = "With `wait`: bytes of output that are kept. The run goes on beyond; `truncated` says so", minimum = 1, maximum = 8388608),
        ("detach" = Option<bool>, Query, description = "Make a job of it, that goes on without the client"),
        ("queue_for" = Option<String>, Query, description = "With `detach`: how long it may wait for a node that is away", example = "1h"),
    ),
    request_body(content = Option<schema::With>, description = "Arguments and input; may be left out", content_type = "application/json"),
    responses(
        (status = 200, description = "It was started", content(
            (String = "application/x-ndjson"),
            (schema::Ran = "application/json"),
        )),
        (status = 202, description = "It is a job", body = schema::Job, headers(("Location" = String, description = "Of the job"))),
        (status = 403, description = "It may not be run, by the token, the hub or the node", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such node or command", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The node is away", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not `application/json`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn run(
    State(hub): State<Arc<Hub>>,
    Caller(who): Caller,
    In((node, label)): In<(String, String)>,
    mut params: Params,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let form = form(&mut params)?;
    params.done()?;
    let (args, input) = read(&headers, body)?;
    let node = nodes::get(&hub, &who, &node).await?;
    let name = node.summary.name.as_str();
    if !who.may_run(name, &label) {
        let detail = format!("you may not run \"{}\" on {name}", printable(&label));
        return Err(Problem::new(StatusCode::FORBIDDEN, "not_permitted", detail));
    }
    let Some(command) = node.commands.iter().find(|command| command.label == label) else {
        let detail = format!(
            "{name} has no command \"{}\"; GET /v1/nodes/{name}/commands lists them",
            printable(&label)
        );
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_command", detail));
    };
    if input.is_some() && !command.stdin {
        return Err(bad(format!("stdin: {label} reads no input")));
    }
    let person = person(&hub, &who).await?;
    hub.counts.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    if let Form::Detach { queue } = form {
        if input.is_some() {
            return Err(bad("stdin: a job has no input"));
        }
        let job = person.submit(name, &label, args, queue).await?;
        let mut response = answer::json(StatusCode::ACCEPTED, &ecs::job(&job));
        if let Ok(location) = HeaderValue::try_from(format!("/v1/jobs/{}", job.run.job)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let options = RunOptions { stdin: input.is_some(), ..RunOptions::default() };
    let run = person.run(name, &label, args, options).await?;
    let mut running = Running::new(&hub, &who, person, run, input);
    let started = match running.next().await? {
        Step::Started { job, pid } => json!({ "job": job.to_string(), "pid": pid }),
        Step::Ended { end, .. } => return Err(not_started(&end)),
        Step::Output { .. } => return Err(gone("the hub sent output before the start")),
    };
    match form {
        Form::Wait { most } => wait(running, started, most).await,
        Form::Stream | Form::Detach { .. } => {
            Ok(answer::stream("application/x-ndjson", Body::from_stream(running.lines(started))))
        }
    }
}

fn form(params: &mut Params) -> Result<Form, Problem> {
    let (wait, detach) = (params.flag("wait")?, params.flag("detach")?);
    let most = params.number("max_output", 1, KEPT_AT_MOST)?;
    let queue = params.span("queue_for", QUEUE_AT_MOST)?;
    match (wait, detach) {
        (true, true) => Err(bad("wait and detach exclude each other")),
        (false, _) if most.is_some() => Err(bad("max_output goes with wait=true; a stream has all of it")),
        (_, false) if queue.is_some() => Err(bad("queue_for goes with detach=true")),
        (true, false) => Ok(Form::Wait { most: most.unwrap_or(KEPT) }),
        (false, true) => Ok(Form::Detach { queue }),
        (false, false) => Ok(Form::Stream),
    }
}

/// Arguments as texts, and the input.
fn read(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Vec<Arg>, Option<Bytes>), Problem> {
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large; give less input")
        }
        _ => bad(format!("the body cannot be read: {error}")),
    })?;
    if body.is_empty() {
        return Ok((vec![], None));
    }
    // A form of another site cannot send this type without asking first.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "the body is JSON; say so with Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail));
    }
    let With { args, stdin } = serde_json::from_slice(&body)
        .map_err(|error| bad(format!("the body is not as it should be: {error}")))?;
    let args: Vec<Arg> = args.into_iter().map(|(name, value)| arg(name, value)).collect::<Result<_, _>>()?;
    check_args(&args).map_err(bad)?;
    let decode = |text: String| {
        STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| bad(format!("stdin: it is not Base64: {error}")))
    };
    Ok((args, stdin.map(decode).transpose()?))
}

fn arg(name: String, value: Value) -> Result<Arg, Problem> {
    let value = match value {
        Value::String(text) => text,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return Err(bad(format!("args.{name}: write a text, a whole number, true or false"))),
    };
    Ok(Arg { name, value })
}

/// A connection in the name of who asks.
pub(super) async fn person(hub: &Hub, who: &Principal) -> Result<Person, Problem> {
    hub.person(who).await?.ok_or_else(|| {
        let detail = "too many others run something; try again in a moment";
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", detail);
        problem.retry_after = Some(5);
        problem
    })
}

/// What the node said instead of starting it.
fn not_started(end: &RunEnd) -> Problem {
    let RunEnd::Failed { why, message } = end else {
        return gone("it ended before it was started");
    };
    let (status, code) = match why {
        RunFailure::UnknownLabel => (StatusCode::NOT_FOUND, "unknown_command"),
        RunFailure::BadArgument => (StatusCode::BAD_REQUEST, "bad_argument"),
        RunFailure::Busy => (StatusCode::CONFLICT, "busy"),
        RunFailure::Refused => (StatusCode::FORBIDDEN, "refused_by_node"),
        RunFailure::Expired => (StatusCode::CONFLICT, "expired"),
        RunFailure::Spawn => (StatusCode::BAD_GATEWAY, "not_started"),
        RunFailure::Lost | RunFailure::Stopped => (StatusCode::BAD_GATEWAY, "node_lost"),
    };
    let mut problem = Problem::new(status, code, message.clone());
    if *why == RunFailure::Busy {
        problem.retry_after = Some(1);
    }
    problem
}

fn gone(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_GATEWAY, "hub_failed", detail)
}

/// The whole of it. What is beyond `most` is dropped, and the run goes on: its end is what matters.
async fn wait(mut running: Running, started: Value, most: usize) -> Result<Response, Problem> {
    let (mut out, mut err, mut truncated) = (Vec::new(), Vec::new(), false);
    loop {
        match running.next().await? {
            Step::Started { .. } => {}
            Step::Output { stream, data } => {
                let room = most - out.len() - err.len();
                truncated |= data.len() > room;
                let part = &data[..data.len().min(room)];
                match stream {
                    OutputStream::Stdout => out.extend_from_slice(part),
                    OutputStream::Stderr => err.extend_from_slice(part),
                }
            }
            Step::Ended { end, usage } => {
                let mut ran = ecs::run_ended(&end, usage.as_ref());
                ran["job"] = started["job"].clone();
                ran["stdout"] = STANDARD.encode(out).into();
                ran["stderr"] = STANDARD.encode(err).into();
                ran["truncated"] = truncated.into();
                return Ok(answer::json(StatusCode::OK, &ran));
            }
        }
    }
}

/// What a stream says as its last line where it does not come to its end.
pub(super) fn broken(problem: &Problem) -> Value {
    json!({ "error": problem })
}
