//! What crosses a wire or a disk in secmon, and how it is shown to machines.
//!
//! Ids, the values of the facets, diffs, records and their envelopes, the messages of the three
//! conversations (node and hub, joining, client and hub), frames and their codec, join tokens, and the
//! one renderer of the Elastic Common Schema.
//!
//! What must not live here: a runtime, a socket, a clock, the filesystem. Everything is a pure function
//! of its arguments; who needs the time is given it.

pub mod address;
pub mod auth;
mod bounded;
pub mod codec;
pub mod command;
pub mod ecs;
pub mod event;
pub mod facet;
pub mod hub_event;
pub mod ids;
pub mod limits;
pub mod message;
pub mod record;
pub mod session;
pub mod state;
pub mod state_event;
pub mod text;
pub mod time;
pub mod token;
pub mod wireguard;
