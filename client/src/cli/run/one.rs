//! `run` on one node: its output here as it comes, our input there as it is read, its exit code ours.

use secmon_protocol::{
    command::{CommandInfo, OutputStream, RunEnd, RunFailure, Usage},
    ecs,
    limits::MAX_CHUNK,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Stderr, Stdin},
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{CANCEL_WITHIN, FAILED, RunArgs, What, exit_code, given, unknown, usage};
use crate::{
    Client, ClientError, Run, RunEvent, RunOptions,
    cli::{Common, Failure, failure::complain, out::stdout},
};

/// One run on one node.
struct Line<'a> {
    node: &'a str,
    what: &'a What,
    input: bool,
}

pub(super) async fn run(node: &str, what: &What, args: &RunArgs, common: &Common) -> Result<u8, Failure> {
    let line = Line { node, what, input: !args.no_input };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::Output)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::Output)?;
    let mut running = None;
    let mut ends =
        Ends { json: args.json, input: line.input.then(Input::new), out: stdout(), err: tokio::io::stderr() };
    let signalled = tokio::select! {
        result = start_and_copy(&line, common, &mut running, &mut ends) => return result,
        _ = interrupt.recv() => 130,
        _ = terminate.recv() => 143,
    };
    if let Some(run) = &mut running {
        let ending = async {
            run.cancel().await?;
            ends.input = None;
            copy(run, &mut ends).await
        };
        // A second signal ends the wait; the node ends the command all the same.
        tokio::select! {
            ended = timeout(CANCEL_WITHIN, ending) => match ended {
                // The exit code says what matters; an output that is closed needs no words.
                Ok(Ok((end, usage))) => drop(ends.end(&end, usage.as_ref()).await),
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

async fn start_and_copy(
    line: &Line<'_>,
    common: &Common,
    running: &mut Option<Run>,
    ends: &mut Ends,
) -> Result<u8, Failure> {
    let client = common.connect().await?;
    // Who gives arguments is told what is wrong with them before anything is asked of the node.
    if !line.what.args.is_empty()
        && let Some(info) = found(&client, line, find(&client, line).await).await?
    {
        given::check(&info, &line.what.args).map_err(usage)?;
    }
    let options = RunOptions { stdin: line.input, ..RunOptions::default() };
    let (label, args) = (&line.what.label, line.what.args.clone());
    let run = running.insert(client.run(line.node, label, args, options).await?);
    let copied = match copy(run, ends).await {
        Err(Failure::Client(error)) => found(&client, line, Err(error)).await,
        other => other,
    };
    let (end, took) = match copied {
        Ok(ended) => ended,
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
        Err(other) => return Err(other),
    };
    ends.end(&end, took.as_ref()).await?;
    match &end {
        RunEnd::Exited(_) | RunEnd::Signalled(_) => {}
        RunEnd::TimedOut => complain(&format!("{label} on {} was ended: its time was up", line.node)),
        RunEnd::Cancelled => complain(&format!("{label} on {} was cancelled", line.node)),
        RunEnd::TooMuchOutput => {
            complain(&format!("{label} on {} was ended: it printed more than it may", line.node));
        }
        RunEnd::Failed { why: RunFailure::UnknownLabel, message } => {
            let commands = client.commands(line.node).await.unwrap_or_default();
            complain(&not_run(line, message, &given::near(label, commands.iter().map(|c| c.label.as_str()))));
        }
        RunEnd::Failed { why: RunFailure::BadArgument, message } => {
            // The node says what is wrong; what it takes may say it better, and then it is a mistake of usage.
            let info = find(&client, line).await.unwrap_or_default();
            if let Some(Err(wrong)) = info.map(|info| given::check(&info, &line.what.args)) {
                return Err(usage(wrong));
            }
            return Err(usage(not_run(line, message, &[])));
        }
        RunEnd::Failed { message, .. } => complain(&not_run(line, message, &[])),
    }
    Ok(exit_code(&end))
}

/// What the node says of the command, if it offers it.
async fn find(client: &Client, line: &Line<'_>) -> Result<Option<CommandInfo>, ClientError> {
    Ok(client.commands(line.node).await?.into_iter().find(|info| info.label == line.what.label))
}

/// What the hub says, with its reason and the code for it where that is a refusal.
async fn found<T>(client: &Client, line: &Line<'_>, said: Result<T, ClientError>) -> Result<T, Failure> {
    match said {
        Ok(said) => Ok(said),
        Err(error) => Err(match unknown(client, line.node, line.what, &error).await {
            Some(message) => Failure::Other { message, code: error.exit_code() },
            None => coded(&error),
        }),
    }
}

/// A refusal of the hub's, or its loss before the command's process stood. 1 would be a code of the command's.
fn coded(error: &ClientError) -> Failure {
    let code = match error.exit_code() {
        1 => FAILED,
        code => code,
    };
    Failure::Other { message: error.to_string(), code }
}

/// What is said of a command that did not run, or not to its end.
fn not_run(line: &Line<'_>, message: &str, near: &[String]) -> String {
    let (label, node) = (&line.what.label, line.node);
    match near {
        [] => format!("{label} on {node}: {message}"),
        near => format!("{label} on {node}: {message}; did you mean {}?", near.join(", ")),
    }
}

/// Copies a run's output here, and our input there, until its end.
async fn copy(run: &mut Run, ends: &mut Ends) -> Result<(RunEnd, Option<Usage>), Failure> {
    let mut started = false;
    loop {
        let room = run.input_room();
        let event = tokio::select! {
            event = run.next() => event,
            read = Input::read(&mut ends.input, room), if room > 0 && ends.input.is_some() => {
                let data = read.unwrap_or_else(|error| {
                    complain(&format!("cannot read the input: {error}"));
                    vec![]
                });
                if data.is_empty() {
                    ends.input = None;
                }
                // A connection that is gone says so above, behind what it brought before its end.
                let _ = run.send_input(&data).await;
                continue;
            }
        };
        match event {
            Ok(Some(RunEvent::Started { .. })) => started = true,
            Ok(Some(RunEvent::InputWanted)) => {}
            Ok(Some(RunEvent::Output { stream, data })) => ends.output(stream, &data).await?,
            Ok(Some(RunEvent::Exit { end, usage })) => return Ok((end, usage)),
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

/// Our standard input. It is not touched before a command asks for it: what nobody reads stays there for others.
struct Input {
    stdin: Stdin,
    buffer: Vec<u8>,
}

impl Input {
    fn new() -> Self {
        Self { stdin: tokio::io::stdin(), buffer: vec![0; MAX_CHUNK] }
    }

    /// The next bytes, none at the end. Nothing is lost if it is dropped before its end.
    async fn read(input: &mut Option<Self>, room: usize) -> std::io::Result<Vec<u8>> {
        let Some(input) = input else { return std::future::pending().await };
        let len = input.stdin.read(&mut input.buffer[..room.min(MAX_CHUNK)]).await?;
        Ok(input.buffer[..len].to_vec())
    }
}

/// Our ends of the command's streams.
struct Ends {
    json: bool,
    input: Option<Input>,
    out: Box<dyn AsyncWrite + Send + Unpin>,
    err: Stderr,
}

impl Ends {
    async fn output(&mut self, stream: OutputStream, data: &[u8]) -> Result<(), Failure> {
        if self.json {
            return self.line(&ecs::run_output(stream, data)).await;
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

    async fn end(&mut self, end: &RunEnd, usage: Option<&Usage>) -> Result<(), Failure> {
        if self.json { self.line(&ecs::run_ended(end, usage)).await } else { Ok(()) }
    }

    async fn line(&mut self, value: &Value) -> Result<(), Failure> {
        self.out.write_all(format!("{}\n", ecs::line(value)).as_bytes()).await?;
        Ok(self.out.flush().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_was_not_run_is_named_with_its_node_and_what_is_near() {
        let what = What { label: "uptme".into(), args: vec![] };
        let line = Line { node: "web-1", what: &what, input: false };
        let message = "the node's allowlist has no such command; it has: id, uptime";
        assert_eq!(not_run(&line, message, &[]), format!("uptme on web-1: {message}"));
        let near = ["uptime".to_owned()];
        assert_eq!(
            not_run(&line, message, &near),
            format!("uptme on web-1: {message}; did you mean uptime?")
        );
    }
}
