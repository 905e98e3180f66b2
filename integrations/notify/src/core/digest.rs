//! A digest: many events, one message. What it counts, and when it is told.

use jiff::tz::TimeZone;
use secmon_protocol::time::UnixNanos;
use serde::{Deserialize, Serialize};

use super::{
    BadRules,
    facts::Facts,
    tally::{Room, Tally},
};
use crate::{
    Severity,
    config::{DigestSection, Span},
};

/// Types that are counted apart; a rule that matches more is about everything.
const MAX_KINDS: usize = 12;
/// Where the rest of the types is counted.
pub(super) const OTHER: &str = "other";
/// Single titles that a digest of a rule shows, as examples …
const EXAMPLES: usize = 5;
/// … and one of what was held back, which somebody wants to read.
const HELD: usize = 20;
/// Longest line, in bytes.
const MAX_LINE: usize = 200;
/// Between two editions lies at least this part of a digest's age: what has grown for hours need not be edited each moment.
const AGE_PART: i64 = 8;

/// Why its events are told together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Why {
    /// A rule says so.
    Rule,
    /// They came in quiet hours.
    Quiet,
    /// They came while the destination was muted.
    Muted,
    /// They were more than the limit.
    Limit,
}

/// When digests are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) after: i64,
    pub(super) every: i64,
    pub(super) window: i64,
    pub(super) longest: i64,
}

impl Pace {
    pub(super) fn new(section: &DigestSection) -> Result<Self, BadRules> {
        let DigestSection { after, every, window, longest } = *section;
        let (second, day) = (Span::seconds(1), Span::seconds(86_400));
        if every < second || window < second || longest > day || longest < window || after > window {
            return Err(BadRules(
                "digest: every and window are 1s or more, longest is at most 24h and not below window, and after not over window"
                    .to_owned(),
            ));
        }
        Ok(Self {
            after: after.nanos(),
            every: every.nanos(),
            window: window.nanos(),
            longest: longest.nanos(),
        })
    }
}

/// One that is open.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Digest {
    /// Never that of another.
    pub(super) id: String,
    pub(super) why: Why,
    /// The rule, where it has a name.
    pub(super) rule: Option<String>,
    /// Its events are of at most this severity.
    pub(super) severity: Severity,
    /// When it was opened, and when the latest came in, by the clock of whoever counts.
    opened: UnixNanos,
    latest: UnixNanos,
    /// When the first and the last happened.
    pub(super) first_time: UnixNanos,
    pub(super) last_time: UnixNanos,
    pub(super) count: u64,
    pub(super) kinds: Vec<(String, u64)>,
    pub(super) nodes: Tally,
    pub(super) users: Tally,
    pub(super) sources: Tally,
    /// Some of its events, and when they happened.
    pub(super) lines: Vec<(UnixNanos, String)>,
    /// How many are not among the lines.
    pub(super) unlisted: u64,
    /// Editions that were told.
    pub(super) editions: u32,
    /// What the last of them counted, and when it was told.
    told: u64,
    told_at: UnixNanos,
}

/// What is to be done with a digest now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before then.
    Wait(UnixNanos),
    /// Tell it; `message` says whether that is a further message, `last` whether it ends with it.
    Tell { message: bool, last: bool },
    /// It ends, and has said all.
    End,
}

impl Digest {
    pub(super) fn new(id: String, why: Why, rule: Option<&str>, time: UnixNanos, now: UnixNanos) -> Self {
        Self {
            id,
            why,
            rule: rule.map(str::to_owned),
            severity: Severity::Info,
            opened: now,
            latest: now,
            first_time: time,
            last_time: time,
            count: 0,
            kinds: vec![],
            nodes: Tally::default(),
            users: Tally::default(),
            sources: Tally::default(),
            lines: vec![],
            unlisted: 0,
            editions: 0,
            told: 0,
            told_at: now,
        }
    }

    /// Counts one more. `line` is asked for only where there is room for it.
    pub(super) fn add(
        &mut self,
        now: UnixNanos,
        facts: &Facts<'_>,
        severity: Severity,
        line: impl FnOnce() -> String,
        room: &mut Room,
    ) {
        self.latest = now;
        self.count = self.count.saturating_add(facts.count);
        self.severity = self.severity.max(severity);
        self.first_time = self.first_time.min(facts.time);
        self.last_time = self.last_time.max(facts.time);
        let known = self.kinds.iter().position(|(kind, _)| kind == facts.kind);
        let kind = if known.is_none() && self.kinds.len() >= MAX_KINDS { OTHER } else { facts.kind };
        match self.kinds.iter_mut().find(|(known, _)| known == kind) {
            Some((_, count)) => *count = count.saturating_add(facts.count),
            None => self.kinds.push((kind.to_owned(), facts.count)),
        }
        if let Some((id, name)) = facts.node {
            let id = if name.is_empty() { id.to_string() } else { String::new() };
            self.nodes.add(if name.is_empty() { &id } else { name }, facts.count, room);
        }
        if let Some(user) = facts.user {
            self.users.add(user, facts.count, room);
        }
        if let Some(source) = facts.source() {
            self.sources.add(&source, facts.count, room);
        }
        let most = if self.why == Why::Rule { EXAMPLES } else { HELD };
        if self.lines.len() < most && room.lines > 2 * MAX_LINE {
            let mut line = line();
            line.truncate(line.floor_char_boundary(MAX_LINE));
            room.lines -= cost(&line);
            self.lines.push((facts.time, line));
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
    }

    /// What it takes of what all share.
    pub(super) fn takes(&self) -> Room {
        Room {
            fingerprints: [&self.nodes, &self.users, &self.sources].iter().map(|t| t.fingerprints()).sum(),
            lines: self.lines.iter().map(|(_, line)| cost(line)).sum(),
        }
    }

    /// When it ends, where nothing more comes.
    fn end(&self, pace: &Pace) -> UnixNanos {
        let end = self.latest.0.saturating_add(pace.window).min(self.opened.0.saturating_add(pace.longest));
        UnixNanos(end)
    }

    /// What is to be done; `edits` says whether a message can be edited, `quiet` until when nothing may be told, `next` from when on there may
    /// be a further message.
    pub(super) fn step(
        &self,
        now: UnixNanos,
        pace: &Pace,
        edits: bool,
        quiet: Option<UnixNanos>,
        next: UnixNanos,
    ) -> Step {
        let held = matches!(self.why, Why::Quiet | Why::Muted);
        let end = if held { self.opened } else { self.end(pace) };
        let fresh = self.count > self.told;
        let message = self.editions == 0 || !edits;
        let due = match self.editions {
            0 if held => self.opened,
            0 => UnixNanos(self.opened.0.saturating_add(pace.after)),
            _ if edits && fresh => {
                let pause = pace.every.max((self.told_at.0 - self.opened.0) / AGE_PART);
                end.min(UnixNanos(self.told_at.0.saturating_add(pause)))
            }
            _ => end,
        };
        if self.editions > 0 && message && !fresh {
            return if now >= end { Step::End } else { Step::Wait(end) };
        }
        let due = due.max(quiet.unwrap_or(due));
        let due = if message { due.max(next) } else { due };
        if now < due { Step::Wait(due) } else { Step::Tell { message, last: now >= end } }
    }

    /// It was told.
    pub(super) fn told(&mut self, now: UnixNanos) {
        self.editions = self.editions.saturating_add(1);
        (self.told, self.told_at) = (self.count, now);
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, now: UnixNanos) {
        for time in [&mut self.opened, &mut self.latest, &mut self.told_at] {
            *time = (*time).min(now);
        }
    }

    /// The lines, with the time of the day.
    pub(super) fn listed(&self, zone: &TimeZone) -> Vec<String> {
        let line = |(time, text): &(UnixNanos, String)| {
            format!("{} {text}", time.timestamp().to_zoned(zone.clone()).strftime("%H:%M"))
        };
        self.lines.iter().map(line).collect()
    }
}

/// What a line takes as JSON: quotes and backslashes are doubled, and its time stands beside it.
fn cost(line: &str) -> usize {
    line.len() + line.bytes().filter(|b| matches!(b, b'"' | b'\\')).count() + 25
}
