//! Where what is expensive to make is kept between runs: outside of the tree, and the same for every checkout.

use std::{env, path::PathBuf};

/// The cache folder: `SECMON_TEST_CACHE`, else `/var/cache/secmon-tests`. It need not exist.
#[must_use]
pub fn folder() -> PathBuf {
    env::var_os("SECMON_TEST_CACHE").map_or_else(|| "/var/cache/secmon-tests".into(), PathBuf::from)
}
