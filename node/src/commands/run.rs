//! One run, from its start to its one Exit: its output sent as it comes, and all its processes ended with it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure, Usage},
    ids::JobId,
    message::runner::RunnerToNode,
};
use secmon_sys::Ended;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    allowlist::{Invocation, Stdin},
    cgroup::Cgroups,
    output::{Carried, Flow, Input, Output, STDIN_WINDOW, Way},
    process::Processes,
};

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long processes may take to go after KILL: the kernel may have to free much memory.
const DYING: Duration = Duration::from_secs(5);
/// For what is left in the pipes when nobody waits for it.
const DRAIN: Duration = Duration::from_secs(1);

/// What a run is given beside what it runs.
pub(super) struct Run {
    pub(super) job: JobId,
    pub(super) news: mpsc::Sender<RunnerToNode>,
    /// Output that may be sent. Others hold it as long as the run goes on, and no longer.
    pub(super) credit: Arc<Semaphore>,
    /// Input; none: nobody is there to send any.
    pub(super) input: Option<Input>,
    /// Ends this run.
    pub(super) cancel: CancellationToken,
    /// Ends all runs.
    pub(super) stopping: CancellationToken,
    pub(super) cgroups: Option<Arc<Cgroups>>,
}

impl Run {
    /// To its end, which is told by the one Exit. Every byte that was printed is sent before it, unless the run
    /// was cancelled or stopped. Ends within about [`GRACE`] and [`DYING`] of those.
    pub(super) async fn run(mut self, label: &str, invocation: Result<Invocation, (RunFailure, String)>) {
        let (end, usage) = match invocation {
            Ok(_) if self.cancel.is_cancelled() => (RunEnd::Cancelled, None),
            Ok(_) if self.stopping.is_cancelled() => (stopped(), None),
            Ok(invocation) => self.start(label, &invocation).await,
            Err((why, message)) => (RunEnd::Failed { why, message }, None),
        };
        let Self { job, news, credit, input, .. } = self;
        // Before the Exit, so that the number is free for whoever has read it.
        drop((credit, input));
        // Nobody may be left to hear it.
        let _ = news.send(RunnerToNode::Exit { job, end, usage }).await;
    }

    async fn start(&mut self, label: &str, invocation: &Invocation) -> (RunEnd, Option<Usage>) {
        let since = Instant::now();
        let input = self.input.take().filter(|_| invocation.stdin == Stdin::Client);
        let stdin = if input.is_some() { Stdin::Client } else { Stdin::None };
        let (processes, pipes) = match Processes::start(invocation, stdin, self.cgroups.as_deref()) {
            Ok(started) => started,
            Err(why) => {
                let message = format!("cannot start {}: {why}", invocation.program.display());
                return (RunEnd::Failed { why: RunFailure::Spawn, message }, None);
            }
        };
        tracing::info!(%label, job = %self.job, pid = processes.pid(), "command started");
        let way = Way { job: self.job, news: &self.news, credit: &self.credit };
        let flow = Flow::default();
        let pid = processes.pid();
        let carry = async {
            let told = async {
                if way.news.send(RunnerToNode::Started { job: way.job, pid }).await.is_err() {
                    return;
                }
                if let Some(input) = &input {
                    input.grant(STDIN_WINDOW, &way).await;
                }
            };
            // Nobody may be left to hear it; then the end comes by `stopping`.
            flow.deliver(told).await;
            let feed = async {
                if let (Some(input), Some(pipe)) = (input, pipes.stdin) {
                    input.carry(pipe, &way).await;
                }
            };
            let output = async {
                match Output::new(pipes.stdout, pipes.stderr) {
                    Ok(output) => output.carry(&way, &flow, invocation.max_output).await,
                    Err(error) => {
                        let stream = OutputStream::Stdout.as_str();
                        tracing::warn!(job = %way.job, stream, %error, "cannot read a command's output");
                        Carried::All
                    }
                }
            };
            tokio::pin!(feed, output);
            // When no more output can come nobody is left to read input, or nobody is asked.
            tokio::select! {
                biased;
                carried = &mut output => carried,
                () = &mut feed => output.await,
            }
        };
        let deadline = since + invocation.timeout;
        let (end, ended) = self.follow(processes, Box::pin(carry), &flow, deadline).await;
        let usage = ended.map(|ended| Usage {
            wall_ns: nanoseconds(since.elapsed()),
            user_ns: nanoseconds(ended.user),
            system_ns: nanoseconds(ended.system),
            max_rss: ended.max_rss,
            output: flow.printed.load(Relaxed),
        });
        tracing::info!(%label, job = %self.job, ?end, "command ended");
        (end, usage)
    }

    /// Waits for an end, of whichever kind, and makes it the end of all.
    async fn follow(
        &self,
        mut processes: Processes,
        mut carry: impl Future<Output = Carried> + Unpin,
        flow: &Flow,
        deadline: Instant,
    ) -> (RunEnd, Option<Ended>) {
        let mut carried = None;
        let mut reason = None;
        // Until the leader ends, or has to.
        while reason.is_none() {
            tokio::select! {
                how = &mut carry, if carried.is_none() => {
                    carried = Some(how);
                    reason = too_much(how);
                }
                () = processes.exited() => break,
                why = self.has_to_end(deadline) => reason = Some(why),
            }
        }
        // The leader has ended by itself, but something holds its pipes: it may have more to say.
        if reason.is_none() && carried.is_none() {
            tokio::select! {
                how = &mut carry => {
                    carried = Some(how);
                    reason = too_much(how);
                }
                () = flow.silence() => {
                    tracing::info!(job = %self.job, "what the command left behind is silent and is ended");
                }
                why = self.has_to_end(deadline) => match why {
                    // The command itself was done in time.
                    RunEnd::TimedOut => {}
                    why => reason = Some(why),
                },
            }
        }
        let mut gone = processes.are_gone();
        if !gone {
            let by = Instant::now() + GRACE;
            processes.terminate();
            // What they still say is carried meanwhile.
            tokio::select! {
                all = processes.gone(GRACE) => gone = all,
                how = &mut carry, if carried.is_none() => {
                    carried = Some(how);
                    reason = reason.or(too_much(how));
                    gone = processes.gone(by.saturating_duration_since(Instant::now())).await;
                }
            }
            gone = gone || processes.kill(DYING).await;
        }
        // What was printed is delivered, however long its reader takes; only a reader that cancels, or is gone,
        // does without it. A process that has left the run and holds the pipe is not waited for.
        flow.ending.cancel();
        if carried.is_none() && !matches!(reason, Some(RunEnd::Cancelled | RunEnd::Failed { .. })) {
            tokio::select! {
                how = &mut carry => {
                    carried = Some(how);
                    reason = reason.or(too_much(how));
                }
                why = self.is_ended() => reason = Some(why),
            }
        }
        if carried.is_none() {
            let _ = timeout(DRAIN, &mut carry).await;
        }
        if !gone {
            tracing::error!(
                job = %self.job,
                pid = processes.pid(),
                "processes of a command do not end, even by SIGKILL"
            );
        }
        // Nobody lives any more, but the leader may be a moment away from where it can be reaped.
        let _ = timeout(DYING, processes.exited()).await;
        match processes.reap() {
            Ok(ended) => (reason.unwrap_or_else(|| of_status(&ended)), Some(ended)),
            Err(mut processes) => {
                // It waits in the kernel, for a disk perhaps; who started it reaps it, whenever that is.
                tokio::spawn(async move {
                    processes.exited().await;
                    processes.reap().is_ok()
                });
                let message = "its process does not end, even by SIGKILL".to_owned();
                (RunEnd::Failed { why: RunFailure::Lost, message }, None)
            }
        }
    }

    async fn has_to_end(&self, deadline: Instant) -> RunEnd {
        tokio::select! {
            why = self.is_ended() => why,
            () = sleep_until(deadline) => RunEnd::TimedOut,
        }
    }

    async fn is_ended(&self) -> RunEnd {
        tokio::select! {
            () = self.cancel.cancelled() => RunEnd::Cancelled,
            () = self.stopping.cancelled() => stopped(),
        }
    }
}

/// The end of what ran when everything was to end.
fn stopped() -> RunEnd {
    let message = "secmon on the node is stopping, and ended it".to_owned();
    RunEnd::Failed { why: RunFailure::Stopped, message }
}

fn too_much(carried: Carried) -> Option<RunEnd> {
    (carried == Carried::TooMuch).then_some(RunEnd::TooMuchOutput)
}

fn of_status(ended: &Ended) -> RunEnd {
    use std::os::unix::process::ExitStatusExt as _;
    match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => RunEnd::Exited(code),
        (None, signal) => RunEnd::Signalled(signal.unwrap_or_default()),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
