//! One attempt, one event: joins the lines that one process writes about one thing. Pure: the time is that of
//! the lines, and what is to be reported is handed out.
//!
//! A carrier is reported when it is read. Of the other lines a small and bounded memory keeps what a later
//! carrier of the same process will want: why. Two kinds of line are held back for as long as it takes the
//! same process to write the next one: what sshd says only in another line at times ([`Role::Herald`]), and a
//! command of sudo's, which may go on in another line. Nothing is held for longer than [`HOLD`].

pub(super) mod memory;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    mem,
    time::Duration,
};

use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source},
    limits::{MAX_FIELD, clip},
    time::UnixNanos,
};

use serde::{Deserialize, Serialize};

use super::{
    key::HashKey,
    parse::{Heard, Role, read_again},
};

/// Longest that a line is held back for one that may follow it. Programs write both in one go.
pub const HOLD: Duration = Duration::from_secs(1);

/// How long what a process said is remembered. sshd gives a client two minutes to log in (LoginGraceTime of
/// sshd_config(5)), and a user may think for as long before each password.
const MEMORY: Duration = Duration::from_secs(600);
/// The same for lines without a pid: whose they are is a guess that soon goes wrong.
const MEMORY_WITHOUT_PID: Duration = Duration::from_secs(10);
/// Processes in one of the two halves of the memory; the older half is forgotten when the younger is full.
/// A flood of connections makes some hundred a second.
const PROCESSES: usize = 1024;
/// Lines held back at one time, of different processes; then the oldest is reported as it is.
const HELD: usize = 64;
/// Reasons kept for one carrier.
const REASONS: usize = 4;
/// Bytes of a message that is put together: a field of it may be [`MAX_FIELD`], and more is not shown.
const MESSAGE: usize = 4 * MAX_FIELD;
/// Half of the length at which sudo begins a new line (`syslog_maxlen` of sudoers(5), 980). A line so long
/// may well go on.
const LONG: usize = 480;

/// Joins lines into events. `T` is whatever belongs to a line and comes out with its event: the line's number.
#[derive(Debug)]
pub struct Joiner<T> {
    hash: HashKey,
    young: HashMap<Key, Process>,
    old: HashMap<Key, Process>,
    held: Vec<Held<T>>,
    /// What has changed since all of it was kept last; see [`memory`].
    changed: HashSet<Key>,
    /// Whether so much has changed that all of it is to be kept anew.
    all_changed: bool,
    /// Whether anything has changed since something was kept last.
    unkept: bool,
}

/// A process as far as lines name it: a hash of the program's name, and its pid.
type Key = (u64, Option<u32>);

/// What is remembered of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    last: UnixNanos,
    /// Where whom it serves comes from.
    source: Option<Source>,
    /// Why its user may not log in at all.
    lasting: Option<String>,
    /// Why the attempt that is going on fails.
    reasons: Vec<String>,
    /// Which voice has told of what, by the number of the action; [`SILENCE`] where none has.
    voices: [u8; ACTIONS],
}

/// The rank of nobody.
const SILENCE: u8 = u8::MAX;
/// How many actions there are.
const ACTIONS: usize = AuthAction::Probe as usize + 1;

/// A line that is held back.
#[derive(Debug)]
struct Held<T> {
    key: Key,
    event: Box<AuthEvent>,
    tag: T,
    /// All of the message so far, and how long its last piece is without a space; none for a herald.
    message: Option<String>,
}

impl<T> Default for Joiner<T> {
    fn default() -> Self {
        Self {
            hash: HashKey::random(),
            young: HashMap::new(),
            old: HashMap::new(),
            held: Vec::new(),
            changed: HashSet::new(),
            all_changed: false,
            unkept: false,
        }
    }
}

impl<T> Joiner<T> {
    /// Takes the next line, and gives to `out` the events that are known with it, in their order.
    pub fn take(&mut self, heard: Heard, tag: T, mut out: impl FnMut(Box<AuthEvent>, T)) {
        let Heard { mut event, role } = heard;
        if event.trusted == Some(false) {
            // A forger's line is shown as what it is, and moves nothing.
            if !matches!(role, Role::Part | Role::Aside) {
                out(event, tag);
            }
            return;
        }
        let now = event.time;
        if !self.held.is_empty() {
            self.release(|held| after(held.event.time, now) > HOLD, &mut out);
        }
        if role == Role::Aside {
            return;
        }
        self.unkept = true;
        let key = (self.hash.hash(&[family(&event.program)]), event.pid);
        let before = self.held.iter().position(|held| held.key == key);
        if let Some(at) = before
            && role != Role::Part
        {
            let mut held = self.held.remove(at);
            match &mut held.message {
                Some(message) if role == Role::Continuation && held.event.user == event.user => {
                    go_on(message, &event);
                    self.held.insert(at, held);
                    return;
                }
                None if role == Role::Carrier && event.action == held.event.action => {
                    // The carrier has come: of its herald stays the reason.
                    if let Some(reason) = held.event.reason.take() {
                        self.process(key, now).remember(reason);
                    }
                }
                _ => {
                    if held.message.is_none() {
                        complete(&mut held.event, &event);
                    }
                    held.give(&mut out);
                }
            }
        }
        let continues = may_continue(&event);
        let one_connection = event.pid.is_some() && matches!(family(&event.program), "sshd" | "dropbear");
        let process = self.process(key, now);
        if one_connection {
            process.place(&mut event, role);
        }
        match role {
            Role::Part => {
                if let Some(reason) = event.reason.take() {
                    process.remember(reason);
                }
                return;
            }
            Role::StandIn(rank) if process.told(event.action, rank) => {
                if let Some(reason) = event.reason.take() {
                    process.remember(reason);
                }
                return;
            }
            Role::Carrier => _ = process.told(event.action, 0),
            Role::Continuation => {
                // The line before it has been reported: better in two pieces than not at all.
                event.reason = Some("command continued".to_owned());
            }
            Role::StandIn(_) | Role::Herald | Role::Aside => {}
        }
        process.explain(&mut event);
        let message = match role {
            Role::Herald => None,
            Role::Carrier if continues => Some(event.message.clone()),
            _ => return out(event, tag),
        };
        if self.held.len() >= HELD {
            self.held.remove(0).give(&mut out);
        }
        self.held.push(Held { key, event, tag, message });
    }

    /// Says that there is no further line at the moment: what will hardly go on is reported.
    pub fn pause(&mut self, out: impl FnMut(Box<AuthEvent>, T)) {
        self.release(|held| held.message.as_ref().is_some_and(|message| message.len() < LONG), out);
    }

    /// Says that no line has come for [`HOLD`], or that none will: all that is held back is reported.
    pub fn settle(&mut self, out: impl FnMut(Box<AuthEvent>, T)) {
        self.release(|_| true, out);
    }

    /// Whether something is held back, for which [`Self::settle`] must be called in time.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    fn release(&mut self, which: impl Fn(&Held<T>) -> bool, mut out: impl FnMut(Box<AuthEvent>, T)) {
        let (go, stay) = mem::take(&mut self.held).into_iter().partition(which);
        self.held = stay;
        let go: Vec<Held<T>> = go;
        self.unkept |= !go.is_empty();
        go.into_iter().for_each(|held| held.give(&mut out));
    }

    /// What is remembered of a process, or the start of it.
    fn process(&mut self, key: Key, now: UnixNanos) -> &mut Process {
        let memory = if key.1.is_some() { MEMORY } else { MEMORY_WITHOUT_PID };
        if !self.young.contains_key(&key) {
            if self.young.len() >= PROCESSES {
                self.old = mem::take(&mut self.young);
                self.all_changed = true;
            }
            if let Some(process) = self.old.remove(&key) {
                self.young.insert(key, process);
            }
        }
        self.note_change(key);
        let process = self.young.entry(key).or_insert_with(|| Process::new(now));
        // A pid comes back one day.
        if after(process.last, now) > memory {
            *process = Process::new(now);
        }
        process.last = now;
        process
    }
}

impl<T> Held<T> {
    fn give(mut self, out: &mut impl FnMut(Box<AuthEvent>, T)) {
        if let Some(message) = &self.message
            && message.len() > self.event.message.len()
        {
            // Why it was refused is of more lines than this one; its own words are in there already.
            let reason = self.event.reason.take();
            read_again(&mut self.event, message);
            self.event.reason = reason;
        }
        out(self.event, self.tag);
    }
}

impl Process {
    fn new(now: UnixNanos) -> Self {
        Self { last: now, source: None, lasting: None, reasons: Vec::new(), voices: [SILENCE; ACTIONS] }
    }

    /// Gives an event without an address that of its connection. Both daemons serve each connection in a process
    /// of its own, but write of those they turn away (probes) in the one that they all come to.
    fn place(&mut self, event: &mut AuthEvent, role: Role) {
        match &event.source {
            _ if event.action == AuthAction::Probe && role != Role::Part => {}
            Some(source) if source.port.is_some() && self.source.as_ref() != Some(source) => {
                self.source = Some(source.clone());
            }
            None if matches!(
                event.action,
                AuthAction::Failed | AuthAction::InvalidUser | AuthAction::Disconnected
            ) =>
            {
                event.source.clone_from(&self.source);
            }
            _ => {}
        }
    }

    fn remember(&mut self, reason: String) {
        if self.reasons.len() < REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Notes that the voice of `rank` tells of `action`; true if a better one has told of it before.
    fn told(&mut self, action: AuthAction, rank: u8) -> bool {
        let Some(best) = self.voices.get_mut(action as usize) else { return false };
        let told = *best < rank;
        *best = rank.min(*best);
        told
    }

    /// Gives the carrier the reasons that its process gave before.
    fn explain(&mut self, event: &mut AuthEvent) {
        match event.action {
            AuthAction::InvalidUser => {
                let reason = event.reason.clone().unwrap_or_else(|| "invalid user".to_owned());
                self.lasting = Some(reason);
            }
            AuthAction::Failed => {
                if self.lasting.is_some() || !self.reasons.is_empty() {
                    let reasons = mem::take(&mut self.reasons);
                    add(event, self.lasting.iter().chain(&reasons));
                }
            }
            AuthAction::Disconnected | AuthAction::Probe | AuthAction::SudoDenied | AuthAction::SuFailed => {
                if !self.reasons.is_empty() {
                    add(event, &mem::take(&mut self.reasons));
                }
            }
            // What failed before it was right in the end.
            AuthAction::Accepted | AuthAction::Sudo | AuthAction::Su => self.reasons.clear(),
            AuthAction::SessionOpened | AuthAction::SessionClosed | AuthAction::AccountChanged => {}
        }
    }
}

/// Puts `reasons` before the event's own.
fn add<'r>(event: &mut AuthEvent, reasons: impl IntoIterator<Item = &'r String>) {
    let all: Vec<String> = reasons.into_iter().cloned().chain(event.reason.take()).collect();
    let mut joined = String::new();
    for reason in &all {
        if !joined.split("; ").any(|known| known == reason) {
            if !joined.is_empty() {
                joined.push_str("; ");
            }
            joined.push_str(reason);
        }
    }
    if !joined.is_empty() {
        joined.truncate(clip(&joined).len());
        event.reason = Some(joined);
    }
}

/// Whether sudo may go on with this line in another one.
fn may_continue(event: &AuthEvent) -> bool {
    matches!(event.program.as_str(), "sudo" | "sudoedit")
        && matches!(event.action, AuthAction::Sudo | AuthAction::SudoDenied)
}

/// Adds a continuation. sudo breaks its line at a space, which it leaves out; where a piece has none, it is
/// broken in the midst of a word.
fn go_on(message: &mut String, next: &AuthEvent) {
    let piece = message.rsplit(' ').next().unwrap_or_default();
    let room = MESSAGE.saturating_sub(message.len() + 1);
    let Some(next) = &next.command else { return };
    if piece.len() < LONG {
        message.push(' ');
    }
    message.push_str(&next[..next.floor_char_boundary(room)]);
}

/// Gives a herald what the next line of its process knows of where it came from.
fn complete(herald: &mut AuthEvent, next: &AuthEvent) {
    match (&mut herald.source, &next.source) {
        (source @ None, Some(_)) => source.clone_from(&next.source),
        (Some(known), Some(next)) if known.port.is_none() && known.host == next.host => {
            known.port = next.port;
        }
        _ => {}
    }
}

/// The name under which a program's parts write of one connection.
fn family(program: &str) -> &str {
    match program {
        "sshd-session" | "sshd-auth" => "sshd",
        "sudoedit" => "sudo",
        other => other,
    }
}

/// How much later than `a` the time `b` is. A line that follows another one is not earlier, whatever the clock says:
/// that was set back in between.
fn after(a: UnixNanos, b: UnixNanos) -> Duration {
    Duration::from_nanos(u64::try_from(b.0.saturating_sub(a.0)).unwrap_or_default())
}
