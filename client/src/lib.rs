//! The secmon client: a library that talks to a hub over its Unix socket, and the CLI built on it.
//!
//! [`Client`] is the handle; one task per connection does the talking. [`Follow`] is a subscription that goes on
//! over the end of a connection, and with a [`CursorFile`] over that of the program. [`render`] makes text for people
//! out of events and nodes, purely; [`cli`] is the commands `list`, `show`, `watch`, `commands`, `run`,
//! `jobs`, `job`, `whoami`, `enroll` and `remove`. What must not live here: anything that a hub or a node does, and any JSON of our own making
//! for events and nodes (that is [`secmon_protocol::ecs`]).
//!
//! # Exit codes
//!
//! The commands end with the codes that [`cli::EXIT_CODES`] lists.

pub mod cli;
mod client;
mod connection;
mod cursor_file;
mod error;
mod follow;
mod job;
pub mod pattern;
pub mod render;
mod run;
mod subscription;

pub use cli::default_socket;
pub use client::{Client, Enrolled, HubInfo};
pub use cursor_file::{CursorFile, CursorFileError};
pub use error::ClientError;
pub use follow::{Follow, Update};
pub use job::{JobEvent, JobOutput};
pub use run::{Run, RunEvent, RunOptions};
pub use subscription::{Item, Subscription};
