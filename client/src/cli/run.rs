//! `run`: a command of a node, its output here as it comes, its exit code ours.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure},
    ecs,
    limits::MAX_NEAR,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt as _, Stderr, Stdout},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{Common, EXIT_CODES, Failure, failure::complain};
use crate::{Client, ClientError, Run, RunEvent};

/// The command ended because its time was up, as timeout(1) has it.
const TIMED_OUT: u8 = 124;
/// secmon failed before the command's end, as timeout(1) and env(1) have it.
const FAILED: u8 = 125;
/// How long a cancelled command may take to end before it is left to the node: the node sends TERM, waits,
/// and then sends KILL.
const CANCEL_WITHIN: Duration = Duration::from_secs(15);

/// Least likeness of a label that is offered in the place of an unknown one, from 0 to 1.
const LIKENESS: f64 = 0.5;

const EXAMPLES: &str = "\
Examples:
  secmon run web-1 restart-web
  secmon run web-1 backup > backup.tar
  secmon run web-1 uptime --json

What may be run: secmon commands NODE";

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct RunArgs {
    /// The node: its name, its id, or a beginning of its id that no other node has
    node: String,
    /// The command's label in the node's allowlist
    label: String,
    /// Print one JSON object per piece of output (in base64), and one for the end
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &RunArgs, common: &Common) -> Result<u8, Failure> {
    own_output_fails(start_and_end(args, common).await)
}

/// A `run` whose own output fails ends with [`FAILED`]: 0 would say that the command ended well, and 1 is a
/// code of the command's. That nobody reads needs no words, for whoever stopped reading knows.
fn own_output_fails(result: Result<u8, Failure>) -> Result<u8, Failure> {
    match result {
        Err(failure @ (Failure::Closed | Failure::Output(_))) => {
            failure.report();
            Ok(FAILED)
        }
        other => other,
    }
}

async fn start_and_end(args: &RunArgs, common: &Common) -> Result<u8, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let mut running = None;
    let mut sink = Sink { json: args.json, out: tokio::io::stdout(), err: tokio::io::stderr() };
    let signalled = tokio::select! {
        result = start_and_copy(args, common, &mut running, &mut sink) => return result,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    if let Some(Running { run, .. }) = &mut running {
        let ending = async {
            run.cancel().await?;
            copy(run, &mut sink).await
        };
        // A second signal ends the wait; the node ends the command all the same.
        tokio::select! {
            ended = timeout(CANCEL_WITHIN, ending) => match ended {
                // The exit code says what matters; an output that is closed needs no words.
                Ok(Ok(end)) => drop(sink.end(&end).await),
                Ok(Err(Failure::Closed)) => {}
                Ok(Err(failure)) => complain(&failure.to_string()),
                Err(_) => complain("the command was told to end, but its end was not reported in time"),
            },
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    Ok(signalled)
}

struct Running {
    client: Client,
    run: Run,
}

async fn start_and_copy(
    args: &RunArgs,
    common: &Common,
    running: &mut Option<Running>,
    sink: &mut Sink,
) -> Result<u8, Failure> {
    let client = common.connect().await?;
    let run = client.run(&args.node, &args.label).await?;
    let Running { client, run } = running.insert(Running { client, run });
    let end = match copy(run, sink).await {
        Ok(end) => end,
        // Nobody takes the output any more: the command is told to end, and what it still prints is dropped.
        Err(failure @ (Failure::Closed | Failure::Output(_))) => {
            let _ = timeout(CANCEL_WITHIN, async {
                run.cancel().await?;
                while run.next().await?.is_some() {}
                Ok::<_, ClientError>(())
            })
            .await;
            return Err(failure);
        }
        Err(Failure::Client(error)) => return Ok(refused(&error)),
        Err(other) => return Err(other),
    };
    sink.end(&end).await?;
    Ok(match end {
        RunEnd::Exited(code) => u8::try_from(code & 0xff).unwrap_or(FAILED),
        RunEnd::Signalled(signal) => u8::try_from(signal.saturating_add(128)).unwrap_or(FAILED),
        RunEnd::TimedOut => {
            complain(&format!("{} on {} was ended: its time was up", args.label, args.node));
            TIMED_OUT
        }
        RunEnd::Cancelled => {
            complain(&format!("{} on {} was cancelled", args.label, args.node));
            FAILED
        }
        RunEnd::TooMuchOutput => {
            complain(&format!("{} on {} was ended: it printed more than it may", args.label, args.node));
            FAILED
        }
        RunEnd::Failed { why, message } => {
            let near = match why {
                RunFailure::UnknownLabel => near(client, args).await,
                _ => vec![],
            };
            complain(&not_run(args, &message, &near));
            FAILED
        }
    })
}

/// The exit code of a run that the hub refused, or that was lost before its process stood.
fn refused(error: &ClientError) -> u8 {
    complain(&error.to_string());
    match error.exit_code() {
        1 => FAILED,
        code => code,
    }
}

/// What is said of a command that did not run, or not to its end.
fn not_run(args: &RunArgs, message: &str, near: &[String]) -> String {
    let (label, node) = (&args.label, &args.node);
    match near {
        [] => format!("{label} on {node}: {message}"),
        near => format!("{label} on {node}: {message}; did you mean {}?", near.join(", ")),
    }
}

/// The node's labels that are like the one that was asked for, nearest first; none where they cannot be
/// had.
async fn near(client: &Client, args: &RunArgs) -> Vec<String> {
    let commands = client.commands(&args.node).await.unwrap_or_default();
    let mut near: Vec<(f64, String)> = commands
        .into_iter()
        .map(|c| (strsim::normalized_damerau_levenshtein(&c.label, &args.label), c.label))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(MAX_NEAR).map(|(_, label)| label).collect()
}

/// Copies a run's output until its end.
async fn copy(run: &mut Run, sink: &mut Sink) -> Result<RunEnd, Failure> {
    let mut started = false;
    loop {
        match run.next().await {
            Ok(Some(RunEvent::Started { .. })) => started = true,
            Ok(Some(RunEvent::Output { stream, data })) => sink.output(stream, &data).await?,
            Ok(Some(RunEvent::Exit(end))) => return Ok(end),
            Ok(None) => return Err(lost("the run is over already".to_owned())),
            // The command ran: whatever became of the hub, it is secmon that failed.
            Err(error) if started => return Err(lost(error.to_string())),
            Err(error) => return Err(error.into()),
        }
    }
}

fn lost(message: String) -> Failure {
    Failure::Other { message, code: FAILED }
}

struct Sink {
    json: bool,
    out: Stdout,
    err: Stderr,
}

impl Sink {
    async fn output(&mut self, stream: OutputStream, data: &[u8]) -> Result<(), Failure> {
        if self.json {
            let line = json!({ "stream": stream.as_str(), "data": STANDARD.encode(data) });
            return self.line(&line).await;
        }
        match stream {
            OutputStream::Stdout => {
                self.out.write_all(data).await?;
                self.out.flush().await?;
            }
            OutputStream::Stderr => {
                self.err.write_all(data).await?;
                self.err.flush().await?;
            }
        }
        Ok(())
    }

    async fn end(&mut self, end: &RunEnd) -> Result<(), Failure> {
        if self.json { self.line(&end_json(end)).await } else { Ok(()) }
    }

    async fn line(&mut self, value: &Value) -> Result<(), Failure> {
        self.out.write_all(format!("{}\n", ecs::line(value)).as_bytes()).await?;
        Ok(self.out.flush().await?)
    }
}

/// The last line of `run --json`: `end`, and `exit_code`, `signal` or `message` with it.
fn end_json(end: &RunEnd) -> Value {
    let word = ecs::run_end_word(end);
    match end {
        RunEnd::Exited(code) => json!({ "end": word, "exit_code": code }),
        RunEnd::Signalled(signal) => json!({ "end": word, "signal": signal }),
        RunEnd::Failed { message, .. } => json!({ "end": word, "message": message }),
        RunEnd::TimedOut | RunEnd::Cancelled | RunEnd::TooMuchOutput => json!({ "end": word }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_not_run_is_named_with_its_node_and_what_is_near() {
        let args = RunArgs { node: "web-1".into(), label: "uptme".into(), json: false };
        let message = "the node's allowlist has no such command; it has: id, uptime";
        assert_eq!(not_run(&args, message, &[]), format!("uptme on web-1: {message}"));
        let near = ["uptime".to_owned()];
        assert_eq!(
            not_run(&args, message, &near),
            format!("uptme on web-1: {message}; did you mean uptime?")
        );
    }

    #[test]
    fn an_output_that_fails_is_never_taken_for_the_commands_own_end() {
        let output_failed = |kind| own_output_fails(Err(std::io::Error::from(kind).into())).ok();
        assert_eq!(output_failed(std::io::ErrorKind::BrokenPipe), Some(FAILED));
        assert_eq!(output_failed(std::io::ErrorKind::StorageFull), Some(FAILED));
        assert_eq!(own_output_fails(Ok(7)).ok(), Some(7));
        let lost = own_output_fails(Err(lost("x".to_owned())));
        assert!(matches!(&lost, Err(failure) if failure.exit_code() == FAILED), "{lost:?}");
    }

    #[test]
    fn the_end_of_a_run_reads_the_same_for_ever() {
        let failed = RunEnd::Failed { why: RunFailure::Busy, message: "too many".into() };
        let ends = [RunEnd::Exited(3), RunEnd::Signalled(9), RunEnd::TimedOut, RunEnd::Cancelled, failed];
        let lines = ends.map(|end| end_json(&end).to_string()).join("\n");
        insta::assert_snapshot!(lines, @r#"
        {"end":"exited","exit_code":3}
        {"end":"signalled","signal":9}
        {"end":"timed_out"}
        {"end":"cancelled"}
        {"end":"failed","message":"too many"}
        "#);
    }
}
