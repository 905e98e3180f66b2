//! System calls for which no well-kept crate has a safe form. The only crate of secmon with `unsafe` in it; each
//! module does one thing, and each `unsafe` block says why it is sound.

mod peer;

pub use peer::peer_groups;
