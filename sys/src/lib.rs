//! System calls for which no well-kept crate has a safe form. The only crate of secmon with `unsafe` in it; each
//! module does one thing, and each `unsafe` block says why it is sound.

mod peer;
mod start;
mod wait;

pub use peer::peer_groups;
pub use start::{Ids, Preparation, Step, Steps, c_path, prepare};
pub use wait::{Ended, reap};
