//! A follower against hubs that die, come back, forget and refuse: real sockets, a scripted hub behind them.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

mod common;
mod follow {
    mod acked;
    mod resumed;
}
