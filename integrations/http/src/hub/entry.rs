//! A record as listeners get it: its events rendered once, and beside them what their filters look at. Pure.

use std::sync::Arc;

use bytes::Bytes;
use secmon_client::Item;
use secmon_protocol::{
    ecs,
    event::{Detail, Event, EventType},
    ids::{Cursor, NodeId, NodeName},
    message::client::{Gap, NodeDetail},
    state_event,
    time::UnixNanos,
};

/// What an entry and each of its events cost in memory beside their text: the structs, their allocations, two counters.
const OVERHEAD: usize = 160;

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum About {
    /// A node.
    Node {
        /// Its id as text, made once and not by each listener's filter.
        id: String,
        /// Its name at the time.
        name: String,
    },
    /// The hub.
    Hub,
    /// The stream itself, which misses something: for everybody.
    Stream,
}

/// One event as one line of JSON, without its end.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Its `secmon.type`; none for what could not be read.
    pub(crate) kind: Option<&'static str>,
    /// The line.
    pub(crate) json: Bytes,
}

impl Line {
    fn of(event: &Event) -> Self {
        Self { kind: event.detail.type_name(), json: ecs::line(&ecs::event(event)).into() }
    }

    /// Whether no filter of types leaves it out: a stream that hides its gaps would be silent about what it lacks, and what
    /// cannot be read has no type.
    pub(crate) fn always(&self) -> bool {
        self.kind.is_none_or(|kind| kind == EventType::Gap.as_str())
    }
}

/// The events of one record, or a gap.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its place. Everything up to it was told once this was.
    pub(crate) cursor: Cursor,
    /// What it is about.
    pub(crate) about: About,
    /// Its events, in order; at least one.
    pub(crate) lines: Vec<Line>,
}

impl Entry {
    /// Renders what the hub sent; none where there is nothing to tell.
    pub(crate) fn of(item: Item, now: UnixNanos) -> Option<Arc<Self>> {
        match item {
            Item::Progress(_) => None,
            Item::Gap(gap) => Some(Self::gap(gap, now)),
            Item::Record { cursor, events } => {
                let about = About::of(events.first()?);
                Some(Arc::new(Self { cursor, about, lines: events.iter().map(Line::of).collect() }))
            }
        }
    }

    /// Something that is missing.
    pub(crate) fn gap(gap: Gap, now: UnixNanos) -> Arc<Self> {
        let (cursor, detail) = (gap.to, Detail::Gap(gap));
        let event = Event { id: String::new(), cursor: Some(cursor), node: None, time: now, detail };
        Arc::new(Self { cursor, about: About::Stream, lines: vec![Line::of(&event)] })
    }

    /// What stands of a node at a place.
    pub(crate) fn state(node: &NodeDetail, at: Cursor, now: UnixNanos) -> Arc<Self> {
        let about = About::node(node.summary.id, &node.summary.name);
        let lines = state_event::state_of(node, at, now).iter().map(Line::of).collect();
        Arc::new(Self { cursor: at, about, lines })
    }

    /// What it costs in memory.
    pub(crate) fn cost(&self) -> usize {
        let about = match &self.about {
            About::Node { id, name } => id.len() + name.len(),
            About::Hub | About::Stream => 0,
        };
        OVERHEAD + about + self.lines.iter().map(|line| OVERHEAD + line.json.len()).sum::<usize>()
    }
}

impl About {
    fn of(event: &Event) -> Self {
        match &event.node {
            Some((id, name)) => Self::node(*id, name),
            None => Self::Hub,
        }
    }

    fn node(id: NodeId, name: &NodeName) -> Self {
        Self::Node { id: id.to_string(), name: name.as_str().to_owned() }
    }
}
