//! One `journalctl --follow`: what it is asked for, how its output becomes events, and how it is seen that
//! it has died or gone deaf.

use std::{ffi::OsStr, fs, path::Path, process::Stdio, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use secmon_protocol::{facet::Unavailable, limits::MAX_FIELD};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::Instant,
};

use super::{
    super::{
        join::HOLD,
        lines::Lines,
        marks::Marks,
        parse::{Context, Parsed, parse_journal},
        report::{Closed, JOURNALD, Report},
        twins::SourceId,
    },
    Cursor, Journal, Position, UnixMicros,
    access::{Places, kind},
};

/// Longest entry that is read. JSON can make six bytes of one, and an array of bytes four.
const MAX_ENTRY: usize = 256 << 10;
/// Bytes read in one go from the child.
const CHUNK: usize = 32 << 10;
/// A child that has lived this long, or has written something, is a source; one that cannot read the
/// journal ends sooner. Nothing is lost meanwhile: it reads from the moment that it is told.
const SETTLE: Duration = Duration::from_millis(300);
/// Time for a child that has closed its output, or was killed, to end.
const REAP: Duration = Duration::from_secs(1);
/// A child that has been silent for this long is replaced by another: a follower may go deaf (inotify has run
/// out, the journal was moved in a way that we do not know), which nothing else would show.
const SILENCE: Duration = Duration::from_secs(3600);
/// Complaints of one child that are logged as warnings.
const WARNINGS: u32 = 8;

/// The fields that the parser reads; systemd.journal-fields(7).
const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,_COMM,_PID,SYSLOG_PID,_EXE,_UID";

/// journalctl(1): matches of one field are alternatives, and so is what stands on the two sides of a `+`.
/// The facilities are auth (4) and authpriv (10) of syslog(3). The programs are those of the parser that an
/// administrator can tell to use another facility (sshd's `SyslogFacility`, sudo's `syslog=`), or to write to
/// standard error, which becomes facility daemon (Debian's `dropbear -EF`).
const MATCHES: [&str; 15] = [
    "SYSLOG_FACILITY=4",
    "SYSLOG_FACILITY=10",
    "+",
    "SYSLOG_IDENTIFIER=sshd",
    "SYSLOG_IDENTIFIER=sshd-session",
    "SYSLOG_IDENTIFIER=sshd-auth",
    "SYSLOG_IDENTIFIER=sudo",
    "SYSLOG_IDENTIFIER=sudo-rs",
    "SYSLOG_IDENTIFIER=su",
    "SYSLOG_IDENTIFIER=runuser",
    "SYSLOG_IDENTIFIER=doas",
    "SYSLOG_IDENTIFIER=login",
    "SYSLOG_IDENTIFIER=dropbear",
    "SYSLOG_IDENTIFIER=polkitd",
    "SYSLOG_IDENTIFIER=pkexec",
];

/// How a child came to its end.
pub(super) enum Ended {
    /// It died or stalled, which may mend itself.
    Died(String),
    /// It may have gone deaf; another one goes on where it was.
    Replaced(&'static str),
    /// The journal is out of reach.
    Gone(Unavailable),
}

/// What the entries of one child go through.
struct Entries {
    lines: Lines,
    /// The entry that was read last: with it the child should begin.
    expected: Option<Cursor>,
}

impl Journal {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Not `--system`: with a persistent journal and SplitMode=uid (journald.conf(5), the default) what sudo
        // and su write for an ordinary user is in that user's journal.
        command.args(["--follow", "--no-tail", "--output=json", "--all", "--no-pager", "--quiet", FIELDS]);
        match &self.position {
            // Not `--lines=0`: what is logged while the child starts would be lost.
            Position::Since(UnixMicros(micros)) => command.arg(format!(
                "--since=@{}.{:06}",
                micros.div_euclid(1_000_000),
                micros.rem_euclid(1_000_000)
            )),
            // Not `--after-cursor`: see `Cursor::is_same_entry`.
            Position::After(cursor) => command.arg(format!("--cursor={}", cursor.as_str())),
        };
        command.args(MATCHES);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own: Ctrl-C in our terminal is not for the child.
        command.process_group(0).kill_on_drop(true);
        command
    }

    /// Runs one child to its end, and tells whether it was a source. `places` is where the journal is now.
    pub(super) async fn child(
        &mut self,
        places: Places,
        report: &mut Report,
        marks: &mut Marks,
        recheck: Duration,
    ) -> Result<(Ended, bool), Closed> {
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => return Ok((Ended::Gone(cannot_run(&self.program, &error)), false)),
        };
        let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Ok((Ended::Died("journalctl has no output".to_owned()), false));
        };
        let expected = match &self.position {
            Position::After(cursor) => Some(cursor.clone()),
            Position::Since(_) => None,
        };
        let mut entries = Entries { lines: Lines::new(MAX_ENTRY), expected };
        let mut complaints = Complaints::default();
        let (mut buffer, mut errors) = (Vec::with_capacity(CHUNK), Vec::with_capacity(MAX_FIELD));
        let mut complaining = true;
        let mut look = tokio::time::interval_at(Instant::now() + recheck, recheck);
        let settled = tokio::time::sleep(SETTLE);
        tokio::pin!(settled);
        let mut ready = false;
        let (mut heard, mut open_before) = (Instant::now(), 0);
        let ended = loop {
            tokio::select! {
                more = fill(&mut stdout, &mut buffer) => {
                    if !more {
                        break Ended::Died(format!("journalctl ended ({})", end_of(&mut child).await));
                    }
                    if !ready {
                        ready = true;
                        report.ready(JOURNALD).await?;
                    }
                    heard = Instant::now();
                    self.entries(&mut entries, &buffer, report).await?;
                }
                more = fill(&mut stderr, &mut errors), if complaining => {
                    complaining = more;
                    complaints.hear(&errors);
                }
                () = &mut settled, if !ready => {
                    ready = true;
                    report.ready(JOURNALD).await?;
                }
                () = tokio::time::sleep(HOLD), if report.holds() => report.pause().await?,
                _ = look.tick() => {
                    match self.check_twice().await {
                        Err(why) => break Ended::Gone(why),
                        Ok(now) if now != places => break Ended::Replaced("the journal is in other places now"),
                        Ok(_) => {}
                    }
                    let open = entries.lines.open();
                    if open > 0 && open == open_before {
                        break Ended::Died("journalctl stopped in the middle of an entry".to_owned());
                    }
                    open_before = open;
                    if is_stopped(&child) {
                        break Ended::Died("journalctl was stopped by a signal".to_owned());
                    }
                    if heard.elapsed() > SILENCE {
                        break Ended::Replaced("the journal has been silent for long");
                    }
                    marks.look();
                    marks.keep(report);
                    report.flush().await?;
                }
            }
        };
        // What it said last may explain its end.
        while complaining && tokio::time::timeout(REAP, fill(&mut stderr, &mut errors)).await == Ok(true) {
            complaints.hear(&errors);
        }
        if child.start_kill().is_ok() {
            let _ = tokio::time::timeout(REAP, child.wait()).await;
        }
        let ended = match (ended, complaints.last) {
            (Ended::Died(how), Some(words)) => Ended::Died(format!("{how}: {words}")),
            (ended, _) => ended,
        };
        Ok((ended, ready))
    }

    /// Reports the events of a chunk, and that it has been read up to there.
    async fn entries(
        &mut self,
        entries: &mut Entries,
        chunk: &[u8],
        report: &mut Report,
    ) -> Result<(), Closed> {
        let context = Context::new(Timestamp::now(), TimeZone::system());
        let mut found: Vec<Option<(Parsed, Option<Cursor>)>> = Vec::new();
        entries.lines.push(chunk, |line, _| {
            found.push((line.len() <= MAX_ENTRY).then(|| {
                let (parsed, cursor) = parse_journal(line, &context);
                (parsed, cursor.map(Cursor::new))
            }));
        });
        for entry in found {
            let expected = entries.expected.take();
            let Some((parsed, cursor)) = entry else {
                report.missed(format!("an entry of the journal is larger than {MAX_ENTRY} bytes"));
                continue;
            };
            let Some(cursor) = cursor else { continue };
            if let Some(expected) = expected {
                if expected.is_same_entry(&cursor) {
                    continue;
                }
                // journalctl goes on with the next entry that there is.
                let reason =
                    "the journal no longer holds what was read last; what was logged after it may be missing";
                report.missed(reason.to_owned());
            }
            report.parsed(parsed, SourceId::JOURNALD);
            self.position = Position::After(cursor);
        }
        self.keep(report);
        report.pause().await
    }
}

/// What a child says on its standard error.
struct Complaints {
    lines: Lines,
    count: u32,
    last: Option<String>,
}

impl Default for Complaints {
    fn default() -> Self {
        Self { lines: Lines::new(MAX_FIELD), count: 0, last: None }
    }
}

impl Complaints {
    fn hear(&mut self, chunk: &[u8]) {
        self.lines.push(chunk, |line, _| {
            let line = String::from_utf8_lossy(line).into_owned();
            self.count += 1;
            if self.count <= WARNINGS {
                tracing::warn!(said = %line.escape_debug(), "journalctl complains");
            } else {
                tracing::debug!(said = %line.escape_debug(), "journalctl complains");
            }
            self.last = Some(line);
        });
    }
}

fn cannot_run(program: &OsStr, error: &std::io::Error) -> Unavailable {
    Unavailable {
        reason: format!("cannot run {}: {}", Path::new(program).display(), kind(error)),
        remedy: "install systemd's journalctl, or set auth.source to file".to_owned(),
    }
}

async fn end_of(child: &mut Child) -> String {
    match tokio::time::timeout(REAP, child.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "closed its output".to_owned(),
    }
}

/// Whether somebody has stopped the child (SIGSTOP); the state is the third field of `proc_pid_stat(5)`.
fn is_stopped(child: &Child) -> bool {
    let stat = child.id().and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stat.and_then(|stat| Some(stat.rsplit_once(')')?.1.trim_start().starts_with('T'))).unwrap_or(false)
}

/// Reads what there is into `buffer`, replacing what it held. False at the end, or when reading fails.
async fn fill(from: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    let room = buffer.capacity() as u64;
    from.take(room).read_buf(buffer).await.is_ok_and(|count| count > 0)
}
