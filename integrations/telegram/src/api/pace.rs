//! How fast we may speak, <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>: about a message a second in one chat,
//! 20 a minute in a group, 30 a second in all. Edits count alike. Pure.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::ChatId;

/// Between two messages in one chat, in the long run.
const EVERY: Duration = Duration::from_secs(1);
/// So many may come faster than that: "short bursts are fine", and an answer must not wait for a notice.
const BURST: u32 = 3;
/// In a group, in [`MINUTE`].
const GROUP: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// In all chats together, in a second.
const ALL: usize = 30;
/// Chats that are remembered; those that were quiet for a minute are forgotten, so that in a minute no more than
/// `ALL` × 60 could ever be needed.
const MAX_CHATS: usize = 2048;

/// What was said lately, and where.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    chats: HashMap<ChatId, Lately>,
    all: VecDeque<Instant>,
}

#[derive(Debug, Default)]
struct Lately {
    /// The latest, at most [`GROUP`].
    times: VecDeque<Instant>,
    /// When the burst is paid off.
    paid: Option<Instant>,
    /// Telegram said so.
    not_before: Option<Instant>,
}

impl Pace {
    /// Takes a turn in a chat, or says how long to wait before asking again.
    pub(crate) fn take(&mut self, chat: ChatId, now: Instant) -> Result<(), Duration> {
        self.forget(now);
        while self.all.front().is_some_and(|at| now.duration_since(*at) >= EVERY) {
            self.all.pop_front();
        }
        let lately = self.chats.entry(chat).or_default();
        let mut until = now;
        if let Some(at) = lately.not_before {
            until = until.max(at);
        }
        if let (ALL.., Some(first)) = (self.all.len(), self.all.front()) {
            until = until.max(*first + EVERY);
        }
        if let Some(paid) = lately.paid {
            until = until.max(paid.checked_sub(EVERY * (BURST - 1)).unwrap_or(now));
        }
        if !chat.is_private()
            && let (GROUP.., Some(first)) = (lately.times.len(), lately.times.front())
        {
            until = until.max(*first + MINUTE);
        }
        if until > now {
            return Err(until - now);
        }
        lately.paid = Some(lately.paid.map_or(now, |paid| paid.max(now)) + EVERY);
        lately.times.push_back(now);
        if lately.times.len() > GROUP {
            lately.times.pop_front();
        }
        self.all.push_back(now);
        Ok(())
    }

    /// Telegram wants nothing more in that chat for so long.
    pub(crate) fn hold(&mut self, chat: ChatId, wait: Duration, now: Instant) {
        let lately = self.chats.entry(chat).or_default();
        lately.not_before = Some(lately.not_before.map_or(now + wait, |at| at.max(now + wait)));
    }

    fn forget(&mut self, now: Instant) {
        if self.chats.len() < MAX_CHATS {
            return;
        }
        self.chats.retain(|_, lately| {
            let quiet = lately.times.back().is_none_or(|at| now.duration_since(*at) >= MINUTE);
            !quiet || lately.not_before.is_some_and(|at| at > now)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` as fast as it may; when each went out.
    fn times(chat: ChatId, count: usize) -> Vec<Duration> {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut now = start;
        let mut out = vec![];
        while out.len() < count {
            match pace.take(chat, now) {
                Ok(()) => out.push(now - start),
                Err(wait) => now += wait,
            }
        }
        out
    }

    #[test]
    fn a_private_chat_is_told_about_one_a_second() {
        let times = times(ChatId(5), 60);
        assert_eq!(times[2], Duration::ZERO);
        assert_eq!(times[59], Duration::from_secs(57));
    }

    #[test]
    fn a_group_is_told_at_most_twenty_a_minute() {
        let times = times(ChatId(-5), 100);
        for (at, time) in times.iter().enumerate().skip(GROUP) {
            assert!(*time - times[at - GROUP] >= MINUTE, "{at}");
        }
        assert!(times[99] < Duration::from_secs(300));
    }

    #[test]
    fn all_chats_together_are_told_at_most_thirty_a_second() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let told = (1..100).filter(|chat| pace.take(ChatId(*chat), now).is_ok()).count();
        assert_eq!(told, ALL);
        assert!(pace.take(ChatId(99), now + EVERY).is_ok());
    }

    #[test]
    fn what_telegram_says_is_kept() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.hold(ChatId(1), Duration::from_secs(9), now);
        assert_eq!(pace.take(ChatId(1), now), Err(Duration::from_secs(9)));
        assert!(pace.take(ChatId(2), now).is_ok());
        assert!(pace.take(ChatId(1), now + Duration::from_secs(9)).is_ok());
    }
}
