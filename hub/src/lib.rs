//! The hub: keeps the nodes' state, orders their records into one log, serves clients over a Unix
//! socket and relays commands.
//!
//! A record enters by `conn::node`, is ordered by the pure `core`, written by the store, and
//! leaves through the ring to the subscribers of `conn::client`. One task, the actor, owns the core.
//!
//! What must not live here: anything that decodes an event or a facet's value, and anything of the node's.

pub mod access;
mod actor;
mod addresses;
mod ca;
mod config;
mod conn;
pub mod core;
mod descriptors;
mod error;
mod files;
mod hub;
mod log;
mod ring;
mod segment;
mod store;
mod tickets;
mod tls;
mod trouble;

pub use access::AccessSection;
pub use config::{Durability, HubConfig, HubSection, JobsSection, LogSection, SocketSection};
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use conn::fuzzing;
pub use error::HubError;
pub use hub::{Enrolment, Hub, start};
pub use store::StoreError;
