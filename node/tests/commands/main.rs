//! What starts commands, from where its orders come from: in this process, and behind the socket of a runner.
#![expect(clippy::unwrap_used, reason = "clippy takes only the bodies of #[test] functions for tests")]

mod engine;
mod runner;
mod scene;
