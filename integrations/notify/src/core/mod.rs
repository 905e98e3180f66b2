//! What becomes of each event: purely, in virtual time.
//!
//! Call order: [`Core::handle`] with what came in, or [`Core::handle_timeout`] when [`Core::poll_timeout`] is due; then
//! [`Core::poll_output`] until it is empty; then [`Core::memory`], which is kept with the outputs and the cursor in one transaction.

mod defaults;
mod facts;
mod hours;
mod rules;
mod samples;
mod seen;
mod template;
mod text;
mod words;

use std::collections::VecDeque;

use jiff::tz::TimeZone;
use secmon_protocol::{
    event::Event,
    message::client::{Gap, NodeSummary},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};

use self::{
    facts::{Facts, Subject},
    rules::Rules,
    seen::Seen,
    words::Decided,
};
use crate::{
    Notice,
    config::{DestinationSection, NotifySection},
};

/// What the core learns.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Something happened.
    Event(&'a Event),
    /// Something happened before this program was there: who has been seen is learned, nothing is told.
    Past(&'a Event),
    /// The hub no longer has some of what happened.
    Gap(&'a Gap),
    /// All nodes as they stand: at the start, and after the hub was away.
    Nodes(&'a [NodeSummary]),
    /// The hub cannot be reached.
    HubLost,
    /// It can again.
    HubBack,
    /// Somebody wants quiet.
    Mute {
        /// Where.
        destination: &'a str,
        /// Until when; the past ends it.
        until: UnixNanos,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Queue a notice for a destination.
    Tell {
        /// Which.
        destination: String,
        /// What.
        notice: Box<Notice>,
        /// Where it is one edition of a message that changes: which.
        thread: Option<Thread>,
    },
    /// Remember for good that this was seen.
    Seen {
        /// What, as [`Core::new`] is given it again.
        key: u64,
        /// When.
        at: UnixNanos,
    },
    /// It need not be remembered any more: others take its place.
    Forget {
        /// What.
        key: u64,
    },
}

/// A message of which there are several editions: the first is sent, each later one edits it; one that was not sent yet is replaced in
/// the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// Never that of another thread of that destination.
    pub id: String,
    /// Whether this edition is the last.
    pub last: bool,
}

/// What a restart needs of the core: open digests, limits, nodes that are away, mutes. Bounded, whatever happened: at most 1 MiB as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {}

/// A destination, as far as the core is concerned.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub section: DestinationSection,
    /// Whether its service edits what it sent: then a digest is one message that grows.
    pub edits: bool,
}

/// Decides what is told.
#[derive(Debug)]
pub struct Core {
    targets: Vec<Compiled>,
    seen: Seen,
    out: VecDeque<Output>,
}

/// A destination, ready.
#[derive(Debug)]
struct Compiled {
    name: String,
    rules: Rules,
}

/// Why a configuration makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRules(pub String);

impl Core {
    /// A core with what an earlier one remembered. `seen` are the keys of [`Output::Seen`].
    ///
    /// # Errors
    /// A rule or a template makes no sense: which, and why.
    pub fn new(
        section: &NotifySection,
        targets: &[Target],
        _memory: Memory,
        seen: impl IntoIterator<Item = (u64, UnixNanos)>,
        _now: UnixNanos,
    ) -> Result<Self, BadRules> {
        let zone = match &section.zone {
            Some(name) => hours::zone(name)?,
            None => TimeZone::system(),
        };
        let targets = targets.iter().map(|target| {
            let mut rules = vec![];
            for (i, rule) in target.section.rules.iter().enumerate() {
                rules.push((format!("rule {} of {}", i + 1, target.name), rule.clone()));
            }
            for (i, rule) in section.rules.iter().enumerate() {
                rules.push((format!("rule {} of [notify]", i + 1), rule.clone()));
            }
            if section.defaults {
                rules.extend(defaults::rules().into_iter().map(|rule| (String::new(), rule)));
            }
            Ok(Compiled { name: target.name.clone(), rules: Rules::new(rules, &zone)? })
        });
        Ok(Self {
            targets: targets.collect::<Result<_, _>>()?,
            seen: Seen::new(&section.first_seen, seen)?,
            out: VecDeque::new(),
        })
    }

    /// Takes what came in.
    pub fn handle(&mut self, _now: UnixNanos, input: Input<'_>) {
        match input {
            Input::Event(event) => self.tell(&Subject::Event(event)),
            Input::Past(event) => {
                if let Some(facts) = Facts::of_event(event) {
                    self.seen.look(&facts, &mut self.out);
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, subject: &Subject<'_>) {
        let Some(mut facts) = Facts::of(subject, crate::Severity::Warning, crate::Severity::Critical) else {
            return;
        };
        facts.first = self.seen.look(&facts, &mut self.out);
        let first = facts.first.unwrap_or(false).then(|| self.seen.words(&facts));
        for target in &self.targets {
            let Some(verdict) = target.rules.verdict(&facts) else { continue };
            if verdict.action == crate::config::Action::Digest {
                continue;
            }
            let decided = Decided {
                severity: verdict.severity,
                rule: verdict.rule.name(),
                first: first.as_deref(),
                template: verdict.rule.template.as_ref(),
            };
            let notice = words::notice(words::id(subject, "0"), subject, &facts, &decided);
            let notice = Box::new(notice);
            self.out.push_back(Output::Tell { destination: target.name.clone(), notice, thread: None });
        }
    }

    /// When [`Core::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixNanos> {
        None
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: UnixNanos) {}

    /// What is to be done next.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// What a restart needs.
    #[must_use]
    pub fn memory(&self) -> Memory {
        Memory::default()
    }

    /// A sample of what a destination is sent, for `test`.
    #[must_use]
    pub fn sample(now: UnixNanos) -> Vec<Notice> {
        samples::looks(now)
    }
}
