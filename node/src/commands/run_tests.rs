//! Runs with real processes: what comes of them, and that nothing of them outlives their end.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, AtomicU64},
};

use bytes::Bytes;
use nix::{sys::signal::kill, unistd::Pid};
use secmon_protocol::limits::{MAX_CHUNK, MIN_CHUNK_COST, OUTPUT_WINDOW, chunk_cost};
use tokio::task::JoinHandle;

use super::{super::output::STDIN_PIECES, *};

/// Far longer than anything here takes on a slow machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const JOB: JobId = JobId(7);

fn shell(script: &str) -> Invocation {
    Invocation {
        program: PathBuf::from("/bin/sh"),
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        user: None,
        cwd: PathBuf::from("/"),
        env: BTreeMap::new(),
        timeout: Duration::from_secs(600),
        max_output: None,
        concurrency: None,
        nice: None,
        umask: 0o022,
        stdin: Stdin::None,
    }
}

fn cgroups() -> Option<Arc<Cgroups>> {
    Cgroups::find().ok().map(Arc::new)
}

/// One run, from outside.
struct Scene {
    news: mpsc::Receiver<RunnerToNode>,
    credit: Arc<Semaphore>,
    stdin: mpsc::Sender<Bytes>,
    granted: Arc<AtomicU32>,
    cancel: CancellationToken,
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

impl Scene {
    fn new(invocation: Invocation, credit: u32) -> Self {
        Self::within(invocation, credit, cgroups())
    }

    fn within(invocation: Invocation, credit: u32, cgroups: Option<Arc<Cgroups>>) -> Self {
        let (sender, news) = mpsc::channel(4);
        let (stdin, pieces) = mpsc::channel(STDIN_PIECES);
        let (credit, granted) = (Arc::new(Semaphore::new(credit as usize)), Arc::new(AtomicU32::new(0)));
        let (cancel, stopping) = (CancellationToken::new(), CancellationToken::new());
        let run = Run {
            job: JOB,
            news: sender,
            credit: Arc::clone(&credit),
            input: Some(Input { pieces, granted: Arc::clone(&granted) }),
            cancel: cancel.clone(),
            stopping: stopping.clone(),
            cgroups,
        };
        let task = tokio::spawn(async move { run.run("x", Ok(invocation)).await });
        Self { news, credit, stdin, granted, cancel, stopping, task }
    }

    async fn next(&mut self) -> RunnerToNode {
        timeout(PATIENCE, self.news.recv()).await.expect("news in time").expect("news")
    }

    async fn started(&mut self) -> Pid {
        match self.next().await {
            RunnerToNode::Started { job: JOB, pid } => Pid::from_raw(pid.cast_signed()),
            other => panic!("not started: {other:?}"),
        }
    }

    async fn output(&mut self) -> (OutputStream, Bytes) {
        match self.next().await {
            RunnerToNode::Output { job: JOB, stream, data } => (stream, data),
            other => panic!("not output: {other:?}"),
        }
    }

    /// Everything up to the end, and that nothing comes behind it; credit is given back as it is used.
    async fn finish(&mut self, mut take: impl FnMut(OutputStream, Bytes)) -> (RunEnd, Option<Usage>) {
        loop {
            match self.next().await {
                RunnerToNode::Started { .. } | RunnerToNode::StdinCredit { .. } => {}
                RunnerToNode::Output { stream, data, .. } => {
                    assert!(!data.is_empty() && data.len() <= MAX_CHUNK);
                    self.credit.add_permits(chunk_cost(data.len()) as usize);
                    take(stream, data);
                }
                RunnerToNode::Exit { job: JOB, end, usage } => {
                    assert_eq!(timeout(PATIENCE, self.news.recv()).await.expect("an end"), None);
                    return (end, usage);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Both streams and the end.
    async fn all(&mut self) -> (Vec<u8>, Vec<u8>, RunEnd) {
        let (mut stdout, mut stderr) = (vec![], vec![]);
        let (end, _) = self
            .finish(|stream, data| match stream {
                OutputStream::Stdout => stdout.extend(&data),
                OutputStream::Stderr => stderr.extend(&data),
            })
            .await;
        (stdout, stderr, end)
    }
}

/// A word that no other process has, and that is no part of another such word.
fn mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("mark-{}-{}-end", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// The live processes that have this word among their arguments, or inherited it from one that had.
fn marked(mark: &str) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // A zombie has none.
            String::from_utf8_lossy(&words).contains(mark)
        })
        .collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

/// How a run can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Exit,
    Signal,
    Cancel,
    Timeout,
    TooMuchOutput,
    Stopping,
}

const ENDINGS: [Ending; 6] =
    [Ending::Exit, Ending::Signal, Ending::Cancel, Ending::Timeout, Ending::TooMuchOutput, Ending::Stopping];

/// A program that is hard to end: what it does before it says that it is ready. `SLEEP` stays, and has the mark.
#[derive(Debug, Clone, Copy)]
struct Program {
    name: &'static str,
    script: &'static str,
    /// How many processes there are beside the leader, at least.
    others: usize,
    /// Whether it leaves the leader's session.
    leaves: bool,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "forks recursively",
        script: "fork() { [ $1 -le 0 ] && return; ( fork $(($1 - 1)); SLEEP ) & }; fork 50",
        others: 50,
        leaves: false,
    },
    Program { name: "ignores TERM", script: "trap '' TERM HUP INT; ( SLEEP ) &", others: 1, leaves: false },
    Program {
        name: "closes its pipes and stays",
        script: "( exec <&- >&- 2>&-; SLEEP ) &",
        others: 1,
        leaves: false,
    },
    Program {
        name: "forks twice and begins a session",
        script: "( setsid sh -c 'trap \"\" TERM HUP; ( SLEEP ) & SLEEP' <&- >&- 2>&- & )",
        others: 3,
        leaves: true,
    },
];

async fn ends(program: Program, ending: Ending, cgroups: Option<Arc<Cgroups>>) {
    let mark = mark();
    let sleep = format!("sh -c 'while :; do sleep 1000; done' {mark}");
    // Within quotes of its own, the inner script is a file of the shell's.
    let sleep = match program.leaves {
        true => format!("sh -c \"while :; do sleep 1000; done\" {mark}"),
        false => sleep,
    };
    let last = match ending {
        Ending::Exit => "exit 3",
        Ending::Signal => "kill -KILL $$",
        Ending::TooMuchOutput => "yes",
        Ending::Cancel | Ending::Timeout | Ending::Stopping => "while :; do sleep 1000; done",
    };
    // The leader goes on when the file is there.
    let dir = tempfile::tempdir().unwrap();
    let go = dir.path().join("go");
    let script = program.script.replace("SLEEP", &sleep);
    let script = format!("{script}\nuntil [ -e {} ]; do sleep 0.01; done; {last}; : {mark}", go.display());
    let mut invocation = shell(&script);
    match ending {
        Ending::Timeout => invocation.timeout = Duration::from_secs(1),
        Ending::TooMuchOutput => invocation.max_output = Some(100_000),
        _ => {}
    }
    let mut scene = Scene::within(invocation, OUTPUT_WINDOW, cgroups);
    let leader = scene.started().await;
    if ending != Ending::Timeout {
        until("its processes", || marked(&mark).len() > program.others).await;
    }
    fs::write(&go, "").unwrap();
    match ending {
        Ending::Cancel => scene.cancel.cancel(),
        Ending::Stopping => scene.stopping.cancel(),
        _ => {}
    }
    let (stdout, _, end) = scene.all().await;
    let left = marked(&mark);
    assert_eq!(left, Vec::<u32>::new(), "{}, ended by {ending:?}, left processes", program.name);
    assert!(kill(leader, None).is_err(), "the leader is reaped");
    let expected = match ending {
        Ending::Exit => RunEnd::Exited(3),
        Ending::Signal => RunEnd::Signalled(9),
        Ending::Cancel => RunEnd::Cancelled,
        Ending::Timeout => RunEnd::TimedOut,
        Ending::TooMuchOutput => RunEnd::TooMuchOutput,
        Ending::Stopping => stopped(),
    };
    assert_eq!(end, expected, "{}", program.name);
    assert_eq!(stdout.len(), if ending == Ending::TooMuchOutput { 100_000 } else { 0 });
}

/// All endings of one program side by side.
async fn all_endings(program: Program, cgroups: Option<&Arc<Cgroups>>) {
    futures::future::join_all(ENDINGS.map(|ending| ends(program, ending, cgroups.cloned()))).await;
}

#[tokio::test]
async fn nothing_of_a_run_outlives_any_end() {
    let Some(cgroups) = cgroups() else { return eprintln!("SKIPPED: no cgroup can be made here") };
    for program in PROGRAMS {
        all_endings(program, Some(&cgroups)).await;
    }
}

#[tokio::test]
async fn without_cgroups_nothing_that_stays_in_the_session_outlives_any_end() {
    for program in PROGRAMS.into_iter().filter(|program| !program.leaves) {
        all_endings(program, None).await;
    }
}

#[tokio::test]
async fn both_streams_come_whole_and_the_end_comes_last() {
    let mut scene =
        Scene::new(shell("head -c 3000000 /dev/zero; head -c 70000 /dev/zero >&2; exit 3"), OUTPUT_WINDOW);
    let (stdout, stderr, end) = scene.all().await;
    assert_eq!((stdout.len(), stderr.len(), end), (3_000_000, 70_000, RunEnd::Exited(3)));
}

#[tokio::test]
async fn what_is_printed_in_turn_comes_in_turn() {
    let script = "for i in 1 2 3 4 5; do echo $i; sleep 0.05; echo $i >&2; sleep 0.05; done";
    let mut scene = Scene::new(shell(script), OUTPUT_WINDOW);
    let mut order = vec![];
    scene.finish(|stream, data| order.push((stream, data))).await;
    let expected: Vec<_> = (1..=5)
        .flat_map(|i| {
            [OutputStream::Stdout, OutputStream::Stderr].map(|s| (s, Bytes::from(format!("{i}\n"))))
        })
        .collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn no_more_than_the_credit_is_sent_and_the_rest_when_there_is_more() {
    let mut scene = Scene::new(shell("head -c 100000 /dev/zero"), MIN_CHUNK_COST + 1000);
    scene.started().await;
    let (_, first) = scene.output().await;
    assert!(first.len() <= MIN_CHUNK_COST as usize + 1000, "{}", first.len());
    assert!(timeout(Duration::from_millis(50), scene.news.recv()).await.is_err(), "nothing without credit");
    scene.credit.add_permits((OUTPUT_WINDOW - MIN_CHUNK_COST) as usize);
    let (rest, _, end) = scene.all().await;
    assert_eq!((first.len() + rest.len(), end), (100_000, RunEnd::Exited(0)));
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("count");
    let script = format!(
        "i=0; while :; do head -c 65536 /dev/zero || exit; i=$((i+1)); echo $i > {}; done",
        file.display()
    );
    let mut scene = Scene::new(shell(&script), 0);
    scene.started().await;
    let written =
        || fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
    // It stands when a look finds no more than the one before, for a while.
    let mut last = (0, 0);
    until("the process to stand", move || false_until_still(&written, &mut last)).await;
    assert!(written() < 32, "{} chunks of 64 KiB for a reader that takes none", written());
    scene.cancel.cancel();
    assert_eq!(scene.all().await.2, RunEnd::Cancelled);
}

/// True when `value` was the same forty times in a row, and not nothing.
fn false_until_still(value: &impl Fn() -> u64, last: &mut (u64, u32)) -> bool {
    let now = value();
    *last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
    now > 0 && last.1 > 40
}

/// Memory of this process's own, `RssAnon` of proc_pid_status(5), in KiB.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_gibibyte_passes_with_flat_memory() {
    const GIB: u64 = 1 << 30;
    let mut scene = Scene::new(shell("head -c 1073741824 /dev/zero"), OUTPUT_WINDOW);
    let (mut len, mut most) = (0, 0);
    let before = memory();
    let (end, usage) = scene
        .finish(|_, data| {
            len += data.len() as u64;
            if len % (64 << 20) < data.len() as u64 {
                most = most.max(memory());
            }
        })
        .await;
    let usage = usage.unwrap();
    assert_eq!((len, end, usage.output), (GIB, RunEnd::Exited(0), GIB));
    assert!(usage.wall_ns > 0 && usage.system_ns > 0 && usage.max_rss > 0, "{usage:?}");
    let grown = most.saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more for 1 GiB");
}

#[tokio::test]
async fn input_comes_whole_and_no_more_of_it_than_was_granted() {
    let mut invocation = shell("cat | cksum; cat");
    invocation.stdin = Stdin::Client;
    let mut scene = Scene::new(invocation, OUTPUT_WINDOW);
    scene.started().await;
    let piece = Bytes::from(vec![b'x'; MAX_CHUNK]);
    let (mut sent, total) = (0, 4 << 20);
    let mut credit = 0;
    while sent < total {
        while credit < chunk_cost(piece.len()) {
            match scene.next().await {
                RunnerToNode::StdinCredit { job: JOB, credit: more } => credit += more,
                other => panic!("{other:?}"),
            }
            assert!(credit <= STDIN_WINDOW);
        }
        credit -= chunk_cost(piece.len());
        scene.granted.fetch_sub(chunk_cost(piece.len()), Relaxed);
        scene.stdin.try_send(piece.clone()).unwrap();
        sent += piece.len();
    }
    scene.stdin.try_send(Bytes::new()).unwrap();
    let (stdout, _, end) = scene.all().await;
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(stdout.trim().ends_with(&total.to_string()), "{stdout}");
    assert_eq!(end, RunEnd::Exited(0));
}

#[tokio::test]
async fn a_process_that_closes_its_input_early_is_no_error() {
    let mut invocation = shell("exec <&-; echo closed; sleep 0.1; exit 4");
    invocation.stdin = Stdin::Client;
    let mut scene = Scene::new(invocation, OUTPUT_WINDOW);
    scene.started().await;
    assert!(matches!(scene.next().await, RunnerToNode::StdinCredit { .. }));
    scene.output().await;
    for _ in 0..3 {
        // It may have noticed already.
        let _ = scene.stdin.try_send(Bytes::from_static(b"nobody reads this"));
    }
    assert_eq!(scene.all().await.2, RunEnd::Exited(4));
}

#[tokio::test]
async fn input_that_never_ends_keeps_no_run_alive() {
    let mut invocation = shell("read x; echo $x");
    invocation.stdin = Stdin::Client;
    let mut scene = Scene::new(invocation, OUTPUT_WINDOW);
    scene.started().await;
    scene.stdin.try_send(Bytes::from_static(b"one\n")).unwrap();
    let (stdout, _, end) = scene.all().await;
    assert_eq!((stdout.as_slice(), end), (b"one\n".as_slice(), RunEnd::Exited(0)));
}

#[tokio::test]
async fn a_run_has_nothing_of_this_process_but_what_its_entry_names() {
    let mut invocation = shell("tr '\\0' '\\n' < /proc/$$/environ; pwd; umask; ls /proc/$$/fd; cat");
    invocation.env = BTreeMap::from([("LANG".to_owned(), "C".to_owned())]);
    invocation.cwd = PathBuf::from("/usr");
    invocation.umask = 0o077;
    let (stdout, _, end) = Scene::new(invocation, OUTPUT_WINDOW).all().await;
    let stdout = String::from_utf8(stdout).unwrap();
    assert_eq!((stdout.as_str(), end), ("LANG=C\n/usr\n0077\n0\n1\n2\n", RunEnd::Exited(0)));
}

#[tokio::test]
async fn what_cannot_be_started_is_a_failure_that_says_what_and_why() {
    let mut nothing = shell("");
    nothing.program = PathBuf::from("/no/such/program");
    let mut elsewhere = shell("");
    elsewhere.cwd = PathBuf::from("/no/such/folder");
    for (invocation, words) in [(nothing, "/no/such/program"), (elsewhere, "cannot enter the folder")] {
        match Scene::new(invocation, OUTPUT_WINDOW).all().await.2 {
            RunEnd::Failed { why: RunFailure::Spawn, message } => {
                assert!(message.contains(words) && message.contains("No such file"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_silent_stream_does_not_hold_the_credit_that_the_other_needs() {
    let mut scene = Scene::new(shell("echo one >&2; sleep 1000"), MIN_CHUNK_COST);
    scene.started().await;
    assert_eq!(scene.output().await, (OutputStream::Stderr, Bytes::from_static(b"one\n")));
    scene.cancel.cancel();
    assert_eq!(scene.all().await.2, RunEnd::Cancelled);
}

#[tokio::test]
async fn what_a_command_leaves_behind_with_its_pipes_is_ended() {
    let mark = mark();
    let script = format!("sh -c 'while :; do sleep 1000; done' {mark} & exit 5");
    let mut scene = Scene::new(shell(&script), OUTPUT_WINDOW);
    assert_eq!(scene.all().await.2, RunEnd::Exited(5));
    assert_eq!(marked(&mark), Vec::<u32>::new());
}

/// Such a one used to be killed two seconds later, without a word, where there are cgroups.
#[tokio::test]
async fn what_has_begun_a_session_of_its_own_is_asked_to_end_once_before_it_is_killed() {
    let Some(cgroups) = cgroups() else { return eprintln!("SKIPPED: no cgroup can be made here") };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asked");
    let daemon = format!(
        "trap 'echo asked >> {}; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        file.display()
    );
    let mut invocation = shell("setsid sh -c \"$DAEMON\" & wait");
    invocation.env =
        [("DAEMON", daemon.as_str()), ("PATH", "/usr/bin:/bin")].map(|(k, v)| (k.into(), v.into())).into();
    let mut scene = Scene::within(invocation, OUTPUT_WINDOW, Some(cgroups));
    scene.started().await;
    assert_eq!(scene.output().await.1, "ready\n");
    scene.cancel.cancel();
    assert_eq!(scene.all().await.2, RunEnd::Cancelled);
    assert_eq!(fs::read_to_string(file).unwrap(), "asked\n");
}

#[tokio::test]
async fn a_run_ends_when_nobody_hears_of_it_any_more() {
    let mark = mark();
    let mut scene = Scene::new(shell(&format!("sh -c 'while :; do echo x; done' {mark}")), OUTPUT_WINDOW);
    scene.started().await;
    let Scene { news, stopping, task, .. } = scene;
    drop(news);
    stopping.cancel();
    timeout(PATIENCE, task).await.expect("an end").unwrap();
    assert_eq!(marked(&mark), Vec::<u32>::new());
}
