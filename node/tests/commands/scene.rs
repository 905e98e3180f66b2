//! An executor with an allowlist of the test's own, and whoever gives it orders.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use nix::{sys::signal::kill, unistd::Pid};
use secmon_node::commands::{CommandsSection, Executor, start};
use secmon_protocol::{
    command::{Arg, CommandInfo, OutputStream, RunEnd},
    ids::JobId,
    limits::{OUTPUT_WINDOW, chunk_cost},
    message::runner::{NodeToRunner, RunnerToNode},
};
use tempfile::TempDir;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes on a slow machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Orders given, news taken.
pub(crate) struct Scene {
    pub(crate) executor: Executor,
    pub(crate) cancel: CancellationToken,
    dir: TempDir,
}

/// A folder with this allowlist.
pub(crate) fn allowlist(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("commands.toml");
    write(&path, text);
    (dir, path)
}

/// Whole or not at all, as an editor does.
pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

impl Scene {
    /// In this process, with an allowlist.
    pub(crate) fn new(text: &str) -> Self {
        let (dir, path) = allowlist(text);
        Self::of(CommandsSection { allowlist: Some(path), runner: None }, dir)
    }

    pub(crate) fn of(section: CommandsSection, dir: TempDir) -> Self {
        let cancel = CancellationToken::new();
        let executor = start(&section, cancel.clone());
        Self { executor, cancel, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("commands.toml")
    }

    pub(crate) async fn order(&self, order: NodeToRunner) {
        timeout(PATIENCE, self.executor.orders.send(order))
            .await
            .expect("room")
            .expect("somebody to take it");
    }

    pub(crate) async fn start(&self, job: u64, label: &str) {
        self.start_with(job, label, OUTPUT_WINDOW, &[]).await;
    }

    pub(crate) async fn start_with(&self, job: u64, label: &str, credit: u32, args: &[(&str, &str)]) {
        let arg = |&(name, value): &(&str, &str)| Arg { name: name.to_owned(), value: value.to_owned() };
        self.order(NodeToRunner::Start {
            job: JobId(job),
            label: label.to_owned(),
            args: args.iter().map(arg).collect(),
            credit,
            stdin: true,
        })
        .await;
    }

    pub(crate) async fn cancel(&self, job: u64) {
        self.order(NodeToRunner::Cancel { job: JobId(job) }).await;
    }

    /// The next news; none when there is nothing any more.
    pub(crate) async fn next(&mut self) -> Option<RunnerToNode> {
        timeout(PATIENCE, self.executor.news.recv()).await.expect("news in time")
    }

    pub(crate) async fn commands(&mut self) -> Vec<CommandInfo> {
        match self.next().await {
            Some(RunnerToNode::Commands(infos)) => infos,
            other => panic!("not Commands: {other:?}"),
        }
    }

    pub(crate) async fn labels(&mut self) -> Vec<String> {
        self.commands().await.into_iter().map(|info| info.label).collect()
    }

    pub(crate) async fn started(&mut self, job: u64) -> Pid {
        match self.next().await {
            Some(RunnerToNode::Started { job: JobId(found), pid }) if found == job => {
                Pid::from_raw(pid.cast_signed())
            }
            other => panic!("not Started: {other:?}"),
        }
    }

    /// A run's stdout and its end, with credit given back as it is used.
    pub(crate) async fn finish(&mut self, job: u64) -> (String, RunEnd) {
        let (mut stdout, mut stderr) = (vec![], vec![]);
        loop {
            match self.next().await.expect("an end") {
                RunnerToNode::Output { job: JobId(found), stream, data } if found == job => {
                    let credit = chunk_cost(data.len());
                    match stream {
                        OutputStream::Stdout => stdout.extend(&data),
                        OutputStream::Stderr => stderr.extend(&data),
                    }
                    self.order(NodeToRunner::Credit { job: JobId(job), credit }).await;
                }
                RunnerToNode::Exit { job: JobId(found), end, .. } if found == job => {
                    assert_eq!(String::from_utf8_lossy(&stderr), "");
                    return (String::from_utf8(stdout).unwrap(), end);
                }
                RunnerToNode::Started { .. } | RunnerToNode::StdinCredit { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// A run that is to be refused.
    pub(crate) async fn refusal(&mut self, job: u64) -> (secmon_protocol::command::RunFailure, String) {
        match self.next().await {
            Some(RunnerToNode::Exit {
                job: JobId(found),
                end: RunEnd::Failed { why, message },
                usage: None,
            }) if found == job => (why, message),
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Waits until everything has ended; what is told meanwhile.
    pub(crate) async fn rest(&mut self) -> Vec<RunnerToNode> {
        let mut rest = vec![];
        while let Some(news) = self.next().await {
            rest.push(news);
        }
        rest
    }

    pub(crate) async fn stdin(&self, job: u64, data: &'static [u8]) {
        self.order(NodeToRunner::Stdin { job: JobId(job), data: Bytes::from_static(data) }).await;
    }
}

/// Waits for a process to be gone.
pub(crate) async fn gone(pid: Pid) {
    let wait = async {
        while kill(pid, None).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the process to end");
}
