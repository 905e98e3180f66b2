//! Which sessions there are: logind's, and the logins in utmp, each of which belongs to one of logind's or stands by
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use secmon_protocol::{
    facet::Facet,
    session::{Session, SessionKind, SessionSource},
};

use super::{Logind, Merge};
use crate::watch::sessions::{
    process::{Owner, Terminal},
    utmp::{Login, Sort},
    view::{LogindSession, UtmpLogin, is_near, same_user},
};

/// A session that there is.
pub(super) struct Candidate {
    pub(super) session: Session,
    /// Whether more is about to be known of it.
    pub(super) waits: bool,
    /// Whether a record of utmp is part of it.
    in_utmp: bool,
}

/// logind's sessions as they are found: by key, and the keys by what a record of utmp may know.
#[derive(Default)]
struct Found {
    by_key: BTreeMap<String, Candidate>,
    /// Keys by id.
    by_id: BTreeMap<String, String>,
    /// Ids by terminal and user.
    by_seat: BTreeMap<(String, String), String>,
    /// Ids by user, of those without a terminal.
    by_user: BTreeMap<String, Vec<String>>,
}

impl Merge {
    /// The sessions that there are, by key.
    pub(super) fn candidates(&mut self) -> BTreeMap<String, Candidate> {
        let none = (BTreeMap::new(), Vec::new());
        let (sessions, forgotten, heard) = match &self.logind {
            Logind::Heard { sessions, forgotten, lost } => (sessions, forgotten, lost.is_none()),
            _ => (&none.0, &none.1, false),
        };
        let keys: BTreeSet<_> = sessions.values().chain(forgotten).map(LogindSession::key).collect();
        self.aliases.retain(|key, _| keys.contains(key));
        let key_of = |session: &LogindSession| {
            let key = session.key();
            self.aliases.get(&key).cloned().unwrap_or(key)
        };
        let mut found = Found::default();
        for session in forgotten.iter().filter(|s| s.is_login()) {
            let candidate = Candidate { session: session.session(), waits: false, in_utmp: true };
            found.by_key.insert(key_of(session), candidate);
        }
        for session in sessions.values().filter(|s| s.is_login() && !s.closing) {
            let mut candidate = Candidate { session: session.session(), waits: false, in_utmp: false };
            if session.may_get_a_terminal() {
                match self.searches.terminal(&session.key()) {
                    Some(Terminal::Is(tty)) => candidate.sits_at(tty),
                    Some(Terminal::None) => {}
                    Some(Terminal::NotYet) | None => candidate.waits = session.leader.is_some(),
                }
            }
            found.add(&session.id, key_of(session), candidate);
        }
        // Processes that lead sessions which utmp alone shows, with their users: one login, one session.
        let mut alone: BTreeSet<(i32, &str)> = BTreeSet::new();
        let logins = self.utmp.as_ref().and_then(|utmp| utmp.as_ref().ok());
        for UtmpLogin { login, owner } in logins.into_iter().flatten() {
            let utmp_key = login.key();
            if let Some(id) = found.session_of(login, owner) {
                let Some(mut key) = found.by_id.get(&id).cloned() else { continue };
                let told = matches!(&self.told, Some(Facet::Ready(told)) if told.contains_key(&utmp_key));
                let mine = found.by_key.get(&key).is_some_and(|c| same_user(&login.user, &c.session.user));
                if told && mine && login.sort == Sort::Login && key != utmp_key {
                    // It was told before logind was heard of it.
                    self.held.remove(&key);
                    self.aliases.insert(sessions[&id].key(), utmp_key.clone());
                    found.rename(&id, &utmp_key);
                    key.clone_from(&utmp_key);
                }
                self.held.remove(&utmp_key);
                self.bound.insert(utmp_key, id);
                if mine
                    && login.sort == Sort::Login
                    && let Some(candidate) = found.by_key.get_mut(&key)
                {
                    candidate.join(login);
                }
                continue;
            }
            let ended = self.bound.contains_key(&utmp_key);
            // A program of the user's manager is none that lets people in.
            let in_manager = heard && *owner == Owner::Manager && login.sort != Sort::Roaming;
            if login.sort == Sort::Window || ended || in_manager {
                continue;
            }
            if login.pid > 0 && login.sort == Sort::Login && !alone.insert((login.pid, &login.user)) {
                continue;
            }
            let waits = heard && matches!(owner, Owner::Session(id) if !sessions.contains_key(id));
            let candidate = Candidate { session: login.session(), waits, in_utmp: true };
            found.by_key.insert(utmp_key, candidate);
        }
        found.by_key
    }
}

impl Found {
    fn add(&mut self, id: &str, key: String, candidate: Candidate) {
        let Session { user, tty, .. } = &candidate.session;
        match tty {
            Some(tty) => drop(self.by_seat.insert((tty.clone(), user.clone()), id.to_owned())),
            None => self.by_user.entry(user.clone()).or_default().push(id.to_owned()),
        }
        self.by_id.insert(id.to_owned(), key.clone());
        self.by_key.insert(key, candidate);
    }

    fn rename(&mut self, id: &str, key: &str) {
        if let Some(before) = self.by_id.insert(id.to_owned(), key.to_owned())
            && let Some(candidate) = self.by_key.remove(&before)
        {
            self.by_key.insert(key.to_owned(), candidate);
        }
    }

    /// The id of logind's session that a record of utmp belongs to.
    fn session_of(&self, login: &Login, owner: &Owner) -> Option<String> {
        if login.sort == Sort::Roaming {
            return None;
        }
        match owner {
            Owner::Session(id) if self.by_id.contains_key(id) => return Some(id.clone()),
            Owner::Session(_) | Owner::Nobody | Owner::Manager | Owner::Unknown => {}
        }
        if let Some(tty) = login.tty()
            && let Some(id) = self.by_seat.get(&(tty.to_owned(), login.user.clone()))
        {
            return Some(id.clone());
        }
        if *owner != Owner::Unknown {
            return None;
        }
        // Processes are hidden from us (`hidepid`): the one session that it can be.
        let ids = self.by_user.get(&login.user)?;
        let of = |id: &&String| {
            let candidate = self.by_id.get(*id).and_then(|key| self.by_key.get(key));
            candidate.is_some_and(|c| !c.in_utmp && c.is_like(login))
        };
        let by_leader = |id: &&String| {
            let candidate = self.by_id.get(*id).and_then(|key| self.by_key.get(key));
            candidate.is_some_and(|c| !c.in_utmp && c.session.leader == u32::try_from(login.pid).ok())
        };
        if let Some(id) = ids.iter().find(by_leader) {
            return Some(id.clone());
        }
        let mut like = ids.iter().filter(of);
        like.next().filter(|_| like.next().is_none()).cloned()
    }
}

impl Candidate {
    fn sits_at(&mut self, tty: &str) {
        self.session.tty = Some(tty.to_owned());
        if self.session.kind == SessionKind::Background {
            self.session.kind = SessionKind::Interactive;
        }
    }

    /// Whether a record may be of the same login.
    fn is_like(&self, login: &Login) -> bool {
        let places = (self.session.remote.as_ref(), login.remote.as_ref());
        let agree = matches!(places, (None, _) | (_, None)) || places.0 == places.1;
        agree && is_near(self.session.since, login.since)
    }

    /// Takes in what utmp says of the same login; a record of another terminal adds nothing.
    fn join(&mut self, login: &Login) {
        let elsewhere = self.session.tty.as_deref().is_some_and(|tty| login.tty().is_some_and(|t| t != tty));
        if self.in_utmp || elsewhere {
            return;
        }
        if let Some(tty) = login.tty() {
            self.sits_at(tty);
        }
        if self.session.remote.is_none() {
            self.session.remote.clone_from(&login.remote);
        }
        self.session.sources.insert(SessionSource::Utmp);
        self.in_utmp = true;
        self.waits = false;
    }
}
