//! Lists that stop being read when they are far too long.
//!
//! A text of no bytes takes one byte on the wire and 24 in memory, so that a message of empty texts would
//! cost its reader far more than its sender. Who reads a list checks its limit and can say what is wrong
//! with it; what is here only keeps a hostile one from being read to its end.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

/// A list is read up to this many times its limit, so that the one who made a mistake is told so in
/// better words than "malformed".
const SLACK: usize = 16;

/// For `#[serde(deserialize_with)]`: a list that is refused at more than [`SLACK`] times `LIMIT` items.
///
/// # Errors
/// More items than that, or one that is not a `T`.
pub(crate) fn list<'de, D, T, const LIMIT: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(List::<T, LIMIT>(PhantomData))
}

struct List<T, const LIMIT: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LIMIT: usize> Visitor<'de> for List<T, LIMIT> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {LIMIT} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        // The hint is what the sender claims: it may refuse the list early and sets no memory aside.
        if let Some(claimed) = seq.size_hint().filter(|claimed| *claimed > SLACK * LIMIT) {
            return Err(de::Error::invalid_length(claimed, &self));
        }
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == SLACK * LIMIT {
                return Err(de::Error::invalid_length(items.len() + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}
