//! What becomes of each event: purely, in virtual time.
//!
//! Call order: [`Core::handle`] with what came in, or [`Core::handle_timeout`] when [`Core::poll_timeout`] is due; then
//! [`Core::poll_output`] until it is empty; then [`Core::memory`], which is kept with the outputs and the cursor in one transaction.

mod critical;
mod defaults;
mod destination;
mod digest;
mod facts;
mod fleet;
mod hours;
mod memory;
mod nodes;
mod quota;
mod rules;
mod samples;
mod seen;
mod shared;
mod summary;
mod tally;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod words;

use secmon_protocol::{
    event::{Detail, Event},
    message::client::{Gap, NodeSummary},
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};

pub use self::memory::Memory;
use self::{
    destination::Destination,
    facts::{Facts, Presence, Subject},
    memory::{HubAway, Packed},
    nodes::Nodes,
    seen::Seen,
    shared::Shared,
};
use crate::{
    Notice,
    config::{AwaySection, DestinationSection, NotifySection, Repeat},
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
    /// All nodes as they stand: at the start, after the hub was away, and after a gap.
    Nodes(&'a [NodeSummary]),
    /// The hub does not say how the nodes stand, and will not.
    NoNodes,
    /// The hub cannot be reached.
    HubLost,
    /// It can again. What is told of nodes waits for [`Input::Nodes`] or [`Input::NoNodes`], which must follow.
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

/// Most destinations of one role: each keeps something over a restart, and all of it is to stay small.
const MAX_TARGETS: usize = 24;
/// A clock that goes back by less is not looked at: the core's time stands still meanwhile.
const SET_BACK: i64 = 60_000_000_000;

/// Decides what is told.
#[derive(Debug)]
pub struct Core {
    /// The latest time that it was given.
    now: UnixNanos,
    away: AwaySection,
    destinations: Vec<Destination>,
    seen: Seen,
    nodes: Nodes,
    hub: Option<HubAway>,
    shared: Shared,
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
        mut memory: Memory,
        seen: impl IntoIterator<Item = (u64, UnixNanos)>,
        now: UnixNanos,
    ) -> Result<Self, BadRules> {
        if targets.len() > MAX_TARGETS {
            return Err(BadRules(format!("{} destinations are over {MAX_TARGETS}", targets.len())));
        }
        let mut destinations = vec![];
        for target in targets {
            let state = memory.destinations.remove(&target.name).unwrap_or_default();
            destinations.push(Destination::new(section, target, state)?);
        }
        let digests = destinations.iter().flat_map(|destination| destination.state.digests.values());
        let shared = Shared::new(memory.counter, digests);
        let mut core = Self {
            now: memory.now.unwrap_or(now),
            away: section.away.clone(),
            destinations,
            seen: Seen::new(&section.first_seen, seen)?,
            nodes: Nodes::new(&section.away, memory.nodes.0, memory.more_nodes, memory.frozen),
            hub: memory.hub,
            shared,
        };
        let now = core.time(now);
        core.destinations.iter_mut().for_each(|destination| destination.refresh(now));
        Ok(core)
    }

    /// Takes what came in.
    pub fn handle(&mut self, now: UnixNanos, input: Input<'_>) {
        let now = self.time(now);
        match input {
            Input::Event(event) => {
                self.nodes.look(now, event);
                self.tell(now, &Subject::Event(event));
            }
            Input::Past(event) => {
                if let Some(facts) = Facts::of_event(event) {
                    self.seen.look(&facts, &mut self.shared.out);
                }
            }
            Input::Gap(gap) => {
                let detail = Detail::Gap(gap.clone());
                let event = Event { id: String::new(), cursor: None, node: None, time: now, detail };
                self.tell(now, &Subject::Event(&event));
            }
            Input::Nodes(nodes) => {
                self.hub_is_back(now);
                self.nodes.settle(now, nodes);
            }
            Input::NoNodes => {
                self.hub_is_back(now);
                self.nodes.go_on(now);
            }
            Input::HubLost => {
                self.nodes.frozen = true;
                let due = UnixNanos(now.0.saturating_add(self.away.after.nanos()));
                self.hub.get_or_insert(HubAway { due: Some(due), told: false });
            }
            Input::HubBack => self.hub_is_back(now),
            Input::Mute { destination, until } => {
                let named = self.destinations.iter_mut().filter(|known| known.name == destination);
                named.for_each(|destination| destination.mute(now, until));
            }
        }
    }

    fn hub_is_back(&mut self, now: UnixNanos) {
        if self.hub.take().is_some_and(|hub| hub.told) {
            self.tell(now, &Subject::Hub(Presence::Back, now));
        }
    }

    fn tell(&mut self, now: UnixNanos, subject: &Subject<'_>) {
        let Some(mut facts) = Facts::of(subject, self.away.severity, self.away.hub_severity) else { return };
        facts.blind = facts.node.is_some_and(|(id, _)| self.nodes.blind(id));
        facts.first = self.seen.look(&facts, &mut self.shared.out);
        let first = (facts.first == Some(true)).then(|| self.seen.words(&facts));
        for destination in &mut self.destinations {
            destination.offer(now, subject, &facts, first.as_deref(), &mut self.shared);
        }
    }

    /// When [`Core::handle_timeout`] is due next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<UnixNanos> {
        let destinations = self.destinations.iter().filter_map(|destination| destination.due);
        destinations.chain(self.nodes.due()).chain(self.hub.and_then(|hub| hub.due)).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: UnixNanos) {
        let now = self.time(now);
        if let Some(hub) = self.hub
            && hub.due.is_some_and(|due| due <= now)
        {
            let what = if hub.told { Presence::StillAway } else { Presence::Away };
            let due = match self.away.repeat {
                Repeat::Never => None,
                Repeat::Every(span) => Some(UnixNanos(now.0.saturating_add(span.nanos()))),
            };
            self.hub = Some(HubAway { due, told: true });
            self.tell(now, &Subject::Hub(what, now));
        }
        let more = self.nodes.more;
        for news in self.nodes.news(now) {
            let news: Vec<_> = news.iter().map(nodes::News::as_news).collect();
            for destination in &mut self.destinations {
                destination.offer_nodes(now, &news, self.away.severity, more, &mut self.shared);
            }
        }
        for destination in &mut self.destinations {
            destination.advance(now, &mut self.shared);
        }
    }

    /// What is to be done next.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// What a restart needs.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let destinations = self.destinations.iter().map(|known| (known.name.clone(), known.state.clone()));
        Memory {
            now: Some(self.now),
            counter: self.shared.counter,
            destinations: destinations.collect(),
            nodes: Packed(self.nodes.table.clone()),
            more_nodes: self.nodes.more,
            frozen: self.nodes.frozen,
            hub: self.hub,
        }
    }

    /// A sample of what a destination is sent, for `test`.
    #[must_use]
    pub fn sample(now: UnixNanos) -> Vec<Notice> {
        samples::looks(now)
    }

    /// The time that counts: it does not go back by a little, and where it goes back by much, nothing waits for the old one.
    fn time(&mut self, now: UnixNanos) -> UnixNanos {
        if now.0 >= self.now.0.saturating_sub(SET_BACK) {
            self.now = self.now.max(now);
            return self.now;
        }
        self.now = now;
        self.nodes.set_back(now);
        for destination in &mut self.destinations {
            destination.set_back(now);
        }
        if let Some(due) = self.hub.as_mut().and_then(|hub| hub.due.as_mut()) {
            *due = (*due).min(UnixNanos(now.0.saturating_add(self.away.after.nanos())));
        }
        now
    }
}
