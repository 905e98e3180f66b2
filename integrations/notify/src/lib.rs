//! What deserves a message, and getting it there: shared by the Telegram bot and by Discord, ntfy and webhooks.
//!
//! Events come from the hub by [`secmon_client::Follow`]. [`core`] decides, purely and in virtual time, what becomes
//! of each: a [`Notice`] now, a line in a digest, or nothing. [`run`] owns the core and its store: what the core decided, what
//! it remembers and the cursor are committed together, and only then does `deliver` hand notices to a
//! [`Service`], one queue per destination, until the service has taken them. So nothing is lost by a kill at any moment, and
//! nothing is sent twice but what was in flight.
//!
//! It may depend on `secmon-client` and `secmon-protocol`, never on the hub or the node, and knows no service by name.

mod clock;
pub mod config;
pub mod core;
mod deliver;
pub mod failed;
mod notice;
mod own;
pub mod run;
mod secret;
mod service;
mod store;
pub mod web;

pub use notice::{Field, Kind, Notice, Severity};
pub use secret::{Secret, SecretError};
pub use service::{Destination, Receipt, SendError, Sending, Service};
