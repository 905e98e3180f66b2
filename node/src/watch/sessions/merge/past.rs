//! What the logs of logins add: their name to a session that lives, and the logins that nothing else has told of.

use std::{collections::BTreeMap, time::Instant};

use secmon_protocol::session::Session;

use super::{Doubt, Logind, Merge, RECENT};

impl Merge {
    /// Adds the logs that hold a session to its sources.
    pub(super) fn name(&mut self, current: &mut BTreeMap<String, Session>) {
        for ((source, _), past) in &mut self.open {
            let Some(open) = past else { continue };
            let same = current.iter().find(|(key, session)| {
                open.is(session) && !self.named.get(*key).is_some_and(|named| named.contains(source))
            });
            if let Some((key, _)) = same {
                self.named.entry(key.clone()).or_default().insert(*source);
                *past = None;
            }
        }
        self.named.retain(|key, _| current.contains_key(key));
        for (key, sources) in &self.named {
            if let Some(session) = current.get_mut(key) {
                session.sources.extend(sources);
            }
        }
    }

    /// Finds the logins of the logs that nothing else has told of, and adds them to `flashes`.
    pub(super) fn settle_past(
        &mut self,
        current: &BTreeMap<String, Session>,
        flashes: &mut Vec<(String, Session)>,
        now: Instant,
    ) {
        let Self { recent, named, held, unseen, missed, logind, .. } = self;
        let heard = matches!(logind, Logind::Heard { lost: None, .. });
        self.doubts.retain(|Doubt { past, by, .. }| {
            let told =
                recent.iter_mut().find(|(session, seen)| past.is(session) && !seen.contains(&past.source));
            if let Some((_, seen)) = told {
                seen.insert(past.source);
                return false;
            }
            if now < *by {
                // The others may be about to say the same.
                return true;
            }
            // Logins that nobody watched may have been named just now.
            let lives = |key: &String, session: &Session| {
                past.is(session)
                    && (past.unwatched || !named.get(key).is_some_and(|named| named.contains(&past.source)))
            };
            // A further terminal of a session that lives, as far as anybody can know: logind, which hears of every
            // login, has announced none that it could not describe. Nobody heard logind while the node did not run.
            let is_channel = || {
                let heard = heard && unseen.is_empty() && !past.unwatched;
                current.values().any(|s| past.is_led_as(s) || (heard && past.is_within(s)))
                    || recent.iter().any(|(s, _)| past.is_led_as(s))
            };
            let is_no_login = || match &*logind {
                Logind::Heard { sessions, .. } => {
                    sessions.values().any(|s| !s.is_login() && past.is(&s.session()))
                }
                _ => false,
            };
            let known = current.iter().any(|(key, session)| lives(key, session))
                || held.iter().any(|(key, held)| lives(key, &held.session))
                || is_channel()
                || is_no_login();
            if !known {
                let session = past.session();
                recent.push_back((session.clone(), [past.source].into()));
                flashes.push((format!("{}:{}", past.source.as_str(), past.id), session));
                // logind told of one that it could not describe: this one, as far as anybody can know.
                if !unseen.is_empty() {
                    unseen.remove(0);
                }
            }
            false
        });
        while recent.len() > RECENT {
            recent.pop_front();
        }
        let before = unseen.len();
        unseen.retain(|by| now < *by);
        match before - unseen.len() {
            0 => {}
            count => missed.push(format!(
                "{count} sessions came and went before systemd-logind could be asked about them, and neither wtmp nor \
                 wtmpdb has them; some may have been no logins"
            )),
        }
    }
}
