//! Bytes to values and back: the only place that names bincode, and the only one that knows frames.
//!
//! A frame is a 4-byte big-endian length and that many bytes; the length is checked against
//! [`MAX_FRAME`] before anything is allocated. A message is the bincode of its enum
//! (`config::standard()`: little-endian, variable-length integers). A message larger than a frame goes as
//! [`Fragment`]s. A list is its items, each behind a length of its own, so that no item's count or size
//! has to be believed before it is read.

use std::{marker::PhantomData, ops::Range};

use bincode::config::{self, Config};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio_util::codec::LengthDelimitedCodec;

use crate::limits::{MAX_CHUNK, MAX_FRAME, MAX_MESSAGE};

/// bincode's limit counts the memory of the integers and lengths that it reads, in which one byte of the
/// wire may count eight (a `u64` below 251); it guards against a length that claims more than there is.
const MEMORY_PER_WIRE_BYTE: usize = 8;

fn for_frames() -> impl Config {
    config::standard().with_limit::<{ MEMORY_PER_WIRE_BYTE * MAX_FRAME }>()
}

fn for_messages() -> impl Config {
    config::standard().with_limit::<{ MEMORY_PER_WIRE_BYTE * MAX_MESSAGE }>()
}

/// What is wrong with bytes from a peer or a disk.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not the bincode of the type.
    #[error("malformed {what}: {source}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// bincode's words.
        #[source]
        source: Box<bincode::error::DecodeError>,
    },
    /// Bytes are left over behind a value.
    #[error("malformed {what}: {extra} bytes too many")]
    Trailing {
        /// The type that was expected.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// A list that ends within an item.
    #[error("malformed list: it ends within an item")]
    Truncated,
    /// A version or kind of a later secmon.
    #[error("{what} {found} is newer than this secmon knows")]
    Version {
        /// What has the version.
        what: &'static str,
        /// The version that was found.
        found: u16,
    },
    /// Something larger than its limit.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// `Begin`, `Part` and `End` in an order that means nothing.
    #[error("fragments out of order: {0}")]
    Fragments(&'static str),
}

/// The codec of every connection's frames.
#[must_use]
pub fn frames() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .length_field_length(4)
        .big_endian()
        .max_frame_length(MAX_FRAME)
        .new_codec()
}

/// The bytes of a value.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    // Encoding into a growing vector fails only for types that serde cannot describe (a sequence of
    // unknown length), and none of ours is; the golden vectors encode every one of them.
    bincode::serde::encode_to_vec(value, config::standard()).map(Bytes::from).unwrap_or_default()
}

/// Appends the bytes of a value.
pub fn append<T: Serialize>(out: &mut BytesMut, value: &T) {
    // A buffer in memory takes all that is written; see `encode` for what else could fail.
    let _ = bincode::serde::encode_into_std_write(value, &mut out.writer(), config::standard());
}

/// A value from exactly these bytes: a frame, a message put together from fragments, or what stood in
/// one. What may be claimed within them follows their own length, so that only who sent more than a frame
/// can make a reader set more than a frame's memory aside.
///
/// # Errors
/// More than [`MAX_MESSAGE`], not a `T`, bytes left over, or lengths that claim more than there can be.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.len() {
        len if len <= MAX_FRAME => decode_with(bytes, for_frames()),
        len if len <= MAX_MESSAGE => decode_with(bytes, for_messages()),
        size => Err(CodecError::TooLarge { what: type_name::<T>(), size, limit: MAX_MESSAGE }),
    }
}

/// As [`decode`], of a value that keeps parts of the bytes instead of copies of them.
///
/// # Errors
/// As [`decode`].
pub fn decode_borrowed<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let what = type_name::<T>();
    if bytes.len() > MAX_MESSAGE {
        return Err(CodecError::TooLarge { what, size: bytes.len(), limit: MAX_MESSAGE });
    }
    let (value, used) = bincode::serde::borrow_decode_from_slice(bytes, for_messages())
        .map_err(|source| CodecError::Malformed { what, source: Box::new(source) })?;
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(CodecError::Trailing { what, extra }),
    }
}

fn decode_with<T: DeserializeOwned, C: Config>(bytes: &[u8], config: C) -> Result<T, CodecError> {
    let what = type_name::<T>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|source| CodecError::Malformed { what, source: Box::new(source) })?;
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(CodecError::Trailing { what, extra }),
    }
}

fn type_name<T>() -> &'static str {
    let full = std::any::type_name::<T>();
    full.rsplit("::").next().unwrap_or(full)
}

/// A list: every item as a 4-byte big-endian length and its bytes.
#[must_use]
pub fn encode_list<'a, T: Serialize + 'a>(items: impl IntoIterator<Item = &'a T>) -> Bytes {
    let mut out = BytesMut::new();
    for item in items {
        push_item(&mut out, &encode(item));
    }
    out.freeze()
}

/// Appends one already encoded item to a list.
pub fn push_item(list: &mut BytesMut, item: &[u8]) {
    // An item is at most MAX_MESSAGE, far below 2^32; a longer one would be cut off from its reader.
    list.put_u32(u32::try_from(item.len()).unwrap_or(u32::MAX));
    list.put_slice(item);
}

/// Appends a value to a list, encoded in its place; gives where in the list its own bytes lie.
pub fn push_value<T: Serialize>(list: &mut BytesMut, value: &T) -> Range<usize> {
    let start = list.len() + 4;
    list.put_u32(0);
    append(list, value);
    let len = u32::try_from(list.len() - start).unwrap_or(u32::MAX);
    list[start - 4..start].copy_from_slice(&len.to_be_bytes());
    start..list.len()
}

/// The items of a list.
///
/// # Errors
/// The first item that is not a `T`.
pub fn decode_list<T: DeserializeOwned>(list: &[u8]) -> Result<Vec<T>, CodecError> {
    Items(list).map(|item| decode(item?)).collect()
}

/// The items of a list, still encoded; each is checked to lie within the list before it is handed out.
#[derive(Debug, Clone)]
pub struct Items<'a>(pub &'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = Result<&'a [u8], CodecError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let Some((head, rest)) = self.0.split_at_checked(4) else {
            self.0 = &[];
            return Some(Err(CodecError::Truncated));
        };
        let len = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((item, rest)) = rest.split_at_checked(len) else {
            self.0 = &[];
            return Some(Err(CodecError::Truncated));
        };
        self.0 = rest;
        Some(Ok(item))
    }
}

/// A type that is kept as a facet's key or value, with the version of its form.
pub trait Value: Serialize + DeserializeOwned {
    /// Raised when the form changes; written before the value.
    const VERSION: u16 = 1;
}

impl Value for String {}
impl Value for crate::session::Session {}
impl Value for crate::wireguard::WgPeerKey {}
impl Value for crate::wireguard::WgPeer {}
impl Value for crate::auth::AuthLogSource {}

/// A key or a value of a facet as bytes: the version in two bytes, big-endian, then the value.
#[must_use]
pub fn encode_value<T: Value>(value: &T) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(T::VERSION);
    out.put_slice(&encode(value));
    out.freeze()
}

/// The key or value of a facet.
///
/// # Errors
/// A version that this build does not know, or bytes that are not a `T`.
pub fn decode_value<T: Value>(mut bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() < 2 {
        return Err(CodecError::Truncated);
    }
    match bytes.get_u16() {
        version if version == T::VERSION => decode(bytes),
        found => Err(CodecError::Version { what: type_name::<T>(), found }),
    }
}

/// A piece of a message that is larger than a frame. Between two of them other messages may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fragment {
    /// A message of `len` bytes follows; at most [`MAX_MESSAGE`].
    Begin {
        /// Its length in bytes.
        len: u64,
    },
    /// Its next bytes, at most [`MAX_CHUNK`].
    Part(Bytes),
    /// That was all of it.
    End,
}

/// A message of a conversation.
pub trait Message: Serialize + DeserializeOwned {
    /// A fragment as a message.
    fn fragment(fragment: Fragment) -> Self;
    /// The message as a fragment, where it is one.
    ///
    /// # Errors
    /// The message itself, where it is none.
    fn into_fragment(self) -> Result<Fragment, Self>;
    /// The message of a frame that is mostly bytes, of which the message has a share instead of a copy; none where
    /// it is not such a one, or malformed. As long as the message lives, so does the memory that the frame was read into.
    #[must_use]
    fn sharing(frame: &Bytes) -> Option<Self> {
        let _ = frame;
        None
    }
}

/// A message that is mostly bytes shares them where these are worth it: the memory for others is not kept for a few.
const SHARED: usize = 32 << 10;

/// What stands before the byte string with which a frame ends, and that string as a share of the frame.
pub(crate) fn share<'a, T: Deserialize<'a>>(frame: &'a Bytes) -> Option<(T, Bytes)> {
    if frame.len() < SHARED || frame.len() > MAX_FRAME {
        return None;
    }
    let (head, bytes) = decode_borrowed::<(T, &'a [u8])>(frame).ok()?;
    Some((head, frame.slice_ref(bytes)))
}

/// A message as the frames that carry it (without their length): one, or its fragments in order.
///
/// # Errors
/// A message over [`MAX_MESSAGE`].
pub fn encode_frames<M: Message>(message: &M) -> Result<Vec<Bytes>, CodecError> {
    let bytes = encode(message);
    if bytes.len() <= MAX_FRAME { Ok(vec![bytes]) } else { fragments::<M>(&bytes) }
}

fn fragments<M: Message>(bytes: &Bytes) -> Result<Vec<Bytes>, CodecError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(CodecError::TooLarge { what: "message", size: bytes.len(), limit: MAX_MESSAGE });
    }
    let frame = |fragment| encode(&M::fragment(fragment));
    let mut frames = vec![frame(Fragment::Begin { len: bytes.len() as u64 })];
    frames.extend(
        (0..bytes.len())
            .step_by(MAX_CHUNK)
            .map(|at| frame(Fragment::Part(bytes.slice(at..bytes.len().min(at + MAX_CHUNK))))),
    );
    frames.push(frame(Fragment::End));
    Ok(frames)
}

/// Appends a frame: its length, and behind it what `fill` appends, at most [`MAX_FRAME`] bytes.
pub fn put_frame(out: &mut BytesMut, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    fill(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a message as the frames that carry it, with their lengths. Encoded in its place: a chunk of output is
/// copied once.
///
/// # Errors
/// A message over [`MAX_MESSAGE`]; nothing is appended.
pub fn put_message<M: Message>(out: &mut BytesMut, message: &M) -> Result<(), CodecError> {
    let start = out.len();
    put_frame(out, |out| append(out, message));
    if out.len() - start - 4 > MAX_FRAME {
        let large = out.split_off(start).freeze().slice(4..);
        fragments::<M>(&large)?.iter().for_each(|frame| put_frame(out, |out| out.put_slice(frame)));
    }
    Ok(())
}

/// Puts the messages of one direction of one connection together from its frames.
#[derive(Debug)]
pub struct Assembler<M> {
    partial: Option<(usize, BytesMut)>,
    most: usize,
    message: PhantomData<fn() -> M>,
}

impl<M> Default for Assembler<M> {
    fn default() -> Self {
        Self::at_most(MAX_MESSAGE)
    }
}

impl<M> Assembler<M> {
    /// One that takes messages of at most so many bytes, and never of more than [`MAX_MESSAGE`]: what a peer says that has
    /// nothing long to say need not be held.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self { partial: None, most: most.min(MAX_MESSAGE), message: PhantomData }
    }
}

impl<M: Message> Assembler<M> {
    /// Takes a frame; gives the message that it completes, if it does.
    ///
    /// # Errors
    /// Anything that is not a message; the connection must then be ended.
    pub fn push(&mut self, frame: &[u8]) -> Result<Option<M>, CodecError> {
        if frame.len() > MAX_FRAME {
            return Err(CodecError::TooLarge { what: "frame", size: frame.len(), limit: MAX_FRAME });
        }
        let fragment = match decode::<M>(frame)?.into_fragment() {
            Err(message) => return Ok(Some(message)),
            Ok(fragment) => fragment,
        };
        match (fragment, self.partial.take()) {
            (Fragment::Begin { len }, None) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                if len > self.most {
                    return Err(CodecError::TooLarge { what: "message", size: len, limit: self.most });
                }
                self.partial = Some((len, BytesMut::new()));
                Ok(None)
            }
            (Fragment::Begin { .. }, Some(_)) => Err(CodecError::Fragments("a second Begin before End")),
            (_, None) => Err(CodecError::Fragments("no Begin before it")),
            (Fragment::Part(part), Some(_)) if part.len() > MAX_CHUNK => {
                Err(CodecError::TooLarge { what: "part", size: part.len(), limit: MAX_CHUNK })
            }
            (Fragment::Part(part), Some((len, mut bytes))) => {
                if bytes.len() + part.len() > len {
                    return Err(CodecError::Fragments("more bytes than Begin said"));
                }
                bytes.extend_from_slice(&part);
                self.partial = Some((len, bytes));
                Ok(None)
            }
            (Fragment::End, Some((len, bytes))) => {
                if bytes.len() != len {
                    return Err(CodecError::Fragments("fewer bytes than Begin said"));
                }
                match decode::<M>(&bytes)?.into_fragment() {
                    Err(message) => Ok(Some(message)),
                    Ok(_) => Err(CodecError::Fragments("a fragment within a message")),
                }
            }
        }
    }
}
