//! Properties of the wire: whatever is sent arrives as it was, and whatever arrives, however hostile,
//! ends in a value or an error and never in a panic or in memory that nobody paid for with bytes.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

mod an_event;
mod basics;
mod client;
mod hostile;
mod large;
mod legitimate;
mod node;
mod records;
mod round_trip;
#[path = "../common/variants.rs"]
mod variants;
