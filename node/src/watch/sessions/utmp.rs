//! Logins and logouts from the bytes of utmp(5), wtmp and btmp files. Pure.
//!
//! What must not live here: files, processes, waiting, and what a login means beside other sources.
//!
//! utmp-rs decodes a record; this module finds the layout and the records, so that one bad record never
//! costs the others, and reads the one field that utmp-rs leaves out, the address.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use secmon_protocol::{
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
};
use utmp_rs::{ParseError, Utmp32Parser, Utmp64Parser, UtmpEntry, UtmpError};

/// Largest file that is taken for utmp, in bytes: more than 10,000 records, while a busy terminal server
/// has hundreds.
pub(super) const MAX_UTMP: usize = 4 << 20;

/// A record of somebody who logged in: USER_PROCESS with a user name, as who(1) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// `ut_line` without `/dev/`: `pts/0`, `tty1`, `:0`, or nothing.
    pub(super) line: String,
    /// `ut_pid`; 0 or less in records of programs that do not say.
    pub(super) pid: i32,
    /// `ut_user`, at most 32 bytes.
    pub(super) user: String,
    /// Where the user came from, if somewhere else.
    pub(super) remote: Option<String>,
    /// When, to the microsecond.
    pub(super) since: UnixNanos,
    /// What the terminal and the place make of it.
    pub(super) kind: SessionKind,
    /// What sort of record it is.
    pub(super) sort: Sort,
}

/// What sort of login a record is about, by what programs write into `ut_host`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Somebody logged in.
    Login,
    /// Somebody who was logged in already opened a window: of a terminal multiplexer (tmux, screen), or a
    /// terminal on a display.
    Window,
    /// mosh: it begins within a login by ssh and goes on when that has ended.
    Roaming,
}

impl Login {
    /// The terminal, where `ut_line` names one.
    pub(super) fn tty(&self) -> Option<&str> {
        // A display manager may write its display where the terminal belongs.
        Some(self.line.as_str()).filter(|l| !l.is_empty() && !is_display(l))
    }

    /// The session, as far as utmp knows it.
    pub(super) fn session(&self) -> Session {
        Session {
            user: self.user.clone(),
            tty: self.tty().map(str::to_owned),
            remote: self.remote.clone(),
            since: self.since,
            leader: u32::try_from(self.pid).ok().filter(|pid| *pid > 0),
            service: None,
            kind: self.kind,
            sources: [SessionSource::Utmp].into(),
        }
    }

    /// `LINE:PID:MICROSECONDS`, the time since 1970: the same however often the record is read, by whom, and
    /// whether from utmp or from wtmp.
    pub(super) fn key(&self) -> String {
        format!("{}:{}:{}", self.line, self.pid, self.since.0 / 1_000)
    }
}

/// What one record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// Somebody logged in.
    Login(Login),
    /// Who was on a line logged out: DEAD_PROCESS. Name and `ut_id` may be blank, and the time zero.
    Logout {
        /// `ut_line` without `/dev/`; may be empty.
        line: String,
        /// `ut_pid`, if there is one.
        pid: i32,
        /// When; 1970 when the record does not say.
        at: UnixNanos,
    },
    /// LOGIN_PROCESS: a getty that waits for somebody (user `LOGIN`); in btmp, a login that failed.
    Prompt(Login),
    /// The machine started or stopped: BOOT_TIME, and RUN_LVL as shutdown(8) writes it. Whoever was logged in
    /// is not any more.
    Boot,
    /// Anything else that is valid: empty records, changes of the clock.
    Other,
    /// It cannot be read (an unknown type, an impossible time).
    Bad,
}

/// The entries in `bytes`, in order, and how many bytes after the last whole record were left: one that is
/// still being written.
pub(super) fn entries(bytes: &[u8], layout: Layout) -> (impl Iterator<Item = Entry>, usize) {
    let records = bytes.chunks_exact(layout.size());
    let partial = records.remainder().len();
    (records.map(move |record| entry(record, layout)), partial)
}

fn entry(record: &[u8], layout: Layout) -> Entry {
    let nanos = |time: i128| UnixNanos(i64::try_from(time).unwrap_or(i64::MAX));
    let bare = |line: String| match line.strip_prefix("/dev/") {
        Some(bare) => bare.to_owned(),
        None => line,
    };
    let login = |pid, line: String, user, host: &str, time: i128| {
        let line = bare(line);
        let place = Place::of(&line, host);
        let remote = match place.remote {
            None if host.is_empty() => layout.address(record).map(|a| a.to_string()),
            other => other.map(str::to_owned),
        };
        Login { pid, user, remote, since: nanos(time), kind: place.kind, sort: place.sort, line }
    };
    match layout.decode(record) {
        Ok(UtmpEntry::UserProcess { pid, line, user, host, time, .. }) if !user.is_empty() => {
            Entry::Login(login(pid, line, user, &host, time.unix_timestamp_nanos()))
        }
        Ok(UtmpEntry::LoginProcess { pid, line, user, host, time, .. }) => {
            Entry::Prompt(login(pid, line, user, &host, time.unix_timestamp_nanos()))
        }
        Ok(UtmpEntry::DeadProcess { pid, line, time, .. }) => {
            Entry::Logout { line: bare(line), pid, at: nanos(time.unix_timestamp_nanos()) }
        }
        // last(1) reads a USER_PROCESS without a user as a logout, as old programs wrote it.
        Ok(UtmpEntry::UserProcess { pid, line, time, .. }) => {
            Entry::Logout { line: bare(line), pid, at: nanos(time.unix_timestamp_nanos()) }
        }
        Ok(UtmpEntry::BootTime { .. } | UtmpEntry::ShutdownTime { .. }) => Entry::Boot,
        Ok(_) => Entry::Other,
        Err(_) => Entry::Bad,
    }
}

/// The two layouts of `struct utmp` on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// 384 bytes, 32-bit times: 32-bit systems, and 64-bit ones that share files with them (x86-64, ppc64).
    Narrow,
    /// 400 bytes, 64-bit times: aarch64, riscv64, s390x, and musl.
    Wide,
}

impl Layout {
    /// What glibc writes on this target, its `__WORDSIZE_TIME64_COMPAT32`.
    const NATIVE: Self = if cfg!(any(
        target_pointer_width = "32",
        target_arch = "x86_64",
        target_arch = "powerpc64",
        target_arch = "mips64",
        target_arch = "sparc64",
    )) {
        Self::Narrow
    } else {
        Self::Wide
    };

    /// The layout of a file: the target's own, unless its records make no sense so and do in the other.
    /// The length alone cannot tell: 25 narrow records are as long as 24 wide ones.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let other = match Self::NATIVE {
            Self::Narrow => Self::Wide,
            Self::Wide => Self::Narrow,
        };
        if !Self::NATIVE.makes_sense(bytes) && other.makes_sense(bytes) { other } else { Self::NATIVE }
    }

    /// Bytes of a record.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Narrow => 384,
            Self::Wide => 400,
        }
    }

    /// Where `ut_addr_v6` is.
    fn address_range(self) -> Range<usize> {
        match self {
            Self::Narrow => 348..364,
            Self::Wide => 360..376,
        }
    }

    /// Whether every record has a known type and a time after January 1970, and there is one.
    fn makes_sense(self, bytes: &[u8]) -> bool {
        /// Seconds. In the wrong layout, microseconds stand where seconds are looked for.
        const EARLIEST: i64 = 1_000_000;
        /// Seconds, in the year 2242. In the wrong layout, an address may stand in the upper half.
        const LATEST: i64 = 1 << 33;
        bytes.len() >= self.size()
            && bytes.chunks_exact(self.size()).all(|record| {
                let time = match self.decode(record) {
                    Ok(UtmpEntry::Empty) => return true,
                    Ok(
                        UtmpEntry::RunLevel { time, .. }
                        | UtmpEntry::BootTime { time, .. }
                        | UtmpEntry::ShutdownTime { time, .. }
                        | UtmpEntry::NewTime(time)
                        | UtmpEntry::OldTime(time)
                        | UtmpEntry::InitProcess { time, .. }
                        | UtmpEntry::LoginProcess { time, .. }
                        | UtmpEntry::UserProcess { time, .. }
                        | UtmpEntry::DeadProcess { time, .. },
                    ) => time.unix_timestamp(),
                    Ok(_) | Err(_) => return false,
                };
                // A logout record that sshd or login wrote may have no time.
                time == 0 || (EARLIEST..LATEST).contains(&time)
            })
    }

    /// One record. A text that is not UTF-8 makes utmp-rs refuse it; a session must not hide behind that,
    /// so such a record is decoded again with `?` for what is not ASCII.
    fn decode(self, record: &[u8]) -> Result<UtmpEntry, ParseError> {
        /// `ut_line`, `ut_id`, `ut_user` and `ut_host`, which follow each other in both layouts.
        const TEXTS: Range<usize> = 8..332;
        match self.decode_strict(record) {
            Err(ParseError::Utmp(
                UtmpError::InvalidLine(_) | UtmpError::InvalidUser(_) | UtmpError::InvalidHost(_),
            )) => {
                let mut plain = record.to_vec();
                if let Some(texts) = plain.get_mut(TEXTS) {
                    texts.iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b'?');
                }
                self.decode_strict(&plain)
            }
            other => other,
        }
    }

    fn decode_strict(self, record: &[u8]) -> Result<UtmpEntry, ParseError> {
        let entry = match self {
            Self::Narrow => Utmp32Parser::from_reader(record).next(),
            Self::Wide => Utmp64Parser::from_reader(record).next(),
        };
        entry.unwrap_or(Ok(UtmpEntry::Empty))
    }

    /// `ut_addr_v6`: network byte order, an IPv4 address in the first 4 bytes with zeros after it, all
    /// zeros for none.
    fn address(self, record: &[u8]) -> Option<IpAddr> {
        let bytes: [u8; 16] = record.get(self.address_range())?.try_into().ok()?;
        let [a, b, c, d, rest @ ..] = bytes;
        if rest != [0; 12] {
            return Some(Ipv6Addr::from(bytes).to_canonical());
        }
        ([a, b, c, d] != [0; 4]).then(|| Ipv4Addr::new(a, b, c, d).into())
    }
}

/// What `ut_line` and `ut_host` say together.
struct Place<'a> {
    remote: Option<&'a str>,
    kind: SessionKind,
    sort: Sort,
}

impl<'a> Place<'a> {
    fn of(line: &str, host: &'a str) -> Self {
        let (place, sort) = strip_multiplexer(host);
        let kind = if is_display(line) || is_display(place) {
            SessionKind::Graphical
        } else if line.is_empty() {
            SessionKind::Background
        } else {
            SessionKind::Interactive
        };
        Self {
            remote: Some(place).filter(|p| !p.is_empty() && !is_display(p)),
            kind,
            // xterm and its kin write a record for each window, with the display as the host; a display
            // manager writes one, and that is on the display or on a console.
            sort: if is_forwarded_or_display(place) && line.starts_with("pts/") {
                Sort::Window
            } else {
                sort
            },
        }
    }
}

/// An X display of this machine, `:0` or `:0.0`.
fn is_display(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    })
}

/// An X display of this machine, or one that ssh forwards, `localhost:10.0` (sshd_config(5), X11DisplayOffset).
fn is_forwarded_or_display(text: &str) -> bool {
    is_display(text.strip_prefix("localhost").unwrap_or(text))
}

/// Takes off what programs that are no login write into `ut_host`, and leaves the place from which their user
/// came, if they kept it: `192.0.2.1:S.0` (screen), `tmux(77).%0`, `192.0.2.1 via mosh [77]`, `mosh [77]`.
fn strip_multiplexer(host: &str) -> (&str, Sort) {
    let numbered = |rest: &str| rest.ends_with(']');
    if let Some((place, rest)) = host.rsplit_once(" via mosh [")
        && numbered(rest)
    {
        return (place, Sort::Roaming);
    }
    if host.strip_prefix("mosh [").is_some_and(numbered) {
        return ("", Sort::Roaming);
    }
    if host.strip_prefix("tmux(").is_some_and(|rest| rest.contains(").%")) {
        return ("", Sort::Window);
    }
    match host.rsplit_once(":S.") {
        Some((place, window)) if window.bytes().all(|b| b.is_ascii_digit()) => (place, Sort::Window),
        _ => (host, Sort::Login),
    }
}

#[cfg(test)]
#[path = "utmp_tests.rs"]
mod tests;
