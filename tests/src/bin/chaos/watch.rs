//! A subscriber that is a process: `secmon watch --json`, its lines read as fast, or as slowly, as its reader likes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::PathBuf,
    process::ChildStdout,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use secmon_protocol::ids::Cursor;
use secmon_testkit::{
    json::{at, number, text},
    product::Place,
    realm::Realm,
};
use serde_json::Value;

use crate::{
    judge::Seen,
    program::{Program, Stdout},
    sink::Sink,
    writer::{of_name, of_user},
};

/// What a slow reader takes at once, and how often: 40 KiB a second, less than what is written.
const SIP: usize = 2 << 10;
const SIP_EVERY: Duration = Duration::from_millis(50);

/// See the module.
pub(crate) struct Watch {
    sink: Sink,
    socket: PathBuf,
    folder: PathBuf,
    /// Whether `--since` is known: without it each life begins with what happens next.
    resumes: bool,
    slow: Arc<AtomicBool>,
    life: Option<Life>,
    pub(crate) lives: u64,
}

struct Life {
    program: Program,
    reader: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn new(sink: Sink, socket: PathBuf, folder: PathBuf, resumes: bool, slow: bool) -> Self {
        Self { sink, socket, folder, resumes, slow: Arc::new(AtomicBool::new(slow)), life: None, lives: 0 }
    }

    /// Starts it, from the last cursor that it printed.
    pub(crate) fn start(&mut self, realm: &Realm) -> anyhow::Result<()> {
        self.lives += 1;
        let mut command = Place::In(realm).secmon();
        command.args(["watch", "--json", "--socket"]).arg(&self.socket);
        match self.sink.last().filter(|_| self.resumes) {
            Some(cursor) => {
                command.args(["--since", &cursor.to_string()]);
            }
            None if self.lives > 1 => self.sink.take(Seen::Fresh),
            None => {}
        }
        let name = self.sink.name();
        let mut program =
            Program::start(&mut command, &self.folder.join(format!("{name}.log")), &Stdout::Pipe)?;
        let stdout = program.take_stdout().context("stdout is piped")?;
        let copy =
            File::options().create(true).append(true).open(self.folder.join(format!("{name}.ndjson")))?;
        let (sink, slow) = (self.sink.clone(), Arc::clone(&self.slow));
        let reader = thread::spawn(move || read(&sink, stdout, copy, &slow));
        self.life = Some(Life { program, reader });
        Ok(())
    }

    /// Where it said that it watches from; none before it has, and while it does not run.
    pub(crate) fn stands(&self) -> Option<Cursor> {
        let log = self.life.as_ref()?.program.log();
        let word = log.split_once("watching from ")?.1.split_whitespace().next()?;
        word.trim_end_matches([',', ';', ':']).parse().ok()
    }

    /// It stands at this place, and nothing was written yet.
    pub(crate) fn begin(&self, at: Cursor) {
        self.sink.begin(at);
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(life) = &mut self.life {
            life.program.signal(signal);
        }
    }

    /// Kills it; what it had printed is read to the end.
    pub(crate) fn kill(&mut self) {
        if let Some(mut life) = self.life.take() {
            life.program.kill();
            // The pipe has ended, and so does its reader.
            let _ = life.reader.join();
        }
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let ended = self.life.as_mut()?.program.ended()?;
        self.kill();
        Some(ended)
    }

    /// Reads as fast as it can from now on.
    pub(crate) fn hurry(&self) {
        self.slow.store(false, Ordering::Relaxed);
    }
}

fn read(sink: &Sink, stdout: ChildStdout, mut copy: File, slow: &AtomicBool) {
    let mut lines = BufReader::with_capacity(64 << 10, Sips { stdout, slow });
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            // A line without an end was cut off by a kill, and is nobody's.
            Ok(0) | Err(_) => return,
            Ok(_) if line.last() != Some(&b'\n') => return,
            Ok(_) => {}
        }
        // For whoever looks at a failure; a full disk is not what is tested here.
        let _ = copy.write_all(&line);
        match serde_json::from_slice(&line).ok().and_then(|event: Value| seen(&event)) {
            Some(seen) => sink.take(seen),
            None => sink.unreadable(&String::from_utf8_lossy(&line)),
        }
    }
}

/// A pipe that is read slowly while somebody says so.
struct Sips<'a> {
    stdout: ChildStdout,
    slow: &'a AtomicBool,
}

impl Read for Sips<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut most = buffer.len();
        if self.slow.load(Ordering::Relaxed) {
            thread::park_timeout(SIP_EVERY);
            most = most.min(SIP);
        }
        self.stdout.read(&mut buffer[..most])
    }
}

/// What a line of `watch --json` shows.
fn seen(event: &Value) -> Option<Seen> {
    let cursor = |path: &str| -> Option<Cursor> { text(event, path).parse().ok() };
    let reason = || text(event, "secmon.gap.reason").to_owned();
    match text(event, "secmon.type") {
        "gap" if at(event, "secmon.gap.to").is_some() => Some(Seen::Gap {
            after: cursor("secmon.gap.after")?,
            to: cursor("secmon.gap.to")?,
            reason: reason(),
        }),
        "gap" => {
            let node = of_name(text(event, "host.name"))?;
            let count = number(event, "secmon.gap.count").and_then(|count| u64::try_from(count).ok());
            // A gap that counts nothing does not know how many.
            let count = count.filter(|count| *count > 0);
            Some(Seen::Missing { cursor: cursor("secmon.cursor")?, node, count, reason: reason() })
        }
        "auth.failed" => {
            let (node, number) = of_user(text(event, "user.name"))?;
            Some(Seen::Number { cursor: cursor("secmon.cursor")?, node, number })
        }
        _ => Some(Seen::Other { cursor: cursor("secmon.cursor")? }),
    }
}
