//! In which order a command runs on many nodes, and when that stops. Pure.

use std::collections::VecDeque;

/// How many run at once, and what a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// So many side by side, and all of them whatever happens.
    Parallel(usize),
    /// So many at a time, and no new ones after the first failure.
    Rolling(usize),
}

/// What is still to be run.
#[derive(Debug)]
pub(super) struct Plan {
    waiting: VecDeque<usize>,
    running: usize,
    at_once: usize,
    stops: bool,
}

impl Plan {
    /// For `count` things, by their numbers from 0.
    pub(super) fn new(count: usize, order: Order) -> Self {
        let (at_once, stops) = match order {
            Order::Parallel(n) => (n, false),
            Order::Rolling(n) => (n, true),
        };
        Self { waiting: (0..count).collect(), running: 0, at_once: at_once.max(1), stops }
    }

    /// The next one that may start now.
    pub(super) fn poll_start(&mut self) -> Option<usize> {
        if self.running >= self.at_once {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.running += 1;
        Some(next)
    }

    /// One that had started has ended.
    pub(super) fn ended(&mut self, well: bool) {
        self.running = self.running.saturating_sub(1);
        if self.stops && !well {
            self.stop();
        }
    }

    /// Nothing more is started.
    pub(super) fn stop(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(plan: &mut Plan) -> Vec<usize> {
        std::iter::from_fn(|| plan.poll_start()).collect()
    }

    #[test]
    fn side_by_side_means_no_more_than_so_many_and_in_the_end_all() {
        let mut plan = Plan::new(5, Order::Parallel(2));
        assert_eq!(starts(&mut plan), [0, 1]);
        plan.ended(false);
        assert_eq!(starts(&mut plan), [2]);
        plan.ended(true);
        plan.ended(true);
        assert_eq!(starts(&mut plan), [3, 4]);
    }

    #[test]
    fn a_rolling_run_starts_nothing_after_the_first_failure() {
        let mut plan = Plan::new(5, Order::Rolling(2));
        assert_eq!(starts(&mut plan), [0, 1]);
        plan.ended(true);
        assert_eq!(starts(&mut plan), [2]);
        plan.ended(false);
        assert!(starts(&mut plan).is_empty());
        plan.ended(true);
        assert!(starts(&mut plan).is_empty(), "what ran ends, what waited does not begin");
    }

    #[test]
    fn none_at_a_time_would_never_end() {
        assert_eq!(starts(&mut Plan::new(1, Order::Rolling(0))), [0]);
    }
}
