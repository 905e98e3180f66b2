//! Waiting for the end of the processes that lead sessions.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use tokio::task::{AbortHandle, JoinSet};
use tracing::debug;

use super::process::{self, Processes};

/// Leaders whose end is waited for, each by a file descriptor.
const LEADERS: usize = 512;
/// How often those are looked at that are more than that, or that no file descriptor was left for.
const LEADERS_LOOK: Duration = Duration::from_secs(30);

/// The processes whose end is waited for.
#[derive(Default)]
pub(super) struct Leaders {
    waits: JoinSet<(u32, io::Result<()>)>,
    by_pid: BTreeMap<u32, AbortHandle>,
    /// Those that cannot be waited for: there are too many, or no file descriptor was left.
    looked_at: BTreeSet<u32>,
    /// Those that have ended and are still asked for: sessions that cannot be seen at the moment.
    over: BTreeSet<u32>,
    /// When they are looked at next.
    pub(super) next_look: Option<Instant>,
}

impl Leaders {
    /// Waits for the end of these, and of no others.
    pub(super) fn follow(&mut self, pids: BTreeSet<u32>) {
        self.by_pid.retain(|pid, wait| {
            let stays = pids.contains(pid);
            if !stays {
                wait.abort();
            }
            stays
        });
        self.looked_at.retain(|pid| pids.contains(pid));
        self.over.retain(|pid| pids.contains(pid));
        for pid in pids {
            if self.by_pid.contains_key(&pid) || self.looked_at.contains(&pid) || self.over.contains(&pid) {
                continue;
            }
            if self.by_pid.len() < LEADERS {
                let wait = self.waits.spawn(async move { (pid, process::ended(pid).await) });
                self.by_pid.insert(pid, wait);
            } else {
                self.looked_at.insert(pid);
            }
        }
        if self.looked_at.is_empty() {
            self.next_look = None;
        } else {
            self.next_look.get_or_insert_with(|| super::now() + LEADERS_LOOK);
        }
    }

    /// The next process that has ended; none while none is waited for.
    pub(super) async fn ended(&mut self) -> Option<u32> {
        loop {
            match self.waits.join_next().await? {
                Ok((pid, Ok(()))) => {
                    self.by_pid.remove(&pid);
                    self.over.insert(pid);
                    return Some(pid);
                }
                Ok((pid, Err(error))) => {
                    debug!(pid, %error, "cannot wait for the end of a session's leader; looking now and then");
                    self.by_pid.remove(&pid);
                    self.looked_at.insert(pid);
                    self.next_look.get_or_insert_with(|| super::now() + LEADERS_LOOK);
                }
                Err(_) => {}
            }
        }
    }

    /// Of those that cannot be waited for, the ones that are gone; if it is time to look.
    pub(super) fn look(&mut self, now: Instant, processes: &impl Processes) -> Vec<u32> {
        if self.next_look.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.next_look = Some(now + LEADERS_LOOK);
        let gone = |pid: &&u32| !i32::try_from(**pid).is_ok_and(|pid| processes.exists(pid));
        let gone: Vec<u32> = self.looked_at.iter().filter(gone).copied().collect();
        for pid in &gone {
            self.looked_at.remove(pid);
            self.over.insert(*pid);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::sessions::process::Host;

    /// A pid that no process has: beyond the kernel's PID_MAX_LIMIT, `linux/threads.h`.
    const NOBODY: u32 = 1 << 30;

    #[tokio::test]
    async fn an_end_is_told_once_however_often_it_is_asked_for() {
        let mut leaders = Leaders::default();
        leaders.follow([NOBODY].into());
        assert_eq!(leaders.ended().await, Some(NOBODY));
        leaders.follow([NOBODY].into());
        assert_eq!(leaders.ended().await, None);
    }

    #[tokio::test]
    async fn those_that_are_too_many_are_looked_at_now_and_then() {
        let mut leaders = Leaders::default();
        let many = 1..=u32::try_from(LEADERS).unwrap();
        let pids: BTreeSet<u32> = many.map(|n| NOBODY - n).chain([NOBODY]).collect();
        leaders.follow(pids.clone());
        let at = leaders.next_look.unwrap();
        assert!(leaders.look(at - Duration::from_secs(1), &Host).is_empty());
        assert_eq!(leaders.look(at, &Host), [NOBODY]);
        leaders.follow(pids);
        assert_eq!(leaders.next_look, None);
    }
}
