//! One truth of many views: what logind, utmp, wtmp and wtmpdb tell becomes the sessions that there are. Pure.
//!
//! Call order: `handle_*` whatever came, then [`Merge::poll`] for what there is to tell, and again at
//! [`Merge::next`]. `now` is the monotonic clock.
//!
//! **One login, one session.** A record of utmp belongs to the logind session that owns its process (its
//! cgroup), else to the one of the same terminal and user. A second terminal of a session (a window of tmux or
//! screen, another channel of the same ssh connection) is no login. A login that only one source sees is a
//! session that names this one source.
//!
//! **Open means open.** A session is told once, when what is worth telling of it is known: over ssh logind knows
//! it some round trips before there is a terminal, so it is held back until the terminal shows, a
//! program runs without one, or [`HOLD`] has passed. One that ends before that is told as opened and closed.
//!
//! **Closed means closed.** A session ends when logind says so or when its leader ends, and one of
//! utmp alone when its record goes. That
//! logind cannot be heard for a while ends nothing.
//!
//! `candidates` says which sessions there are, `past` what the logs of logins add, `kept` what the next process of the
//! node goes on with.

mod candidates;
mod kept;
mod past;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use secmon_protocol::{
    facet::{Facet, Unavailable},
    session::{Session, SessionSource},
};

use self::kept::Places;
use super::{
    process::Terminal,
    search::Searches,
    view::{LogindNews, LogindSession, Past, UtmpLogin},
};

/// How long a session is held back for its terminal. Some round trips of the slowest link that people work over.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// How long the sessions stand when logind is not heard and nothing else tells of sessions: it restarts within
/// a second, and the bus within a few.
const GRACE: Duration = Duration::from_secs(15);
/// How long what a log of logins says waits for the live sources to say the same.
const SETTLE: Duration = Duration::from_secs(2);
/// Sessions that have ended and are remembered, so that a log of logins does not open them again.
const RECENT: usize = 1024;
/// Logins of the logs that wait for their end or for the live sources.
const PAST: usize = 4096;

/// What there is to tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Told {
    /// All sessions, or why they cannot be seen.
    Sessions(Facet<String, Session>),
    /// Sessions may have opened and closed unseen, and why.
    Missed(String),
}

/// What is known of logind.
enum Logind {
    /// It has not spoken yet.
    Unheard,
    /// It never did.
    Absent(Unavailable),
    Heard {
        /// Its sessions by id.
        sessions: BTreeMap<String, LogindSession>,
        /// Sessions that it no longer lists and never said to have ended: it was stopped and started again, and
        /// counts anew. Each ends with its leader.
        forgotten: Vec<LogindSession>,
        /// Since when and why it is not heard.
        lost: Option<Loss>,
    },
}

struct Loss {
    at: Instant,
    why: Unavailable,
    told: bool,
}

struct Held {
    since: Instant,
    session: Session,
}

/// See the module.
pub(super) struct Merge {
    logind: Logind,
    /// None until it was looked at.
    utmp: Option<Result<Vec<UtmpLogin>, Unavailable>>,
    searches: Searches,
    /// Keys of logins in utmp that were seen within a session of logind, with its id: they end with it, whichever
    /// source hears of the end first.
    bound: BTreeMap<String, String>,
    /// Sessions of logind that were told under another key, before logind was heard of them.
    aliases: BTreeMap<String, String>,
    /// Not told yet, by key.
    held: BTreeMap<String, Held>,
    /// Further sources of sessions that live, by key.
    named: BTreeMap<String, BTreeSet<SessionSource>>,
    /// Logins of the logs without an end, and whether they belong to a session that lives.
    open: BTreeMap<(SessionSource, String), Option<Past>>,
    /// Logins of the logs with an end that nothing else has told of yet.
    doubts: Vec<Doubt>,
    /// For each session that logind announced and had forgotten when it was asked: until when a log may tell of it.
    unseen: Vec<Instant>,
    /// Newest last.
    recent: VecDeque<(Session, BTreeSet<SessionSource>)>,
    missed: Vec<String>,
    /// Whether anything came since the last poll.
    dirty: bool,
    told: Option<Facet<String, Session>>,
    /// The sessions that were told last, while they cannot be seen.
    unseen_since: Option<BTreeMap<String, Session>>,
    /// Whether this process has told of sessions; the first word is said also when nothing has changed.
    has_spoken: bool,
    /// Sessions that the last process told, in this boot of the machine, until logind is heard or not.
    before: BTreeMap<String, Session>,
    boot: String,
    places: Places,
}

/// A login of a log that nothing else has told of yet.
struct Doubt {
    past: Past,
    by: Instant,
    /// The portion of the log that it came with.
    portion: u64,
}

impl Merge {
    pub(super) fn new() -> Self {
        Self {
            logind: Logind::Unheard,
            utmp: None,
            searches: Searches::default(),
            bound: BTreeMap::new(),
            aliases: BTreeMap::new(),
            held: BTreeMap::new(),
            named: BTreeMap::new(),
            open: BTreeMap::new(),
            doubts: Vec::new(),
            unseen: Vec::new(),
            recent: VecDeque::new(),
            missed: Vec::new(),
            dirty: true,
            told: None,
            unseen_since: None,
            has_spoken: false,
            before: BTreeMap::new(),
            boot: String::new(),
            places: Places::default(),
        }
    }

    /// What logind's reader tells.
    pub(super) fn handle_logind(&mut self, news: LogindNews, now: Instant) {
        self.dirty = true;
        match news {
            LogindNews::Listed(listed) => {
                let mut sessions: BTreeMap<_, _> = listed.into_iter().map(|s| (s.id.clone(), s)).collect();
                let mut forgotten = Vec::new();
                if let Logind::Heard { sessions: before, forgotten: long_ago, .. } = &mut self.logind {
                    for known in std::mem::take(before).into_values().chain(std::mem::take(long_ago)) {
                        match sessions.get_mut(&known.id).filter(|listed| listed.key() == known.key()) {
                            Some(listed) => listed.closing |= known.closing,
                            None if known.leader.is_some() && !known.closing => forgotten.push(known),
                            None => {}
                        }
                    }
                }
                let told = matches!(self.told, Some(Facet::Ready(_)));
                for session in sessions.values() {
                    self.searches.wants(session, now);
                    let known = self.known_before(session);
                    if told && !known && !session.closing && session.is_login() {
                        // It may be gone by the next poll, and is told all the same.
                        self.held.insert(session.key(), Held { since: now, session: session.session() });
                    }
                }
                self.logind = Logind::Heard { sessions, forgotten, lost: None };
            }
            LogindNews::Seen(mut session) => {
                let Logind::Heard { sessions, forgotten, .. } = &mut self.logind else { return };
                forgotten.retain(|known| known.key() != session.key());
                let before = sessions.get(&session.id).filter(|b| b.key() == session.key());
                let new = before.is_none();
                session.closing |= before.is_some_and(|b| b.closing);
                self.searches.wants(&session, now);
                if new && session.is_login() {
                    // It may be gone by the next poll, and is told all the same.
                    self.held.insert(session.key(), Held { since: now, session: session.session() });
                }
                sessions.insert(session.id.clone(), session);
            }
            LogindNews::Removed(id) => {
                if let Logind::Heard { sessions, forgotten, .. } = &mut self.logind
                    && sessions.remove(&id).is_none()
                {
                    forgotten.retain(|session| session.id != id);
                }
            }
            LogindNews::Unseen => push_bounded(&mut self.unseen, now + SETTLE, &mut self.missed),
            LogindNews::Lost(why) => match &mut self.logind {
                Logind::Heard { lost: Some(loss), .. } => loss.why = why,
                Logind::Heard { lost, .. } => *lost = Some(Loss { at: now, why, told: false }),
                Logind::Unheard => self.logind = self.logind_before(Loss { at: now, why, told: false }),
                Logind::Absent(before) => *before = why,
            },
            // What cannot be told yet is told once: a logind that stalls says it again and again.
            LogindNews::Missed(why) if self.missed.contains(&why) => {}
            LogindNews::Missed(why) => self.missed.push(why),
        }
    }

    /// Whether `session` was told, also under the key that utmp gave it.
    fn known_before(&self, session: &LogindSession) -> bool {
        let key = session.key();
        let key = self.aliases.get(&key).unwrap_or(&key);
        matches!(&self.told, Some(Facet::Ready(told)) if told.contains_key(key))
    }

    /// What utmp holds now, or why it cannot be read.
    pub(super) fn handle_utmp(&mut self, look: Result<Vec<UtmpLogin>, Unavailable>) {
        let mut look = look;
        if self.utmp.as_ref() == Some(&look) {
            return;
        }
        self.dirty = true;
        if let Ok(logins) = &mut look {
            logins.sort_by_key(|l| l.login.since);
            let keys: BTreeSet<_> = logins.iter().map(|l| l.login.key()).collect();
            self.bound.retain(|key, _| keys.contains(key));
        }
        self.utmp = Some(look);
    }

    /// What a log of logins says.
    pub(super) fn handle_past(&mut self, past: Past, now: Instant) {
        self.dirty = true;
        let id = (past.source, past.id.clone());
        if past.unwatched {
            if !past.ended && past.source != SessionSource::Wtmp {
                self.open.insert(id, Some(past.clone()));
            } else {
                self.open.remove(&id);
            }
            self.doubt(past, now);
        } else if !past.ended {
            // wtmp says the same as utmp, by the same hand, and on Debian 13 never says an end.
            if past.source == SessionSource::Wtmp {
                return;
            }
            if self.open.len() >= PAST {
                self.open.pop_first();
            }
            self.open.insert(id, Some(past));
        } else if self.open.remove(&id) != Some(None) {
            self.doubt(past, now);
        }
    }

    fn doubt(&mut self, past: Past, now: Instant) {
        let doubt = Doubt { past, by: now + SETTLE, portion: self.places.portion };
        push_bounded(&mut self.doubts, doubt, &mut self.missed);
    }

    /// Process `pid` has ended, which leads a session.
    pub(super) fn handle_end(&mut self, pid: u32) {
        self.dirty = true;
        if let Logind::Heard { sessions, forgotten, .. } = &mut self.logind {
            for session in sessions.values_mut().filter(|s| s.leader == Some(pid)) {
                session.closing = true;
            }
            forgotten.retain(|s| s.leader != Some(pid));
        }
        if let Some(Ok(logins)) = &mut self.utmp {
            logins.retain(|l| u32::try_from(l.login.pid) != Ok(pid));
        }
    }

    /// The sessions whose terminal is to be looked for now, by key and leader. Each look is answered by
    /// [`Merge::handle_terminal`].
    pub(super) fn poll_searches(&mut self, now: Instant) -> Vec<(String, u32)> {
        if let Logind::Heard { sessions, .. } = &self.logind {
            let live: BTreeSet<_> =
                sessions.values().filter(|s| !s.closing).map(LogindSession::key).collect();
            self.searches.retain(|key| live.contains(key));
        }
        self.searches.due(now)
    }

    /// What the processes of a session say of its terminal.
    pub(super) fn handle_terminal(&mut self, key: &str, terminal: Terminal) {
        self.dirty |= self.searches.found(key, terminal);
    }

    /// The processes that lead the sessions that were told.
    pub(super) fn leaders(&self) -> BTreeSet<u32> {
        match (&self.told, &self.unseen_since) {
            (Some(Facet::Ready(sessions)), _) | (_, Some(sessions)) => {
                sessions.values().filter_map(|s| s.leader).collect()
            }
            _ => BTreeSet::new(),
        }
    }

    /// When to look for terminals or to poll again, if nothing comes before.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadline().into_iter().chain(self.searches.next()).min()
    }

    /// When something that waits has waited long enough.
    fn deadline(&self) -> Option<Instant> {
        let lost = match &self.logind {
            Logind::Heard { lost: Some(Loss { at, told: false, .. }), .. } => Some(*at + GRACE),
            _ => None,
        };
        if !matches!(self.told, Some(Facet::Ready(_))) {
            // What waits is settled when sessions can be seen again.
            return lost;
        }
        let held = self.held.values().map(|h| h.since + HOLD);
        let doubts = self.doubts.iter().map(|doubt| doubt.by);
        let unseen = self.unseen.iter().copied();
        held.chain(doubts).chain(unseen).chain(lost).min()
    }

    /// What there is to tell since the last time, in order.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Told> {
        let mut out = Vec::new();
        if !self.dirty && self.deadline().is_none_or(|at| now < at) {
            return out;
        }
        self.dirty = false;
        match self.status(now) {
            None => return out,
            Some(Err(why)) => {
                if let Some(Facet::Ready(sessions)) = &mut self.told {
                    self.unseen_since = Some(std::mem::take(sessions));
                }
                self.tell(Facet::Unavailable(why), &mut out);
                return out;
            }
            Some(Ok(())) => {}
        }
        if let Some(sessions) = self.unseen_since.take() {
            // What came and went meanwhile is told against what was known.
            self.tell(Facet::Ready(sessions), &mut out);
        }
        let before = match &self.told {
            Some(Facet::Ready(sessions)) => Some(sessions.clone()),
            _ => None,
        };
        let candidates = self.candidates();
        let there: BTreeSet<String> = candidates.keys().cloned().collect();
        let mut current = BTreeMap::new();
        for (key, candidate) in candidates {
            let known = before.as_ref().is_none_or(|before| before.contains_key(&key));
            if !known && candidate.waits {
                let session = candidate.session.clone();
                let held = self.held.entry(key.clone()).or_insert(Held { since: now, session });
                if now < held.since + HOLD {
                    held.session = candidate.session;
                    continue;
                }
            }
            self.held.remove(&key);
            current.insert(key, candidate.session);
        }
        let mut flashes: Vec<(String, Session)> = Vec::new();
        self.held.retain(|key, held| {
            let waits = there.contains(key);
            if !waits {
                flashes.push((key.clone(), held.session.clone()));
            }
            waits
        });
        let Some(before) = before else {
            // What was there when the looking began was not opened just now.
            self.name(&mut current);
            self.tell(Facet::Ready(current), &mut out);
            return out;
        };
        for (key, session) in before.iter().filter(|(key, _)| !current.contains_key(*key)) {
            self.named.remove(key);
            self.remember(session.clone());
        }
        for (_, session) in &flashes {
            self.remember(session.clone());
        }
        self.name(&mut current);
        for (key, session) in &mut current {
            if let Some(known) = before.get(key) {
                keep_known(session, known);
            }
        }
        if !self.has_spoken {
            // The first word is about who is there; what came and went follows it, when the others have spoken.
            for doubt in &mut self.doubts {
                doubt.by = doubt.by.max(now + SETTLE);
            }
        }
        self.settle_past(&current, &mut flashes, now);
        if !flashes.is_empty() {
            let mut with = before;
            with.extend(flashes);
            self.tell(Facet::Ready(with), &mut out);
        }
        self.tell(Facet::Ready(current), &mut out);
        out.extend(std::mem::take(&mut self.missed).into_iter().map(Told::Missed));
        out
    }

    /// Whether sessions can be seen; nothing while it is not known yet.
    fn status(&mut self, now: Instant) -> Option<Result<(), Unavailable>> {
        let utmp = self.utmp.as_ref()?;
        let why = match &mut self.logind {
            Logind::Unheard => return None,
            Logind::Heard { lost: None, .. } => return Some(Ok(())),
            Logind::Heard { lost: Some(loss), .. } if now < loss.at + GRACE => return Some(Ok(())),
            Logind::Heard { lost: Some(loss), .. } => {
                if !loss.told {
                    loss.told = true;
                    if utmp.is_ok() {
                        self.missed.push(format!(
                            "{}: logins without a terminal are not seen until it is back",
                            loss.why.reason
                        ));
                    }
                }
                &loss.why
            }
            Logind::Absent(why) => why,
        };
        Some(match utmp {
            Ok(_) => Ok(()),
            Err(no_utmp) => Err(Unavailable {
                reason: format!("{}; {}", why.reason, no_utmp.reason),
                remedy: why.remedy.clone(),
            }),
        })
    }

    fn remember(&mut self, session: Session) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((session, BTreeSet::new()));
    }

    fn tell(&mut self, facet: Facet<String, Session>, out: &mut Vec<Told>) {
        if self.told.as_ref() != Some(&facet) || !self.has_spoken {
            self.has_spoken = true;
            self.told = Some(facet.clone());
            out.push(Told::Sessions(facet));
        }
    }
}

/// What was known of a session stays known while it lives: at a logout utmp's record goes first, and what it said
/// belongs to the end as well.
fn keep_known(session: &mut Session, known: &Session) {
    session.sources.extend(&known.sources);
    session.remote = session.remote.take().or_else(|| known.remote.clone());
    if session.tty.is_none() && known.tty.is_some() {
        session.tty.clone_from(&known.tty);
        session.kind = known.kind;
    }
}

fn push_bounded<T>(list: &mut Vec<T>, item: T, missed: &mut Vec<String>) {
    if list.len() < PAST {
        list.push(item);
    } else if missed.is_empty() {
        missed.push(format!("more than {PAST} sessions ended at the same time; some are not reported"));
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
