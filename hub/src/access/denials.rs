//! How many denials of one user are logged: enough to see what he tries, and not as many as fill the log. Pure.

use std::{collections::BTreeMap, time::Duration};

/// Denials that were not logged are told of with the next one that is, or this long after the first of them.
const TELL_AFTER: Duration = Duration::from_secs(60);
/// The number under which those are told of who share a place: uid_t's -1, which is nobody's.
const OTHERS: u32 = u32::MAX;
/// Denials of one user that are logged one after the other …
const BURST: u32 = 20;
/// … and then one in this time; the rest are counted and told with the next.
const EACH: Duration = Duration::from_secs(1);
/// Most users that are remembered. One who was quiet until all his denials may be logged again is forgotten; where
/// none was, all further ones share one place, so that many made-up users (user namespaces) get no more than that.
const MAX_USERS: usize = 256;

/// What is remembered of the users that were denied something.
#[derive(Debug, Default)]
pub(crate) struct Denials {
    users: BTreeMap<u32, Bucket>,
    others: Bucket,
}

/// One user's. As a leaky bucket: it is full when `until` is [`BURST`] denials from now.
#[derive(Debug, Default)]
struct Bucket {
    until: Duration,
    unlogged: u64,
    /// When the first of those was.
    since: Duration,
}

impl Denials {
    /// Whether a denial is to be logged, and how many of the same user were not since the last that was.
    pub(crate) fn admit(&mut self, uid: u32, now: Duration) -> Option<u64> {
        if !self.users.contains_key(&uid) && self.users.len() >= MAX_USERS {
            let others = &mut self.others;
            self.users.retain(|_, bucket| {
                let quiet = bucket.until <= now;
                // Told with whoever is next: a count is not lost with its place.
                others.unlogged += if quiet { bucket.unlogged } else { 0 };
                !quiet
            });
        }
        let room = self.users.len() < MAX_USERS || self.users.contains_key(&uid);
        let bucket = if room { self.users.entry(uid).or_default() } else { &mut self.others };
        bucket.admit(now)
    }

    /// Of whom how many were not logged, where that has waited long enough to be told.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<(u32, u64)> {
        let users = self.users.iter_mut().map(|(uid, bucket)| (*uid, bucket));
        let all = users.chain([(OTHERS, &mut self.others)]);
        let due = all.filter(|(_, bucket)| bucket.unlogged > 0 && bucket.since + TELL_AFTER <= now);
        due.map(|(uid, bucket)| (uid, std::mem::take(&mut bucket.unlogged))).collect()
    }
}

impl Bucket {
    fn admit(&mut self, now: Duration) -> Option<u64> {
        let until = self.until.max(now) + EACH;
        if until > now + EACH * BURST {
            if self.unlogged == 0 {
                self.since = now;
            }
            self.unlogged += 1;
            return None;
        }
        self.until = until;
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn logged(denials: &mut Denials, uid: u32, now: Duration, tries: usize) -> usize {
        (0..tries).filter(|_| denials.admit(uid, now).is_some()).count()
    }

    #[test]
    fn of_a_flood_twenty_are_logged_then_one_a_second_and_the_rest_are_counted() {
        let mut denials = Denials::default();
        assert_eq!(logged(&mut denials, 1000, NOW, 100), 20);
        assert_eq!(denials.admit(1001, NOW), Some(0), "another user's are not held back");
        assert_eq!(denials.admit(1000, NOW + EACH), Some(80));
        assert_eq!(denials.admit(1000, NOW + EACH), None);
        assert_eq!(logged(&mut denials, 1000, NOW + 60 * EACH, 100), 20);
    }

    #[test]
    fn what_was_not_logged_is_told_after_a_minute_where_nothing_more_comes() {
        let mut denials = Denials::default();
        logged(&mut denials, 7, NOW, 50);
        assert!(denials.due(NOW + TELL_AFTER - EACH).is_empty());
        assert_eq!(denials.due(NOW + TELL_AFTER), [(7, 30)]);
        assert!(denials.due(NOW + 2 * TELL_AFTER).is_empty());
    }

    #[test]
    fn users_without_number_share_one_place_and_quiet_ones_are_forgotten() {
        let mut denials = Denials::default();
        let users = 3 * u32::try_from(MAX_USERS).unwrap();
        let all: usize = (0..users).map(|uid| logged(&mut denials, uid, NOW, 30)).sum();
        assert_eq!(all, 20 * (MAX_USERS + 1));
        assert_eq!(denials.users.len(), MAX_USERS);
        assert_eq!(denials.admit(users, NOW + 30 * EACH), Some(0));
        assert_eq!(denials.users.len(), 1);
        assert!(denials.others.unlogged > 30 * MAX_USERS as u64, "what was not told is still counted");
    }
}
