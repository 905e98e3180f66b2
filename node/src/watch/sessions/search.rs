//! When to look for the terminal of a session that logind knows none of. Pure.
//!
//! sshd asks for a terminal some round trips after it told logind of the session, and tells nobody but utmp. Where
//! there is no utmp the session's processes are looked at: at once, and again after ever longer waits, some
//! three seconds in all. A terminal that is made later starts it anew.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{process::Terminal, view::LogindSession};

/// The wait after the first look; each next is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// Looks at one session before it is let be.
const LOOKS: u32 = 12;
/// The searches, by the session's key: logind uses an id again when it was stopped and started.
#[derive(Debug, Default)]
pub(super) struct Searches(BTreeMap<String, Search>);

#[derive(Debug)]
struct Search {
    leader: u32,
    since: Instant,
    looks: u32,
    found: Terminal,
}

impl Search {
    fn due(&self) -> Option<Instant> {
        let goes_on = self.looks < LOOKS && self.found == Terminal::NotYet;
        goes_on.then(|| self.since + FIRST_WAIT * (2_u32.pow(self.looks) - 1))
    }
}

impl Searches {
    /// Begins to look for the terminal of `session`, if it needs that.
    pub(super) fn wants(&mut self, session: &LogindSession, now: Instant) {
        let leader = session.leader.filter(|_| session.may_get_a_terminal() && session.is_login());
        match leader {
            Some(leader) => {
                let search = Search { leader, since: now, looks: 0, found: Terminal::NotYet };
                self.0.entry(session.key()).or_insert(search);
            }
            None => drop(self.0.remove(&session.key())),
        }
    }

    /// Lets go of the sessions that are gone.
    pub(super) fn retain(&mut self, lives: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| lives(key));
    }

    /// The sessions to look at now, with their leaders.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, u32)> {
        let due = self.0.iter_mut().filter(|(_, search)| search.due().is_some_and(|at| at <= now));
        due.map(|(key, search)| {
            search.looks += 1;
            (key.clone(), search.leader)
        })
        .collect()
    }

    /// What a look found; whether that is news.
    pub(super) fn found(&mut self, key: &str, terminal: Terminal) -> bool {
        match self.0.get_mut(key) {
            Some(search) => std::mem::replace(&mut search.found, terminal) != search.found,
            None => false,
        }
    }

    /// What is known of the terminal of session `key`; none of a session that is not searched.
    pub(super) fn terminal(&self, key: &str) -> Option<&Terminal> {
        self.0.get(key).map(|search| &search.found)
    }

    /// When the next look is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(Search::due).min()
    }
}
