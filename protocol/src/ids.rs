//! Newtypes for every identifier, so that a seq can never be passed where a cursor is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::MAX_NAME;

/// A node for ever: a UUIDv7 minted by the hub at enrolment and written into the node's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// Stands for the hub itself in records that are about no node. No node has it.
    pub const HUB: Self = Self([0; 16]);

    /// A new id; `unix_millis` is the time of enrolment, `random` is fresh randomness.
    #[must_use]
    pub fn mint(unix_millis: u64, random: [u8; 10]) -> Self {
        Self(*uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).as_uuid().as_bytes())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for NodeId {
    type Err = uuid::Error;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self(*Uuid::parse_str(s)?.as_bytes()))
    }
}

/// What people call a node: 1 to 63 of `A-Z a-z 0-9 . _ -`, the first a letter or a digit.
///
/// A name is unique within a hub. The form keeps it safe in a shell, a path, a URL and on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// The name that goes with [`NodeId::HUB`].
    #[must_use]
    pub fn hub() -> Self {
        Self("hub".to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(NameError::Length(name.len()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(bad));
        }
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(NameError::Start);
        }
        Ok(Self(name))
    }
}

impl FromStr for NodeName {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.to_owned().try_into()
    }
}

/// Why a text is not a node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or too long.
    #[error("a node name has 1 to {MAX_NAME} characters, this has {0}")]
    Length(usize),
    /// A character that is not allowed.
    #[error("a node name is made of letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
    /// It starts with `.`, `_` or `-`.
    #[error("a node name starts with a letter or a digit")]
    Start,
}

/// One unbroken numbering of a node's records. Opaque: two epochs are the same or they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Epoch(pub u64);

/// The place of a record within its node's epoch; the first is 1, each next one greater by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The seq after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One log of a hub. A hub whose log starts anew (or was restored from an older copy) takes a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a hub's log, opaque outward: written `LOG-NUMBER`, the log in 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Which log.
    pub log: LogId,
    /// Which place; the first record is 1, so 0 is "before everything".
    pub n: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.log, self.n)
    }
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: expected 16 hexadecimal digits, '-' and a number, as in `secmon.cursor`")]
pub struct CursorError;

impl FromStr for Cursor {
    type Err = CursorError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (log, n) = s.split_once('-').ok_or(CursorError)?;
        if log.len() != 16 || !n.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CursorError);
        }
        Ok(Self {
            log: LogId(u64::from_str_radix(log, 16).map_err(|_| CursorError)?),
            n: n.parse().map_err(|_| CursorError)?,
        })
    }
}

/// A client's own number for a request; answers carry it. Unique among a connection's open requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// One start of a command on a node: a random number of the hub's, so that no other is the same in any hub's life,
/// not even in that of one restored from a backup. Written in 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_safe_everywhere_or_refused() {
        for good in ["web-1", "a", "0", "db.example.org", "A_b"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-x", ".x", "a b", "a/b", "ü", "a\n", "$(id)", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_cursor_reads_back_what_it_prints() {
        let cursor = Cursor { log: LogId(0xfeed), n: 42 };
        assert_eq!(cursor.to_string(), "000000000000feed-42");
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "feed-1", "000000000000feed-", "000000000000feed-x", "000000000000feed-+1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad:?}");
        }
    }
}
