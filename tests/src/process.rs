//! A child process with its output captured as it comes, and its whole process group gone on drop.

use std::{
    fmt,
    io::{Read, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};

use crate::wait::{DEADLINE, within};

/// At most this much of each stream is kept; a test that prints more is broken.
const MAX_KEPT: usize = 64 << 20;

/// How long a process may take to end on SIGTERM before it is killed.
const GRACE: std::time::Duration = std::time::Duration::from_secs(3);

/// What a process has printed so far and how it ended.
#[derive(Debug, Default, Clone)]
pub struct Output {
    /// Every byte of its standard output.
    pub stdout: Vec<u8>,
    /// Every byte of its standard error.
    pub stderr: Vec<u8>,
    /// Set once it has ended.
    pub status: Option<ExitStatus>,
    open_streams: u8,
}

impl Output {
    /// The exit code, or 128 + N as a shell says it when signal N ended the process.
    ///
    /// # Panics
    /// When the process has not ended.
    #[must_use]
    #[track_caller]
    pub fn code(&self) -> i32 {
        let status = self.status.expect("the process has ended");
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// It ended and nothing more can come.
    fn is_over(&self) -> bool {
        self.status.is_some() && self.open_streams == 0
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status: {:?}\n--- stdout\n{}--- stderr\n{}",
            self.status,
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

/// The last 16 KiB of a stream, for a failure's message.
fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(16 << 10)..]).into_owned()
}

/// The complete lines of a stream.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    bytes[..end].split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok())
}

#[derive(Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running (or ended) process in a process group of its own.
pub struct Process {
    name: String,
    pid: Pid,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
}

impl Process {
    /// Starts a command with nothing on its standard input.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        Self::start(name, command.stdin(Stdio::null()))
    }

    /// Starts a command whose standard input stays open until [`Process::close_stdin`] or drop.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn spawn_with_stdin(name: &str, command: &mut Command) -> Self {
        Self::start(name, command.stdin(Stdio::piped()))
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started or has not ended in time.
    #[must_use]
    #[track_caller]
    pub fn run(name: &str, command: &mut Command) -> Output {
        Self::spawn(name, command).finish()
    }

    #[track_caller]
    fn start(name: &str, command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let shared = Arc::new(Shared {
            output: Mutex::new(Output { open_streams: 2, ..Output::default() }),
            ..Shared::default()
        });
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        read_into(stdout, &shared, |output| &mut output.stdout);
        read_into(stderr, &shared, |output| &mut output.stderr);
        let pid = Pid::from_raw(child.id().cast_signed());
        let stdin = child.stdin.take();
        reap(child, pid, Arc::clone(&shared));
        Self { name: name.to_owned(), pid, stdin, shared }
    }

    /// The process id, as this process sees it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// What was printed so far.
    #[must_use]
    pub fn output(&self) -> Output {
        self.shared.lock().clone()
    }

    /// Waits until `look` finds something in what was printed so far, or in how it ended.
    ///
    /// # Panics
    /// When the deadline passes, or the process is over and `look` still finds nothing.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut look: impl FnMut(&Output) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut output = self.shared.lock();
        loop {
            if let Some(found) = look(&output) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || output.is_over() {
                let why = if left.is_zero() { "time is up" } else { "it is over" };
                let captured = output.clone();
                drop(output);
                panic!("{}: {why}, waiting for {what}\n{captured}", self.name);
            }
            output = self.shared.changed.wait_timeout(output, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a complete line of standard error that `wanted` accepts, and returns it.
    ///
    /// # Panics
    /// As [`Process::wait_until`].
    #[track_caller]
    pub fn wait_for_log(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_until(what, |output| lines(&output.stderr).find(|line| wanted(line)).map(str::to_owned))
    }

    /// Waits for its end and returns everything.
    ///
    /// # Panics
    /// When it has not ended in time.
    #[track_caller]
    pub fn wait(&self) -> Output {
        self.wait_until("its end", |output| output.is_over().then(|| output.clone()))
    }

    /// As [`Process::wait`], for a process that nobody needs any more.
    ///
    /// # Panics
    /// When it has not ended in time.
    #[must_use]
    #[track_caller]
    pub fn finish(self) -> Output {
        self.wait()
    }

    /// It has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.lock().status.is_none()
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// When it was not started with one, or does not read.
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("started with stdin");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("the process reads its standard input");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal to the whole process group, as a terminal does on Ctrl-C. Nothing when it has ended.
    pub fn signal(&self, signal: Signal) {
        // The process is reaped under this lock, so while it has no status its pid is its own.
        let output = self.shared.lock();
        if output.status.is_none() {
            // It may have ended this moment: a group that is gone needs no signal.
            let _ = killpg(self.pid, signal);
        }
    }

    /// Ends it at once, without a chance to clean up, as a crash does.
    ///
    /// # Panics
    /// When even that does not end it.
    #[track_caller]
    pub fn kill(&self) {
        // nsenter(1) is gone at once; what runs inside holds its locks and ports a little longer.
        let inside = descendants(self.pid());
        self.signal(Signal::SIGKILL);
        self.wait_until("its death", |output| output.status);
        crate::wait::eventually("the death of what it ran", || {
            inside.iter().all(|pid| is_gone(*pid)).then_some(())
        });
    }

    /// Asks it to end, as an init system does, and waits.
    ///
    /// # Panics
    /// When it has not ended in time.
    #[track_caller]
    pub fn terminate(&self) -> Output {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

/// All that a process runs, and what that runs.
fn descendants(pid: u32) -> Vec<u32> {
    let mut all = vec![];
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            all.push(child);
            all.extend(descendants(child));
        }
    }
    all
}

/// Whether a process has let go of all it had: it is no more, or nobody has asked yet how it ended.
#[must_use]
pub fn is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    // proc_pid_stat(5): the state stands behind the name, which is in parentheses, and the number of threads 17
    // fields behind that. A process whose first thread is a zombie has its files until the last one is gone.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let threads = rest.split(' ').nth(17).and_then(|threads| threads.parse().ok()).unwrap_or(0);
    rest.starts_with(['Z', 'X']) && threads < 2
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stdin = None;
        self.signal(Signal::SIGTERM);
        if within(GRACE, || self.shared.lock().is_over().then_some(())).is_none() {
            self.signal(Signal::SIGKILL);
        }
        let output = self.output();
        if thread::panicking() {
            eprintln!("=== {}\n{output}", self.name);
        } else {
            // Whatever the test is about: a program of ours never panics, not even while it ends.
            assert!(!output.err().contains("panicked at"), "{} panicked\n{output}", self.name);
        }
    }
}

fn read_into(
    mut stream: impl Read + Send + 'static,
    shared: &Arc<Shared>,
    place: fn(&mut Output) -> &mut Vec<u8>,
) {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let mut output = shared.lock();
            let kept = place(&mut output);
            let room = MAX_KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&buffer[..count.min(room)]);
            shared.changed.notify_all();
        }
        shared.lock().open_streams -= 1;
        shared.changed.notify_all();
    });
}

fn reap(mut child: Child, pid: Pid, shared: Arc<Shared>) {
    thread::spawn(move || {
        // Wait without reaping: the pid must stay taken until the status is there for `signal` to see.
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        let mut output = shared.lock();
        output.status = child.wait().ok();
        shared.changed.notify_all();
    });
}
