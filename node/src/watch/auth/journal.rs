//! The auth log in journald, read through a `journalctl --follow` of our own: it knows every version of
//! the journal's format, follows its rotation, and costs no library.

use std::{
    ffi::OsString,
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use secmon_protocol::{facet::Unavailable, limits::MAX_FIELD};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::Instant,
};

use super::{
    Closed, JOURNALD, Report,
    join::HOLD,
    lines::Lines,
    parse::{Context, Heard, Parsed, parse_journal},
};

/// Longest entry that is read. JSON can make six bytes of one, and an array of bytes four.
const MAX_ENTRY: usize = 256 << 10;
/// Bytes read in one go from the child.
const CHUNK: usize = 32 << 10;
/// A child that lived this long was well; the next one starts at once.
const STEADY: Duration = Duration::from_secs(60);
/// First wait before another child, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Children that die young, one after the other, before the journal counts as out of reach.
const PATIENCE: u32 = 5;
/// A child that has lived this long, or has written something, is a source; one that cannot read the
/// journal ends sooner. Nothing is lost meanwhile: it reads from the moment that it is told.
const SETTLE: Duration = Duration::from_millis(300);
/// Time for a child that has closed its output to end.
const REAP: Duration = Duration::from_secs(1);

/// How journald is reached, and how far it has been read.
#[derive(Debug, Clone)]
pub(super) struct Journal {
    /// `journalctl`, by name or path.
    program: OsString,
    /// journald's native socket: who listens there keeps a journal.
    socket: PathBuf,
    /// Where journals are kept, volatile and persistent.
    folders: Vec<PathBuf>,
    position: Position,
}

#[derive(Debug, Clone)]
enum Position {
    Since(Timestamp),
    After(String),
}

impl Journal {
    /// This system's journal, from now on. Paths: systemd-journald.service(8).
    pub(super) fn system() -> Self {
        Self::at(
            "journalctl".into(),
            "/run/systemd/journal/socket".into(),
            vec!["/run/log/journal".into(), "/var/log/journal".into()],
        )
    }

    /// A journal in other places, from now on.
    pub(super) fn at(program: OsString, socket: PathBuf, folders: Vec<PathBuf>) -> Self {
        Self { program, socket, folders, position: Position::Since(Timestamp::now()) }
    }

    /// The same journal, from now on.
    pub(super) fn restarted(&self) -> Self {
        Self { position: Position::Since(Timestamp::now()), ..self.clone() }
    }

    /// Whether journald runs and its system journal can be read; why not, and what to do.
    fn check(&self) -> Result<(), Unavailable> {
        let socket = UnixDatagram::unbound().and_then(|probe| probe.connect(&self.socket));
        if let Err(error) = socket {
            let why = match error.kind() {
                io::ErrorKind::NotFound => "not running".to_owned(),
                io::ErrorKind::ConnectionRefused => "its socket is there, but nobody listens".to_owned(),
                _ => format!("cannot connect to {}: {error}", self.socket.display()),
            };
            return Err(Unavailable {
                reason: format!("cannot read journald: {why}"),
                remedy: "start systemd-journald".to_owned(),
            });
        }
        let mut denied = None;
        for folder in &self.folders {
            match readable_journal(folder) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => denied = Some((folder, error)),
            }
        }
        Err(match denied {
            Some((folder, error)) => Unavailable {
                reason: format!("cannot read the system journal in {}: {}", folder.display(), kind(&error)),
                remedy: "run the node as root, or add its user to group systemd-journal or adm".to_owned(),
            },
            None => Unavailable {
                reason: "journald runs, but keeps no system journal".to_owned(),
                remedy: "set Storage=auto in journald.conf".to_owned(),
            },
        })
    }

    /// Follows the journal, child after child, as long as it can be read; then tells why it cannot.
    pub(super) async fn follow(
        &mut self,
        report: &mut Report,
        recheck: Duration,
    ) -> Result<Unavailable, Closed> {
        let mut young = 0_u32;
        loop {
            if let Err(why) = self.check() {
                return Ok(why);
            }
            let started = Instant::now();
            let why = match self.child(report, recheck).await? {
                Ended::Gone(why) => return Ok(why),
                Ended::Died(why) => why,
            };
            young = if started.elapsed() < STEADY { young + 1 } else { 1 };
            tracing::warn!(reason = %why.escape_debug(), "journalctl ended; starting another");
            if young >= PATIENCE {
                return Ok(Unavailable { reason: why, remedy: "try journalctl --follow by hand".to_owned() });
            }
            let wait = BACKOFF.0.saturating_mul(1 << young.min(10)).min(BACKOFF.1);
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    /// journalctl(1). Matches of one field are alternatives: auth (4) or authpriv (10).
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Not `--system`: with a persistent journal and SplitMode=uid (journald.conf(5), the default) what sudo
        // and su write for an ordinary user is in that user's journal.
        command.args(["--follow", "--no-tail", "--output=json", "--all", "--no-pager", "--quiet"]);
        command.arg("--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID,_EXE,_UID");
        match &self.position {
            // Not `--lines=0`: what is logged while the child starts would be lost.
            Position::Since(time) => command.arg(format!(
                "--since=@{}.{:06}",
                time.as_second(),
                time.subsec_microsecond().unsigned_abs()
            )),
            Position::After(cursor) => command.arg(format!("--after-cursor={cursor}")),
        };
        command.args(["SYSLOG_FACILITY=4", "SYSLOG_FACILITY=10"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C in our terminal is not for the child.
        command.process_group(0).kill_on_drop(true);
        command
    }

    async fn child(&mut self, report: &mut Report, recheck: Duration) -> Result<Ended, Closed> {
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => {
                let reason = format!("cannot run {}: {}", Path::new(&self.program).display(), kind(&error));
                let remedy = "install systemd's journalctl, or set auth.source to file".to_owned();
                return Ok(Ended::Gone(Unavailable { reason, remedy }));
            }
        };
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Ok(Ended::Died("journalctl has no output".to_owned()));
        };
        let (mut entries, mut complaints) = (Lines::new(MAX_ENTRY), Lines::new(MAX_FIELD));
        let (mut buffer, mut errors) = (Vec::with_capacity(CHUNK), Vec::with_capacity(MAX_FIELD));
        let mut last_words = None;
        let mut complaining = true;
        let mut look = tokio::time::interval_at(Instant::now() + recheck, recheck);
        let settled = tokio::time::sleep(SETTLE);
        tokio::pin!(settled);
        let mut ready = false;
        loop {
            tokio::select! {
                more = fill(&mut stdout, &mut buffer) => {
                    if !more {
                        break;
                    }
                    if !ready {
                        ready = true;
                        report.ready(JOURNALD).await?;
                    }
                    self.entries(&mut entries, &buffer, report).await?;
                }
                more = fill(&mut stderr, &mut errors), if complaining => {
                    complaining = more;
                    complaints.push(&errors, |line| {
                        let line = String::from_utf8_lossy(line).into_owned();
                        tracing::warn!(said = %line.escape_debug(), "journalctl complains");
                        last_words = Some(line);
                    });
                }
                () = &mut settled, if !ready => {
                    ready = true;
                    report.ready(JOURNALD).await?;
                }
                () = tokio::time::sleep(HOLD), if report.join.holds() => report.pause().await?,
                _ = look.tick() => if let Err(why) = self.check() {
                    return Ok(Ended::Gone(why));
                },
            }
        }
        let status = tokio::time::timeout(REAP, child.wait()).await;
        let how = match status {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "closed its output".to_owned(),
        };
        let said = last_words.map(|words| format!(": {words}")).unwrap_or_default();
        Ok(Ended::Died(format!("journalctl ended ({how}){said}")))
    }

    /// Reports the events of a chunk; only then the position moves past them.
    async fn entries(&mut self, lines: &mut Lines, chunk: &[u8], report: &mut Report) -> Result<(), Closed> {
        let context = Context::new(Timestamp::now(), TimeZone::system());
        let mut found: Vec<(Option<Heard>, Option<String>)> = Vec::new();
        lines.push(chunk, |line| {
            if line.len() > MAX_ENTRY {
                tracing::debug!(limit = MAX_ENTRY, "journal entry too long");
                return;
            }
            match parse_journal(line, &context) {
                (Parsed::Event(heard), cursor) => found.push((Some(heard), cursor)),
                (_, cursor) => found.push((None, cursor)),
            }
        });
        for (heard, cursor) in found {
            if let Some(heard) = heard {
                report.line(heard).await?;
            }
            if let Some(cursor) = cursor {
                self.position = Position::After(cursor);
            }
        }
        report.pause().await
    }
}

/// How a child came to its end.
enum Ended {
    /// It died, which may mend itself.
    Died(String),
    /// The journal is out of reach.
    Gone(Unavailable),
}

/// Reads what there is into `buffer`, replacing what it held. False at the end, or when reading fails.
async fn fill(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    let room = buffer.capacity() as u64;
    from.take(room).read_buf(buffer).await.is_ok_and(|count| count > 0)
}

/// Whether `folder` holds a system journal of any machine id; an error when it does, or may, unreadably.
fn readable_journal(folder: &Path) -> io::Result<bool> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut denied = None;
    for entry in entries {
        match std::fs::File::open(entry?.path().join("system.journal")) {
            Ok(_) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    denied.map_or(Ok(false), Err)
}

/// An error in plain words, without its number.
fn kind(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "not found".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
