//! What can go wrong for a client, each as one sentence for people and an exit code for scripts.

use std::{fs, io, os::unix::fs::FileTypeExt as _, path::PathBuf, time::Duration};

use secmon_protocol::message::{ErrorCode, Refusal};

use crate::CursorFileError;

/// Why a request to a hub failed.
///
/// The text of an error holds everything that a person needs, the names near to one that was not found
/// included. It may quote what a peer said: who prints it escapes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// There is no socket at the path.
    #[error(
        "no hub listens on {}: is `secmon hub` running? (another socket: --socket PATH or SECMON_SOCKET)",
        path.display()
    )]
    NoSocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is a socket, and nobody behind it.
    #[error("no hub listens on {}: its socket was left behind, start `secmon hub` again", path.display())]
    Stale {
        /// The socket's path.
        path: PathBuf,
    },
    /// There is something else than a socket.
    #[error("no hub listens on {}: it is not a socket (another one: --socket PATH or SECMON_SOCKET)", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel does not let this user connect.
    #[error(
        "may not connect to {}: permission denied; be root, the hub's user, or in the group of its socket",
        path.display()
    )]
    Permission {
        /// The socket's path.
        path: PathBuf,
    },
    /// Connecting failed in another way.
    #[error("cannot connect to the hub on {}: {reason}", path.display())]
    Unreachable {
        /// The socket's path.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The hub does not want this client.
    #[error("the hub turned this client away: {}", sentence(.0))]
    Rejected(Refusal),
    /// The hub refused one request; the connection still stands.
    #[error("{}", sentence(.0))]
    Request(Refusal),
    /// The hub did not answer in time.
    #[error("the hub did not answer within {} s: it may be overloaded or stopped", after.as_secs())]
    NoAnswer {
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended.
    #[error("the connection to the hub was lost: {reason}")]
    ConnectionLost {
        /// How it ended.
        reason: String,
    },
    /// The peer does not speak our protocol.
    #[error("the hub does not speak as agreed: {reason}; are both of the same version?")]
    Protocol {
        /// What it did.
        reason: String,
    },
    /// The file that keeps our place.
    #[error(transparent)]
    CursorFile(#[from] CursorFileError),
}

impl ClientError {
    /// The error of a connect(2) on `path`. To that call a plain file is a socket without a listener, unix(7).
    pub(crate) fn connecting(path: PathBuf, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NoSocket { path },
            io::ErrorKind::ConnectionRefused => match fs::metadata(&path) {
                Ok(there) if !there.file_type().is_socket() => Self::NotASocket { path },
                _ => Self::Stale { path },
            },
            io::ErrorKind::PermissionDenied => Self::Permission { path },
            _ => Self::Unreachable { path, reason: error.to_string() },
        }
    }

    /// The exit code of a command that ends with this error; see [`crate::cli::EXIT_CODES`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoSocket { .. }
            | Self::Stale { .. }
            | Self::NotASocket { .. }
            | Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::ConnectionLost { .. } => 3,
            Self::Permission { .. } => 5,
            Self::Rejected(refusal) | Self::Request(refusal) => match refusal.code {
                ErrorCode::UnknownNode | ErrorCode::NodeAway => 4,
                ErrorCode::NotPermitted => 5,
                _ => 1,
            },
            Self::Protocol { .. } | Self::CursorFile(_) => 1,
        }
    }

    /// Whether the same may succeed a moment later, without anybody changing what is asked: a hub that is
    /// restarted, or has too many clients, is worth another attempt. So is one to which the kernel does not let us
    /// connect, for between its start and the moment when its socket is its group's there is an instant.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoSocket { .. }
            | Self::Stale { .. }
            | Self::Permission { .. }
            | Self::Unreachable { .. }
            | Self::NoAnswer { .. }
            | Self::ConnectionLost { .. } => true,
            Self::Rejected(refusal) => matches!(refusal.code, ErrorCode::Internal | ErrorCode::TooMany),
            Self::Request(refusal) => refusal.code == ErrorCode::Internal,
            Self::NotASocket { .. } | Self::Protocol { .. } | Self::CursorFile(_) => false,
        }
    }

    /// The code of a refusal, where the hub refused.
    #[must_use]
    pub fn refusal(&self) -> Option<ErrorCode> {
        match self {
            Self::Rejected(refusal) | Self::Request(refusal) => Some(refusal.code),
            _ => None,
        }
    }
}

/// A refusal's message with the near names behind it.
fn sentence(refusal: &Refusal) -> String {
    if refusal.near.is_empty() || refusal.message.contains("did you mean") {
        return refusal.message.clone();
    }
    format!("{}; did you mean {}?", refusal.message, refusal.near.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_near() {
        let mut refusal = Refusal::new(ErrorCode::UnknownNode, "no node is called \"web1\"");
        refusal.near = vec!["web-1".into(), "web-2".into()];
        let error = ClientError::Request(refusal);
        assert_eq!(error.to_string(), "no node is called \"web1\"; did you mean web-1, web-2?");
        assert_eq!(error.exit_code(), 4);
    }

    #[test]
    fn who_may_not_connect_is_told_who_may() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            ClientError::connecting("/run/x.sock".into(), &denied).to_string(),
            "may not connect to /run/x.sock: permission denied; be root, the hub's user, or in the group of its socket"
        );
    }

    #[test]
    fn every_way_of_not_reaching_a_hub_has_its_own_sentence_and_code() {
        let of = |kind| ClientError::connecting("/run/x.sock".into(), &io::Error::from(kind));
        let no_socket = of(io::ErrorKind::NotFound);
        assert!(no_socket.to_string().starts_with("no hub listens on /run/x.sock: is `secmon hub` running?"));
        let codes = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused, io::ErrorKind::OutOfMemory];
        assert_eq!(codes.map(|kind| of(kind).exit_code()), [3, 3, 3]);
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = ClientError::connecting(file.path().to_owned(), &refused);
        assert!(error.to_string().contains("is not a socket") && error.exit_code() == 3, "{error}");
        assert_eq!(of(io::ErrorKind::PermissionDenied).exit_code(), 5);
        let refused = |code| ClientError::Request(Refusal::new(code, "x")).exit_code();
        assert_eq!(refused(ErrorCode::NotPermitted), 5);
        assert_eq!(refused(ErrorCode::NodeAway), 4);
        assert_eq!(refused(ErrorCode::NameTaken), 1);
    }
}
