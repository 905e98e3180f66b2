//! What is kept for the next start: sessions that ended and that a log may yet tell of, and how far the logs have
//! been read. A place is kept once everything before it has been told or is known, and with what was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use secmon_protocol::{
    codec::{Value, decode_value, encode_value},
    facet::Facet,
    session::{Session, SessionSource},
};
use serde::{Deserialize, Serialize};

use super::{Logind, Loss, Merge, RECENT};
use crate::watch::{
    MAX_PLACE, Place,
    sessions::view::{Logged, LogindSession},
};

/// What the place of what is remembered is called.
const NAME: &str = "sessions";
/// Sessions that ended and are kept; what a log has of earlier ones has been read.
const KEPT: usize = 128;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Kept {
    /// The boot that it was in.
    boot: String,
    /// Newest last, with the logs that told of them.
    recent: VecDeque<(Session, BTreeSet<SessionSource>)>,
    /// The sessions that were told last, while they cannot be seen.
    unseen: Option<BTreeMap<String, Session>>,
}

impl Value for Kept {}

/// Places that wait for what is before them.
#[derive(Debug, Default)]
pub(super) struct Places {
    waiting: VecDeque<(u64, Place)>,
    /// The number of the last portion of a log.
    pub(super) portion: u64,
    /// What was kept last.
    kept: Bytes,
}

impl Merge {
    /// Goes on after a start: `known` is what was told last, `places` what was kept, and `boot` tells this boot of the
    /// machine from others.
    pub(in crate::watch::sessions) fn resume(
        known: &Facet<String, Session>,
        places: &BTreeMap<String, Bytes>,
        boot: &str,
    ) -> Self {
        let mut merge = Self { boot: boot.to_owned(), ..Self::new() };
        let kept = match places.get(NAME).map(|at| decode_value::<Kept>(at)) {
            None => Kept::default(),
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                merge.missed.push(format!(
                    "what was kept of sessions cannot be read ({error}); some may be told again"
                ));
                Kept::default()
            }
        };
        merge.recent = kept.recent;
        merge.recent.truncate(RECENT);
        match (known, kept.unseen) {
            (Facet::Ready(sessions), _) => {
                merge.told = Some(known.clone());
                if kept.boot == boot {
                    merge.before = sessions.clone();
                }
            }
            (_, unseen) => merge.unseen_since = unseen,
        }
        merge.places.kept = places.get(NAME).cloned().unwrap_or_default();
        merge
    }

    /// What a log of logins tells, and how far it has been read with it.
    pub(in crate::watch::sessions) fn handle_logged(&mut self, logged: Logged, now: std::time::Instant) {
        self.places.portion += 1;
        self.dirty |= logged.missed.is_some();
        self.missed.extend(logged.missed);
        for login in logged.logins {
            self.handle_past(login, now);
        }
        if let Some(place) = logged.place {
            self.places.waiting.push_back((self.places.portion, place));
        }
    }

    /// The places to be kept with what was told last.
    pub(in crate::watch::sessions) fn poll_places(&mut self) -> Vec<Place> {
        if self.told.is_none() {
            return Vec::new();
        }
        let oldest = self.doubts.iter().map(|doubt| doubt.portion).min().unwrap_or(u64::MAX);
        let mut out: Vec<Place> = Vec::new();
        while let Some((_, place)) = self.places.waiting.pop_front_if(|(portion, _)| *portion < oldest) {
            out.retain(|other| other.source != place.source);
            out.push(place);
        }
        let skipped = self.recent.len().saturating_sub(KEPT);
        let kept = Kept {
            boot: self.boot.clone(),
            recent: self.recent.iter().skip(skipped).cloned().collect(),
            unseen: self.unseen_since.clone(),
        };
        let at = encode_value(&kept);
        if at != self.places.kept && at.len() <= MAX_PLACE {
            self.places.kept = at.clone();
            out.push(Place { source: NAME.to_owned(), at });
        }
        out
    }

    /// logind's sessions as they were told in this boot, for a logind that is not heard: they stand as they do while it
    /// restarts.
    pub(super) fn logind_before(&mut self, lost: Loss) -> Logind {
        let known = std::mem::take(&mut self.before);
        let sessions = known.iter().filter_map(|(key, session)| LogindSession::told(key, session));
        let sessions: BTreeMap<_, _> = sessions.map(|session| (session.id.clone(), session)).collect();
        match sessions.is_empty() {
            true => Logind::Absent(lost.why),
            false => Logind::Heard { sessions, forgotten: Vec::new(), lost: Some(lost) },
        }
    }
}
