//! What machines read: every event type and every node as exactly the JSON that is promised.
//!
//! An event is made as a client makes it, from a record in an envelope, and compared whole.

mod auth;
mod command;
mod common;
mod every_type;
mod frame;
mod hub;
mod line;
mod node;
#[path = "../common/samples.rs"]
#[expect(dead_code, reason = "the golden vectors use all of it")]
mod samples;
mod session;
mod state;
mod wireguard;
