//! Where the hub's socket is when nobody says.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The socket of a hub that runs as root.
const SYSTEM: &str = "/run/secmon/hub.sock";

/// The socket that is tried without `--socket` and `SECMON_SOCKET`: root's is `/run/secmon/hub.sock`; a
/// user's is the first that exists of `$XDG_RUNTIME_DIR/secmon/hub.sock`,
/// `$XDG_STATE_HOME/secmon/hub.sock` (`~/.local/state` where that is not set) and root's.
#[must_use]
pub fn default_socket() -> PathBuf {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    choose(
        nix::unistd::geteuid().is_root(),
        folder("XDG_RUNTIME_DIR"),
        folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state"))),
        |path| path.exists(),
    )
}

fn choose(
    root: bool,
    runtime: Option<PathBuf>,
    state: Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> PathBuf {
    if root {
        return SYSTEM.into();
    }
    [runtime, state]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("secmon/hub.sock"))
        .find(|path| exists(path))
        .unwrap_or_else(|| SYSTEM.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_own_hub_comes_before_the_systems() {
        let (runtime, state) = (Some(PathBuf::from("/run/user/7")), Some(PathBuf::from("/home/a/state")));
        let pick = |root, there: &'static str| {
            choose(root, runtime.clone(), state.clone(), |path| path == Path::new(there))
        };
        let own = "/run/user/7/secmon/hub.sock";
        assert_eq!(pick(false, own), Path::new(own));
        let state_sock = "/home/a/state/secmon/hub.sock";
        assert_eq!(pick(false, state_sock), Path::new(state_sock));
        assert_eq!(pick(false, "/nothing"), Path::new(SYSTEM));
        assert_eq!(pick(true, own), Path::new(SYSTEM));
        assert_eq!(choose(false, None, None, |_| true), Path::new(SYSTEM));
    }
}
