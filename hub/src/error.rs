//! What keeps a hub from starting or from going on.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a hub does not run.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A value of the configuration makes no sense.
    #[error("{key}: {reason}")]
    Config {
        /// The key, as written in the file.
        key: &'static str,
        /// What is wrong with its value, and what would be right.
        reason: String,
    },
    /// A file or folder of the hub could not be used.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Another hub works in the same state folder.
    #[error(
        "another hub is running on the state folder {path}; stop it, or give this one a folder of its own with --state-dir",
        path = path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Others may change what is in the state folder.
    #[error("cannot trust the state folder {path}: {reason}", path = path.display())]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Who may, and what to do.
        reason: String,
    },
    /// The CA could not be made or read.
    #[error("cannot use the hub's CA in {path}: {reason}", path = path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The state could not be read or written.
    #[error("cannot use the hub's state: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The port for nodes could not be opened.
    #[error("cannot listen on {address}: {source}; {hint}", hint = listen_hint(source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// A live hub answers on the socket.
    #[error("another hub is serving clients on {path}; stop it, or choose another socket with --socket", path = path.display())]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// The hub is stopping.
    #[error("the hub has stopped")]
    Stopped,
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has that port: stop it, or choose another with --listen",
        io::ErrorKind::PermissionDenied => "ports below 1024 are root's: choose another with --listen",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose another with --listen",
        _ => "choose another with --listen",
    }
}

impl HubError {
    pub(crate) fn config(key: &'static str, reason: impl Into<String>) -> Self {
        Self::Config { key, reason: reason.into() }
    }

    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { what, path: path.into(), source: source.into() }
    }
}
