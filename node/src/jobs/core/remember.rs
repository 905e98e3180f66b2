//! What the core has to do with the memory of numbers: a detached job starts when that has answered, or does not.

use secmon_protocol::{
    command::{RunEnd, RunFailure},
    ids::JobId,
    message::runner::NodeToRunner,
};

use super::{Core, Stage};

/// Heartbeats of a hub after which it has long answered what it was told at first: what it had handed over before
/// has come again. See [`Answer::Damaged`].
pub(super) const SETTLED: u32 = 2;

/// What is to be done to the memory of numbers, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jobs) enum Write {
    /// Remember a number, for ever as far as that goes, before it is started. Answered.
    Remember(JobId),
    /// Forget one that was not started after all.
    Forget(JobId),
    /// Set a damaged memory aside, and begin a new one.
    Renew,
}

/// What the memory of numbers says of one that it is to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::jobs) enum Answer {
    /// It was not there, and is now, over any crash.
    New,
    /// It was there.
    Known,
    /// Nobody can say: the memory is damaged.
    Damaged(String),
    /// It cannot be written now.
    Failed(String),
}

impl Core {
    /// The memory of numbers has answered.
    pub(in crate::jobs) fn handle_remembered(&mut self, job: JobId, answer: Answer) {
        let closed = self.closed;
        let Some(run) = self.runs.get_mut(&job) else { return };
        let Stage::Remembering { label, args, may_renew } = &mut run.stage else { return };
        if run.dead {
            self.runs.remove(&job);
            return;
        }
        match answer {
            // Its number stays remembered: the hub might ask again before it hears that it is over.
            Answer::New if run.cancelled => run.stage = Stage::Over(RunEnd::Cancelled, None),
            Answer::New => match closed {
                Some((why, text)) => {
                    self.writes.push(Write::Forget(job));
                    run.fail(why, text.to_owned());
                    run.fleeting = true;
                }
                None => {
                    let (label, args) = (std::mem::take(label), std::mem::take(args));
                    let credit = run.output.window();
                    run.stage = Stage::Given;
                    self.orders.push_back(NodeToRunner::Start { job, label, args, credit, stdin: false });
                }
            },
            Answer::Known => {
                run.fail(RunFailure::Lost, "it was started before, and the node has ended since".to_owned());
                run.fleeting = true;
            }
            // What the hub handed over before the damage came soon after the connection stood. This was ordered later, and is new.
            Answer::Damaged(_) if *may_renew => {
                *may_renew = false;
                self.writes.extend([Write::Renew, Write::Remember(job)]);
            }
            Answer::Damaged(reason) => {
                let message = format!(
                    "the node's memory of jobs is damaged ({reason}); whether this one was started before cannot be \
                     said, so it is not started. In some minutes the node begins a new memory"
                );
                run.fail(RunFailure::Lost, message);
                run.fleeting = true;
            }
            Answer::Failed(reason) => {
                let message = format!(
                    "the node cannot write the job's number to its disk ({reason}), without which it might start it \
                     twice; free space or see to the disk, and run it again"
                );
                run.fail(RunFailure::Refused, message);
                run.fleeting = true;
            }
        }
        self.settle(job);
    }
}
