//! Services that are out of reach, in their stead: real HTTP on a free port of the loopback, the service's documented answers, and
//! its faults when a test asks for them.

pub mod discord;
pub mod faults;
pub mod ntfy;
pub mod telegram;
pub mod webhook;
