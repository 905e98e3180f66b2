//! Bytes in, lines out: what a reader gets in chunks, put together again under a limit. Pure.

/// Puts lines together.
#[derive(Debug)]
pub(super) struct Lines {
    /// The start of a line whose end has not come.
    held: Vec<u8>,
    limit: usize,
}

impl Lines {
    /// Lines of at most `limit` bytes. A longer one is given with `limit + 1` bytes, by which it can be
    /// told; the rest of it is dropped.
    pub(super) fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit }
    }

    /// Takes a chunk, and gives every line that ends in it, without its newline.
    pub(super) fn push(&mut self, chunk: &[u8], mut line: impl FnMut(&[u8])) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if self.held.is_empty() && end <= self.limit {
                line(&rest[..end]);
            } else {
                self.hold(&rest[..end]);
                line(&self.held);
                self.held.clear();
            }
            rest = &rest[end + 1..];
        }
        self.hold(rest);
    }

    /// Gives the last line, which nobody ended, if there is one.
    pub(super) fn finish(&mut self, line: impl FnOnce(&[u8])) {
        if !self.held.is_empty() {
            line(&self.held);
            self.held.clear();
        }
    }

    /// Forgets the start of a line whose end will not come.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    fn hold(&mut self, bytes: &[u8]) {
        let room = (self.limit + 1).saturating_sub(self.held.len());
        self.held.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_into_chunks_changes_nothing(
            lines in proptest::collection::vec("[a-z]{0,12}", 0..9), size in 1_usize..20,
        ) {
            let text = lines.iter().map(|l| format!("{l}\n")).collect::<String>();
            let mut reader = Lines::new(8);
            let mut got = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                reader.push(chunk, |line| got.push(String::from_utf8(line.to_vec()).unwrap()));
            }
            let want: Vec<_> = lines.iter().map(|l| l[..l.len().min(9)].to_owned()).collect();
            prop_assert_eq!(got, want);
        }
    }
}
