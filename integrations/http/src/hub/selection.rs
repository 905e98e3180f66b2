//! Which events a listener gets: those that it asks for, of those that it may see. Pure.

use std::sync::Arc;

use secmon_client::pattern::Patterns;
use secmon_protocol::{
    event::EventType,
    ids::{Cursor, NodeName},
    message::client::Filter,
};

use super::entry::{About, Entry, Line};
use crate::access::Principal;

/// A filter, ready to be used, and who listens.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    asked: Filter,
    nodes: Patterns,
    types: Patterns,
    who: Principal,
}

impl Selection {
    /// What matches one of `nodes` (by name or id) and one of `types`; empty lists match all.
    pub(crate) fn new(nodes: Vec<String>, types: Vec<String>, who: Principal) -> Self {
        let (by_node, by_type) = (Patterns::new(&nodes), Patterns::new(&types));
        Self { asked: Filter { nodes, types }, nodes: by_node, types: by_type, who }
    }

    /// Who listens.
    pub(crate) fn who(&self) -> &Principal {
        &self.who
    }

    /// What to ask of the hub for it: at least all that is wanted. Never everything, for then the hub's follower would take
    /// records that the bridge may not see for lost ones.
    pub(crate) fn filter(&self) -> Filter {
        let Filter { mut nodes, mut types } = self.asked.clone();
        if nodes.is_empty() {
            nodes.push("*".to_owned());
        }
        if !types.is_empty() {
            types.push(EventType::Gap.as_str().to_owned());
        }
        Filter { nodes, types }
    }

    /// What of an entry is wanted; none where nothing is.
    pub(crate) fn pick(&self, entry: &Arc<Entry>) -> Option<Picked> {
        if !self.wants_about(&entry.about) {
            return None;
        }
        let wanted = entry.lines.iter().filter(|line| self.wants(line)).count();
        let which = match wanted {
            0 => return None,
            all if all == entry.lines.len() => None,
            _ => Some(entry.lines.iter().map(|line| self.wants(line)).collect()),
        };
        Some(Picked { entry: entry.clone(), which })
    }

    fn wants(&self, line: &Line) -> bool {
        line.always() || line.kind.is_some_and(|kind| self.types.matches(kind))
    }

    fn wants_about(&self, about: &About) -> bool {
        match about {
            About::Node { id, name } => {
                self.who.may_see(name) && (self.nodes.matches(name) || self.nodes.matches(id))
            }
            About::Hub => self.who.may_see_hub() && self.nodes.matches(NodeName::hub().as_str()),
            About::Stream => true,
        }
    }
}

/// The wanted events of an entry; at least one.
#[derive(Debug, Clone)]
pub(crate) struct Picked {
    entry: Arc<Entry>,
    /// Whether each is wanted; none: all are.
    which: Option<Vec<bool>>,
}

impl Picked {
    /// The entry's place.
    pub(crate) fn cursor(&self) -> Cursor {
        self.entry.cursor
    }

    /// Its events.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &Line> {
        let which = self.which.as_deref();
        let wanted = move |at: usize| which.is_none_or(|which| which.get(at).copied().unwrap_or(false));
        self.entry.lines.iter().enumerate().filter(move |(at, _)| wanted(*at)).map(|(_, line)| line)
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
