//! A program in a realm, with its output in files: killed, stopped and started again as often as it takes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use secmon_testkit::{
    process::{Process, is_gone},
    realm::innermost,
    wait::within,
};

/// How long the kernel may take to end a process that was killed.
const DEATH: Duration = Duration::from_secs(10);

/// Where the standard output goes.
pub(crate) enum Stdout {
    /// To the log, with standard error.
    Log,
    /// To a reader.
    Pipe,
}

/// A child in a process group of its own.
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
    /// Its log began here.
    began: u64,
}

impl Program {
    /// Starts it; what it logs is appended to `log`.
    pub(crate) fn start(command: &mut Command, log: &Path, stdout: &Stdout) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let began = file.metadata()?.len();
        match stdout {
            Stdout::Log => command.stdout(file.try_clone()?),
            Stdout::Pipe => command.stdout(Stdio::piped()),
        };
        command.stdin(Stdio::null()).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned(), began })
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        })
    }

    /// Sends a signal to the whole group: nsenter(1) stays outside, the program is inside. Nothing when it has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            // It may end this moment; it is not reaped yet, so that its number is its own.
            let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }

    /// Kills it, and waits until what ran inside is gone as well: it holds locks and ports.
    pub(crate) fn kill(&mut self) {
        let inside = innermost(self.child.id());
        self.signal(Signal::SIGKILL);
        // Whatever it was, it is over.
        let _ = self.child.wait();
        let _ = within(DEATH, || is_gone(inside).then_some(()));
    }

    /// Limits the size of the files that it writes, prlimit(1).
    pub(crate) fn limit_files(&self, limit: &str) {
        let pid = innermost(self.child.id()).to_string();
        // It may have ended by itself this moment, which is seen elsewhere.
        let _ = Process::run(
            "prlimit",
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={limit}")]),
        );
    }

    /// What it has logged since it was started.
    pub(crate) fn log(&self) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            io::Seek::seek(&mut file, io::SeekFrom::Start(self.began))?;
            let mut text = Vec::new();
            io::Read::read_to_end(&mut file, &mut text)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        read().unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The same command, to which a write beyond a limit is an error like another, and not the end (SIGXFSZ of signal(7)).
pub(crate) fn undaunted(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}
