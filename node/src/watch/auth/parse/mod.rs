//! The auth log parser: one line in, at most one event out. Pure: no clock, no files, no runtime.
//!
//! A line passes three tables. `frame` takes off what the logger wrote before the message; the program
//! picks a table of `shape::Shape`s; the first shape that fits reads the message. A new shape is one
//! entry, with a real line as its example, which the tests read through the whole parser, and into whose
//! foreign fields they put an attacker's text.
//!
//! **One attempt, one event.** One login makes several programs and modules write lines. Every line that
//! is understood has a [`Role`]: for each kind of fact one line is the carrier, and the others of the
//! attempt add at most a reason to it. [`super::join`] keeps to that; this parser only says which is
//! which. docs/auth-log.md has the table.
//!
//! **Lines are hostile.** User names, directories, key ids and commands are chosen by attackers. What
//! sshd wrote last is read from the end of the line; where a line can honestly be read in two ways, the
//! fields in doubt are left absent and the message still shows all of it.

mod doas;
mod dropbear;
mod frame;
#[cfg(test)]
mod hostile;
mod journal_json;
mod login;
mod logind;
mod pam;
mod polkit;
mod shadow;
mod shape;
mod sshd;
mod stamp;
mod su;
mod sudo;
#[cfg(test)]
mod tests;
mod trust;

use jiff::{Timestamp, civil, tz::TimeZone};
use secmon_protocol::{auth::AuthEvent, limits, time::UnixNanos};

use self::{
    frame::{Body, Framed},
    shape::{Found, Shape, first},
};

/// What a line is read against: the time, which gives RFC 3164 stamps their year and stands in for a
/// missing stamp, and the zone of stamps that name none.
#[derive(Debug, Clone)]
pub struct Context {
    now: UnixNanos,
    zone: TimeZone,
    local: civil::DateTime,
    /// The offset from UTC that holds around `now`, and between which civil times it does so beyond doubt.
    steady: Option<stamp::Steady>,
}

impl Context {
    /// A context for lines read at `now`, written by programs that live in `zone`.
    #[must_use]
    pub fn new(now: Timestamp, zone: TimeZone) -> Self {
        let steady = stamp::Steady::around(now, &zone);
        Self { now: UnixNanos::from(now), local: zone.to_datetime(now), zone, steady }
    }
}

/// What the parser made of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A line that says something happened, by itself or as a part of what another line says.
    Event(Heard),
    /// A line that is understood and says nothing that is an event.
    Known,
    /// A line that no shape fits.
    Unknown,
}

/// What a line says, and what it is to the stream of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What the line says by itself.
    pub event: Box<AuthEvent>,
    /// What becomes of it.
    pub role: Role,
}

/// What a line is to the stream of events; see docs/auth-log.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is the event.
    Carrier,
    /// It is the event unless another voice has told of it already in the same process: the lower number
    /// is believed first, and a [`Role::Carrier`] is 0.
    StandIn(u8),
    /// It is the event unless the next line of the same process is its carrier: programs write that one
    /// only at times.
    Herald,
    /// It is no event. Its reason belongs to the next carrier of the same process.
    Part,
    /// It goes on where the command of the line before it ended.
    Continuation,
    /// It is no event of the stream: another watcher sees the same, and better; or nothing came of it.
    Aside,
}

/// Reads one line, without or with its line end: a line of a log file (RFC 3164 or ISO 8601 stamp), or
/// an entry of `journalctl -o json`, which starts with `{`.
///
/// Bytes that are not UTF-8 are read as U+FFFD. Of a line longer than [`limits::MAX_LINE`] the start is
/// read, and shapes that are told from a line's end do not fit it. Never panics.
#[must_use]
pub fn parse_line(line: &[u8], context: &Context) -> Parsed {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first() == Some(&b'{') {
        return parse_journal(line, context).0;
    }
    let cut = line.len() > limits::MAX_LINE;
    let text = String::from_utf8_lossy(&line[..line.len().min(limits::MAX_LINE)]);
    match frame::syslog(&text, cut) {
        Some((framed, stamp)) => read(&framed, || stamp::read(stamp, context)),
        None => Parsed::Unknown,
    }
}

/// Reads one entry of `journalctl -o json`; beside what it says, its cursor.
#[must_use]
pub(super) fn parse_journal(line: &[u8], context: &Context) -> (Parsed, Option<String>) {
    match journal_json::entry(line) {
        Some((framed, time, cursor)) => (read(&framed, || Some(time.unwrap_or(context.now))), cursor),
        None => (Parsed::Unknown, None),
    }
}

/// The older form of a line of pam_unix has the module's name in the tag.
const OLD_PAM: &str = "(pam_unix)";

/// Reads what a line says. The time is read last: a line that no shape fits needs none.
fn read(framed: &Framed<'_>, time: impl FnOnce() -> Option<UnixNanos>) -> Parsed {
    let body = Body::of(&framed.message, framed.cut);
    let program = framed.program.strip_suffix(OLD_PAM).unwrap_or(&framed.program);
    let found = if program.len() != framed.program.len() {
        pam::read_module(program, program, "pam_unix", &body)
    } else if let Some(text) = body.text.strip_prefix("(pam_unix) ") {
        pam::read_module(program, program, "pam_unix", &Body { text, ..body })
    } else if body.text.starts_with("pam_") {
        // dropbear says of the library's calls what begins like a module's name.
        pam::read(program, &body).or_else(|| first(shapes_of(program), &body))
    } else {
        first(shapes_of(program), &body)
    };
    let fields = match found {
        None => return Parsed::Unknown,
        Some(Found::Nothing) => return time().map_or(Parsed::Unknown, |_| Parsed::Known),
        Some(Found::Event(fields)) => fields,
    };
    let Some(time) = time() else { return Parsed::Unknown };
    let mut event = AuthEvent::new(time, program, framed.pid, fields.action, &framed.message);
    event.count = body.count.saturating_mul(fields.times.unwrap_or(1)).max(1);
    event.preauth = body.preauth;
    event.trusted = trust::judge(framed, fields.action);
    let role = fields.role;
    fields.fill(&mut event);
    Parsed::Event(Heard { event: Box::new(event), role })
}

/// Reads `message` once more, which has grown since `event` was made of it, and puts what it says now into
/// `event`.
pub(super) fn read_again(event: &mut AuthEvent, message: &str) {
    let body = Body::of(message, false);
    if let Some(Found::Event(fields)) = first(shapes_of(&event.program), &body) {
        fields.fill(event);
    }
    event.message = limits::clip(message).to_owned();
}

/// What a program calls itself in the log, and what it says there.
struct Table {
    programs: &'static [&'static str],
    shapes: &'static [Shape],
}

/// The programs' own lines. PAM's are [`pam`]'s, whoever wrote them.
const TABLES: &[Table] = &[
    Table { programs: &["sshd", "sshd-session", "sshd-auth"], shapes: sshd::SHAPES },
    Table { programs: &["sudo", "sudoedit", "sudo-rs"], shapes: sudo::SHAPES },
    Table { programs: &["su", "runuser"], shapes: su::SHAPES },
    Table { programs: &["doas"], shapes: doas::SHAPES },
    Table { programs: &["login", "agetty", "getty"], shapes: login::SHAPES },
    Table { programs: &["systemd-logind", "elogind", "elogind-daemon"], shapes: logind::SHAPES },
    Table { programs: shadow::PROGRAMS, shapes: shadow::SHAPES },
    Table { programs: &["pkexec"], shapes: polkit::PKEXEC },
    Table { programs: &["polkitd", "polkitd(authority=local)"], shapes: polkit::POLKITD },
    Table { programs: &["dropbear"], shapes: dropbear::SHAPES },
    Table { programs: &["unix_chkpwd"], shapes: pam::CHKPWD },
];

/// An example of every kind of line that is known: the program that writes it, and its message.
pub fn examples() -> impl Iterator<Item = (&'static str, String)> {
    let own = TABLES
        .iter()
        .flat_map(|table| table.shapes.iter().map(|shape| (table.programs[0], shape.example.to_owned())));
    own.chain(pam::examples().map(|message| ("vsftpd", message)))
}

fn shapes_of(program: &str) -> &'static [Shape] {
    TABLES.iter().find(|table| table.programs.contains(&program)).map_or(&[], |table| table.shapes)
}
