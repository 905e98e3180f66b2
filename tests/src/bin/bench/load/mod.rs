//! A load: as many nodes and subscribers as a bench wants, in this process, which speak the real protocols to
//! a real hub. They do no more than they must, so that what is measured is the hub.

pub(crate) mod account;
pub(crate) mod event;
pub(crate) mod fleet;
pub(crate) mod node;
pub(crate) mod subscriber;
pub(crate) mod tally;

use std::time::{Duration, SystemTime};

use tokio::runtime::{Builder, Runtime};

/// Whatever a bench waits for has come by then, or never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The runtime of a load: a thread per processor.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// Nanoseconds since 1970, by which a latency is measured: both ends are in this process.
pub(crate) fn now() -> i64 {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    i64::try_from(nanos).unwrap_or(i64::MAX)
}
