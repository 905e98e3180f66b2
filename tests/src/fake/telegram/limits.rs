//! Telegram's limits, <https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this>, counted in real time.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// In all chats together, in a second.
const ALL: usize = 30;
/// In a group, in a minute.
const GROUP: usize = 20;
/// In one chat: about one a second, with short bursts.
const CHAT: usize = 15;
const CHAT_TIME: Duration = Duration::from_secs(10);

/// What was sent lately.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) enforced: bool,
    pub(super) violations: usize,
    chats: HashMap<i64, Vec<Instant>>,
    all: Vec<Instant>,
}

impl Limits {
    /// One more message or edit in a chat; for how many seconds to wait where that is too much.
    pub(super) fn count(&mut self, chat: i64) -> Option<u64> {
        let now = Instant::now();
        let since =
            |times: &[Instant], time| times.iter().filter(|at| now.duration_since(**at) < time).count();
        let times = self.chats.entry(chat).or_default();
        let too_many = since(&self.all, SECOND) >= ALL
            || since(times, CHAT_TIME) >= CHAT
            || (chat < 0 && since(times, MINUTE) >= GROUP);
        if self.enforced && too_many {
            self.violations += 1;
            return Some(3);
        }
        times.push(now);
        self.all.push(now);
        None
    }
}
