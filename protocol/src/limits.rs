//! Every limit on what a peer may send, in one place, in bytes unless a name says otherwise.
//!
//! A limit is checked before memory is allocated for what it limits. `docs/protocol.md` lists them.

/// Largest frame, without its 4-byte length.
pub const MAX_FRAME: usize = 1 << 20;
/// Largest message put together from `Begin`, `Part` … `End`.
pub const MAX_MESSAGE: usize = 32 << 20;
/// Bytes of one `Part`, and of one chunk of command output.
pub const MAX_CHUNK: usize = 64 << 10;
/// A batch of records is closed when it has grown to this size.
pub const BATCH_TARGET: usize = 256 << 10;
/// Largest record that a node keeps or a hub accepts.
pub const MAX_RECORD: usize = 24 << 20;
/// Longest node name, in bytes; RFC 1035's limit for a host name label.
pub const MAX_NAME: usize = 63;
/// Longest text of one field of an event (user, address, command …); longer ones are cut.
pub const MAX_FIELD: usize = 4 << 10;
/// Longest line that a log reader takes; the rest of a longer line is dropped and the line marked.
pub const MAX_LINE: usize = 64 << 10;
/// Most records of one batch. A record costs its reader memory beside its bytes; a batch of [`BATCH_TARGET`]
/// holds some 8,000 of the smallest ones that a node makes.
pub const MAX_BATCH_RECORDS: usize = 16_384;
/// Most operations of one batch, its diffs and snapshots together: every entry of a node going and another
/// one coming in its place.
pub const MAX_OPS: usize = 2 * MAX_NODE_ENTRIES;
/// Most facets of one node; this version knows three, and later ones will know more.
pub const MAX_FACETS: usize = 32;
/// Most entries of one facet of one node.
pub const MAX_ENTRIES: usize = 100_000;
/// Most entries of all facets of one node: three full ones. An entry costs the hub memory beside its bytes.
pub const MAX_NODE_ENTRIES: usize = 3 * MAX_ENTRIES;
/// Longest key of an entry: a short text or a public key, with room for what later facets may use.
pub const MAX_KEY: usize = 1 << 10;
/// Longest value of an entry. Most have some hundred bytes; a WireGuard peer with thousands of networks has
/// some hundred KiB.
pub const MAX_VALUE: usize = 1 << 20;
/// Most bytes of one node's state, its keys, values and reasons together. What a snapshot carries is never
/// over it, and all of it fits one answer to a client.
pub const MAX_STATE: usize = MAX_RECORD;
/// Most commands in one allowlist.
pub const MAX_COMMANDS: usize = 1_000;
/// Most arguments of one command.
pub const MAX_ARGS: usize = 16;
/// Most values of one argument that is a choice.
pub const MAX_CHOICES: usize = 64;
/// Most detached jobs that one node holds, running or ended and not yet taken over by its hub.
pub const MAX_HELD_JOBS: usize = 256;
/// Most jobs in one answer.
pub const MAX_JOBS: usize = 1_000;
/// Most event types named by one envelope.
pub const MAX_TYPES: usize = 32;
/// Most patterns in one filter.
pub const MAX_PATTERNS: usize = 64;
/// Most names that a refusal offers in the place of one that was not found.
pub const MAX_NEAR: usize = 5;
/// Output that a client lets a command send before it grants more; and input that a node lets a client send.
pub const OUTPUT_WINDOW: u32 = 1 << 20;
/// Least credit that one chunk of output costs, so that tiny chunks cannot fill a queue for free.
pub const MIN_CHUNK_COST: u32 = 4 << 10;

/// The credit that a chunk of `len` bytes costs; see [`OUTPUT_WINDOW`].
#[must_use]
pub fn chunk_cost(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).max(MIN_CHUNK_COST)
}

/// Cuts `text` to at most [`MAX_FIELD`] bytes, at a character boundary.
#[must_use]
pub fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_FIELD)]
}
