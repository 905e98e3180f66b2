//! A hash of texts that strangers choose: nobody who does not know its key can aim at one, and with its key kept
//! it means the same to the next process. Pure.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// A key of its own for every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HashKey(u64, u64);

impl HashKey {
    pub(super) fn random() -> Self {
        Self(rand::random(), rand::random())
    }

    /// The hash of these texts, one after the other.
    pub(super) fn hash(self, texts: &[&str]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        for text in texts {
            hasher.write(text.as_bytes());
            // No text holds this byte, so that where one ends counts as well.
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }
}
