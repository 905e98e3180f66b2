//! Commands, run for real: streams, credit, and that nothing of a command outlives it.
#![expect(clippy::unwrap_used, reason = "clippy takes only the bodies of #[test] functions for tests")]

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use bytes::Bytes;
use nix::{sys::signal::kill, unistd::Pid};
use secmon_node::commands::{Commands, CommandsSection, MAX_RUNS, Runs};
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure},
    ids::JobId,
    limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost},
    message::node::NodeToHub,
};
use tokio::{sync::mpsc, time::timeout};

const JOB: JobId = JobId(7);
/// Far longer than anything here takes on a slow machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Scene {
    commands: Commands,
    runs: Runs,
    out: mpsc::Receiver<NodeToHub>,
    _dir: tempfile::TempDir,
}

/// A node whose allowlist has one command, `x`.
fn scene(run: &[&str], timeout: &str) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("commands.toml");
    fs::write(&path, format!("[commands.x]\nrun = {run:?}\ntimeout = {timeout:?}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let commands = Commands::new(&CommandsSection { allowlist: Some(path) });
    let (sender, out) = mpsc::channel(4);
    let runs = commands.runs(sender);
    Scene { commands, runs, out, _dir: dir }
}

fn shell(script: &str) -> Scene {
    scene(&["sh", "-c", script], "10m")
}

impl Scene {
    /// The connection is lost, and what ran is ended.
    async fn end(self) {
        drop(self.runs);
        drop(self.out);
        timeout(PATIENCE, self.commands.ended()).await.expect("an end");
    }

    fn start(&mut self, credit: u32) {
        self.runs.start(&self.commands, JOB, "x", credit).unwrap();
    }

    async fn next(&mut self) -> NodeToHub {
        timeout(PATIENCE, self.out.recv()).await.expect("a message in time").expect("a message")
    }

    async fn started(&mut self) {
        let message = self.next().await;
        assert!(matches!(message, NodeToHub::Started { job: JOB, pid } if pid > 0), "{message:?}");
    }

    async fn output(&mut self) -> (OutputStream, Bytes) {
        match self.next().await {
            NodeToHub::Output { job: JOB, stream, data } => (stream, data),
            other => panic!("not output: {other:?}"),
        }
    }

    /// Everything up to the end, with credit given back as it is used.
    async fn finish(&mut self) -> (Vec<u8>, Vec<u8>, RunEnd) {
        let (mut stdout, mut stderr) = (vec![], vec![]);
        loop {
            match self.next().await {
                NodeToHub::Started { .. } => {}
                NodeToHub::Output { stream, data, .. } => {
                    assert!(!data.is_empty() && data.len() <= MAX_CHUNK);
                    match stream {
                        OutputStream::Stdout => stdout.extend(&data),
                        OutputStream::Stderr => stderr.extend(&data),
                    }
                    self.runs.credit(JOB, chunk_cost(data.len())).unwrap();
                }
                NodeToHub::Exit { job: JOB, end } => return (stdout, stderr, end),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn first_pid(&mut self) -> Pid {
        self.started().await;
        let (_, line) = self.output().await;
        Pid::from_raw(std::str::from_utf8(&line).unwrap().lines().next().unwrap().parse().unwrap())
    }
}

/// Gone, or only waiting to be reaped by whoever took it over.
fn is_gone(pid: Pid) -> bool {
    kill(pid, None).is_err()
        || fs::read_to_string(format!("/proc/{pid}/stat"))
            .unwrap_or_default()
            .rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
}

async fn gone(pid: Pid) {
    let wait = async {
        while !is_gone(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the process to end");
}

#[tokio::test]
async fn both_streams_come_whole_and_the_end_comes_last() {
    let mut scene = shell("head -c 3000000 /dev/zero; head -c 70000 /dev/zero >&2; exit 3");
    scene.start(OUTPUT_WINDOW);
    let (stdout, stderr, end) = scene.finish().await;
    assert_eq!((stdout.len(), stderr.len(), end), (3_000_000, 70_000, RunEnd::Exited(3)));
}

#[tokio::test]
async fn no_more_than_the_credit_is_sent_and_the_rest_when_there_is_more() {
    let mut scene = shell("head -c 100000 /dev/zero");
    scene.start(MIN_CHUNK_COST + 1000);
    scene.started().await;
    let (_, first) = scene.output().await;
    assert!(first.len() <= MIN_CHUNK_COST as usize + 1000, "{}", first.len());
    assert!(timeout(Duration::from_millis(50), scene.out.recv()).await.is_err(), "nothing without credit");
    scene.runs.credit(JOB, OUTPUT_WINDOW - MIN_CHUNK_COST).unwrap();
    let (rest, _, end) = scene.finish().await;
    assert_eq!((first.len() + rest.len(), end), (100_000, RunEnd::Exited(0)));
}

#[tokio::test]
async fn a_silent_stream_does_not_hold_the_credit_that_the_other_needs() {
    let mut scene = shell("echo one >&2; sleep 1000");
    scene.start(MIN_CHUNK_COST);
    scene.started().await;
    assert_eq!(scene.output().await, (OutputStream::Stderr, Bytes::from_static(b"one\n")));
    scene.runs.cancel(JOB);
    assert_eq!(scene.finish().await.2, RunEnd::Cancelled);
}

#[tokio::test]
async fn a_command_that_ignores_term_is_killed_with_all_its_children() {
    let mut scene = shell("trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$; sleep 1000\" & wait; wait");
    scene.start(OUTPUT_WINDOW);
    let grandchild = scene.first_pid().await;
    scene.runs.cancel(JOB);
    assert_eq!(scene.finish().await.2, RunEnd::Cancelled);
    gone(grandchild).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_with_its_pipes_is_ended() {
    let mut scene = shell("sleep 1000 & echo $!; exit 5");
    scene.start(OUTPUT_WINDOW);
    let left = scene.first_pid().await;
    assert_eq!(scene.finish().await.2, RunEnd::Exited(5));
    gone(left).await;
}

#[tokio::test]
async fn output_whose_way_is_blocked_is_waited_for_and_not_taken_for_silence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut scene = shell(&format!("echo $$ > {}; echo hello", file.display()));
    // The queue holds four messages; these fill it.
    for job in 0..4 {
        scene.runs.start(&scene.commands, JobId(100 + job), "no such label", 1).unwrap();
    }
    scene.start(OUTPUT_WINDOW);
    let leader = async {
        loop {
            let pid = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok());
            match pid.map(Pid::from_raw) {
                Some(pid) if is_gone(pid) => return,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, leader).await.expect("the leader to end");
    tokio::time::pause();
    for _ in 0..100 {
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    for _ in 0..4 {
        assert!(matches!(scene.next().await, NodeToHub::Exit { end: RunEnd::Failed { .. }, .. }));
    }
    let (stdout, _, end) = scene.finish().await;
    assert_eq!((stdout.as_slice(), end), (b"hello\n".as_slice(), RunEnd::Exited(0)));
}

#[tokio::test]
async fn a_process_that_leaves_the_group_is_not_waited_for() {
    let mut scene = shell("setsid sh -c 'echo $$; while :; do echo x; sleep 0.01; done' & wait");
    scene.start(OUTPUT_WINDOW);
    let escaped = scene.first_pid().await;
    scene.runs.cancel(JOB);
    assert_eq!(scene.finish().await.2, RunEnd::Cancelled);
    // Whether it left in time or was ended with the group: nothing of it may stay behind the test.
    let _ = nix::sys::signal::killpg(escaped, nix::sys::signal::Signal::SIGKILL);
    gone(escaped).await;
}

#[tokio::test]
async fn a_hub_that_asks_on_without_reading_is_left() {
    let mut scene = shell("true");
    let refused = (0..1000).find(|n| scene.runs.start(&scene.commands, JobId(*n), "nothing", 1).is_err());
    assert!(refused.is_some());
}

#[tokio::test]
async fn a_lost_connection_ends_what_runs_and_is_waited_for() {
    let mut scene = shell("sh -c 'echo $$; sleep 1000'");
    scene.start(OUTPUT_WINDOW);
    let child = scene.first_pid().await;
    scene.end().await;
    gone(child).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended() {
    let mut scene = scene(&["sleep", "1000"], "50ms");
    scene.start(OUTPUT_WINDOW);
    assert_eq!(scene.finish().await.2, RunEnd::TimedOut);
}

#[tokio::test]
async fn a_command_gets_nothing_of_the_nodes_environment_and_no_input() {
    let mut scene = shell("/usr/bin/env | grep -v -e ^PWD= -e ^_= -e ^SHLVL=; pwd; cat");
    scene.start(OUTPUT_WINDOW);
    let (stdout, _, end) = scene.finish().await;
    assert_eq!((String::from_utf8(stdout).unwrap().as_str(), end), ("/\n", RunEnd::Exited(0)));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failure_that_names_it() {
    let mut scene = scene(&["no-such-program", "x"], "1s");
    scene.start(OUTPUT_WINDOW);
    match scene.finish().await.2 {
        RunEnd::Failed { why: RunFailure::Spawn, message } => {
            assert!(message.contains("no-such-program") && message.contains("/usr/bin"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_so_many_run_at_once_and_an_end_makes_room() {
    let mut scene = shell("sleep 1000");
    for job in 0..MAX_RUNS as u64 {
        scene.runs.start(&scene.commands, JobId(100 + job), "x", OUTPUT_WINDOW).unwrap();
        assert!(matches!(scene.next().await, NodeToHub::Started { .. }));
    }
    scene.start(OUTPUT_WINDOW);
    assert!(matches!(scene.finish().await.2, RunEnd::Failed { why: RunFailure::Busy, .. }));
    scene.runs.cancel(JobId(100));
    assert!(matches!(scene.next().await, NodeToHub::Exit { job: JobId(100), end: RunEnd::Cancelled }));
    // The task lets go of its credit a moment after it has sent the Exit.
    loop {
        scene.start(OUTPUT_WINDOW);
        match scene.next().await {
            NodeToHub::Started { .. } => break,
            NodeToHub::Exit { end: RunEnd::Failed { why: RunFailure::Busy, .. }, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn a_hub_that_grants_too_much_or_reuses_a_number_breaks_the_protocol() {
    let mut scene = shell("sleep 1000");
    assert!(scene.runs.start(&scene.commands, JOB, "x", OUTPUT_WINDOW + 1).is_err());
    scene.start(OUTPUT_WINDOW);
    assert!(scene.runs.start(&scene.commands, JOB, "x", 1).is_err());
    assert!(scene.runs.credit(JOB, 1).is_err());
    assert!(scene.runs.credit(JobId(8), u32::MAX).is_ok(), "a run that is over is past caring");
    scene.end().await;
}
