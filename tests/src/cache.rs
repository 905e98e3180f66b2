//! Where things are kept that take long to fetch or to make: outside of the tree, and shared by all tests.

use std::{env, path::PathBuf};

use nix::unistd::geteuid;

/// `SECMON_TEST_CACHE`, else `/var/cache/secmon-tests` for root, and `$XDG_CACHE_HOME/secmon-tests`
/// (`~/.cache/secmon-tests`) for others. It need not exist. `tests/kernel` uses the same.
///
/// # Panics
/// When an ordinary user has no `HOME`.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(named) = env::var_os("SECMON_TEST_CACHE").filter(|name| !name.is_empty()) {
        return named.into();
    }
    if geteuid().is_root() {
        return "/var/cache/secmon-tests".into();
    }
    let cache = env::var_os("XDG_CACHE_HOME").filter(|name| !name.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").expect("HOME is set")).join(".cache");
    cache.unwrap_or_else(home).join("secmon-tests")
}
