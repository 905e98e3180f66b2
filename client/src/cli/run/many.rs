//! `run` on several nodes: so many at once, each on its paper, and a summary at the end.

use std::{
    io::{self, IsTerminal as _},
    pin::pin,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use secmon_protocol::{
    command::{OutputStream, RunEnd, Usage},
    ecs,
    limits::OUTPUT_WINDOW,
};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    CANCEL_WITHIN, FAILED, RunArgs, What, given,
    paper::{Form, Paper, Style},
    plan::{Order, Plan},
    resolve,
    screen::Screen,
    targets::{Target, Targets},
    usage,
};
use crate::{
    Client, ClientError, RunEvent, RunOptions,
    cli::{
        Common, Failure,
        screen::{look, look_of_stderr, note},
    },
    render::{self, SummaryRow, Went},
};

/// What all runs together may have on their way here, in bytes; each has an equal part of it.
const WINDOWS: u32 = 32 << 20;
/// Runs on one connection: well below what a hub allows a client, in number and in credit, so that one that has just ended
/// and is still counted there keeps no other from starting.
const RUNS_PER_CONNECTION: usize = 16;
/// Arguments are held against what so many nodes say that they take before anything runs; the others decide themselves.
const CHECKED: usize = 64;
/// How many of them are asked at once.
const ASKED_AT_ONCE: usize = 16;
/// How often the line of progress moves when nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// How it went on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) target: Target,
    pub(super) end: Ended,
    pub(super) took: Option<Duration>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// As the node says.
    Run(RunEnd, Option<Usage>),
    /// The hub refused it, or was lost.
    Error(ClientError),
    /// It was not tried.
    NotRun,
    /// It was told to end, and nobody waited for that.
    Left,
}

impl Ended {
    /// Whether the command exited with 0.
    pub(super) fn is_well(&self) -> bool {
        matches!(self, Self::Run(RunEnd::Exited(0), _))
    }
}

/// What all runs have in common.
pub(super) struct Work {
    pub(super) what: What,
    pub(super) order: Order,
    pub(super) style: Style,
    pub(super) screen: Screen,
    /// Tells all to end, and no new one to start.
    pub(super) cancel: CancellationToken,
}

pub(super) async fn run(
    targets: &Targets,
    what: What,
    args: &RunArgs,
    common: &Common,
) -> Result<u8, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let prepare = async {
        let client = common.connect().await?;
        let targets = resolve(targets, &client.list().await?)?;
        check(&client, &targets, &what).await?;
        let connections = at_once(args.order(), targets.len()).div_ceil(RUNS_PER_CONNECTION);
        let mut clients = vec![client];
        while clients.len() < connections {
            clients.push(common.connect().await?);
        }
        Ok::<_, Failure>((clients, targets))
    };
    let (clients, targets) = tokio::select! {
        prepared = prepare => prepared?,
        _ = interrupt.recv() => return Ok(130),
        _ = terminate.recv() => return Ok(143),
    };
    let style = style(args, &targets);
    let mut screen = Screen::new(Box::new(io::stdout()), Box::new(io::stderr()));
    if !args.json && io::stderr().is_terminal() {
        screen = screen.with_progress(targets.len());
    }
    let work = Work { what, order: args.order(), style, screen, cancel: CancellationToken::new() };
    let mut outcomes = vec![];
    let (mut code, output) = {
        let mut all = Box::pin(run_all(&clients, &targets, &work, &mut outcomes));
        let signalled = tokio::select! {
            output = &mut all => Err(output),
            _ = interrupt.recv() => Ok(130),
            _ = terminate.recv() => Ok(143),
        };
        match signalled {
            Err(output) => (None, output),
            Ok(code) => {
                work.cancel.cancel();
                // A second signal ends the wait; the nodes end the command all the same.
                let output = tokio::select! {
                    output = timeout(CANCEL_WITHIN, &mut all) => output.unwrap_or(Ok(())),
                    _ = interrupt.recv() => Ok(()),
                    _ = terminate.recv() => Ok(()),
                };
                (Some(code), output)
            }
        }
    };
    work.screen.clear();
    for target in targets {
        if !outcomes.iter().any(|outcome| outcome.target == target) {
            outcomes.push(Outcome { target, end: Ended::Left, took: None });
        }
    }
    if !args.json {
        let rows: Vec<SummaryRow> = outcomes.iter().map(row).collect();
        // Where both are read by the same eyes, something must lie between them.
        let apart = if work.style.stdout.terminal && work.style.stderr.terminal { "\n" } else { "" };
        note(&format!("{apart}{}", render::summary(&rows, &work.style.stderr).trim_end()));
    }
    if let Err(failure) = output {
        failure.report();
        code = code.or(Some(FAILED));
    }
    let well = outcomes.iter().all(|outcome| outcome.end.is_well());
    Ok(code.unwrap_or(u8::from(!well)))
}

/// Whether the arguments are such as the nodes take, as far as they say.
async fn check(client: &Client, targets: &[Target], what: &What) -> Result<(), Failure> {
    let infos: Vec<_> = futures::stream::iter(targets.iter().filter(|target| target.online).take(CHECKED))
        .map(async |target| (target, client.commands(&target.id.to_string()).await))
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await;
    let (mut offered, mut known, mut labels) = (false, false, vec![]);
    for (target, commands) in infos {
        // Who cannot be asked is told what is wanted, and fails by itself.
        let Ok(commands) = commands else { continue };
        known = true;
        match commands.iter().find(|info| info.label == what.label) {
            Some(info) => {
                offered = true;
                given::check(info, &what.args)
                    .map_err(|wrong| usage(format!("{}: {wrong}; nothing was run", target.name)))?;
            }
            None => labels.extend(commands.into_iter().map(|info| info.label)),
        }
    }
    // Who is away cannot run it anyway.
    let online = targets.iter().filter(|target| target.online).count();
    if known && !offered && online <= CHECKED {
        labels.sort();
        labels.dedup();
        let near = given::near(&what.label, labels.iter().map(String::as_str));
        let hint = match near.as_slice() {
            [] => "`secmon commands NODE` lists what a node offers".to_owned(),
            near => format!("did you mean {}?", near.join(", ")),
        };
        return Err(usage(format!("none of these nodes has a command \"{}\"; {hint}", what.label)));
    }
    Ok(())
}

fn style(args: &RunArgs, targets: &[Target]) -> Style {
    let form = match (args.json, args.group) {
        (true, _) => Form::Json,
        (false, true) => Form::Grouped,
        (false, false) => Form::Prefixed,
    };
    let width = targets.iter().map(|target| target.name.chars().count()).max().unwrap_or(0);
    let at_once = at_once(args.order(), targets.len());
    Style { form, stdout: look(), stderr: look_of_stderr(), width, at_once }
}

fn at_once(order: Order, targets: usize) -> usize {
    let (Order::Parallel(n) | Order::Rolling(n)) = order;
    n.min(targets).max(1)
}

/// Runs all, and puts how each went into `outcomes` as it ends.
///
/// # Errors
/// The output could not be written; then everything was told to end, and has.
pub(super) async fn run_all(
    clients: &[Client],
    targets: &[Target],
    work: &Work,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), Failure> {
    let slots = at_once(work.order, targets.len());
    let window = (WINDOWS / u32::try_from(slots).unwrap_or(u32::MAX)).min(OUTPUT_WINDOW);
    let mut free: Vec<&Client> = clients.iter().cycle().take(slots).collect();
    let mut plan = Plan::new(targets.len(), work.order);
    let mut running = FuturesUnordered::new();
    let (mut failed, mut output) = (0, Ok(()));
    let mut tick = tokio::time::interval(TICK);
    loop {
        if work.cancel.is_cancelled() {
            plan.stop();
        }
        while let Some(client) = free.pop() {
            let Some(target) = plan.poll_start().and_then(|next| targets.get(next)) else {
                free.push(client);
                break;
            };
            running.push(async move { (client, run_one(client, target, work, window).await) });
        }
        work.screen.progress(outcomes.len(), running.len(), failed);
        let (client, (outcome, written)) = tokio::select! {
            ended = running.next() => match ended {
                Some(ended) => ended,
                None => break,
            },
            _ = tick.tick() => continue,
        };
        free.push(client);
        let well = outcome.end.is_well();
        failed += usize::from(!well);
        plan.ended(well);
        outcomes.push(outcome);
        if written.is_err() && output.is_ok() {
            output = written;
            work.cancel.cancel();
        }
    }
    for target in targets {
        if !outcomes.iter().any(|outcome| outcome.target == *target) {
            let outcome = Outcome { target: target.clone(), end: Ended::NotRun, took: None };
            if work.style.form == Form::Json && output.is_ok() {
                output = line(work, &outcome).await;
            }
            outcomes.push(outcome);
        }
    }
    output
}

/// Runs it on one node to its end, whatever happens. Beside how it went stands whether its output could be written.
async fn run_one(
    client: &Client,
    target: &Target,
    work: &Work,
    window: u32,
) -> (Outcome, Result<(), Failure>) {
    let begun = Instant::now();
    let mut written = Ok(());
    let end = match copy(client, target, work, window, &mut written).await {
        Ok((end, usage)) => Ended::Run(end, usage),
        Err(error) => Ended::Error(error),
    };
    let outcome = Outcome { target: target.clone(), end, took: Some(begun.elapsed()) };
    if written.is_ok() && work.style.form == Form::Json {
        written = line(work, &outcome).await;
    }
    (outcome, written)
}

async fn copy(
    client: &Client,
    target: &Target,
    work: &Work,
    window: u32,
    written: &mut Result<(), Failure>,
) -> Result<(RunEnd, Option<Usage>), ClientError> {
    let options = RunOptions { stdin: false, window };
    let (label, args) = (&work.what.label, work.what.args.clone());
    let mut run = client.run(&target.id.to_string(), label, args, options).await?;
    let mut paper = Paper::new(target, &work.style, work.screen.clone());
    let mut told = false;
    let end = loop {
        let event = tokio::select! {
            event = run.next() => event,
            () = work.cancel.cancelled(), if !told => {
                told = true;
                run.cancel().await?;
                continue;
            }
        };
        match event {
            Ok(Some(RunEvent::Started { .. } | RunEvent::InputWanted)) => {}
            Ok(Some(RunEvent::Output { stream, data })) => {
                // What cannot be written is read all the same, so that the end is heard.
                if written.is_ok() {
                    let mut writing = pin!(paper.output(stream, &data));
                    *written = tokio::select! {
                        result = &mut writing => result,
                        // Whoever holds up the output does not hold up the end.
                        () = work.cancel.cancelled(), if !told => {
                            told = true;
                            run.cancel().await?;
                            writing.await
                        }
                    };
                    if written.is_err() {
                        work.cancel.cancel();
                    }
                }
            }
            Ok(Some(RunEvent::Exit { end, usage })) => break Ok((end, usage)),
            Ok(None) => break Err(crate::client::unexpected("a run is over already")),
            Err(error) => break Err(error),
        }
    };
    if written.is_ok() {
        *written = paper.end().await;
    }
    end
}

/// The last line of a node with `--json`.
async fn line(work: &Work, outcome: &Outcome) -> Result<(), Failure> {
    let mut line = match &outcome.end {
        Ended::Run(end, usage) => ecs::run_ended(end, usage.as_ref()),
        Ended::Error(error) => json!({ "end": "refused", "message": error.to_string() }),
        Ended::NotRun | Ended::Left => json!({ "end": "not_run" }),
    };
    if let Value::Object(fields) = &mut line {
        let target = &outcome.target;
        fields.insert("host".to_owned(), json!({ "id": target.id.to_string(), "name": target.name }));
        if let Some(took) = outcome.took {
            fields
                .insert("duration_ms".to_owned(), json!(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
        }
    }
    let line = format!("{}\n", ecs::line(&line)).into_bytes();
    work.screen.hold().await.write(OutputStream::Stdout, line).await.1
}

/// How it went, for the summary.
pub(super) fn row(outcome: &Outcome) -> SummaryRow {
    let (went, words) = match &outcome.end {
        Ended::Run(end @ RunEnd::Exited(0), _) => (Went::Well, render::run_end(end)),
        Ended::Run(RunEnd::Failed { message, .. }, _) => (Went::Badly, message.clone()),
        Ended::Run(end, _) => (Went::Badly, render::run_end(end)),
        Ended::Error(error) => (Went::Badly, error.to_string()),
        Ended::NotRun => (Went::Not, "not run".to_owned()),
        Ended::Left => (Went::Badly, "told to end, and its end was not awaited".to_owned()),
    };
    // How long it took to be refused is of no interest.
    let took = match outcome.end {
        Ended::Run(RunEnd::Failed { .. }, _) | Ended::Error(_) => None,
        _ => outcome.took.map(|took| i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)),
    };
    SummaryRow { node: outcome.target.name.clone(), went, words, took }
}
