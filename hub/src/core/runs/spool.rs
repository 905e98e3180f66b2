//! What is kept of a job's output: the first half of what may be kept and the last, in pieces, with a hole between. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use secmon_protocol::{command::OutputStream, ids::JobId};

use super::super::Write;

/// A piece counts as at least this part of what is kept of a job, so that a program which prints byte by byte has no
/// more than twice as many pieces, here and in the store.
const PIECES: u64 = 1024;
/// No job prints more than this, in bytes: what SQLite counts, with room.
pub(super) const MAX_PRINTED: u64 = 1 << 62;

/// A piece of output that is kept; its bytes are in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Bytes that the job had printed before it, both streams together.
    pub at: u64,
    /// Which stream.
    pub stream: OutputStream,
    /// Its length in bytes.
    pub len: u64,
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.len
    }
}

/// The output of one job.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// Bytes that the job has printed, as far as the hub has heard.
    printed: u64,
    /// Bytes of them that are kept.
    kept: u64,
    /// What the first half counts.
    head: u64,
    /// The last piece of the first half, as long as that may grow.
    open: Option<Piece>,
    /// Whether the first half is full.
    full: bool,
    /// The pieces of the last half, and what they count.
    tail: VecDeque<Piece>,
    tail_cost: u64,
}

impl Spool {
    /// What the store has of a job, in order, under a limit in bytes.
    pub(super) fn found(pieces: &[Piece], printed: u64, limit: u64) -> Self {
        let mut spool = Self::default();
        for piece in pieces {
            spool.full |= piece.at != spool.printed;
            spool.push(*piece, limit);
        }
        spool.printed = spool.printed.max(printed);
        spool.full |= spool.printed != spool.kept;
        spool
    }

    /// Bytes that the job has printed.
    pub(super) fn printed(&self) -> u64 {
        self.printed
    }

    /// How many of them are not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.printed.saturating_sub(self.kept)
    }

    /// Takes what the job printed from `at` on, of which nothing lies beyond [`MAX_PRINTED`]; what was there before is
    /// cut off, what was left out counts as dropped.
    pub(super) fn take(
        &mut self,
        job: JobId,
        (at, stream, mut data): (u64, OutputStream, Bytes),
        limit: u64,
        mut write: impl FnMut(Write),
    ) {
        let again = self.printed.saturating_sub(at).min(data.len() as u64);
        let data = data.split_off(usize::try_from(again).unwrap_or(data.len()));
        if at > self.printed {
            (self.printed, self.full) = (at, true);
        }
        if data.is_empty() {
            return;
        }
        let len = data.len() as u64;
        let at = self.merge(stream, len, limit).unwrap_or(self.printed);
        write(Write::JobOutput { job, at, stream, data });
        if at == self.printed {
            self.push(Piece { at, stream, len }, limit);
        }
        while self.tail_cost > limit / 2
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_cost -= cost(oldest.len, limit);
            self.kept -= oldest.len;
            write(Write::DropOutput { job, from: oldest.at, to: oldest.end() });
        }
    }

    /// Where the last piece begins, if what follows may become a part of it.
    fn merge(&mut self, stream: OutputStream, len: u64, limit: u64) -> Option<u64> {
        let printed = self.printed;
        let last = self.tail.back_mut().or(self.open.as_mut().filter(|_| !self.full))?;
        let fits = last.len + len <= least(limit) && last.stream == stream && last.end() == printed;
        if !fits {
            return None;
        }
        last.len += len;
        let at = last.at;
        (self.printed, self.kept) = (printed + len, self.kept + len);
        Some(at)
    }

    fn push(&mut self, piece: Piece, limit: u64) {
        let cost = cost(piece.len, limit);
        self.full |= self.head + cost > limit / 2;
        if self.full {
            self.tail.push_back(piece);
            self.tail_cost += cost;
        } else {
            self.head += cost;
            self.open = Some(piece);
        }
        (self.printed, self.kept) = (piece.end(), self.kept + piece.len);
    }
}

fn least(limit: u64) -> u64 {
    limit / PIECES
}

fn cost(len: u64, limit: u64) -> u64 {
    len.max(least(limit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 256 << 10;
    const JOB: JobId = JobId(1);

    /// What a store would have.
    #[derive(Default)]
    struct Kept(BTreeMap<u64, (OutputStream, Vec<u8>)>);

    impl Kept {
        fn write(&mut self, write: Write) {
            match write {
                Write::JobOutput { at, stream, data, .. } => {
                    let piece = self.0.entry(at).or_insert((stream, vec![]));
                    assert_eq!(piece.0, stream);
                    piece.1.extend_from_slice(&data);
                }
                Write::DropOutput { from, to, .. } => self.0.retain(|at, _| !(from..to).contains(at)),
                other => panic!("{other:?}"),
            }
        }

        fn pieces(&self) -> Vec<Piece> {
            let piece = |(at, (stream, data)): (&u64, &(OutputStream, Vec<u8>))| Piece {
                at: *at,
                stream: *stream,
                len: data.len() as u64,
            };
            self.0.iter().map(piece).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_first_and_the_last_are_kept_within_the_limit_over_restarts(
            chunks in prop::collection::vec((prop_oneof![1_usize..200, 1_usize..65_536], any::<bool>(), 0_u8..20), 1..200)
        ) {
            let (mut spool, mut kept, mut all) = (Spool::default(), Kept::default(), Vec::<u8>::new());
            for (len, err, restart) in chunks {
                let data = vec![(all.len() % 251) as u8; len];
                let stream = if err { OutputStream::Stderr } else { OutputStream::Stdout };
                let at = all.len() as u64;
                all.extend_from_slice(&data);
                spool.take(JOB, (at, stream, data.into()), LIMIT, |write| kept.write(write));
                if restart == 0 {
                    spool = Spool::found(&kept.pieces(), spool.printed(), LIMIT);
                }
                let bytes: u64 = kept.0.values().map(|(_, data)| data.len() as u64).sum();
                prop_assert!(bytes <= LIMIT && kept.0.len() as u64 <= PIECES);
                prop_assert_eq!((spool.printed(), spool.dropped()), (all.len() as u64, all.len() as u64 - bytes));
                if at + len as u64 <= LIMIT / 2 && spool.dropped() == 0 {
                    prop_assert_eq!(bytes, all.len() as u64);
                }
                let (first, last) = (kept.0.iter().next().unwrap(), kept.0.iter().next_back().unwrap());
                prop_assert_eq!(*first.0, 0);
                prop_assert_eq!(last.0 + last.1.1.len() as u64, all.len() as u64);
            }
            for (at, (_, data)) in &kept.0 {
                let at = *at as usize;
                prop_assert_eq!(&all[at..at + data.len()], &data[..]);
            }
        }
    }

    #[test]
    fn what_comes_again_is_kept_once_and_what_was_left_out_is_missing() {
        let (mut spool, mut kept) = (Spool::default(), Kept::default());
        let mut take = |at, text: &'static str| {
            let data = Bytes::from_static(text.as_bytes());
            spool.take(JOB, (at, OutputStream::Stdout, data), LIMIT, |write| kept.write(write));
            (spool.printed(), spool.dropped())
        };
        assert_eq!(take(0, "abc"), (3, 0));
        assert_eq!(take(1, "bcd"), (4, 0));
        assert_eq!(take(0, "ab"), (4, 0));
        assert_eq!(take(10, "k"), (11, 6));
        assert_eq!(take(MAX_PRINTED - 1, "z"), (MAX_PRINTED, MAX_PRINTED - 6));
        assert_eq!(kept.0[&0].1, b"abcd");
    }
}
