//! A subscriber: keeps the place that it has acknowledged over its own crashes, and what it got up to there.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
};

use secmon_hub::core::Reading;
use secmon_protocol::{
    facet::FacetId,
    ids::{Cursor, NodeId},
    message::client::NodeDetail,
    record::{LogRecord, RecordKind},
    state::{NodeState, Op, RawFacet},
};

use crate::hub::{From, Item};

/// Every record that anybody got, by its cursor: two of them are never different.
pub(crate) type Shown = HashMap<Cursor, Rc<LogRecord>>;

/// What it got.
#[derive(Debug, Clone)]
pub(crate) enum Got {
    /// A record.
    Record(Rc<LogRecord>),
    /// That some are missing: those after the first place up to the second.
    Gap(u64, u64),
}

/// A subscription as the client has it.
#[derive(Debug)]
struct Session {
    reading: Reading,
    queue: VecDeque<Item>,
    /// The last place that was passed; none before the first answer.
    at: Option<u64>,
    asked: From,
    /// The hub's side is gone; what is queued still comes.
    ended: bool,
    /// It begins elsewhere than was asked, so that a gap must be told next.
    owes_a_gap: Option<Cursor>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) starts_with: From,
    session: Option<Session>,
    /// What it would go on from after a crash: a place and how much it had got.
    saved: Option<(Cursor, usize)>,
    /// The last place that it got.
    last: Option<Cursor>,
    pub(crate) got: Vec<Got>,
    /// The nodes' states, where it began with a snapshot.
    pub(crate) states: Option<BTreeMap<NodeId, NodeState>>,
    saved_states: Option<BTreeMap<NodeId, NodeState>>,
    /// The place at which its knowledge begins.
    pub(crate) since: Option<u64>,
}

impl Subscriber {
    pub(crate) fn new(starts_with: From) -> Self {
        Self {
            starts_with,
            session: None,
            saved: None,
            last: None,
            got: vec![],
            states: None,
            saved_states: None,
            since: None,
        }
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        self.session.is_some()
    }

    /// What it would ask for now.
    pub(crate) fn wants(&self) -> From {
        self.last.map_or(self.starts_with, From::Cursor)
    }

    pub(crate) fn subscribed(&mut self, reading: Reading, items: Vec<Item>) {
        let asked = self.wants();
        self.session =
            Some(Session { reading, queue: items.into(), at: None, asked, ended: false, owes_a_gap: None });
    }

    /// The hub's side of its subscription.
    pub(crate) fn reading(&mut self) -> Option<(&mut Reading, &mut VecDeque<Item>)> {
        let session = self.session.as_mut().filter(|session| !session.ended)?;
        Some((&mut session.reading, &mut session.queue))
    }

    /// The hub is gone; of what it sent so much still arrives.
    pub(crate) fn hub_gone(&mut self, arrives: usize) {
        if let Some(session) = &mut self.session {
            session.queue.truncate(arrives);
            session.ended = true;
        }
    }

    /// It dies, and with it what was not saved.
    pub(crate) fn crash(&mut self) {
        self.session = None;
        let (last, got) = self.saved.map_or((None, 0), |(cursor, got)| (Some(cursor), got));
        self.last = last;
        self.got.truncate(got);
        self.states.clone_from(&self.saved_states);
        if last.is_none() {
            self.since = None;
        }
    }

    /// It saves the place that it has come to.
    pub(crate) fn save(&mut self) {
        self.saved = self.last.map(|last| (last, self.got.len()));
        self.saved_states.clone_from(&self.states);
    }

    pub(crate) fn waiting(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.queue.len())
    }

    /// Takes the next of what came.
    ///
    /// # Errors
    /// It came in a way that was not promised.
    pub(crate) fn take(&mut self, shown: &mut Shown) -> Result<(), String> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let Some(item) = session.queue.pop_front() else {
            if session.ended {
                self.session = None;
            }
            return Ok(());
        };
        match item {
            Item::Subscribed(after) => {
                if let From::Cursor(cursor) = session.asked
                    && cursor.n != after.n
                {
                    session.owes_a_gap = Some(cursor);
                }
                session.at = Some(after.n);
                if !matches!(session.asked, From::Cursor(_)) {
                    self.since = Some(after.n);
                }
                // A snapshot counts once it is here.
                if session.asked != From::Snapshot {
                    self.last.get_or_insert(after);
                }
            }
            Item::Snapshot(details) => {
                self.states = Some(details.iter().map(|(id, detail)| (*id, state(detail))).collect());
                let log = session.at.map(|_| ());
                debug_assert!(log.is_some());
            }
            Item::Gap { after, to } => {
                session.owes_a_gap = None;
                session.at = Some(to.n);
                self.last = Some(to);
                // The place before the gap may be one of a log that is lost; then it may be anywhere in this one.
                let from = if after.log == to.log { after.n } else { 0 };
                self.got.push(Got::Gap(from, to.n));
                // It cannot know what it missed; a client begins anew with a snapshot.
                self.states = None;
            }
            Item::Record(record) => {
                let n = record.cursor.n;
                if let Some(cursor) = session.owes_a_gap {
                    return Err(format!(
                        "asked for what comes after {cursor}, {} came, without a gap",
                        record.cursor
                    ));
                }
                if session.at.map(|at| at + 1) != Some(n) {
                    return Err(format!("{} came after {:?}", record.cursor, session.at));
                }
                session.at = Some(n);
                match shown.get(&record.cursor) {
                    Some(before) if **before != *record => {
                        return Err(format!("two records have the cursor {}", record.cursor));
                    }
                    Some(_) => {}
                    None => drop(shown.insert(record.cursor, record.clone())),
                }
                if let Some(states) = &mut self.states {
                    follow(states, &record)?;
                }
                self.last = Some(record.cursor);
                self.got.push(Got::Record(record));
            }
        }
        Ok(())
    }
}

/// Applies a record's changes, which must fit.
pub(crate) fn follow(states: &mut BTreeMap<NodeId, NodeState>, record: &LogRecord) -> Result<(), String> {
    if record.envelope.kind == RecordKind::DIFF {
        let ops: Vec<Op> = secmon_protocol::codec::decode_list(&record.envelope.body)
            .map_err(|error| format!("{}: {error}", record.cursor))?;
        let state = states.entry(record.node).or_default();
        state
            .apply(&ops)
            .map_err(|misfit| format!("the diff at {} does not fit: {misfit}", record.cursor))?;
    }
    Ok(())
}

fn state(detail: &NodeDetail) -> NodeState {
    let mut state = NodeState::default();
    for facet in &detail.summary.facets {
        let of = |id: FacetId| {
            detail
                .entries
                .iter()
                .filter(move |(facet, _, _)| *facet == id)
                .map(|(_, k, v)| (k.clone(), v.clone()))
        };
        let raw = match &facet.status {
            secmon_protocol::facet::FacetStatus::Pending => RawFacet::Pending,
            secmon_protocol::facet::FacetStatus::NotMonitored => RawFacet::NotMonitored,
            secmon_protocol::facet::FacetStatus::Unavailable(why) => RawFacet::Unavailable(why.clone()),
            secmon_protocol::facet::FacetStatus::Ready => RawFacet::Ready(of(facet.facet).collect()),
        };
        state.set(facet.facet, raw);
    }
    state
}
