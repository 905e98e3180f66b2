//! The executor in this process: the one task that owns the allowlist and everything that runs.

use secmon_protocol::{
    command::{RunEnd, RunFailure},
    message::runner::{NodeToRunner, RunnerToNode},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{CommandsSection, Executor, NEWS, ORDERS, allowlist::Allowlist};

pub(super) fn start(section: &CommandsSection, cancel: CancellationToken) -> Executor {
    let (orders, mut ordered) = mpsc::channel(ORDERS);
    let (told, news) = mpsc::channel(NEWS);
    let list = Allowlist::open(section.allowlist.as_deref());
    tokio::spawn(async move {
        let _ = told.send(RunnerToNode::Commands(list.infos())).await;
        while let Some(Some(order)) = cancel.run_until_cancelled(ordered.recv()).await {
            if let NodeToRunner::Start { job, .. } = order {
                let end = RunEnd::Failed { why: RunFailure::Refused, message: "not yet".to_owned() };
                let _ = told.send(RunnerToNode::Exit { job, end, usage: None }).await;
            }
        }
    });
    Executor { orders, news }
}
