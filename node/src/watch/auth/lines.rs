//! Bytes in, lines out: what a reader gets in chunks, put together again under a limit. Pure.

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The start of a line whose end has not come.
    held: Vec<u8>,
    /// How many bytes were taken since the last line's end; more than are held when the line is too long.
    open: u64,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes. A longer one is given with `limit + 1` bytes, by which it can be
    /// told; the rest of it is dropped.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes a chunk, and gives every line that ends in it, without its newline, and how many bytes of the
    /// chunk are behind it then.
    ///
    /// Zero bytes before a line are dropped: a writer that goes on where it was in a file that was truncated
    /// meanwhile leaves a hole there.
    pub(super) fn push(&mut self, chunk: &[u8], mut line: impl FnMut(&[u8], usize)) {
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &chunk[at..]).map(|length| at + length) {
            if self.held.is_empty() {
                at += leading_zeros(&chunk[at..end]);
            }
            if self.held.is_empty() && end - at <= self.limit {
                line(&chunk[at..end], end + 1);
            } else {
                self.hold(&chunk[at..end]);
                line(&self.held, end + 1);
                self.held.clear();
            }
            self.open = 0;
            at = end + 1;
        }
        self.open += (chunk.len() - at) as u64;
        if self.held.is_empty() {
            at += leading_zeros(&chunk[at..]);
        }
        self.hold(&chunk[at..]);
    }

    /// Bytes that were taken since the last line's end.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// Gives the last line, which nobody ended, if there is one.
    pub(super) fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.held.is_empty() {
            line(&self.held);
        }
        self.held.clear();
        self.open = 0;
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = (self.limit + 1).saturating_sub(self.held.len());
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

fn leading_zeros(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| **byte == 0).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_into_chunks_changes_nothing(
            lines in proptest::collection::vec("\0{0,3}[a-z]{0,12}", 0..9), rest in "[a-z]{0,12}", size in 1_usize..20,
        ) {
            let text = lines.iter().map(|l| format!("{l}\n")).collect::<String>() + &rest;
            let mut reader = Lines::new(8);
            let (mut got, mut ends) = (Vec::new(), Vec::new());
            for (number, chunk) in text.as_bytes().chunks(size).enumerate() {
                reader.push(chunk, |line, used| {
                    got.push(String::from_utf8(line.to_vec()).unwrap());
                    ends.push(number * size + used);
                });
            }
            let trimmed = |line: &str| line.trim_start_matches('\0').chars().take(9).collect::<String>();
            prop_assert_eq!(got, lines.iter().map(|l| trimmed(l)).collect::<Vec<_>>());
            let ends_of_lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
            prop_assert_eq!(ends, ends_of_lines.collect::<Vec<_>>());
            prop_assert_eq!(reader.open(), rest.len() as u64);
            let mut last = String::new();
            reader.finish(|line| last = String::from_utf8(line.to_vec()).unwrap());
            prop_assert_eq!(last, trimmed(&rest));
            prop_assert_eq!(reader.open(), 0);
        }
    }
}
