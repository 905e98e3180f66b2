//! The shape of netlink: messages in a datagram, attributes in a message, and requests. Pure: bytes in,
//! slices of the same bytes out, so that a key that passes by is copied nowhere.
//!
//! Sources: netlink(7), `linux/netlink.h`, `linux/genetlink.h`. Numbers are in the machine's byte order.
//!
//! What must not live here: sockets, and what the attributes of one family mean.

use nix::libc::{
    NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR, NLMSG_NOOP, NLMSG_OVERRUN, genlmsghdr, nlattr, nlmsghdr,
};

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = size_of::<nlmsghdr>();

/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = size_of::<nlattr>();

/// Bytes of `struct genlmsghdr`.
const GENERIC: usize = size_of::<genlmsghdr>();

/// Marks an attribute that holds others (`NLA_F_NESTED`).
const NESTED: u16 = 1 << 15;

/// What is left of an attribute's type without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

/// What the kernel said instead of an answer that makes sense. No value of an attribute is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum Wrong {
    /// A length that leads out of what holds it, or a value of another length than its type has.
    #[error("{0} cannot be read")]
    Malformed(&'static str),
    /// The kernel refused: a number of errno(3).
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Errno(i32),
    /// The kernel lost messages (`NLMSG_OVERRUN`).
    #[error("messages were lost")]
    Overrun,
    /// See [`super::MAX_REPLY`].
    #[error("the answer is longer than {} MiB", super::MAX_REPLY >> 20)]
    TooLong,
}

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// Lengths are rounded up to this (`NLMSG_ALIGNTO`, `NLA_ALIGNTO`).
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The first message of `rest`, which is moved behind it.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let length = usize::try_from(u32_at(rest, 0)?).ok()?;
    let body = rest.get(HEADER..length)?;
    let message =
        Message { kind: u16_at(rest, 4)?, flags: u16_at(rest, 6)?, sequence: u32_at(rest, 8)?, body };
    *rest = rest.get(aligned(length)..).unwrap_or_default();
    Some(message)
}

/// The attributes of a message or of a nest, by type; an error ends them.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Wrong>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let one = next_attribute(&mut rest).ok_or(Wrong::Malformed("an attribute"));
        if one.is_err() {
            rest = &[];
        }
        Some(one)
    })
}

fn next_attribute<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = usize::from(u16_at(rest, 0)?);
    let kind = u16_at(rest, 2)? & TYPE_MASK;
    let value = rest.get(ATTRIBUTE..length)?;
    *rest = rest.get(aligned(length)..).unwrap_or_default();
    Some((kind, value))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The answers to one request, as they come in.
#[derive(Debug)]
pub(super) struct Answers {
    sequence: u32,
    /// The type of the messages that carry the answer.
    kind: u16,
    total: usize,
    done: bool,
    interrupted: bool,
}

impl Answers {
    /// For the answers to the request with this sequence number.
    pub(super) fn new(sequence: u32, kind: u16) -> Self {
        Self { sequence, kind, total: 0, done: false, interrupted: false }
    }

    /// Whether all has come.
    pub(super) fn are_complete(&self) -> bool {
        self.done
    }

    /// Whether what was listed changed meanwhile (`NLM_F_DUMP_INTR`): some of it may be lacking, or be there
    /// twice.
    pub(super) fn are_inconsistent(&self) -> bool {
        self.interrupted
    }

    /// Reads one datagram, and gives the body of each message of the answer to `take`.
    ///
    /// # Errors
    /// See [`Wrong`], and what `take` returns. The whole answer is of no use then.
    pub(super) fn feed(
        &mut self,
        datagram: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.total = self.total.saturating_add(datagram.len());
        if self.total > super::MAX_REPLY {
            return Err(Wrong::TooLong);
        }
        let mut rest = datagram;
        while !rest.is_empty() && !self.done {
            let message = next_message(&mut rest).ok_or(Wrong::Malformed("a message"))?;
            // What is left over of an earlier request, which was given up.
            if message.sequence != self.sequence {
                continue;
            }
            self.interrupted |= i32::from(message.flags) & NLM_F_DUMP_INTR != 0;
            match i32::from(message.kind) {
                NLMSG_NOOP => {}
                NLMSG_OVERRUN => return Err(Wrong::Overrun),
                // Both begin with a number, which is 0 or an errno less than 0; a done of an older kernel is bare.
                NLMSG_DONE | NLMSG_ERROR => {
                    let code = u32_at(message.body, 0).unwrap_or(0).cast_signed();
                    if code != 0 {
                        return Err(Wrong::Errno(code.saturating_neg()));
                    }
                    self.done = true;
                }
                _ if message.kind == self.kind => take(message.body)?,
                _ => return Err(Wrong::Malformed("a message of a type that was not asked for")),
            }
        }
        Ok(())
    }
}

/// What follows `struct genlmsghdr` in the body of a generic netlink message.
pub(super) fn generic(body: &[u8]) -> Result<&[u8], Wrong> {
    body.get(GENERIC..).ok_or(Wrong::Malformed("a generic netlink message"))
}

/// A request that is being put together.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A message of this type with flags of `linux/netlink.h`, a sequence number of the caller's choice and
    /// the fixed header of its family.
    pub(super) fn new(kind: u16, flags: u16, sequence: u32, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        // The port of the kernel.
        bytes.extend([0; 4]);
        bytes.extend(fixed);
        Self(bytes)
    }

    /// A generic netlink message: its fixed header is a command and a version.
    pub(super) fn generic(family: u16, flags: u16, sequence: u32, command: u8) -> Self {
        Self::new(family, flags, sequence, &[command, 1, 0, 0])
    }

    /// Adds an attribute. `value` is short, and made here: it fits.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(aligned(self.0.len()), 0);
        self
    }

    /// Adds an attribute that holds others.
    pub(super) fn nest(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let inside = fill(Self(Vec::new())).0;
        self.with(kind | NESTED, &inside)
    }

    /// The message, whole.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.splice(..4, length.to_ne_bytes());
        self.0
    }
}

/// A number of the width of its array.
pub(super) fn fixed<const N: usize>(value: &[u8], what: &'static str) -> Result<[u8; N], Wrong> {
    value.try_into().map_err(|_| Wrong::Malformed(what))
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
