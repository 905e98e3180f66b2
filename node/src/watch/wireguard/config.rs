//! `[wireguard]` of the node's configuration, and its bounds. What must not live here: any use of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use super::schedule::Pace;

/// Most folders with sockets.
const MAX_DIRS: usize = 8;

/// Longest wait between two looks, in seconds.
const MAX_POLL: u64 = 3600;

/// `[wireguard]` of the node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct WireguardConfig {
    /// Whether peers are watched.
    pub enabled: bool,
    /// Where userspace implementations put `INTERFACE.sock`; at most 8.
    pub uapi_dirs: Vec<PathBuf>,
    /// Seconds between two looks just after a change; 1 to `poll_slowest`.
    pub poll_fastest: u64,
    /// Seconds between two looks while nothing happens; up to 3600.
    pub poll_slowest: u64,
    /// Counters alone are reported at most once in so many seconds.
    pub counters_every: u64,
}

/// As written, with no bound checked.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename = "WireguardConfig")]
struct Unchecked {
    enabled: bool,
    uapi_dirs: Vec<PathBuf>,
    poll_fastest: u64,
    poll_slowest: u64,
    counters_every: u64,
}

impl Default for Unchecked {
    fn default() -> Self {
        Self {
            enabled: true,
            // The second is a link to the first on every system that follows FHS 3.0 (§5.13); each is what some
            // implementation was built with.
            uapi_dirs: vec!["/run/wireguard".into(), "/var/run/wireguard".into()],
            poll_fastest: 1,
            poll_slowest: 5,
            counters_every: 60,
        }
    }
}

impl TryFrom<Unchecked> for WireguardConfig {
    type Error = OutOfBounds;

    fn try_from(written: Unchecked) -> Result<Self, OutOfBounds> {
        if !(1..=MAX_POLL).contains(&written.poll_slowest) {
            return Err(OutOfBounds::Slowest(written.poll_slowest));
        }
        if !(1..=written.poll_slowest).contains(&written.poll_fastest) {
            return Err(OutOfBounds::Fastest(written.poll_fastest, written.poll_slowest));
        }
        if written.uapi_dirs.len() > MAX_DIRS {
            return Err(OutOfBounds::Dirs(written.uapi_dirs.len()));
        }
        Ok(written.unchecked())
    }
}

impl Unchecked {
    fn unchecked(self) -> WireguardConfig {
        let Self { enabled, uapi_dirs, poll_fastest, poll_slowest, counters_every } = self;
        WireguardConfig { enabled, uapi_dirs, poll_fastest, poll_slowest, counters_every }
    }
}

impl Default for WireguardConfig {
    fn default() -> Self {
        Unchecked::default().unchecked()
    }
}

/// A value out of its bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum OutOfBounds {
    #[error("poll_slowest is {0}: it must be 1 to {MAX_POLL} seconds")]
    Slowest(u64),
    #[error("poll_fastest is {0}: it must be 1 second to poll_slowest, which is {1}")]
    Fastest(u64, u64),
    #[error("uapi_dirs has {0} folders: it may have {MAX_DIRS}")]
    Dirs(usize),
}

impl WireguardConfig {
    pub(super) fn pace(&self) -> Pace {
        let secs = Duration::from_secs;
        Pace { fastest: secs(self.poll_fastest), slowest: secs(self.poll_slowest) }
    }

    pub(super) fn counters_every(&self) -> Duration {
        Duration::from_secs(self.counters_every)
    }

    /// Where sockets are, each folder once though two names may lead to it. The last name of a folder need not
    /// exist yet; what is before it is looked at now.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let real = |dir: &Path| Some(dir.parent()?.canonicalize().ok()?.join(dir.file_name()?));
        let mut folders: Vec<(PathBuf, &PathBuf)> = Vec::new();
        for dir in &self.uapi_dirs {
            let real = real(dir).unwrap_or_else(|| dir.clone());
            if folders.iter().all(|(known, _)| *known != real) {
                folders.push((real, dir));
            }
        }
        folders.into_iter().map(|(_, dir)| dir.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn read(text: &str) -> Result<WireguardConfig, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn what_is_not_said_has_its_default_and_what_nobody_knows_is_an_error() {
        assert_eq!(read(""), Ok(WireguardConfig::default()));
        let config = read("poll_slowest = 30\n").unwrap();
        assert_eq!((config.poll_fastest, config.poll_slowest), (1, 30));
        assert!(read("poll = 1\n").unwrap_err().contains("unknown field `poll`"));
    }

    #[test]
    fn a_pace_out_of_bounds_is_refused_with_its_bounds() {
        for (text, error) in [
            ("poll_slowest = 0", "poll_slowest is 0: it must be 1 to 3600 seconds"),
            ("poll_slowest = 3601", "poll_slowest is 3601: it must be 1 to 3600 seconds"),
            ("poll_fastest = 0", "poll_fastest is 0: it must be 1 second to poll_slowest, which is 5"),
            ("poll_fastest = 6", "poll_fastest is 6: it must be 1 second to poll_slowest, which is 5"),
            (
                "uapi_dirs = ['/1', '/2', '/3', '/4', '/5', '/6', '/7', '/8', '/9']",
                "uapi_dirs has 9 folders: it may have 8",
            ),
        ] {
            assert_eq!(read(text), Err(error.to_owned()), "{text}");
        }
        assert!(read("poll_fastest = 3600\npoll_slowest = 3600").is_ok());
    }

    #[test]
    fn a_folder_with_two_names_is_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("run")).unwrap();
        symlink(path("run"), path("var-run")).unwrap();
        let uapi_dirs = vec![path("run/wireguard"), path("var-run/wireguard"), path("nowhere/wireguard")];
        let config = WireguardConfig { uapi_dirs, ..WireguardConfig::default() };
        assert_eq!(config.folders(), [path("run/wireguard"), path("nowhere/wireguard")]);
    }
}
