//! A place in the journal: the entry that was read last. Pure.

use serde::{Deserialize, Serialize};

/// A cursor, sd_journal_get_cursor(3): `s=…;i=…;b=…;m=…;t=…;x=…`, the file's sequence and the number in it,
/// boot, times, and a hash of what the entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor(String);

/// What an entry keeps when journald copies it from memory to disk (`journalctl --flush`); sequence and
/// number it does not keep.
const KEPT: [&str; 4] = ["b=", "m=", "t=", "x="];

impl Cursor {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the other is a place at the same entry.
    ///
    /// journalctl cannot be asked for what comes *after* a cursor. Where the entry itself is gone, systemd 252
    /// leaves out the entry after it as well; where it was copied, 257 gives it again. So it is asked for what
    /// comes from the cursor on, and this says whether that begins with what is known.
    pub(super) fn is_same_entry(&self, other: &Self) -> bool {
        self == other
            || KEPT.iter().all(|name| self.part(name).is_some() && self.part(name) == other.part(name))
    }

    fn part(&self, name: &str) -> Option<&str> {
        self.0.split(';').find_map(|part| part.strip_prefix(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_the_same_after_a_flush_and_another_one_is_not() {
        // By journald 252, of one message before and after `journalctl --flush`, and of the next.
        let before = "s=7df588e94f76430fbc75b9cf67b91624;i=4;b=27c0c949ad7845539fd1c4826ee88549;m=553af1dc7;t=660c601ab33e2;x=dd777080b56fbb9e";
        let after = "s=b5da082a6b6242938c8a15fd59f64165;i=4;b=27c0c949ad7845539fd1c4826ee88549;m=553af1dc7;t=660c601ab33e2;x=dd777080b56fbb9e";
        let next = "s=b5da082a6b6242938c8a15fd59f64165;i=5;b=27c0c949ad7845539fd1c4826ee88549;m=553f4822f;t=660c601f0984b;x=606fcf9cddf21c93";
        let cursor = |text: &str| Cursor::new(text.to_owned());
        assert!(cursor(before).is_same_entry(&cursor(after)));
        assert!(!cursor(after).is_same_entry(&cursor(next)));
        assert!(!cursor("c1").is_same_entry(&cursor("c2")));
        assert!(cursor("c1").is_same_entry(&cursor("c1")));
    }
}
