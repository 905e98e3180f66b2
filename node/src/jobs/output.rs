//! What a run has printed and its hub does not have for sure, and how much more may come. Pure.
//!
//! A hub's credit is at once an acknowledgement: it grants again what chunks have cost, oldest first. An attached
//! run's chunk is forgotten when it is sent; a detached one's when its cost was credited, so that a connection that
//! is lost loses nothing. Either way no more is held than the hub has granted, at most [`OUTPUT_WINDOW`].

use std::collections::VecDeque;

use bytes::Bytes;
use secmon_protocol::{
    command::OutputStream,
    limits::{OUTPUT_WINDOW, chunk_cost},
};

/// When a chunk may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Once it is sent.
    UntilSent,
    /// Once the hub has credited it.
    UntilCredited,
}

/// More than was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Excess;

/// A piece of output, and where it stands in all of the run's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) stream: OutputStream,
    pub(super) at: u64,
    pub(super) data: Bytes,
}

impl Chunk {
    fn cost(&self) -> u32 {
        chunk_cost(self.data.len())
    }

    fn end(&self) -> u64 {
        self.at + self.data.len() as u64
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Output {
    keep: Keep,
    /// Oldest first.
    chunks: VecDeque<Chunk>,
    /// What all of `chunks` cost.
    cost: u32,
    /// So many of `chunks` were sent over this connection.
    sent: usize,
    /// All that the hub lets be on its way at once.
    window: u32,
    /// The cost of what was sent over this connection and not credited.
    owed: u32,
    /// What was credited of the oldest chunk, where it was not all of its cost.
    paid: u32,
    /// Bytes that the run has printed.
    printed: u64,
}

impl Output {
    /// Nothing yet, and as much to come as `window` pays for.
    pub(super) fn new(keep: Keep, window: u32) -> Self {
        let chunks = VecDeque::new();
        Self { keep, chunks, cost: 0, sent: 0, window, owed: 0, paid: 0, printed: 0 }
    }

    /// All that may be on its way at once.
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// The cost of what is held.
    pub(super) fn cost(&self) -> u32 {
        self.cost
    }

    /// Whether something waits to be sent.
    pub(super) fn has_next(&self) -> bool {
        self.sent < self.chunks.len()
    }

    /// Bytes that wait to be sent.
    pub(super) fn unsent(&self) -> usize {
        self.chunks.range(self.sent..).map(|chunk| chunk.data.len()).sum()
    }

    /// The run has printed something.
    ///
    /// # Errors
    /// It was not granted; nothing is taken.
    pub(super) fn push(&mut self, stream: OutputStream, data: Bytes) -> Result<(), Excess> {
        let used = match self.keep {
            Keep::UntilSent => self.cost + self.owed,
            Keep::UntilCredited => self.cost,
        };
        let chunk = Chunk { stream, at: self.printed, data };
        if chunk.cost() > self.window.saturating_sub(used) {
            return Err(Excess);
        }
        self.printed = chunk.end();
        self.cost += chunk.cost();
        self.chunks.push_back(chunk);
        Ok(())
    }

    /// What is sent next.
    pub(super) fn next(&mut self) -> Option<Chunk> {
        let chunk = match self.keep {
            Keep::UntilSent => {
                let chunk = self.chunks.pop_front()?;
                self.cost -= chunk.cost();
                chunk
            }
            Keep::UntilCredited => {
                let chunk = self.chunks.get(self.sent)?.clone();
                self.sent += 1;
                chunk
            }
        };
        self.owed += chunk.cost();
        Some(chunk)
    }

    /// The hub grants `credit`: it has so much of what was sent, and what is over widens the window. How much more
    /// may be printed.
    ///
    /// # Errors
    /// The window would be wider than [`OUTPUT_WINDOW`]; nothing is changed.
    pub(super) fn credit(&mut self, credit: u32) -> Result<u32, Excess> {
        let back = credit.min(self.owed);
        let wider = self.window.checked_add(credit - back).filter(|window| *window <= OUTPUT_WINDOW);
        let raise = wider.ok_or(Excess)? - self.window;
        self.window += raise;
        self.owed -= back;
        if self.keep == Keep::UntilSent {
            return Ok(back + raise);
        }
        self.paid += back;
        let before = self.cost;
        while self.sent > 0 {
            match self.chunks.pop_front_if(|oldest| oldest.cost() <= self.paid) {
                Some(oldest) => {
                    self.paid -= oldest.cost();
                    self.cost -= oldest.cost();
                    self.sent -= 1;
                }
                None => break,
            }
        }
        Ok(before - self.cost + raise)
    }

    /// The connection is lost: what was sent over it and not credited may have gone with it.
    pub(super) fn rewind(&mut self) {
        (self.sent, self.owed, self.paid) = (0, 0, 0);
    }

    /// On a new connection the hub has `have` bytes: what is before them goes. How much more may be printed. A hub
    /// that claims more than was printed has all of it.
    pub(super) fn resume(&mut self, have: u64) -> u32 {
        self.rewind();
        let before = self.cost;
        while let Some(chunk) = self.chunks.pop_front_if(|chunk| chunk.end() <= have) {
            self.cost -= chunk.cost();
        }
        if let Some(chunk) = self.chunks.front_mut()
            && chunk.at < have
        {
            let known = usize::try_from(have - chunk.at).unwrap_or(usize::MAX).min(chunk.data.len());
            self.cost -= chunk.cost();
            chunk.data = chunk.data.slice(known..);
            chunk.at = have;
            self.cost += chunk.cost();
        }
        before - self.cost
    }

    /// Nobody wants it.
    pub(super) fn clear(&mut self) {
        self.chunks.clear();
        self.cost = 0;
        self.rewind();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u32 = 4 << 10;

    fn output(keep: Keep, lens: &[usize]) -> Output {
        let mut output = Output::new(keep, 16 * K);
        for len in lens {
            output.push(OutputStream::Stdout, Bytes::from(vec![7; *len])).unwrap();
        }
        output
    }

    fn sent(output: &mut Output) -> Vec<(u64, usize)> {
        std::iter::from_fn(|| output.next()).map(|chunk| (chunk.at, chunk.data.len())).collect()
    }

    #[test]
    fn no_more_is_held_than_was_granted() {
        for keep in [Keep::UntilSent, Keep::UntilCredited] {
            let mut output = output(keep, &[1; 16]);
            assert_eq!(output.push(OutputStream::Stderr, Bytes::from_static(b"x")), Err(Excess));
            assert_eq!(sent(&mut output).len(), 16);
            assert_eq!(output.push(OutputStream::Stderr, Bytes::from_static(b"x")), Err(Excess), "{keep:?}");
            assert_eq!(output.credit(K), Ok(K));
            assert_eq!(output.push(OutputStream::Stderr, Bytes::from_static(b"x")), Ok(()));
        }
    }

    #[test]
    fn credit_beyond_what_was_sent_widens_the_window_and_only_so_far() {
        for keep in [Keep::UntilSent, Keep::UntilCredited] {
            let mut output = output(keep, &[10]);
            assert_eq!(output.credit(OUTPUT_WINDOW - 16 * K + 1), Err(Excess));
            assert_eq!(output.credit(u32::MAX), Err(Excess));
            assert_eq!(output.credit(OUTPUT_WINDOW - 16 * K), Ok(OUTPUT_WINDOW - 16 * K));
            assert_eq!(output.credit(1), Err(Excess));
            sent(&mut output);
            assert_eq!(output.credit(K + 1), Err(Excess), "{keep:?}");
            assert_eq!(output.credit(K), Ok(K), "{keep:?}");
        }
    }

    #[test]
    fn what_is_kept_goes_when_all_of_its_cost_has_come_back() {
        let mut output = output(Keep::UntilCredited, &[1, 8192, 5]);
        assert_eq!(sent(&mut output), [(0, 1), (1, 8192), (8193, 5)]);
        assert_eq!(output.credit(K + 100), Ok(K));
        assert_eq!(output.credit(2 * K - 101), Ok(0));
        assert_eq!(output.cost(), 3 * K);
        assert_eq!(output.credit(1), Ok(2 * K));
        output.rewind();
        assert_eq!(sent(&mut output), [(8193, 5)], "only what was not credited");
    }

    #[test]
    fn a_hub_that_comes_back_gets_what_it_does_not_have() {
        for (have, more, then) in [
            (0, 0, vec![(0, 100), (100, 8192)]),
            (100, K, vec![(100, 8192)]),
            (50, 0, vec![(50, 50), (100, 8192)]),
            (100 + 5000, 2 * K, vec![(5100, 3192)]),
            (8292, 3 * K, vec![]),
            (u64::MAX, 3 * K, vec![]),
        ] {
            let mut output = output(Keep::UntilCredited, &[100, 8192]);
            output.next();
            assert_eq!((output.resume(have), sent(&mut output)), (more, then), "{have}");
            // All that is not held may be printed, and no more.
            let free = (16 * K - output.cost()) / K;
            for _ in 0..free {
                output.push(OutputStream::Stdout, Bytes::from_static(b"y")).unwrap();
            }
            assert_eq!(output.push(OutputStream::Stdout, Bytes::from_static(b"y")), Err(Excess));
        }
    }
}
